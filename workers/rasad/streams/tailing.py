"""Reading a topic without a group: to show it, to count it, to see how far a group is behind."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Literal, Self

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.structs import OffsetAndMetadata

from rasad.messages import Record
from rasad.streams.connection import WAIT_LIMIT_S, Connection
from rasad.streams.group_coordinator import coordinated
from rasad.streams.topic_reader import TopicReader, partitions_of

_WAIT_S: Final = 0.2

Start = Literal["beginning", "end"]


class Tail:
    """A topic's committed records from a place on. Where it starts is settled on construction, not on first use.

    `start` is "beginning", "end", or a number: so many records before the end of each partition.
    Raises DriverError where there is no such topic.
    """

    def __init__(self, connection: Connection, topic: str, start: Start | int = "end") -> None:
        self._reader = TopicReader(connection, topic, start=start)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()

    def records(
        self, *, count: int | None = None, follow: bool = True, idle_s: float | None = None
    ) -> Iterator[Record]:
        """Records as they come: at most `count`, without `follow` to today's end, until `idle_s` seconds of silence."""
        self._reader.stop_at(None if follow else "end")
        given = 0
        heard = time.monotonic()
        while (count is None or given < count) and not self._reader.finished:
            record = self._reader.read(_WAIT_S)
            if record is not None:
                heard = time.monotonic()
                given += 1
                yield record
            elif idle_s is not None and time.monotonic() - heard >= idle_s:
                return


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

    def ask() -> Mapping[TopicPartition, OffsetAndMetadata]:
        with KafkaAdminClient(**connection.kafka_python()) as admin:
            offsets: Mapping[TopicPartition, OffsetAndMetadata] = admin.list_group_offsets(group)[group]
        return offsets

    committed = coordinated(ask, WAIT_LIMIT_S)
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
