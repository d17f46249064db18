"""One topic's committed records, one at a time, with or without a consumer group, through the faults of a cluster.

One at a time, so that where the consumer stands is what its reader has been given: nothing lies between the two that
a rebalance could take away or a commit could pass by.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final, Literal, Self

from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    KafkaError,
    LeaderNotAvailableError,
    LogTruncationError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    RebalanceInProgressError,
    RetriableError,
    UnknownMemberIdError,
)
from kafka.structs import OffsetAndMetadata

from rasad.messages import Record
from rasad.streams.access import refusal
from rasad.streams.connection import ANSWER_WITHIN_S, WAIT_LIMIT_S, BrokerUnavailable, BrokerWatch, Connection
from rasad.streams.consumer import Consumer, GroupConsumer
from rasad.streams.driver import DriverError
from rasad.streams.unreadable import UnreadableRecord

# Of the standard library: these lines are also heard in the processes of others, who may not use structlog.
log = logging.getLogger(__name__)

Start = Literal["beginning", "end"] | int | datetime | timedelta | Mapping[int, int]
"""Where to start: at an end of the topic, a number of records before each partition's end, a time (with its zone), so
long ago, or an offset by partition. A partition that has no offset there starts at its beginning."""

Revoked = Callable[[frozenset[int]], Mapping[int, int]]
"""Told which partitions go; gives the offsets to commit for them before their next owner starts."""

LOOK_EVERY_S: Final = 30.0
"""How often the cluster is asked whether a topic has grown."""
_NOTICE_EVERY_S: Final = 1.0
"""How often the answer is looked at."""
_RECONNECT_WITHIN_MS: Final = 2_000
_CLOSE_WITHIN_MS: Final = 5_000
_OVERTAKEN: Final = (CommitFailedError, RebalanceInProgressError, IllegalGenerationError, UnknownMemberIdError)


def check_start(start: object) -> None:
    """Raise ValueError where `start` is none of what a Start may be."""
    match start:
        case "beginning" | "end" | datetime() | timedelta() | Mapping():
            return
        case int() if start >= 0:
            return
    raise ValueError(
        f'start={start!r}: say "beginning", "end", a number of records before the end (0 or more), a datetime, '
        "a timedelta, or {partition: offset}"
    )


def partitions_of(consumer: KafkaConsumer, topic: str) -> list[TopicPartition]:
    """The partitions of a topic in their order. Raises DriverError where there is no such topic."""
    numbers = consumer.partitions_for_topic(topic)
    if not numbers:
        raise DriverError(f"no topic {topic}; declare Rasad's with `rasad topics declare`, or check the name")
    return [TopicPartition(topic, number) for number in sorted(numbers)]


def record_of(message: Any) -> Record:  # noqa: ANN401
    """A consumed message as it arrived."""
    return Record(
        value=message.value or b"",
        key=message.key,
        headers=tuple((key, value or b"") for key, value in message.headers),
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp=message.timestamp,
    )


def offsets_at(consumer: KafkaConsumer, partitions: list[TopicPartition], start: Start) -> dict[int, int]:
    """The offset that `start` means in each partition now.

    Raises ValueError for a time without a zone or before 1970, DriverError for an offset past a partition's end, and
    kafka.errors.RetriableError where a partition has no leader.
    """
    try:
        beginnings, ends = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
    except KeyError as error:  # kafka-python 3.0.12 asks no one about such a partition, and looks for the answer
        raise LeaderNotAvailableError(f"{error} has no leader") from error
    match start:
        case "beginning":
            found = beginnings
        case "end":
            found = ends
        case int():
            found = {each: ends[each] - start for each in partitions}
        case datetime() | timedelta():
            at = consumer.offsets_for_times(dict.fromkeys(partitions, _milliseconds(start)))
            found = {each: ends[each] if at[each] is None else at[each].offset for each in partitions}
        case _:
            found = {each: start.get(each.partition, beginnings[each]) for each in partitions}
            for each in partitions:
                if found[each] > ends[each]:
                    raise DriverError(
                        f"{each.topic}[{each.partition}] ends at {ends[each]}, before the offset {found[each]} to "
                        "start from: the topic was made anew, or the offset is another topic's"
                    )
    return {each.partition: max(beginnings[each], found[each]) for each in partitions}


def _milliseconds(start: datetime | timedelta) -> int:
    when = datetime.now(UTC) - start if isinstance(start, timedelta) else start
    if when.tzinfo is None:
        raise ValueError(f"{when.isoformat()} has no time zone: add one, such as tzinfo=datetime.UTC")
    milliseconds = round(when.timestamp() * 1000)
    if milliseconds < 0:
        raise ValueError(f"{when.isoformat()} is before 1970, where Kafka's time begins: start at the beginning")
    return milliseconds


class TopicReader:
    """Reads a topic from a place on. Where it starts is settled on construction, not on first use.

    With a `group`, partitions are shared with its other members by the cooperative protocol (KIP-429), and one that
    the group has committed an offset for starts there; where it has none, `start` is committed at once, so that
    whatever comes after it is given to someone. Without a group all partitions are read, new ones too.

    A cluster that does not answer is waited for: up to `patience_s` seconds, with a line in the log now and then.
    Every `look_every_s` seconds it is asked whether the topic has grown.
    Raises DriverError where there is no such topic.
    """

    def __init__(
        self,
        connection: Connection,
        topic: str,
        *,
        start: Start = "end",
        group: str | None = None,
        session_timeout_s: float = 6.0,
        patience_s: float = WAIT_LIMIT_S,
        look_every_s: float = LOOK_EVERY_S,
        on_revoked: Revoked = lambda _partitions: {},
    ) -> None:
        self._topic = topic
        self._group = group
        self._patience_s = patience_s
        self._servers = ",".join(connection.bootstrap_servers)
        self._ends: Mapping[int, int] | None = None
        self._uncommitted: dict[int, int] = {}
        self._look_at = time.monotonic() + _NOTICE_EVERY_S
        self._on_revoked = on_revoked
        with _clearly(f"{topic} at {self._servers}"), ExitStack() as opened:
            self._watch = opened.enter_context(BrokerWatch(connection, patience_s))
            self._consumer = _consumer(connection, group, session_timeout_s, look_every_s)
            opened.callback(self._consumer.close, autocommit=False, timeout_ms=_CLOSE_WITHIN_MS)
            self._partitions = partitions_of(self._consumer, topic)
            self._starts = offsets_at(self._consumer, self._partitions, start)
            if group is None:
                self._consumer.assign(self._partitions)
                for each in self._partitions:
                    self._consumer.seek(each, self._starts[each.partition])
            else:
                self._consumer.subscribe([topic], listener=_Listener(self._consumer, topic, self._revoked))
            self._closing = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the group and let the connections go; nothing is committed. May be repeated."""
        self._closing.close()

    def read(self, wait_s: float) -> Record | None:
        """The next record, or None where none comes within some `wait_s` seconds.

        Raises BrokerUnavailable where the cluster is away for longer than the patience, DriverError where it refuses,
        UnreadableRecord where the next record of a partition cannot be read.
        """
        try:
            message = self._poll(wait_s)
        except RetriableError:
            message = None
        except KafkaError as error:
            raise DriverError(f"{self._topic} at {self._servers}: {refusal(error)}") from error
        if message is None:
            self._watch.check()
            return None
        if self._ends is not None and not self._is_wanted(message, self._ends):
            return None
        return record_of(message)

    def _poll(self, wait_s: float) -> Any:  # noqa: ANN401
        """The next message, or None. Raises kafka.errors.KafkaError."""
        for partition, offset in self._consumer.unreadable.items():
            if self.position(partition.partition) is not None and self._is_before_end(partition.partition, offset):
                raise UnreadableRecord.in_the_way(partition, offset)
        self._follow_growth()
        self._commit_starts()
        try:
            polled = self._consumer.poll(timeout_ms=round(wait_s * 1000), max_records=1)
        except NoOffsetForPartitionError as error:
            self._start(error.args[0])
            return None
        except OffsetOutOfRangeError as error:
            self._skip_removed(error.args[0])
            return None
        except LogTruncationError as error:
            self._go_back(error.divergent_offsets)
            return None
        return next((message for messages in polled.values() for message in messages), None)

    def _is_before_end(self, partition: int, offset: int) -> bool:
        return self._ends is None or offset < self._ends.get(partition, 0)

    def _is_wanted(self, message: Any, ends: Mapping[int, int]) -> bool:  # noqa: ANN401
        """Whether a message lies before the end that is asked for; its partition rests once it does not."""
        partition = TopicPartition(message.topic, message.partition)
        end = ends.get(message.partition, 0)
        if message.offset < end:
            if message.offset + 1 >= end:
                self._consumer.pause(partition)
            return True
        self._consumer.pause(partition)
        self._consumer.seek(partition, message.offset)
        return False

    @property
    def answered(self) -> bool:
        """Whether the cluster answered when it was last asked, some seconds ago at most."""
        return self._watch.answers

    def stop_at(self, until: Start | None) -> None:
        """From now on, give no record that lies at or after `until` as it is now; None takes that back."""
        if until is None or isinstance(until, Mapping):
            self._ends = until
        else:
            with _clearly(f"{self._topic} at {self._servers}"):
                self._ends = offsets_at(self._consumer, self._partitions, until)
        self._consumer.resume(*(self._consumer.paused() - self._consumer.unreadable.keys()))

    @property
    def finished(self) -> bool:
        """Whether everything before `stop_at` was read, in all partitions that are this reader's."""
        assigned = self._consumer.assignment()
        if self._ends is None or not assigned:
            return False
        return all((self.position(each.partition) or 0) >= self._ends.get(each.partition, 0) for each in assigned)

    @property
    def assigned(self) -> frozenset[int]:
        """The partitions that are this reader's now."""
        return _numbers(self._consumer.assignment())

    def position(self, partition: int) -> int | None:
        """The next offset of a partition; None where that is not settled yet, or the partition another's."""
        wanted = TopicPartition(self._topic, partition)
        if wanted not in self._consumer.assignment():
            return None
        try:
            position: int | None = self._consumer.position(wanted, timeout_ms=0)
        except KafkaError:  # of a partition that has just come: the next poll deals with it
            return None
        return position

    def seek(self, partition: int, offset: int) -> None:
        """Go on reading a partition at `offset`, also where it rests at the end."""
        wanted = TopicPartition(self._topic, partition)
        self._consumer.seek(wanted, offset)
        self._consumer.resume(wanted)

    def commit(self, offsets: Mapping[int, int]) -> bool:
        """Commit the group's next offsets by partition. False where a rebalance overtakes it: see KIP-429.

        Raises BrokerUnavailable where the cluster does not answer within the patience, DriverError where it refuses.
        """
        try:
            with _clearly(f"a commit of {self._group} for {self._topic} at {self._servers}"):
                patience_ms = round(max(self._patience_s, ANSWER_WITHIN_S) * 1000)
                self._consumer.commit(_committable(self._topic, offsets), timeout_ms=patience_ms)
        except _OVERTAKEN as error:
            log.warning("a rebalance overtook a commit; what it covered may be given again", extra=_told(error))
            return False
        for partition in offsets:
            self._uncommitted.pop(partition, None)
        return True

    def commit_left(self, topic: str, offsets: Mapping[int, int]) -> bool:
        """Commit, as a member of the group, the next offsets of a topic that was left for this one.

        False where a later commit may do what this one did not. Raises nothing: the topic may be gone by now, and the
        worst is that messages are given again.
        """
        try:
            self._consumer.commit(_committable(topic, offsets), timeout_ms=round(ANSWER_WITHIN_S * 1000))
        except KafkaError as error:
            told = {"topic": topic, **_told(error)}
            log.warning("a commit failed of a topic that was cut over; its messages may be given again", extra=told)
            return self.answered and not isinstance(error, _OVERTAKEN)
        return True

    def _start(self, partitions: Iterable[TopicPartition]) -> None:
        """Start partitions that the group has no offset of."""
        for each in partitions:
            # One that the topic did not have yet on construction has nothing that came before.
            offset = self._starts.get(each.partition, 0)
            self._consumer.seek(each, offset)
            self._uncommitted[each.partition] = offset

    def _commit_starts(self) -> None:
        """Commit where partitions were started, as soon as no rebalance is in the way."""
        if self._uncommitted:
            self.commit(dict(self._uncommitted))

    def _revoked(self, partitions: frozenset[int]) -> Mapping[int, int]:
        for partition in partitions:
            self._uncommitted.pop(partition, None)
        return self._on_revoked(partitions)

    def _skip_removed(self, partitions: Mapping[TopicPartition, int]) -> None:
        """Go on at the first record that retention has left."""
        beginnings = self._consumer.beginning_offsets(list(partitions))
        for each, offset in partitions.items():
            log.warning(
                "retention removed records before they were read",
                extra={"topic": each.topic, "partition": each.partition, "offset": offset, "next": beginnings[each]},
            )
            self._consumer.seek(each, beginnings[each])

    def _go_back(self, divergent: Mapping[TopicPartition, OffsetAndMetadata | None]) -> None:
        """Go on where the logs of an old and a new leader part (KIP-320), or at the beginning where none knows."""
        beginnings = self._consumer.beginning_offsets(list(divergent))
        for each, at in divergent.items():
            offset = beginnings[each] if at is None else at.offset
            log.warning(
                "the cluster lost records that were read",
                extra={"topic": each.topic, "partition": each.partition, "next": offset},
            )
            self.seek(each.partition, offset)

    def _follow_growth(self) -> None:
        """Take in new partitions from their beginning; in a group, Kafka hands them out."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + _NOTICE_EVERY_S
        known = {each.partition for each in self._partitions}
        new = sorted(set(self._consumer.partitions_for_topic(self._topic)) - known)
        if not new:
            return
        self._partitions += [TopicPartition(self._topic, number) for number in new]
        if self._group is None:
            self._consumer.assign(self._partitions)
            for number in new:
                self.seek(number, 0)


@contextmanager
def _clearly(what: str) -> Iterator[None]:
    """Turn the errors of Kafka that mean "not now" and "no" into ours. One of a rebalance stays as it is."""
    try:
        yield
    except _OVERTAKEN:
        raise
    except RetriableError as error:
        raise BrokerUnavailable(f"no answer from Kafka about {what} ({error!r}); check the brokers") from error
    except KafkaError as error:
        raise DriverError(f"{what}: {refusal(error)}") from error


def _consumer(connection: Connection, group: str | None, session_timeout_s: float, look_every_s: float) -> Consumer:
    session_ms = round(session_timeout_s * 1000)
    kind = Consumer if group is None else GroupConsumer
    return kind(
        **connection.kafka_python(),
        group_id=group,
        isolation_level="read_committed",
        # Neither end of a partition is right where an offset is missing: see `_start` and `_skip_removed`.
        auto_offset_reset="none",
        enable_auto_commit=False,
        allow_auto_create_topics=False,
        partition_assignment_strategy=(CooperativeStickyAssignor,),
        session_timeout_ms=session_ms,
        heartbeat_interval_ms=session_ms // 3,
        reconnect_backoff_max_ms=_RECONNECT_WITHIN_MS,
        metadata_max_age_ms=round(look_every_s * 1000),
    )


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Hears what a rebalance takes away, on the consumer's own thread, while its reader waits in poll or close."""

    def __init__(self, consumer: KafkaConsumer, topic: str, on_revoked: Revoked) -> None:
        self._consumer = consumer
        self._topic = topic
        self._on_revoked = on_revoked

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Commit before they go, ahead of the request to join again: both take one connection to the coordinator."""
        if offsets := self._on_revoked(_numbers(revoked)):
            self._consumer.commit_async(_committable(self._topic, offsets), callback=_tell_failure)

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Nothing to do: the next poll finds out where they start."""

    def on_partitions_lost(self, lost: Collection[TopicPartition]) -> None:
        """They are another's already, so nothing of them is committed."""
        self._on_revoked(_numbers(lost))


def _numbers(partitions: Collection[TopicPartition]) -> frozenset[int]:
    return frozenset(each.partition for each in partitions)


def _committable(topic: str, offsets: Mapping[int, int]) -> dict[TopicPartition, OffsetAndMetadata]:
    return {TopicPartition(topic, partition): OffsetAndMetadata(offset) for partition, offset in offsets.items()}


def _told(error: BaseException) -> dict[str, str]:
    return {"error": repr(error)}


def _tell_failure(_offsets: object, answer: object) -> None:
    if isinstance(answer, BaseException):
        log.warning("a commit before a rebalance failed; what it covered may be given again", extra=_told(answer))
