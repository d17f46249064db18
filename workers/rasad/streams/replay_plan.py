"""What a replay reads: the times and words it is asked for, the offsets that they mean, and how long they take."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from kafka import KafkaConsumer, TopicPartition

from rasad.enrich.decode import decode
from rasad.messages import RawArticle, Record
from rasad.streams.bounded_reader import BoundedReader, OffsetRange
from rasad.streams.connection import WAIT_LIMIT_S, Connection
from rasad.streams.driver import Enrich
from rasad.streams.topic_reader import partitions_of
from rasad.streams.topics import RAW_BYTES
from rasad.text.search_key import search_key

BEGINNING: Final = "beginning"
NOW: Final = "now"
SAMPLE: Final = 32
"""Articles that are enriched to measure a rate."""
_DURATION: Final = re.compile(r"(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_TOLD_EVERY: Final = 50


@dataclass(frozen=True, slots=True)
class Instant:
    """A point in time: as it was asked for, and in milliseconds since the epoch."""

    text: str
    ms: int

    @property
    def relative(self) -> bool:
        """Whether the same words mean another time tomorrow."""
        return self.text == NOW or (self.text != BEGINNING and _duration(self.text) is not None)


def instant(text: str, now: datetime) -> Instant:
    """`beginning`, `now`, a duration back from `now` (2h, 1d12h, 7d) or ISO 8601, UTC where it names no zone.

    Raises ValueError for anything else, and for a time before 1970.
    """
    if text == BEGINNING:
        return Instant(text, 0)
    back = timedelta(0) if text == NOW else _duration(text)
    try:
        when = datetime.fromisoformat(text) if back is None else now - back
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is no time: say 2026-01-31T12:00:00Z, a date, 2h or 7d for so long ago, beginning, or now"
        ) from None
    ms = round((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)
    if ms < 0:
        raise ValueError(f"{text!r} is before 1970, where Kafka's time begins: say beginning")
    return Instant(text, ms)


def _duration(text: str) -> timedelta | None:
    match = _DURATION.fullmatch(text) if text else None
    if match is None:
        return None
    weeks, days, hours, minutes, seconds = (min(int(part or 0), 10**6) for part in match.groups())
    return timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which articles are meant: of a source, holding some words; None is all of them.

    Both are compared as search keys, so spellings of Arabic that writers mix up meet (see `rasad.text.search_key`).
    What is no article has neither source nor words, so that any filter leaves it out.
    """

    source: str | None = None
    contains: str | None = None

    def __post_init__(self) -> None:
        for text in (self.source, self.contains):
            if text is not None and not search_key(text):
                raise ValueError(f"{text!r} holds no letter to look for")

    def __bool__(self) -> bool:
        return self.source is not None or self.contains is not None

    def match(self, record: Record) -> bool:
        """Whether a raw record is meant."""
        if not self:
            return True
        article = decode(record, max_bytes=RAW_BYTES, pipeline_version="")
        if not isinstance(article, RawArticle):
            return False
        if self.source is not None and search_key(article.source or "") != search_key(self.source):
            return False
        return self.contains is None or search_key(self.contains) in search_key(f"{article.title}\n{article.body}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionBounds:
    """What is read of a partition: offsets `[start, end)`.

    `cut` says that retention has taken away everything before `start`, where records of the asked time may have been.
    """

    partition: int
    start: int
    end: int
    cut: bool = False

    @property
    def count(self) -> int:
        """Records at most: transaction markers and compacted records have offsets too."""
        return self.end - self.start


def bounds(connection: Connection, topic: str, begin: Instant, end: Instant) -> tuple[PartitionBounds, ...]:
    """The offsets of `topic` from `begin` to `end`, none of them past what is stable now.

    As everywhere in Kafka, a time means the first record that is not earlier: where clocks disagree, records out of
    order go with those around them. `now` as the end is everything that is there. Raises DriverError where there is
    no such topic.
    """
    with KafkaConsumer(
        **connection.kafka_python(), group_id=None, isolation_level="read_committed", enable_auto_commit=False
    ) as consumer:
        partitions = partitions_of(consumer, topic)
        # Under read_committed the end is the last stable offset: the high watermark, less what is in open transactions.
        ends = consumer.end_offsets(partitions)
        beginnings = consumer.beginning_offsets(partitions)
        first = beginnings if begin.text == BEGINNING else _offsets_at(consumer, begin, ends)
        last = ends if end.text == NOW else _offsets_at(consumer, end, ends)
    return tuple(
        PartitionBounds(
            partition=each.partition,
            start=min(first[each], ends[each]),
            end=max(min(last[each], ends[each]), min(first[each], ends[each])),
            cut=0 < beginnings[each] == first[each],
        )
        for each in partitions
    )


def _offsets_at(consumer: KafkaConsumer, when: Instant, ends: dict[TopicPartition, int]) -> dict[TopicPartition, int]:
    found = consumer.offsets_for_times(dict.fromkeys(ends, when.ms))
    return {each: ends[each] if found[each] is None else found[each].offset for each in ends}


def matching(
    connection: Connection,
    topic: str,
    within: tuple[PartitionBounds, ...],
    filters: Filters,
    *,
    told: Callable[[int], None] = lambda _done: None,
    patience_s: float = WAIT_LIMIT_S,
) -> Iterator[Record]:
    """The records within the bounds that the filters mean. `told` hears how many offsets are behind, now and then."""
    ranges = {each.partition: OffsetRange(each.start, each.end) for each in within}
    with BoundedReader(connection, topic, ranges, patience_s=patience_s) as reader:
        for taken in itertools.count(1):
            record = reader.take()
            if record is None:
                return
            if filters.match(record):
                yield record
            if taken % _TOLD_EVERY == 0:
                told(sum(reader.positions[partition] - each.start for partition, each in ranges.items()))


def measured_rate(enrich: Enrich, sample: list[Record]) -> float | None:
    """Articles a second of this machine: `sample` enriched once to warm up with its first, then timed. None of none."""
    if not sample:
        return None
    enrich(sample[:1])
    begun = time.perf_counter()
    enrich(sample)
    return len(sample) / max(time.perf_counter() - begun, 1e-6)
