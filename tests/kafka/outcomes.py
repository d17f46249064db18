"""What became of the records of a raw topic, read back from the output topics."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from kafka import KafkaProducer

from rasad.messages import EnrichedEvent, Record, from_bytes, to_bytes
from rasad.settings import TopicSettings
from rasad.streams.connection import Connection
from rasad.streams.tailing import Tail

Place = tuple[int, int]
"""Partition and offset of an input record."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """One outcome: of which input record, and its event or the dead letter's reason and record."""

    place: Place
    event: EnrichedEvent | None
    reason: str | None
    record: Record

    @property
    def comparable(self) -> bytes:
        """What must be the same each time the input is enriched."""
        return to_bytes(replace(self.event, run={})) if self.event else f"{self.reason}".encode() + self.record.value


def article(number: int, *, repeat: int = 1) -> bytes:
    """A good article of plain text; each number gives another one."""
    title = f"الأمم المتحدة تدعو إلى محادثات في جنيف للمرة {number}"
    return f"{title}\n\n{'دعت الأمم المتحدة أطراف النزاع في ليبيا إلى محادثات جديدة. ' * repeat}".encode()


def produce(
    connection: Connection,
    topic: str,
    values: Iterable[bytes],
    keys: Iterable[bytes] | None = None,
    timestamp_ms: int | None = None,
) -> list[Place]:
    """Write values under `keys`, or with a key each, as of a time or of now; gives where each one lies."""
    keys = keys or (str(index).encode() for index in itertools.count())
    with KafkaProducer(**connection.kafka_python(), max_request_size=4 * 1024 * 1024) as producer:
        # The values end first or with the keys.
        answers = [
            producer.send(topic, value=value, key=key, timestamp_ms=timestamp_ms)
            for value, key in zip(values, keys, strict=False)
        ]
        producer.flush()
        return [(answer.get().partition, answer.get().offset) for answer in answers]


def read(connection: Connection, topics: TopicSettings) -> list[Delivered]:
    """All outcomes written so far: events in their topic's order, then dead letters in theirs."""
    return [*map(_event, written(connection, topics.enriched)), *map(_letter, written(connection, topics.dead_letters))]


def written(connection: Connection, topic: str) -> list[Record]:
    with Tail(connection, topic, "beginning") as tail:
        return list(tail.records(follow=False))


def _event(record: Record) -> Delivered:
    event = from_bytes(EnrichedEvent, record.value)
    return Delivered((event.run["partition"], event.run["offset"]), event, None, record)


def _letter(record: Record) -> Delivered:
    headers = dict(record.headers)
    place = (int(headers["rasad_partition"]), int(headers["rasad_offset"]))
    return Delivered(place, None, headers["rasad_reason"].decode(), record)


def wait_for(
    connection: Connection, topics: TopicSettings, places: Sequence[Place], timeout_s: float = 45.0
) -> list[Delivered]:
    """The outcomes, once every input record of `places` has one."""
    deadline = time.monotonic() + timeout_s
    while True:
        outcomes = read(connection, topics)
        lost = set(places) - {outcome.place for outcome in outcomes}
        if not lost:
            return outcomes
        assert time.monotonic() < deadline, f"{len(lost)} of {len(places)} records have no outcome after {timeout_s} s"
        time.sleep(0.2)


def repeated(outcomes: Iterable[Delivered]) -> dict[Place, int]:
    """Input records with more than one outcome, and how many."""
    return {place: count for place, count in Counter(outcome.place for outcome in outcomes).items() if count > 1}
