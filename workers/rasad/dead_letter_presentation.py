"""Dead letters for the eye and for other programs: tables, one in full, JSON lines.

What a letter holds is foreign text, which may try to steer the terminal that shows it: all of it passes `visible`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Final

import orjson
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rasad.messages import Redrive
from rasad.presentation import isolated, visible
from rasad.streams.dead_letters import UNTOLD, Counts, StoredLetter, advice
from rasad.text.script import arabic_share

SHOWN_BYTES: Final = 65_536
"""How much of a value is shown; `--raw` gives all of it."""
_COLUMNS: Final = ("time", "letter", "record", "reason", "stage", "attempt", "source", "redriven", "detail")
_DETAIL_CHARACTERS: Final = 100
_DETAIL_WIDTH: Final = 30
_HEX_COLUMNS: Final = 16
_HOURLY_DAYS: Final = 3
_MOSTLY: Final = 0.5
_JSON_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"')

Row = tuple[StoredLetter, Redrive | None]
"""A letter, and the note of its redrive if it had one."""


def letter_table(rows: Iterable[Row]) -> Table:
    """One line a letter: when it was given up, where it lies, where it came from, and why; no column that is empty."""
    cells = [_cells(letter, note) for letter, note in rows]
    kept = [name for name in _COLUMNS if any(row[name] for row in cells)]
    table = Table(box=None, pad_edge=False)
    for name in kept:
        if name == "detail":
            table.add_column(name, min_width=_DETAIL_WIDTH, overflow="fold")
        else:
            table.add_column(name, no_wrap=True)
    for row in cells:
        table.add_row(*(Text(_directed(row[name])) for name in kept))
    return table


def _cells(letter: StoredLetter, note: Redrive | None) -> dict[str, str]:
    detail = letter.detail
    return {
        "time": _time(letter.timestamp),
        "letter": str(letter.place),
        "record": letter.origin,
        "reason": letter.reason,
        "stage": letter.stage,
        "attempt": str(letter.attempt),
        "source": letter.source or "",
        "redriven": "" if note is None else note.sent_at[: len("2026-01-31T12:00")],
        "detail": detail if len(detail) <= _DETAIL_CHARACTERS else detail[: _DETAIL_CHARACTERS - 1] + "…",
    }


def letter_line(letter: StoredLetter, note: Redrive | None) -> str:
    """A letter without its value as one line of JSON."""
    record = letter.record
    told = {
        "letter": str(letter.place),
        "topic": letter.topic,
        "partition": letter.place.partition,
        "offset": letter.place.offset,
        "time": _time(letter.timestamp) or None,
        "record": {"topic": record.topic, "partition": record.partition, "offset": record.offset},
        "key": None if record.key is None else record.key.decode("utf-8", "replace"),
        "reason": letter.reason,
        "stage": letter.stage,
        "attempt": letter.attempt,
        "pipeline_version": letter.pipeline_version,
        "source": letter.source,
        "detail": letter.detail,
        "value_bytes": None if letter.value_omitted else letter.value_bytes,
        "redriven": None if note is None else {"at": note.sent_at, "to": note.sent_to, "attempt": note.attempt},
    }
    return visible(orjson.dumps(told).decode())


def letter_view(letter: StoredLetter, note: Redrive | None) -> RenderableType:
    """All that is known of a letter but its value: where, when, why, what to do, key and headers of the original."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    redriven = "no" if note is None else f"{note.sent_at} to {note.sent_to}, as attempt {note.attempt}"
    size = "left out, for its size" if letter.value_omitted else f"{letter.value_bytes:,} bytes"
    for label, told in (
        ("letter", f"{letter.place} on {letter.topic}"),
        ("time", _time(letter.timestamp)),
        ("record", letter.origin),
        ("reason", letter.reason),
        ("stage", letter.stage),
        ("attempt", str(letter.attempt)),
        ("redriven", redriven),
        ("pipeline", letter.pipeline_version),
        ("source", letter.source or "not told"),
        ("detail", letter.detail),
        ("what to do", advice(letter.reason).text),
        ("redrive", f"rasad dlq redrive {letter.place}"),
        ("key", "none" if letter.record.key is None else _bytes(letter.record.key)),
        *((f"header {visible(key)}", _bytes(value)) for key, value in letter.record.headers),
        ("value", size),
    ):
        table.add_row(Text(label), Text(_directed(told)))
    return table


def value_view(value: bytes) -> RenderableType:
    """A value as text where it is UTF-8, JSON laid out, or else in hexadecimal; the beginning of a long one."""
    text = _text(value)
    lines = _hexadecimal(value[:SHOWN_BYTES]) if text is None else map(_line, text.split("\n"))
    shown: list[RenderableType] = [Text(line) for line in lines]
    if len(value) > SHOWN_BYTES:
        shown.append(Text(f"... the first {SHOWN_BYTES:,} of {len(value):,} bytes; --raw gives all", style="dim"))
    return Group(*shown)


def _text(value: bytes) -> str | None:
    """A value that is text, JSON laid out; the beginning of a long one as it is. None for what is not UTF-8."""
    try:
        whole = value.decode("utf-8")
    except UnicodeDecodeError:
        return None
    if len(value) > SHOWN_BYTES:
        return value[:SHOWN_BYTES].decode("utf-8", "ignore")
    try:
        return json.dumps(json.loads(whole), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        return whole


def _line(line: str) -> str:
    """A line of text, or of JSON that was laid out, whose strings are parted from the signs around them."""
    seen = visible(line.removesuffix("\r"))
    if _JSON_STRING.search(seen):
        return _JSON_STRING.sub(lambda match: _isolated(match[0]), seen)
    return _isolated(seen)


def _hexadecimal(value: bytes) -> Iterator[str]:
    for start in range(0, len(value), _HEX_COLUMNS):
        row = value[start : start + _HEX_COLUMNS]
        letters = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        yield f"{start:08x}  {row.hex(' '):<{_HEX_COLUMNS * 3 - 1}}  {letters}"


def _bytes(value: bytes) -> str:
    """A key or a header: text, or hexadecimal."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return f"0x{value.hex()}"


def _directed(text: str) -> str:
    """Visible text that reads right to left where it is Arabic."""
    return _isolated(visible(text))


def _isolated(seen: str) -> str:
    return isolated(seen) if arabic_share(seen) > _MOSTLY else seen


def _time(timestamp: int | None) -> str:
    """Seconds of UTC in ISO 8601; nothing where there is no time."""
    return "" if timestamp is None else datetime.fromtimestamp(timestamp / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def counts_view(counts: Counts) -> RenderableType:
    """Counts by kind and by time, by the hour where they span a few days at most."""
    times = ("hour", counts.hours) if len(counts.days) <= _HOURLY_DAYS else ("day", counts.days)
    kinds = (("reason", counts.reasons), ("stage", counts.stages), ("source", counts.sources), times)
    return Group(Text(f"{counts.total:,} dead letters"), *(_counted(name, by) for name, by in kinds if by))


def _counted(name: str, counts: Mapping[str, int]) -> Table:
    table = Table(box=None, pad_edge=False, title_justify="left")
    table.add_column(name, no_wrap=True, min_width=24)
    table.add_column("letters", justify="right")
    for kind, count in counts.items():
        table.add_row(Text("not told" if kind == UNTOLD else _directed(kind)), f"{count:,}")
    return table


def counts_line(counts: Counts) -> str:
    """Counts as one JSON object; the source of letters that tell none is the empty string."""
    return visible(orjson.dumps(asdict(counts)).decode())
