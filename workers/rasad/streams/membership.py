"""A member of a consumer group that can work on a batch for as long as it takes: what it has read, and still owns.

kafka-python sends heartbeats in a thread of its own, but it joins rebalances only inside `poll`, and it leaves the
group where `poll` is not called for `max_poll_interval_ms`. So one thread polls all the time, with every partition
paused except while a batch is taken, and another works on the batch.

Partitions move by cooperative rebalances (KIP-429): a member goes on with those that stay with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import structlog
from kafka import ConsumerRebalanceListener, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import CommitFailedError, KafkaError, RebalanceInProgressError, RetriableError
from kafka.structs import ConsumerGroupMetadata, MemberState, OffsetAndMetadata

from rasad.messages import Record
from rasad.settings import WorkerSettings
from rasad.streams.batching import Limits, Waiting
from rasad.streams.connection import Connection
from rasad.streams.consumer import GroupConsumer
from rasad.streams.retention import first_left
from rasad.streams.topic_reader import partitions_of, record_of
from rasad.streams.topics import RAW_BYTES
from rasad.streams.unreadable import UnreadableRecord

log = structlog.get_logger(__name__)

ASSIGNOR: Final = "cooperative-sticky"
"""How the members of such a group share out its partitions."""
MAX_POLL_INTERVAL_MS: Final = 60_000
"""Also how long a rebalance waits for this member (KIP-62). A thread that polls several times a second and has not for
so long is stuck, and its partitions are better off elsewhere."""
_IDLE_MS: Final = 200
_JOINING_MS: Final = 100
_ANSWER_WITHIN_MS: Final = 1_000
_CLOSE_WITHIN_MS: Final = 5_000
_RECONNECT_WITHIN_MS: Final = 5_000


@dataclass(frozen=True, slots=True)
class Taken:
    """A record in hand, and the tenure in which it was read."""

    record: Record
    partition: TopicPartition
    tenure: object | None


class _Tenures(ConsumerRebalanceListener):  # type: ignore[misc]
    """Which partitions are ours, and since when: a partition that went and came back has a new tenure.

    kafka-python calls this in its own thread while the polling thread waits in `poll`.
    """

    def __init__(self, consumer: GroupConsumer) -> None:
        self._consumer = consumer
        self.now: dict[TopicPartition, object] = {}
        self.fresh: set[TopicPartition] = set()

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Note them; nothing is read from them before it is settled where to start."""
        self.now |= {partition: object() for partition in assigned}
        self.fresh |= assigned
        self._consumer.pause(*assigned)

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """End their tenures; the base class calls this for lost partitions too."""
        for partition in revoked:
            self.now.pop(partition, None)
            self._consumer.unreadable.pop(partition, None)
        self.fresh -= revoked

    def renew(self) -> None:
        """Begin the tenures of all partitions anew."""
        self.on_partitions_assigned(set(self.now))


