"""The group member under rebalances: it never stays without heartbeats, and knows what it may no longer write."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import MemberToRemove
from kafka.errors import FencedInstanceIdError
from kafka.future import Future
from kafka.structs import MemberState, OffsetAndMetadata

from rasad.settings import TopicSettings, WorkerSettings
from rasad.streams import faust_worker
from rasad.streams.connection import Connection
from rasad.streams.consumer import GroupConsumer
from rasad.streams.driver import DriverError
from rasad.streams.group_coordinator import other_driver, require_group
from rasad.streams.membership import ASSIGNOR, Membership, Taken
from tests.kafka.outcomes import article, produce

pytestmark = pytest.mark.kafka


def until(reached: Callable[[], bool], member: Membership, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline
        member.keep_up(50)


def taken_by(member: Membership, count: int, timeout_s: float = 60.0) -> list[Taken]:
    taken: list[Taken] = []
    deadline = time.monotonic() + timeout_s
    while len(taken) < count:
        assert time.monotonic() < deadline
        taken += member.take()
    return taken


@pytest.mark.parametrize("poll_ms", [1, 20])
def test_a_rebalance_that_outlasts_a_poll_is_finished(
    connection: Connection, topics: TopicSettings, group: str, poll_ms: int
) -> None:
    consumer = GroupConsumer(**connection.kafka_python(), group_id=group, enable_auto_commit=False)
    # Known before it subscribes, the partitions are news to the leader after its first assignment: it joins again.
    assert consumer.partitions_for_topic(topics.raw) == {0, 1, 2, 3}
    consumer.subscribe([topics.raw])
    deadline = time.monotonic() + 60
    stable_since: float | None = None
    while stable_since is None or time.monotonic() - stable_since < 1:
        assert time.monotonic() < deadline
        consumer.poll(poll_ms)
        if consumer.group_metadata().state != MemberState.STABLE:
            stable_since = None
        else:
            stable_since = stable_since or time.monotonic()
    assert len(consumer.assignment()) == 4
    consumer.close()


def test_a_committed_offset_is_that_of_now(connection: Connection, ordered_topics: TopicSettings, group: str) -> None:
    partition = TopicPartition(ordered_topics.raw, 0)
    late = Future()
    late.success({partition: OffsetAndMetadata(1, "", -1)})
    with GroupConsumer(**connection.kafka_python(), group_id=group, enable_auto_commit=False) as consumer:
        consumer.assign([partition])
        consumer.commit({partition: OffsetAndMetadata(5, "", -1)})
        # The answer to a question that ran out of time.
        consumer._coordinator._offset_fetch_futures[frozenset({partition})] = late
        assert consumer.committed(partition) == 5


def test_a_member_that_was_removed_holds_nothing_of_before_and_reads_it_again(
    connection: Connection, ordered_topics: TopicSettings, group: str
) -> None:
    places = produce(connection, ordered_topics.raw, map(article, range(6)))
    with Membership(connection, ordered_topics.raw, WorkerSettings(group_id=group)) as member:
        taken = taken_by(member, 6)
        assert all(map(member.holds, taken))
        before = member.group()
        assert before
        with KafkaAdminClient(**connection.kafka_python()) as admin:
            admin.remove_group_members(group, [MemberToRemove(member_id=before.member_id)])
        until(lambda: member.group() not in (None, before), member)
        assert not any(map(member.holds, taken))
        again = taken_by(member, 6)
    assert [each.record for each in again] == [each.record for each in taken]
    assert [each.record.offset for each in again] == [offset for _, offset in places]


def test_a_record_that_is_read_again_is_left_out(
    connection: Connection, ordered_topics: TopicSettings, group: str
) -> None:
    produce(connection, ordered_topics.raw, map(article, range(6)))
    with Membership(connection, ordered_topics.raw, WorkerSettings(group_id=group)) as member:
        taken_by(member, 6)
        member._consumer.seek(TopicPartition(ordered_topics.raw, 0), 2)  # as a client does by itself after some faults
        produce(connection, ordered_topics.raw, map(article, range(6, 8)))
        assert [each.record.offset for each in taken_by(member, 2)] == [6, 7]


@pytest.mark.soak
def test_a_static_member_learns_that_its_place_was_taken(
    connection: Connection, ordered_topics: TopicSettings, group: str
) -> None:
    settings = WorkerSettings(group_id=group, instance_id="one")
    with Membership(connection, ordered_topics.raw, settings) as first:
        until(lambda: first.partitions() == {0}, first)
        with Membership(connection, ordered_topics.raw, settings) as second:
            until(lambda: second.partitions() == {0}, second)
            with pytest.raises(FencedInstanceIdError):
                until(lambda: False, first)


def test_members_of_two_drivers_do_not_meet(connection: Connection, ordered_topics: TopicSettings, group: str) -> None:
    require_group(connection, group, faust_worker.ASSIGNOR, 30)
    with Membership(connection, ordered_topics.raw, WorkerSettings(group_id=group)) as member:
        until(lambda: member.group() is not None, member)
        require_group(connection, group, ASSIGNOR, 30)
        with pytest.raises(DriverError, match="members of the other kind") as refused:
            require_group(connection, group, faust_worker.ASSIGNOR, 30)
    assert str(refused.value) == other_driver(group)
