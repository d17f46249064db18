"""Dead letters read back from their topic: what each one says, which of them are meant, and how many of what kind.

See `publication.dead_letter_publication` for how they are written.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Self

import orjson

from rasad.messages import VALUE_OMITTED_HEADER, DeadLetterReason, Record
from rasad.streams.bounded_reader import BoundedReader, OffsetRange
from rasad.streams.connection import WAIT_LIMIT_S, Connection
from rasad.streams.driver import DriverError
from rasad.streams.publication import REASON_HEADER
from rasad.streams.replay_plan import BEGINNING, NOW, Filters, Instant, PartitionBounds, bounds, matching
from rasad.text.search_key import search_key

EARLIEST: Final = Instant(BEGINNING, 0)
LATEST: Final = Instant(NOW, 2**63 - 1)
"""Everything that is there when it is read."""
_BOM: Final = b"\xef\xbb\xbf"
_NUMBER: Final = re.compile(r"[0-9]{1,19}")
_EVERYTHING: Final = Filters()

Told = Callable[[int, int], None]
"""Hears how many offsets are behind, and how many there are in all."""


def _no_one(_done: int, _total: int) -> None:
    """Nobody watches."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do about a reason. `unchanged` says whether a redrive can succeed with no setting or topic changed."""

    text: str
    unchanged: bool = False


_AT_THE_SOURCE: Final = "the same bytes fail again: have the sender mend the article and send it anew"
ADVICE: Final[Mapping[DeadLetterReason, Advice]] = {
    "empty": Advice("there is no text in it: find out why the sender sends empty records"),
    "too_large": Advice("raise input.max_bytes (RASAD_INPUT__MAX_BYTES) on every worker, restart them, then redrive"),
    "invalid_utf8": Advice(_AT_THE_SOURCE),
    "invalid_json": Advice(_AT_THE_SOURCE),
    "too_deep": Advice(_AT_THE_SOURCE),
    "wrong_type": Advice(_AT_THE_SOURCE),
    "missing_text": Advice(_AT_THE_SOURCE),
    "not_arabic": Advice("the same text is refused again: have the sender send Arabic articles alone"),
    "enrichment_failed": Advice("a fault of Rasad: look into the worker's log, upgrade, then redrive", unchanged=True),
    "output_too_large": Advice(
        "raise max.message.bytes of the topic that the detail names, then redrive; where it names none, do as it says"
    ),
}
_UNKNOWN: Final = Advice("this version of Rasad does not know the reason: read the detail", unchanged=True)


def advice(reason: str) -> Advice:
    """What to do about a reason, also one that only another version of Rasad knows."""
    return next((each for known, each in ADVICE.items() if known == reason), _UNKNOWN)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a dead letter lies on its topic, `PARTITION:OFFSET` in writing."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `PARTITION:OFFSET`. Raises ValueError."""
        partition, _, offset = text.partition(":")
        if not all(_NUMBER.fullmatch(part) for part in (partition, offset)):
            raise ValueError(f"{text!r} is no PARTITION:OFFSET of the dead-letter topic, such as 2:17")
        return cls(int(partition), int(offset))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLetter:
    """A dead letter as its topic holds it: `topic`, `place` and `timestamp` (milliseconds) are its own.

    `record` is the original as it was read; where its value is omitted, that value is empty. `source` is who published
    the article, as far as the value tells. `identity` is the same for all copies of a letter, such as a worker leaves
    that was killed before it acknowledged the record, and for no other letter: the raw topic may have been made anew.
    """

    topic: str
    place: Place
    timestamp: int | None
    record: Record
    reason: str
    detail: str
    stage: str
    attempt: int
    pipeline_version: str
    value_omitted: bool
    value_bytes: int
    source: str | None
    identity: str

    @property
    def origin(self) -> str:
        """Where the original was read, `topic:partition:offset`."""
        return f"{self.record.topic}:{self.record.partition}:{self.record.offset}"

    def without_value(self) -> Self:
        """The same with an empty value, for keeping many."""
        return replace(self, record=replace(self.record, value=b""))


def stored_letter(record: Record) -> StoredLetter | None:
    """Read a record of the dead-letter topic; None for one that Rasad did not write there."""
    first = max((index for index, (key, _) in enumerate(record.headers) if key == REASON_HEADER), default=None)
    if first is None:
        return None
    told = {key: value.decode("utf-8", "replace") for key, value in record.headers[first:]}
    partition, offset = (told.get(f"rasad_{name}", "") for name in ("partition", "offset"))
    if not all(_NUMBER.fullmatch(part) for part in (partition, offset)):
        return None
    original = Record(
        value=record.value,
        key=record.key,
        headers=record.headers[:first],
        topic=told.get("rasad_topic", ""),
        partition=int(partition),
        offset=int(offset),
    )
    return StoredLetter(
        topic=record.topic,
        place=Place(record.partition, record.offset),
        timestamp=record.timestamp,
        record=original,
        reason=told[REASON_HEADER],
        detail=told.get("rasad_detail", ""),
        stage=told.get("rasad_stage", ""),
        attempt=record.attempt,
        pipeline_version=told.get("rasad_pipeline_version", ""),
        value_omitted=VALUE_OMITTED_HEADER in told,
        value_bytes=len(record.value),
        source=source_of(record.value),
        identity=_identity(record.topic, original, record.attempt),
    )


