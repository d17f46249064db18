"""kafka-python's consumer, mended: it does not spin at a record that it cannot read, nor stay in a group unheard."""

from __future__ import annotations

from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import CorruptRecordError
from kafka.structs import MemberState


class Consumer(KafkaConsumer):  # type: ignore[misc]
    """A record that kafka-python 3.0.12 cannot decode it tells once, or not at all where its partition is paused just
    then, and `poll` never returns after that. Here such a partition stays paused, and stands in `unreadable` with the
    record's offset: all before it was given.
    """

    def __init__(self, *topics: str, **configs: Any) -> None:  # noqa: ANN401
        self.unreadable: dict[TopicPartition, int] = {}
        super().__init__(*topics, **configs)

    def poll(
        self,
        timeout_ms: int = 0,
        max_records: int | None = None,
        update_offsets: bool = True,
    ) -> dict[TopicPartition, list[Any]]:
        """As in the base class."""
        polled: dict[TopicPartition, list[Any]] = {}
        try:
            polled = super().poll(timeout_ms, max_records, update_offsets)
        except CorruptRecordError:
            records = self._fetcher._next_partition_records  # noqa: SLF001
            if not records:
                raise
            self._leave_alone(records.topic_partition, records.next_fetch_offset)
        # What came with records would be raised by the next call.
        failure = self._fetcher._next_in_line_exception_metadata  # noqa: SLF001
        if failure is not None and isinstance(failure.exception, CorruptRecordError):
            self._leave_alone(failure.partition, failure.fetched_offset)
        return polled

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """As in the base class; what could not be read where the partition stood no longer counts."""
        self.unreadable.pop(partition, None)
        super().seek(partition, offset)

    def _leave_alone(self, partition: TopicPartition, offset: int) -> None:
        self.unreadable[partition] = offset
        if partition in self.assignment():
            self.pause(partition)


class GroupConsumer(Consumer):
    """A consumer that never stays in a group without heartbeats, nor takes an old answer for where the group stands.

    kafka-python 3.0.12 does both, the first in two ways.

    - A `poll` that runs out of time leaves its request to join under way, and the next one goes on with it if there is
      still reason to join. But a leader that joined because its topics' partitions changed has none once it has
      assigned them (`ConsumerCoordinator.need_rejoin`), and remains between two generations.
    - A static member whose instance id another process took stops its heartbeats, and says so in the log alone.
    - A question for a committed offset that ran out of time is kept, and its answer given to the next one, however long
      after that.
    """

    def committed(self, partition: TopicPartition, metadata: bool = False, timeout_ms: int | None = None) -> Any:  # noqa: ANN401
        """As in the base class, as it is now."""
        self._coordinator._offset_fetch_futures.pop(frozenset((partition,)), None)  # noqa: SLF001
        return super().committed(partition, metadata=metadata, timeout_ms=timeout_ms)

    def poll(self, *limits: Any, **options: Any) -> dict[TopicPartition, list[Any]]:  # noqa: ANN401
        """As in the base class."""
        state = self.group_metadata().state
        if state == MemberState.REBALANCING or (
            self.config["group_instance_id"] is not None
            and state == MemberState.STABLE
            and self._coordinator.heartbeat.session_timeout_expired()
        ):
            self._coordinator.request_rejoin()
        return super().poll(*limits, **options)
