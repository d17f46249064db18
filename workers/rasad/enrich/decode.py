"""Record bytes to a RawArticle, or to a DeadLetter whose detail says what to change. Total: never raises.

A value whose first character is `{` is a JSON record; any other JSON value is refused; all the rest is plain text
with the headline on its first line.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson

from rasad.messages import DeadLetter, DeadLetterReason, RawArticle, Record, derived_id
from rasad.text.script import arabic_share, language
from rasad.text.sentences import INVISIBLE

MAX_BYTES: Final = 1_048_576
"""Default limit of a record's value, in bytes: Kafka's own default for a message."""

MAX_DEPTH: Final = 64
"""Brackets that may be open at once: far above any article's record, far below the parser's own limit of 1,024."""

FIELD_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "id": ("id", "article_id"),
    "title": ("title", "headline"),
    "body": ("body", "text", "content"),
    "url": ("url", "link"),
    "source": ("source",),
    "published_at": ("published_at", "date"),
    "fetched_at": ("fetched_at",),
}
"""The names that each field of a RawArticle answers to in a JSON record: the first one that is not null is read."""

_KNOWN_NAMES: Final = frozenset(name for names in FIELD_NAMES.values() for name in names)
_EXTRA: Final = "extra"
_EXACT: Final = 2.0**53
_BOM: Final = "\ufeff"
_UTF16_BOMS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# JSON's white space and no other: a no-break space before a brace makes plain text of it.
_JSON_SPACE: Final = " \t\r\n"
# Possessive, so that an unclosed string costs one pass and not one for each quote in it.
_JSON_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_OPENING: Final = b"[{"
_CLOSING: Final = b"]}"
_STEPS: Final = bytes.maketrans(_OPENING + _CLOSING, bytes([1, 1, 255, 255]))  # 255 is -1 as int8
_NOT_BRACKETS: Final = bytes(code for code in range(256) if code not in _OPENING + _CLOSING)
_BLANK_LINES: Final = re.compile(rf"(?:(?:[^\S\r\n]|[{INVISIBLE}])*+(?:\r\n?|\n))*+")
_LINE_END: Final = re.compile(r"\r\n?|\n")


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why a value is no article, before it is tied to its record."""

    reason: DeadLetterReason
    detail: str


def decode(record: Record, *, max_bytes: int = MAX_BYTES, pipeline_version: str) -> RawArticle | DeadLetter:
    """Read one record; `max_bytes` limits its value. Raises nothing, whatever the bytes are."""
    read = _article(record.value, max_bytes)
    if isinstance(read, RawArticle):
        return read
    return DeadLetter(
        record=record, reason=read.reason, detail=read.detail, stage="decode", pipeline_version=pipeline_version
    )


def too_deep(value: bytes) -> bool:
    """Whether more than MAX_DEPTH brackets are open at once outside strings; `value` need not be valid JSON."""
    if value.count(b"{") + value.count(b"[") <= MAX_DEPTH:
        return False
    steps = np.frombuffer(_JSON_STRING.sub(b"", value).translate(_STEPS, _NOT_BRACKETS), dtype=np.int8)
    return bool(steps.cumsum(dtype=np.int64).max(initial=0) > MAX_DEPTH)


def _article(value: bytes, max_bytes: int) -> RawArticle | _Refusal:
    if not value:
        return _Refusal("empty", "the record has no value (an empty message or a tombstone): send the article's text")
    if len(value) > max_bytes:
        return _Refusal(
            "too_large",
            f"the value has {len(value):,} bytes, the limit is {max_bytes:,}: send the article's text alone, or raise "
            "input.max_bytes (RASAD_INPUT__MAX_BYTES)",
        )
    try:
        text = value.decode("utf-8").removeprefix(_BOM)
    except UnicodeDecodeError as error:
        return _Refusal("invalid_utf8", _utf8_detail(value, error))
    if not text.strip():
        return _Refusal("empty", "the value is nothing but white space: send the article's text")
    article = _from_value(text)
    return article if isinstance(article, _Refusal) else _arabic(article)


def _utf8_detail(value: bytes, error: UnicodeDecodeError) -> str:
    if value.startswith(_UTF16_BOMS):
        return "the value is UTF-16 (it starts with its byte order mark): convert it to UTF-8"
    if error.end == len(value) and "end of data" in error.reason:
        return f"the value ends within a character, at byte {error.start}: it was cut on its way, send it whole"
    return (
        f"byte {error.start} (0x{value[error.start]:02x}) is not UTF-8 ({error.reason}): convert the text to UTF-8; "
        "old Arabic pages are often in windows-1256"
    )