def _identity(topic: str, original: Record, attempt: int) -> str:
    """The topic of the letter, where its original was read, which attempt failed, and a digest of what was read."""
    digest = hashlib.sha256(orjson.dumps([len(part) for part in _parts(original)]) + b"".join(_parts(original)))
    origin = f"{original.topic}:{original.partition}:{original.offset}"
    return f"{topic}:{origin}:{attempt}:{digest.hexdigest()[:32]}"


def _parts(record: Record) -> list[bytes]:
    headers = (part for name, value in record.headers for part in (name.encode("utf-8", "surrogatepass"), value))
    return [record.key or b"", record.value, *headers]


def source_of(value: bytes) -> str | None:
    """Who published an article, where its value is a JSON object that says so."""
    try:
        parsed = orjson.loads(value.removeprefix(_BOM))
    except orjson.JSONDecodeError:
        return None
    source = parsed.get("source") if isinstance(parsed, dict) else None
    return source if isinstance(source, str) and source.strip() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which letters are meant. No reasons means any; sources are compared as search keys (see `rasad.text.search_key`).

    `begin` and `end` are times of the letters themselves, that is of when the records were given up.
    """

    reasons: frozenset[str] = frozenset()
    source: str | None = None
    begin: Instant = EARLIEST
    end: Instant = LATEST

    def takes(self, letter: StoredLetter) -> bool:
        """Whether a letter of the right time is meant."""
        if self.reasons and letter.reason not in self.reasons:
            return False
        return self.source is None or search_key(self.source) == search_key(letter.source or "")


@dataclass(slots=True)
class Seen:
    """What a reading came across beside the letters that it gave: records that are no dead letters of Rasad."""

    foreign: int = 0


def selected(
    connection: Connection,
    topic: str,
    selection: Selection,
    seen: Seen,
    *,
    told: Told = _no_one,
    patience_s: float = WAIT_LIMIT_S,
) -> Iterator[StoredLetter]:
    """The letters on `topic` that are meant, oldest first; `seen` is filled on the way.

    Raises DriverError where there is no such topic, BrokerUnavailable where no broker answers for `patience_s`.
    """
    within = bounds(connection, topic, selection.begin, selection.end)
    total = sum(each.count for each in within)
    reading = matching(
        connection, topic, within, _EVERYTHING, told=lambda done: told(done, total), patience_s=patience_s
    )
    for record in reading:
        letter = stored_letter(record)
        if letter is None:
            seen.foreign += 1
        elif selection.takes(letter):
            yield letter
    told(total, total)


def letters_at(
    connection: Connection, topic: str, places: Iterable[Place], *, patience_s: float = WAIT_LIMIT_S
) -> Iterator[StoredLetter]:
    """The letters at `places`, oldest first. Raises DriverError for a place that has none."""
    unread = set(places)
    within = {each.partition: each for each in bounds(connection, topic, EARLIEST, LATEST)}
    for place in sorted(unread):
        if place.partition not in within or not _holds(within[place.partition], place):
            raise DriverError(_absent(topic, place, within.get(place.partition)))
    ranges = {
        partition: OffsetRange(min(wanted), max(wanted) + 1)
        for partition in within
        if (wanted := [place.offset for place in unread if place.partition == partition])
    }
    if not ranges:
        return
    with BoundedReader(connection, topic, ranges, patience_s=patience_s) as reader:
        while unread and (record := reader.take()) is not None:
            letter = stored_letter(record)
            if letter is not None and letter.place in unread:
                unread.discard(letter.place)
                yield letter
    if unread:
        raise DriverError(f"no dead letter at {min(unread)}: what {topic} has there is none; see `rasad dlq list`")


def _holds(within: PartitionBounds, place: Place) -> bool:
    return within.start <= place.offset < within.end


def _absent(topic: str, place: Place, within: PartitionBounds | None) -> str:
    if within is None:
        return f"no dead letter at {place}: {topic} has no partition {place.partition}; see `rasad dlq list`"
    held = f"holds offsets {within.start} to {within.end - 1}" if within.count else "is empty"
    return f"no dead letter at {place}: partition {place.partition} of {topic} {held}; see `rasad dlq list`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many letters there are in all and of each kind; days and hours are of UTC, in ISO 8601."""

    total: int
    reasons: Mapping[str, int]
    stages: Mapping[str, int]
    sources: Mapping[str, int]
    days: Mapping[str, int]
    hours: Mapping[str, int]


UNTOLD: Final = ""
"""The source of a letter whose value tells none, and the day of one without a time."""


def counted(letters: Iterable[StoredLetter]) -> Counts:
    """Count letters: kinds by how many there are, times in their order."""
    reasons, stages, sources, hours = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for letter in letters:
        reasons[letter.reason] += 1
        stages[letter.stage] += 1
        sources[letter.source or UNTOLD] += 1
        hours[_hour(letter.timestamp)] += 1
    days = Counter[str]()
    for hour, count in hours.items():
        days[hour[:10]] += count
    return Counts(
        total=reasons.total(),
        reasons=dict(reasons.most_common()),
        stages=dict(stages.most_common()),
        sources=dict(sources.most_common()),
        days=dict(sorted(days.items())),
        hours=dict(sorted(hours.items())),
    )


def _hour(timestamp: int | None) -> str:
    if timestamp is None:
        return UNTOLD
    return datetime.fromtimestamp(timestamp / 1000, UTC).strftime("%Y-%m-%dT%H:00Z")
