"""Reading a topic without a group: to show it, to count it, to see how far a group is behind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal, Self

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition

from rasad.messages import Record
from rasad.streams.connection import Connection
from rasad.streams.driver import DriverError

_POLL_MS: Final = 200

Start = Literal["beginning", "end"]


class Tail:
    """A topic's committed records from a place on. Where it starts is settled on construction, not on first use.

    `start` is "beginning", "end", or a number: so many records before the end of each partition.
    Raises DriverError where there is no such topic.
    """

    def __init__(self, connection: Connection, topic: str, start: Start | int = "end") -> None:
        self._consumer = KafkaConsumer(
            **connection.kafka_python(),
            group_id=None,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        try:
            self._partitions = partitions_of(self._consumer, topic)
            self._consumer.assign(self._partitions)
            ends = self._consumer.end_offsets(self._partitions)
            beginnings = self._consumer.beginning_offsets(self._partitions)
            for partition in self._partitions:
                back = {"beginning": ends[partition], "end": 0}.get(str(start), start)
                self._consumer.seek(partition, max(beginnings[partition], ends[partition] - int(back)))
        except BaseException:
            self._consumer.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def records(
        self, *, count: int | None = None, follow: bool = True, idle_s: float | None = None
    ) -> Iterator[Record]:
        """Records as they come: at most `count`, without `follow` to today's end, until `idle_s` seconds of silence."""
        ends = None if follow else self._consumer.end_offsets(self._partitions)
        given = 0
        heard = time.monotonic()
        while count is None or given < count:
            if ends is not None and all(self._consumer.position(each) >= ends[each] for each in self._partitions):
                return
            polled = self._consumer.poll(timeout_ms=_POLL_MS, max_records=None if count is None else count - given)
            if polled:
                heard = time.monotonic()
            elif idle_s is not None and time.monotonic() - heard >= idle_s:
                return
            for message in (message for messages in polled.values() for message in messages):
                given += 1
                yield record_of(message)


def partitions_of(consumer: KafkaConsumer, topic: str) -> list[TopicPartition]:
    """All partitions of a topic in order. Raises DriverError where there is no such topic."""
    numbers = consumer.partitions_for_topic(topic)
    if not numbers:
        raise DriverError(f"no topic {topic}; declare Rasad's with `rasad topics declare`, or check the name")
    return [TopicPartition(topic, number) for number in sorted(numbers)]


def record_of(message: Any) -> Record:  # noqa: ANN401
    """A message of kafka-python's consumer as it arrived."""
    return Record(
        value=message.value or b"",
        key=message.key,
        headers=tuple((key, value or b"") for key, value in message.headers),
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp=message.timestamp,
    )


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """How far a group is behind in one partition; `committed` None where it has not committed there."""

    partition: int
    committed: int | None
    beginning: int
    end: int

    @property
    def behind(self) -> int:
        """Offsets between what is committed and the end; transaction markers count among them."""
        return self.end - (self.beginning if self.committed is None else max(self.committed, self.beginning))


def lag(connection: Connection, group: str, topic: str) -> tuple[PartitionLag, ...]:
    """How far `group` is behind in each partition of `topic`. Raises DriverError where there is no such topic."""
    with KafkaAdminClient(**connection.kafka_python()) as admin:
        committed = admin.list_group_offsets(group)[group]
    consumer = KafkaConsumer(**connection.kafka_python(), group_id=None, enable_auto_commit=False)
    try:
        partitions = partitions_of(consumer, topic)
        beginnings, ends = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
    finally:
        consumer.close()
    return tuple(
        PartitionLag(
            partition.partition,
            committed[partition].offset if partition in committed else None,
            beginnings[partition],
            ends[partition],
        )
        for partition in partitions
    )