class Membership:
    """A place in a group that reads one topic; all of it is for one thread.

    Leaving the context leaves the group; a static member (KIP-345) stays until its session is over.
    """

    def __init__(self, connection: Connection, topic: str, worker: WorkerSettings) -> None:
        self._topic = topic
        self._worker = worker
        self._consumer = GroupConsumer(
            **connection.kafka_python(),
            group_id=worker.group_id,
            group_instance_id=worker.instance_id,
            partition_assignment_strategy=[CooperativeStickyAssignor],
            session_timeout_ms=round(worker.session_timeout_s * 1000),
            heartbeat_interval_ms=round(worker.heartbeat_s * 1000),
            max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
            max_partition_fetch_bytes=RAW_BYTES,
            isolation_level="read_committed",
            # Where retention has removed what was to be read next; where a group begins, see `_settle_starts`.
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            reconnect_backoff_max_ms=_RECONNECT_WITHIN_MS,
        )
        self._tenures = _Tenures(self._consumer)
        self._member_id = ""
        self._waiting: Waiting[Taken] = Waiting(Limits.of(worker))
        self._unfinished: dict[TopicPartition, int] = {}
        self._expected: dict[TopicPartition, int] = {}

    def __enter__(self) -> Self:
        self._consumer.subscribe([self._topic], listener=self._tenures)
        # A leader that does not know the partitions yet would assign none, and then all in a second rebalance.
        partitions_of(self._consumer, self._topic)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(KafkaError):
            self._consumer.close(timeout_ms=_CLOSE_WITHIN_MS)

    def group(self) -> ConsumerGroupMetadata | None:
        """What a transaction shows to be of the present generation (KIP-447); None while there is none.

        A join takes the new generation before the new assignment. Between polls of a stable member both are of one
        generation, so that what `holds` says is true of it.
        """
        metadata = self._consumer.group_metadata()
        return metadata if metadata.state == MemberState.STABLE else None

    def partitions(self) -> frozenset[int]:
        """The numbers of the partitions that are ours."""
        return frozenset(partition.partition for partition in self._tenures.now)

    def holds(self, taken: Taken) -> bool:
        """Whether the partition of a record stayed ours since it was read."""
        return self._tenures.now.get(taken.partition) is taken.tenure

    def take(self) -> list[Taken]:
        """The next batch (see `rasad.streams.batching`); none where no record came for a while.

        Records of partitions that went while they were gathered are left out. Raises UnreadableRecord where all before
        such a record has been taken.
        """
        self._settle_starts()
        unreadable = self._unreadable()
        if unreadable is None:
            self._fill()
        elif not self._waiting:
            raise unreadable
        return [each for each in self._waiting.take(sum(self.lags().values())) if self.holds(each)]

    def finished(self, ends: Mapping[TopicPartition, int]) -> None:
        """Note that all records before these offsets are done with."""
        self._unfinished |= ends

    def lags(self) -> dict[int, int]:
        """By partition, the offsets from the oldest unfinished record to the end that the last fetch saw.

        Where all is finished, from where the client stands: markers and aborted records are nothing to be done.
        """
        settled = (self._tenures.now.keys() - self._tenures.fresh) & self._consumer.assignment()
        ends = {partition: self._consumer.highwater(partition) for partition in settled}
        return {
            partition.partition: max(end - self._start(partition), 0)
            for partition, end in ends.items()
            if end is not None and partition in self._unfinished
        }

    def _start(self, partition: TopicPartition) -> int:
        """The offset of the oldest unfinished record of a partition, or the next to be read."""
        unfinished = self._unfinished[partition]
        if unfinished < self._expected.get(partition, 0):
            return unfinished
        try:
            position: int | None = self._consumer.position(partition, timeout_ms=0)
        except KafkaError:  # it went this moment
            position = None
        return max(unfinished, position or 0)

    def keep_up(self, milliseconds: int) -> None:
        """Poll for so long without records, or as long as it suits a rebalance that is under way."""
        self._poll(milliseconds)

    def committed(self, partition: TopicPartition) -> int | None:
        """The committed offset of a partition, once no transaction with one is pending (KIP-447).

        Raises kafka.errors.RetriableError where there is no answer within a second.
        """
        offset: int | None = self._consumer.committed(partition, timeout_ms=_ANSWER_WITHIN_MS)
        return offset

    def _settle_starts(self) -> None:
        """Start each fresh partition at its committed offset, or at the first that is left behind it.

        Where it starts elsewhere, as where it has none, that is committed: its next owner starts there too, whatever
        has arrived until then.
        """
        beginnings_tell = True
        for partition in tuple(self._tenures.fresh):
            try:
                committed = self.committed(partition)
                if committed is None:
                    start = self._first_of_all(partition)
                else:
                    left = self._first_left(partition, committed) if beginnings_tell else None
                    beginnings_tell = left is not None
                    start = committed if left is None else left
                if start != committed:
                    self._consumer.commit(committing({partition: start}), timeout_ms=_ANSWER_WITHIN_MS)
                self._consumer.seek(partition, start)
                self._unfinished[partition] = self._expected[partition] = start
            except (RetriableError, CommitFailedError, RebalanceInProgressError) as error:
                log.debug("a partition's start is not settled yet", partition=partition.partition, error=repr(error))
                return
            self._tenures.fresh.discard(partition)

    def _first_left(self, partition: TopicPartition, committed: int) -> int | None:
        """The committed offset, or the first one that retention has left behind it.

        None where no leader tells within a second: once the partition has one, the client finds out by itself.
        """
        try:
            beginnings = self._consumer.beginning_offsets([partition], timeout_ms=_ANSWER_WITHIN_MS)
        except RetriableError:
            return None
        return first_left({partition: committed}, beginnings).get(partition, committed)

    def _first_of_all(self, partition: TopicPartition) -> int:
        """Where a group without a committed offset starts. Raises kafka.errors.RetriableError as `committed` does."""
        at_end = self._worker.auto_offset_reset == "latest"
        ask = self._consumer.end_offsets if at_end else self._consumer.beginning_offsets
        return int(ask([partition], timeout_ms=_ANSWER_WITHIN_MS)[partition])

    def _unreadable(self) -> UnreadableRecord | None:
        """What tells of a record in our partitions that cannot be read, where there is one."""
        found = next(iter(self._consumer.unreadable.items()), None)
        return found and UnreadableRecord.next(self._worker.group_id, *found)

    def _fill(self) -> None:
        """Read what there is for the next batch, of all partitions whose start is settled."""
        self._consumer.resume(*(self._consumer.assignment() - self._tenures.fresh - self._consumer.unreadable.keys()))
        self._gather(0 if self._waiting else _IDLE_MS)
        while (pause_s := self._waiting.wait_s(sum(self.lags().values()))) > 0:
            self._gather(max(round(pause_s * 1000), 1))
        self._consumer.pause(*self._consumer.assignment())

    def _gather(self, milliseconds: int) -> None:
        """Poll for records, for so long where none is at hand, up to as many as a batch may have."""
        room = self._worker.batch_max - len(self._waiting)
        for each in self._poll(milliseconds, room) if room > 0 else []:
            self._waiting.add(each, len(each.record.value))

    def _poll(self, milliseconds: int, records: int | None = None) -> list[Taken]:
        try:
            polled = self._consumer.poll(milliseconds if self.group() else _JOINING_MS, records)
        except RetriableError as error:
            log.debug("nothing polled", error=repr(error))
            polled = {}
        if self._is_another_member():
            self._tenures.renew()
            return []
        return [
            Taken(record_of(message), partition, self._tenures.now.get(partition))
            for partition, messages in polled.items()
            for message in messages
            if self._is_new(partition, message.offset)
        ]

    def _is_new(self, partition: TopicPartition, offset: int) -> bool:
        """Whether a record was not read yet. A topic may hold fewer than were read, if it was created anew.

        Otherwise offsets only grow, but after a fault of the cluster a client may find that its position was truncated
        where it was not, and begin anew (KIP-320).
        """
        expected = self._expected.get(partition, 0)
        end = self._consumer.highwater(partition)
        if offset < expected and end is not None and end >= expected:
            log.debug("a record was read again and is left out", partition=partition.partition, offset=offset)
            return False
        self._expected[partition] = offset + 1
        return True

    def _is_another_member(self) -> bool:
        """Whether the group took us for gone and back as a new member.

        Others may have had our partitions in between, yet a consumer that learns of it by its request to join keeps
        those that it gets again, positions and all (3.0.12: `join_group_async` prepares for a join once).
        """
        group = self.group()
        if group is None or group.member_id == self._member_id:
            return False
        before, self._member_id = self._member_id, group.member_id
        return bool(before)


def committing(offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, OffsetAndMetadata]:
    """Offsets as a commit takes them."""
    return {partition: OffsetAndMetadata(offset, "", -1) for partition, offset in offsets.items()}
