"""Readers of the corpora that training and evaluation use, in the formats in which they are published."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import zstandard
from pydantic import TypeAdapter, ValidationError


class CorpusError(ValueError):
    """A file is not what its corpus must be; the message names the file, the line and what is wrong there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    field: Literal["title", "body"]
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mention(_Span):
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Quote(_Span):
    kind: str
    speaker: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _EntityStance:
    holder: str
    target: str
    stance: str
    evidence: _Span


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    text: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MentionArticle:
    """What scoring mentions needs of an article of `news/*.jsonl`."""

    title: str
    body: str
    mentions: list[_Mention]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteArticle:
    """What scoring quotes and entity stances needs of one."""

    id: str
    title: str
    body: str
    paragraphs: list[tuple[int, int]]
    quotes: list[_Quote]
    stances: list[_EntityStance]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimArticle:
    """What scoring claims needs of one."""

    id: str
    category: str | None
    title: str
    body: str
    claims: list[_Claim]


@dataclass(frozen=True, slots=True, kw_only=True)
class StanceRecord:
    """A pair of a stance corpus."""

    target_or_claim: str
    text: str
    label: str
    title: str | None = None


Shape = type[MentionArticle] | type[QuoteArticle] | type[ClaimArticle] | type[StanceRecord]


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of a JSON-lines file, compressed with zstd where its name ends in `.zst`.

    Raises CorpusError for a line that holds none.
    """
    return (found for _, found in _numbered(path))


def read_checked(path: Path, shape: Shape) -> Iterator[dict[str, Any]]:
    """As read_jsonl, of objects that have what `shape` has. Raises CorpusError for one that has not."""
    adapter: TypeAdapter[Any] = TypeAdapter(shape)
    for number, found in _numbered(path):
        try:
            adapter.validate_python(found)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise CorpusError(f"{path} line {number}: {where}: {first['msg']}") from None
        yield found


def _numbered(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects with the numbers of their lines. Lines of bytes, so that one that is not UTF-8 is known by number."""
    with _opened(path) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, _object(line, f"{path} line {number}")


def _opened(path: Path) -> BinaryIO | io.BufferedReader:
    return io.BufferedReader(zstandard.open(path, "rb")) if path.suffix == ".zst" else path.open("rb")


def _object(line: bytes, place: str) -> dict[str, Any]:
    try:
        found = json.loads(line.rstrip().decode())
    except UnicodeDecodeError:
        raise CorpusError(f"{place}: not UTF-8") from None
    except json.JSONDecodeError as error:
        raise CorpusError(f"{place}: no JSON ({error.msg}, column {error.colno})") from None
    if not isinstance(found, dict):
        raise CorpusError(f"{place}: no JSON object")
    return found


@dataclass(frozen=True, slots=True)
class TaggedSentence:
    """Words with one IOB2 label each; `words[i]` is a token of the corpus, not of a model."""

    words: tuple[str, ...]
    labels: tuple[str, ...]


def read_conll(path: Path) -> list[TaggedSentence]:
    """Sentences of a `word label` file, parted by empty lines. Raises CorpusError where it is not UTF-8."""
    sentences: list[TaggedSentence] = []
    words: list[str] = []
    labels: list[str] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}: not UTF-8 from byte {error.start} on") from None
    for line in [*lines, ""]:
        if not line.strip():
            if words:
                sentences.append(TaggedSentence(tuple(words), tuple(labels)))
            words, labels = [], []
            continue
        word, label = line.rsplit(maxsplit=1) if len(line.split()) > 1 else (line.strip(), "O")
        words.append(word)
        labels.append(label)
    return sentences


def contiguous_blocks(
    sentences: list[TaggedSentence], *, blocks: int, size: int
) -> tuple[list[TaggedSentence], list[TaggedSentence]]:
    """Part `sentences` into train and dev, dev being `blocks` evenly spaced runs of `size` sentences.

    Neighbouring sentences of ANERcorp come from one article: a dev set drawn at random scores far above test.
    """
    stride = len(sentences) // blocks
    dev_indices = {start + offset for start in range(stride - size, len(sentences), stride) for offset in range(size)}
    train = [s for i, s in enumerate(sentences) if i not in dev_indices]
    dev = [s for i, s in enumerate(sentences) if i in dev_indices]
    return train, dev
