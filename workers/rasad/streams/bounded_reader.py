"""Reading a topic between offsets that are settled beforehand, all partitions in one order that never varies.

The next record is always the one with the smallest timestamp among the heads of the partitions (the smallest
partition where they are equal), each partition keeping its own order. So the order depends on nothing but where each
partition stands, and whoever goes on from there goes on as if there had been no break.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import structlog
from kafka import TopicPartition
from kafka.errors import OffsetOutOfRangeError

from rasad.messages import Record
from rasad.streams.connection import ANSWER_WITHIN_S, WAIT_LIMIT_S, BrokerUnavailable, Connection
from rasad.streams.consumer import Consumer
from rasad.streams.driver import DriverError
from rasad.streams.topic_reader import record_of
from rasad.streams.unreadable import UnreadableRecord

log = structlog.get_logger(__name__)

_POLL_MS: Final = 200
# More than any fetch holds. What a poll leaves over of a fetch is never given again once its partition was paused:
# kafka-python 3.0.12 parks it and takes it back only where nothing at all was fetched since.
_POLL_RECORDS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """Offsets of a partition: `start` is the next one to read, `end` the first one not to read."""

    start: int
    end: int


class BoundedReader:
    """The committed records of `topic` within `ranges` (by partition), each given once by `take`.

    `positions` and `removed` may be read between two calls: the next offset of each partition, and how many offsets
    of it retention had taken away before they were read. Raises DriverError where the topic ends before a range does,
    UnreadableRecord where the next record of a partition cannot be read.
    """

    def __init__(
        self,
        connection: Connection,
        topic: str,
        ranges: Mapping[int, OffsetRange],
        *,
        patience_s: float = WAIT_LIMIT_S,
    ) -> None:
        self.positions = {partition: each.start for partition, each in ranges.items()}
        self.removed = dict.fromkeys(ranges, 0)
        self._topic = topic
        self._servers = ",".join(connection.bootstrap_servers)
        self._patience_s = max(patience_s, ANSWER_WITHIN_S)
        self._ends = {partition: each.end for partition, each in ranges.items()}
        self._heads: dict[int, deque[Record]] = {partition: deque() for partition in ranges}
        self._unread = {partition for partition, each in ranges.items() if each.start < each.end}
        self._consumer = Consumer(
            **connection.kafka_python(),
            group_id=None,
            isolation_level="read_committed",
            # A record that retention took away is counted, not jumped over in silence.
            auto_offset_reset="none",
            enable_auto_commit=False,
            max_poll_records=_POLL_RECORDS,
        )
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        partitions = [TopicPartition(self._topic, partition) for partition in self._ends]
        for partition, last in self._consumer.end_offsets(partitions).items():
            if last < self._ends[partition.partition]:
                raise DriverError(
                    f"{self._topic} partition {partition.partition} ends at offset {last} and was to be read to "
                    f"{self._ends[partition.partition]}: it was made anew since; start over under another name"
                )
        self._consumer.assign(partitions)
        for partition in partitions:
            self._consumer.seek(partition, self.positions[partition.partition])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the consumer."""
        self._consumer.close()

    @property
    def finished(self) -> bool:
        """Whether `take` has nothing more to give."""
        return all(position >= self._ends[partition] for partition, position in self.positions.items())

    def take(self) -> Record | None:
        """The next record; None at the end of all ranges. Raises BrokerUnavailable where none comes in time."""
        self._fill()
        waiting = [partition for partition, records in self._heads.items() if records]
        if not waiting:
            return None
        first = min(waiting, key=lambda partition: (self._heads[partition][0].timestamp or 0, partition))
        record = self._heads[first].popleft()
        self.positions[first] = record.offset + 1
        self._settle(first)
        return record

    def _fill(self) -> None:
        """Fetch until every partition that has records left has one at hand."""
        heard = time.monotonic()
        while lacking := [partition for partition in self._unread if not self._heads[partition]]:
            for number in lacking:
                self._check_readable(TopicPartition(self._topic, number))
            self._fetch_only(lacking)
            try:
                polled = self._consumer.poll(timeout_ms=_POLL_MS)
            except OffsetOutOfRangeError as error:
                for partition in error.args[0]:
                    self._skip_removed(partition)
                continue
            for partition, messages in polled.items():
                inside = (record_of(each) for each in messages if each.offset < self._ends[partition.partition])
                self._heads[partition.partition].extend(inside)
            for number in lacking:
                # Past the last record may lie what is no record: the markers of transactions.
                if self._consumer.position(TopicPartition(self._topic, number)) >= self._ends[number]:
                    self._unread.discard(number)
                    self._settle(number)
            if polled:
                heard = time.monotonic()
            elif time.monotonic() - heard > self._patience_s:
                raise BrokerUnavailable(f"no record from Kafka at {self._servers} for {self._patience_s:.0f} s")

    def _check_readable(self, partition: TopicPartition) -> None:
        offset = self._consumer.unreadable.get(partition)
        if offset is not None and offset < self._ends[partition.partition]:
            raise UnreadableRecord.in_the_way(partition, offset)

    def _fetch_only(self, lacking: list[int]) -> None:
        """Leave those partitions alone that have records at hand: memory holds one fetch of each."""
        wanted = {TopicPartition(self._topic, partition) for partition in lacking}
        paused = self._consumer.paused()
        self._consumer.pause(*(set(self._consumer.assignment()) - wanted - paused))
        self._consumer.resume(*(wanted & paused))

    def _skip_removed(self, partition: TopicPartition) -> None:
        """Go on at the first record that retention has left, and count what it has not."""
        number = partition.partition
        first = min(self._consumer.beginning_offsets([partition])[partition], self._ends[number])
        gone = first - self.positions[number]
        log.warning("retention removed records before they were read", topic=self._topic, partition=number, count=gone)
        self.removed[number] += gone
        self.positions[number] = first
        if first >= self._ends[number]:
            self._unread.discard(number)
        self._consumer.seek(partition, first)

    def _settle(self, partition: int) -> None:
        """A partition of which all is taken stands at its end, whatever lay behind the last record."""
        if partition not in self._unread and not self._heads[partition]:
            self.positions[partition] = self._ends[partition]
