"""Exactly once for readers of committed records, under the ends and stalls that a worker comes to."""

from __future__ import annotations

import random
import signal
import time
from collections import defaultdict

import orjson
import pytest
from kafka import KafkaConsumer, TopicPartition

from rasad import broker
from rasad.settings import TopicSettings
from rasad.streams import topics as topics_module
from rasad.streams.connection import Connection
from rasad.streams.tailing import lag
from rasad.streams.transactional_worker import TRANSACTION_TIMEOUT_S
from tests.conftest import limit_message_bytes, unique_topics
from tests.kafka.outcomes import Delivered, article, produce, read, repeated, wait_for, written
from tests.kafka.processes import worker

pytestmark = pytest.mark.kafka

POISON = b"\xff\xfe\x00 not an article"
VERSIONS = 6


def version(number: int) -> bytes:
    """Articles with VERSIONS versions each; an article is one key of every topic."""
    return orjson.dumps(
        {
            "id": f"article-{number // VERSIONS}",
            "title": f"الأمم المتحدة تدعو إلى محادثات في جنيف، الطبعة {number % VERSIONS}",
            "body": "دعت الأمم المتحدة أطراف النزاع في ليبيا إلى محادثات جديدة.",
        }
    )


def high_watermark(connection: Connection, topic: str) -> int:
    """The end of a topic of one partition, transactions that are still open included."""
    place = TopicPartition(topic, 0)
    with KafkaConsumer(**connection.kafka_python()) as consumer:
        return int(consumer.end_offsets([place])[place])


def uncommitted(connection: Connection, topic: str) -> int:
    """How many records a reader of a topic of one partition sees that does not ask for committed ones."""
    place = TopicPartition(topic, 0)
    with KafkaConsumer(**connection.kafka_python(), auto_offset_reset="earliest", enable_auto_commit=False) as consumer:
        consumer.assign([place])
        (end,) = consumer.end_offsets([place]).values()
        count = 0
        while consumer.position(place) < end:
            count += sum(len(records) for records in consumer.poll(timeout_ms=1_000).values())
        return count


def assert_exactly_once(connection: Connection, topics: TopicSettings, outcomes: list[Delivered]) -> None:
    """No outcome, no entity and no stance is there twice."""
    assert repeated(outcomes) == {}
    events = [outcome.event for outcome in outcomes if outcome.event]
    assert len(written(connection, topics.entities)) == sum(len(event.entities) for event in events)
    assert len(written(connection, topics.stances)) == sum(len(event.stances) for event in events)


def test_workers_killed_at_random_points(connection: Connection, topics: TopicSettings, group: str) -> None:
    numbers = range(40 * VERSIONS)
    values = [POISON if number % 15 == 7 else version(number) for number in numbers]
    keys = [f"article-{number // VERSIONS}".encode() for number in numbers]
    places = produce(connection, topics.raw, values, keys)
    for _ in range(3):
        with worker(
            connection, topics, group, seconds_each=0.01, exactly_once=True, instance_id="one", batch_max=8
        ) as victim:
            victim.wait_for_line("batch done")
            time.sleep(random.uniform(0, 0.3))
            assert victim.end(signal.SIGKILL) == -signal.SIGKILL
    assert len(read(connection, topics)) < len(places)
    with worker(connection, topics, group, exactly_once=True, instance_id="one") as last:
        outcomes = wait_for(connection, topics, places)
        assert last.end(signal.SIGTERM) == 0
    assert_exactly_once(connection, topics, outcomes)
    by_place = {outcome.place: outcome for outcome in outcomes}
    assert [by_place[place].reason for place in places] == [
        "invalid_utf8" if value == POISON else None for value in values
    ]
    written_versions = defaultdict(list)
    for outcome in outcomes:
        if outcome.event:
            written_versions[outcome.event.article.id].append(outcome.event.article.title[-1])
    assert len(written_versions) == 40
    assert all(versions == sorted(versions) for versions in written_versions.values())
    assert all(each.behind == 0 for each in lag(connection, group, topics.raw))


@pytest.mark.soak
def test_a_process_that_was_taken_for_dead_cannot_write(
    connection: Connection, ordered_topics: TopicSettings, group: str
) -> None:
    with worker(connection, ordered_topics, group, seconds_each=0.1, exactly_once=True, batch_share=1) as zombie:
        zombie.wait_for_line("worker ready")
        places = produce(connection, ordered_topics.raw, map(article, range(10)))
        time.sleep(0.5)  # the batch takes a second
        zombie.process.send_signal(signal.SIGSTOP)
        with worker(connection, ordered_topics, group, exactly_once=True) as successor:
            outcomes = wait_for(connection, ordered_topics, places)
            zombie.process.send_signal(signal.SIGCONT)
            zombie.wait_for_line("records")
            assert successor.end(signal.SIGTERM) == 0
        places += produce(connection, ordered_topics.raw, map(article, range(10, 15)))
        outcomes = wait_for(connection, ordered_topics, places)
        assert zombie.end(signal.SIGTERM) == 0
    assert_exactly_once(connection, ordered_topics, outcomes)
    assert len(outcomes) == 15
    done = sum(orjson.loads(line)["records"] for line in zombie.lines if "batch done" in line)
    assert done == 5


