"""Readers of the corpora that training and evaluation use, in the formats in which they are published."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of a JSON-lines file, compressed with zstd where its name ends in `.zst`."""
    if path.suffix != ".zst":
        with path.open(encoding="utf-8") as lines:
            yield from (json.loads(line) for line in lines if line.strip())
        return
    with zstandard.open(path, "rt", encoding="utf-8") as lines:
        yield from (json.loads(line) for line in lines if line.strip())


@dataclass(frozen=True, slots=True)
class TaggedSentence:
    """Words with one IOB2 label each; `words[i]` is a token of the corpus, not of a model."""

    words: tuple[str, ...]
    labels: tuple[str, ...]


def read_conll(path: Path) -> list[TaggedSentence]:
    """Sentences of a `word label` file, parted by empty lines."""
    sentences: list[TaggedSentence] = []
    words: list[str] = []
    labels: list[str] = []
    for line in [*path.read_text(encoding="utf-8").splitlines(), ""]:
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