def _from_value(text: str) -> RawArticle | _Refusal:
    """An article from text that is not blank: a JSON object, or plain text."""
    stripped = text.strip(_JSON_SPACE)
    encoded = stripped.encode("utf-8")
    if stripped[0] in "{[" and too_deep(encoded):
        return _Refusal(
            "too_deep",
            f"the JSON is nested more than {MAX_DEPTH} levels deep: send a flat object with title and body as strings",
        )
    try:
        parsed = orjson.loads(encoded)
    except orjson.JSONDecodeError as error:
        if stripped.startswith("{"):
            return _Refusal("invalid_json", _json_detail(error))
        return _from_plain(text)
    if isinstance(parsed, dict):
        return _from_object(parsed)
    return _Refusal(
        "wrong_type",
        f"the value is JSON, but {_type_name(parsed)} and not an object: send one object a record, such as "
        '{"title": "...", "body": "..."}, or plain text',
    )


def _json_detail(error: orjson.JSONDecodeError) -> str:
    if "surrogate" in error.msg:
        return (
            f"a string holds half of a surrogate pair, at line {error.lineno} column {error.colno}: write the "
            "character as UTF-8, or as both halves of its \\u escape"
        )
    return (
        f"not valid JSON, at line {error.lineno} column {error.colno}: {error.msg}; mend the record, or send plain "
        "text that does not start with a brace"
    )


def _from_plain(text: str) -> RawArticle:
    """First line the headline, the rest the body; blank lines around the headline belong to neither."""
    start = _end(_BLANK_LINES, text, 0)
    line_end = _LINE_END.search(text, start)
    title, rest = (text[start:], len(text)) if line_end is None else (text[start : line_end.start()], line_end.end())
    body = text[_end(_BLANK_LINES, text, rest) :]
    return RawArticle(id=derived_id("", "", title, body), title=title, body=body)


def _end(pattern: re.Pattern[str], text: str, start: int) -> int:
    """Where the match of a pattern that may match nothing ends."""
    match = pattern.match(text, start)
    return start if match is None else match.end()


def _from_object(parsed: Mapping[str, Any]) -> RawArticle | _Refusal:
    fields: dict[str, str | None] = {}
    read: set[str | None] = set()
    for field, names in FIELD_NAMES.items():
        name = next((name for name in names if parsed.get(name) is not None), None)
        value = None if name is None else parsed[name]
        if field == "id":
            value = _numeric_id(value)
        if not (value is None or isinstance(value, str)):
            return _Refusal("wrong_type", f'field "{name}" is {_type_name(value)}: {_fix(field)}')
        fields[field] = value
        read.add(name)
    title, body = fields["title"] or "", fields["body"] or ""
    if not (title.strip() or body.strip()):
        return _Refusal(
            "missing_text",
            'neither "title" nor "body" (or "text", "content") holds any text: send the headline and the article\'s '
            f"text under these names; the record has {_listed(parsed)}",
        )
    id_, url, source = fields["id"], fields["url"], fields["source"]
    return RawArticle(
        id=id_ if id_ and id_.strip() else derived_id(source or "", url or "", title, body),
        title=title,
        body=body,
        url=url,
        source=source,
        published_at=fields["published_at"],
        fetched_at=fields["fetched_at"],
        extra=_extra(
            {
                name: value
                for name, value in parsed.items()
                if name not in read and not (value is None and name in _KNOWN_NAMES)
            }
        ),
    )


def _numeric_id(value: object) -> object:
    """A whole number as its digits; one too large to be exact stays a number, for it may be another id's double."""
    match value:
        case bool():
            return value
        case int():
            return str(value)
        case float() if value.is_integer() and abs(value) <= _EXACT:
            return str(int(value))
        case _:
            return value


def _extra(unknown: Mapping[str, Any]) -> dict[str, Any]:
    """Unknown fields; those of a written RawArticle already stand under `extra`."""
    nested = unknown.get(_EXTRA)
    if not isinstance(nested, dict):
        return dict(unknown)
    return nested | {name: value for name, value in unknown.items() if name != _EXTRA}


def _fix(field: str) -> str:
    match field:
        case "id":
            return (
                "send it as a string or a whole number, beyond 64 bits as a string, or leave it out to have one derived"
            )
        case "published_at" | "fetched_at":
            return 'send it as an ISO 8601 string such as "2026-01-31T12:00:00Z", or leave it out'
        case "title" | "body":
            return "send it as one string"
        case _:
            return "send it as a string, or leave it out"


def _type_name(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


def _listed(parsed: Mapping[str, Any]) -> str:
    """The first names of an object, cut short: they come from outside."""
    names = [repr(name if len(name) <= 40 else f"{name[:40]}...") for name in list(parsed)[:8]]
    return ", ".join(names) + (", ..." if len(parsed) > len(names) else "") if names else "no fields at all"


def _arabic(article: RawArticle) -> RawArticle | _Refusal:
    text = f"{article.title}\n{article.body}"
    found = language(text)
    if found == "ar":
        return article
    return _Refusal(
        "not_arabic",
        f'the text reads as "{found}" ({arabic_share(text):.0%} of its letters are Arabic script): send Arabic '
        "articles to this topic only; if it is one, look for text that was garbled on its way",
    )