def test_a_process_that_was_replaced_ends(connection: Connection, ordered_topics: TopicSettings, group: str) -> None:
    with worker(
        connection, ordered_topics, group, seconds_each=0.1, exactly_once=True, instance_id="one", batch_share=1
    ) as zombie:
        zombie.wait_for_line("worker ready")
        places = produce(connection, ordered_topics.raw, map(article, range(10)))
        time.sleep(0.5)  # the batch takes a second
        zombie.process.send_signal(signal.SIGSTOP)
        with worker(connection, ordered_topics, group, exactly_once=True, instance_id="one") as successor:
            outcomes = wait_for(connection, ordered_topics, places)
            zombie.process.send_signal(signal.SIGCONT)
            assert zombie.exit_status(30) == 1
            assert successor.end(signal.SIGTERM) == 0
    assert "another process" in zombie.lines[-1]
    assert_exactly_once(connection, ordered_topics, read(connection, ordered_topics))
    assert len(outcomes) == 10


def test_outputs_of_an_aborted_transaction_are_not_visible(
    connection: Connection, ordered_topics: TopicSettings, group: str
) -> None:
    with worker(connection, ordered_topics, group, exactly_once=True) as running:
        running.wait_for_line("worker ready")
        # The worker learns of it when the broker refuses a stance; by then the event is written.
        limit_message_bytes(connection, ordered_topics.stances, 200)
        places = produce(connection, ordered_topics.raw, [article(0)])
        (outcome,) = wait_for(connection, ordered_topics, places)
        assert running.end(signal.SIGTERM) == 0
    assert outcome.reason == "output_too_large"
    assert ordered_topics.stances in dict(outcome.record.headers)["rasad_detail"].decode()
    assert uncommitted(connection, ordered_topics.enriched) == 1
    assert written(connection, ordered_topics.enriched) == written(connection, ordered_topics.entities) == []


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_a_transaction_that_outlasts_its_time_repeats_and_loses_nothing() -> None:
    topics = unique_topics(1)
    with broker.embedded() as own:
        connection = Connection(bootstrap_servers=(own.bootstrap,))
        topics_module.declare(connection, topics_module.specs(topics))
        places = produce(connection, topics.raw, map(article, range(1_000)))
        with worker(connection, topics, "frozen out", exactly_once=True, batch_max=1_000, batch_share=1) as running:
            while not high_watermark(connection, topics.enriched):
                time.sleep(0.05)
            # The transaction goes on for a while; whether the broker aborts it first or the worker ends it first once
            # it answers again is a race.
            own.nodes[0].pause()
            time.sleep(TRANSACTION_TIMEOUT_S + 4)
            own.nodes[0].resume()
            wait_for(connection, topics, places, timeout_s=120)
            assert running.end(signal.SIGTERM) == 0
        assert_exactly_once(connection, topics, read(connection, topics))


@pytest.mark.parametrize("exactly_once", [pytest.param(False, marks=pytest.mark.soak), True])
def test_the_restart_of_a_static_member_moves_no_partition(
    connection: Connection, topics: TopicSettings, group: str, exactly_once: bool
) -> None:
    settings = {"exactly_once": exactly_once, "session_timeout_s": 60}
    with worker(connection, topics, group, instance_id="other", **settings) as other:
        other.wait_for_line("partitions assigned", "[0, 1, 2, 3]")
        with worker(connection, topics, group, instance_id="restarted", **settings) as first:
            rest = other.wait_for_line("partitions assigned")["partitions"]
            share = sorted({0, 1, 2, 3} - set(rest))
            assert len(share) == 2
            first.wait_for_line("partitions assigned", str(share))
            assert first.end(signal.SIGTERM) == 0
        with worker(connection, topics, group, instance_id="restarted", **settings) as second:
            assert second.wait_for_line("partitions assigned")["partitions"] == share
            places = produce(connection, topics.raw, map(article, range(40)))
            outcomes = wait_for(connection, topics, places)
            assert second.end(signal.SIGTERM) == 0
        assert other.end(signal.SIGTERM) == 0
    assert repeated(outcomes) == {}
    assert sum("partitions assigned" in line for line in other.lines) == 2
