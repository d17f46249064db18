"""Claim and article pairs as JSON lines, judged batch by batch."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

from rasad.enrich.stance import Pair, StanceModel, StanceResult
from rasad.messages import Record
from rasad.streams.files import records

BATCH_MAX: Final = 64
"""Pairs judged at a time."""


@dataclass(frozen=True, slots=True)
class _Line:
    id: Any
    pair: Pair


def judged(model: StanceModel, sources: Iterable[str]) -> Iterator[tuple[bytes, str | None]]:
    """For each line of `sources` (paths or "-"), in order: its JSON result line, or `b""` and what is wrong with it.

    Raises FileError where a source cannot be read.
    """
    unread = records(sources)
    while batch := list(itertools.islice(unread, BATCH_MAX)):
        read = [_line(record) for record in batch]
        good = [line for line in read if isinstance(line, _Line)]
        results = iter(zip(good, model.classify([line.pair for line in good]), strict=True)) if good else iter(())
        for line in read:
            if isinstance(line, str):
                yield b"", line
            else:
                yield _result(*next(results)), None


def _line(record: Record) -> _Line | str:
    """The pair in a record, or what is wrong with it."""
    place = f"{record.topic} line {record.offset + 1}"
    try:
        value = orjson.loads(record.value)
    except orjson.JSONDecodeError as error:
        return f"{place}: not valid JSON: {error}"
    if not isinstance(value, dict):
        return f"{place}: not a JSON object; each line is {{id, claim, title, body}}"
    texts = {key: value.get(key) or "" for key in ("claim", "title", "body")}
    for key, text in texts.items():
        if not isinstance(text, str):
            return f"{place}: {key} is {type(text).__name__}, wanted a string"
    if not texts["claim"].strip() or not (texts["title"] + texts["body"]).strip():
        return f"{place}: needs a claim, and a title or a body to hold it against"
    return _Line(value.get("id"), Pair(**texts))


def _result(line: _Line, result: StanceResult) -> bytes:
    return orjson.dumps(
        {"id": line.id, "label": result.label, "probs": result.probs, "evidence": result.evidence},
        option=orjson.OPT_APPEND_NEWLINE,
    )
