"""Subscribing to a real broker: what is given, from where, how often, and what is committed of it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

import rasad
from rasad import broker, subscribe
from rasad.messages import DeadLetter, EnrichedEvent, EntityRecord, Record, StanceRecord
from rasad.settings import Settings, TopicSettings
from rasad.streams import topics as topics_module
from rasad.streams.aliases import Alias, removal
from rasad.streams.connection import BrokerUnavailable, Connection
from rasad.streams.driver import DriverError
from rasad.streams.publication import Publication
from rasad.streams.subscriber import Received, Subscription
from rasad.streams.tailing import lag
from rasad.streams.topic_reader import Start, offsets_at, partitions_of
from rasad.streams.typed_records import InvalidMessage
from tests.conftest import unique_topics
from tests.contract.contract import BAD, good
from tests.kafka.published import publish, send

pytestmark = [
    pytest.mark.kafka,
    # kafka-python 3.0.12 leaves the socket of a refused connection to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]

ROOT = Path(__file__).resolve().parents[2]


def settings_of(connection: Connection, topics: TopicSettings, **worker: float) -> Settings:
    return Settings.model_validate(
        {"topics": topics, "kafka": {"bootstrap_servers": connection.bootstrap_servers}, "worker": worker}
    )


@pytest.fixture
def settings(connection: Connection, topics: TopicSettings) -> Settings:
    return settings_of(connection, topics)


@pytest.fixture
def ordered(connection: Connection, ordered_topics: TopicSettings) -> Settings:
    return settings_of(connection, ordered_topics)


def ids(events: Iterator[EnrichedEvent]) -> list[str]:
    return [event.article.id for event in events]


def numbered(*numbers: int) -> list[str]:
    return [f"article-{number}" for number in numbers]


def committed(connection: Connection, group: str, topic: str) -> dict[int, int | None]:
    return {each.partition: each.committed for each in lag(connection, group, topic)}


def looking_often(subscription: Subscription[EnrichedEvent]) -> Subscription[EnrichedEvent]:
    """The same, asking every second what it otherwise asks every half minute."""
    return Subscription(replace(subscription.plan, look_every_s=1.0))


# What is given


def test_each_topic_gives_its_messages(connection: Connection, topics: TopicSettings, settings: Settings) -> None:
    written = publish(connection, topics, [good(0), BAD["not_arabic"], good(1)])
    events = list(subscribe(settings=settings, until="end"))
    assert sorted(ids(events)) == sorted(written)
    assert all(isinstance(event, EnrichedEvent) for event in events)
    entities = list(subscribe(topics.entities, settings=settings, until="end"))
    assert Counter(record.entity.canonical for record in entities) == {"الأمم المتحدة": 2, "ليبيا": 2, "جنيف": 2}
    assert all(isinstance(record, EntityRecord) for record in entities)
    stances = list(subscribe(topics.stances, message=StanceRecord, settings=settings, until="end"))
    assert [record.stance.label for record in stances] == ["discuss", "discuss"]
    (letter,) = subscribe(topics.dead_letters, settings=settings, until="end")
    assert isinstance(letter, DeadLetter)
    assert (letter.reason, letter.record.value, letter.record.offset) == ("not_arabic", BAD["not_arabic"], 1)
    raw = list(subscribe(topics.enriched, message=Record, settings=settings, until="end"))
    assert len(raw) == 2


def test_where_a_message_came_from_goes_with_it(
    connection: Connection, ordered_topics: TopicSettings, ordered: Settings
) -> None:
    publish(connection, ordered_topics, [good(0), good(1)])
    with subscribe(settings=ordered, until="end") as events:
        received = list(events.received())
    assert [each.record.offset for each in received] == [0, 1]
    assert [each.record.key for each in received] == [b"article-0", b"article-1"]
    assert {each.record.topic for each in received} == {ordered_topics.enriched}
    assert dict(received[0].record.headers)["ce_id"] == received[0].message.event_id.encode()
    assert received[0].record.timestamp


def test_only_what_is_selected_is_given(connection: Connection, topics: TopicSettings, settings: Settings) -> None:
    values = [
        good(number).replace("جنيف".encode(), "باريس".encode()) if number % 2 else good(number) for number in range(6)
    ]
    publish(connection, topics, values)
    chosen = list(subscribe(settings=settings, until="end", entities="جنيف", types=["LOC"]))
    assert sorted(ids(chosen)) == numbered(0, 2, 4)
    assert list(subscribe(settings=settings, until="end", entities="جنيف", types="PER")) == []
    assert len(list(subscribe(settings=settings, until="end", stances="headline:discuss"))) == 6
    records = list(subscribe(topics.entities, settings=settings, until="end", types="ORG"))
    assert {record.entity.canonical for record in records} == {"الأمم المتحدة"}


def test_what_cannot_be_meant_is_refused_before_anything_is_connected(settings: Settings) -> None:
    with pytest.raises(ValueError, match="none of Rasad's output topics: say the type of its messages with message="):
        subscribe("elsewhere", settings=settings)
    with pytest.raises(ValueError, match="DeadLetter cannot be selected by types"):
        subscribe(settings.topics.dead_letters, settings=settings, types="PER")
    with pytest.raises(ValueError, match="auto_commit needs a group"):
        subscribe(settings=settings, auto_commit=True)
    with (
        pytest.raises(DriverError, match="no topic elsewhere"),
        subscribe("elsewhere", message=Record, settings=settings),
    ):
        pass
    with pytest.raises(ValueError, match="has no time zone"), subscribe(settings=settings, start=datetime(2026, 1, 1)):  # noqa: DTZ001
        pass
    with pytest.raises(AttributeError):
        _ = rasad.subscription


# Where it starts and ends


def test_starts(connection: Connection, ordered_topics: TopicSettings, ordered: Settings) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    with KafkaProducer(**connection.kafka_python()) as producer:
        for number in range(4):
            when = now - timedelta(hours=4 - number)
            raw = Record(value=good(number), topic=ordered_topics.raw)
            send(producer, ordered_topics, [raw], timestamp_ms=round(when.timestamp() * 1000))
    meant: list[tuple[Start, int]] = [
        ("beginning", 0),
        ("end", 4),
        (1, 3),
        (100, 0),
        (now - timedelta(hours=3), 1),
        (now, 4),
        (timedelta(hours=2, minutes=30), 2),
        ({0: 2}, 2),
        ({7: 2}, 0),
    ]
    with KafkaConsumer(**connection.kafka_python()) as consumer:
        partitions = partitions_of(consumer, ordered_topics.enriched)
        assert [offsets_at(consumer, partitions, start) for start, _ in meant] == [{0: offset} for _, offset in meant]
        with pytest.raises(DriverError, match=r"ends at 4, before the offset 5 to start from"):
            offsets_at(consumer, partitions, {0: 5})
        with pytest.raises(ValueError, match="before 1970"):
            offsets_at(consumer, partitions, timedelta(days=40_000))
    within = subscribe(settings=ordered, start=now - timedelta(hours=3), until=now - timedelta(hours=1))
    assert ids(within) == numbered(1, 2)
    assert ids(subscribe(settings=ordered, start={0: 1}, until={0: 3})) == numbered(1, 2)


def test_without_a_group_the_caller_keeps_the_offsets(
    connection: Connection, topics: TopicSettings, settings: Settings
) -> None:
    written = publish(connection, topics, map(good, range(20)))
    with subscribe(settings=settings, until="end") as first:
        begun = ids(islice(first, 7))
        kept = first.offsets
        with pytest.raises(DriverError, match="a commit needs a group"):
            first.commit()
    assert sum(kept.values()) == 7
    with subscribe(settings=settings, start=kept, until="end") as second:
        rest = ids(second)
    assert sorted(begun + rest) == sorted(written)


def test_iterated_over_again_it_starts_anew(
    connection: Connection, ordered_topics: TopicSettings, ordered: Settings, group: str
) -> None:
    publish(connection, ordered_topics, map(good, range(3)))
    events = subscribe(settings=ordered, until="end")

    def fail() -> None:
        for event in events:
            if event.article.id == "article-1":
                raise RuntimeError("no power")

    with pytest.raises(RuntimeError, match="no power"):
        fail()
    assert ids(events) == ids(events) == numbered(0, 1, 2)
    shared = subscribe(settings=ordered, group=group, until="end")
    assert ids(shared) == ids(shared) == numbered(0, 1, 2)
    with shared:
        assert ids(islice(shared, 2)) == numbered(0, 1)
        shared.commit()
    assert ids(shared) == numbered(2)


def test_new_partitions_are_read_too(connection: Connection, ordered_topics: TopicSettings, ordered: Settings) -> None:
    publish(connection, ordered_topics, [good(0)])
    with looking_often(subscribe(settings=ordered)) as events:
        iterator = iter(events)
        assert next(iterator).article.id == "article-0"
        with KafkaAdminClient(**connection.kafka_python()) as admin:
            admin.create_partitions({ordered_topics.enriched: 3})
        publish(connection, ordered_topics, map(good, range(1, 9)))
        assert sorted(ids(islice(iterator, 8))) == numbered(*range(1, 9))
        assert len(events.offsets) == 3


def test_what_retention_removed_is_passed_over(
    connection: Connection, ordered_topics: TopicSettings, ordered: Settings, group: str
) -> None:
    publish(connection, ordered_topics, map(good, range(6)))
    with subscribe(settings=ordered, group=group) as events:
        assert ids(islice(events, 1)) == numbered(0)
        events.commit()
    with KafkaAdminClient(**connection.kafka_python()) as admin:
        admin.delete_records({TopicPartition(ordered_topics.enriched, 0): 4})
    assert ids(subscribe(settings=ordered, group=group, until="end")) == numbered(4, 5)


# What is committed


def test_what_was_not_committed_is_given_again(
    connection: Connection, ordered_topics: TopicSettings, ordered: Settings, group: str
) -> None:
    publish(connection, ordered_topics, map(good, range(6)))
    with subscribe(settings=ordered, group=group) as events:
        for event in events:
            if event.article.id == "article-2":
                events.commit()  # the message in hand is committed
            if event.article.id == "article-4":
                break
    assert committed(connection, group, ordered_topics.enriched) == {0: 3}
    with subscribe(settings=ordered, group=group, until="end") as again:
        assert ids(again) == numbered(3, 4, 5)
        again.commit()
        again.commit()
    assert list(subscribe(settings=ordered, group=group, until="end")) == []


def test_what_was_passed_over_is_committed_too(
    connection: Connection, ordered_topics: TopicSettings, ordered: Settings, group: str
) -> None:
    publish(connection, ordered_topics, map(good, range(5)))
    with subscribe(settings=ordered, group=group, until="end", entities="باريس") as nothing:
        assert list(nothing) == []
        nothing.commit()
    assert committed(connection, group, ordered_topics.enriched) == {0: 5}


def test_by_itself_it_commits_all_but_the_message_in_hand(
    connection: Connection, ordered_topics: TopicSettings, ordered: Settings, group: str
) -> None:
    publish(connection, ordered_topics, map(good, range(6)))

    def fail() -> None:
        for event in subscribe(settings=ordered, group=group, auto_commit=True):
            if event.article.id == "article-3":
                raise RuntimeError("no power")

    with pytest.raises(RuntimeError, match="no power"):
        fail()
    assert committed(connection, group, ordered_topics.enriched) == {0: 3}
    assert ids(subscribe(settings=ordered, group=group, auto_commit=True, until="end")) == numbered(3, 4, 5)
    assert committed(connection, group, ordered_topics.enriched) == {0: 6}


def test_by_itself_it_takes_no_commit_back(
    connection: Connection, ordered_topics: TopicSettings, ordered: Settings, group: str
) -> None:
    publish(connection, ordered_topics, map(good, range(3)))
    with subscribe(settings=ordered, group=group, auto_commit=True) as events:
        assert ids(islice(events, 2)) == numbered(0, 1)
        events.commit()
    assert committed(connection, group, ordered_topics.enriched) == {0: 2}
    with KafkaProducer(**connection.kafka_python(), transactional_id=f"{group}-writing") as producer:
        producer.init_transactions()
        producer.begin_transaction()
        send(producer, ordered_topics, [Record(value=good(3), topic=ordered_topics.raw)])
        producer.commit_transaction()
    assert ids(subscribe(settings=ordered, group=group, auto_commit=True, until="end")) == numbered(2, 3)
    # The marker behind the last record stays behind the group too.
    assert [each.behind for each in lag(connection, group, ordered_topics.enriched)] == [0]


def test_a_new_group_at_the_end_misses_nothing_that_comes_before_its_first_commit(
    connection: Connection, ordered_topics: TopicSettings, ordered: Settings, group: str
) -> None:
    publish(connection, ordered_topics, [good(0)])
    with subscribe(settings=ordered, group=group, start="end") as events:
        assert events.step(5).given is None
        publish(connection, ordered_topics, [good(1)])
        assert ids(islice(events, 1)) == numbered(1)
    publish(connection, ordered_topics, [good(2)])
    assert ids(subscribe(settings=ordered, group=group, start="end", until="end")) == numbered(1, 2)


def test_killed_it_has_committed_what_it_said_and_nothing_after(
    connection: Connection, ordered_topics: TopicSettings, ordered: Settings, group: str
) -> None:
    publish(connection, ordered_topics, map(good, range(6)))
    victim = """
import os, signal, sys
from rasad import subscribe
for number, event in enumerate(events := subscribe(group=sys.argv[1])):
    if number == 1:
        events.commit()
    if number == 4:
        os.kill(os.getpid(), signal.SIGKILL)
"""
    env = {
        "KAFKA_BOOTSTRAP_SERVERS": connection.bootstrap_servers[0],
        "RASAD_TOPICS__ENRICHED": ordered_topics.enriched,
        "PATH": "",
    }
    killed = subprocess.run([sys.executable, "-c", victim, group], env=env, cwd=ROOT, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    # The next member starts there, once the broker has given this one up.
    assert committed(connection, group, ordered_topics.enriched) == {0: 2}


# Each once


def test_a_producers_repetitions_are_given_once(
    connection: Connection, ordered_topics: TopicSettings, ordered: Settings
) -> None:
    publish(connection, ordered_topics, [good(0), good(1), good(0), BAD["empty"], good(2), good(1)])
    assert ids(subscribe(settings=ordered, until="end")) == numbered(0, 1, 2)
    assert ids(subscribe(settings=ordered, until="end", remembered=0)) == numbered(0, 1, 0, 2, 1)
    assert ids(subscribe(settings=ordered, until="end", remembered=1)) == numbered(0, 1, 0, 2, 1)
    assert ids(subscribe(settings=ordered, until="end", remembered=2)) == numbered(0, 1, 2)
    entities = subscribe(ordered_topics.entities, settings=ordered, until="end")
    assert Counter(record.article_id for record in entities) == dict.fromkeys(numbered(0, 1, 2), 3)  # type: ignore[attr-defined]


def test_a_dead_letter_of_another_record_at_the_same_place_is_no_repetition(
    connection: Connection, ordered_topics: TopicSettings, ordered: Settings
) -> None:
    # Each of these is the first record of the raw topic, as in one that is deleted and made anew.
    for reason in ("not_arabic", "not_arabic", "missing_text", "not_arabic"):
        publish(connection, ordered_topics, [BAD[reason]])
    letters = list(subscribe(ordered_topics.dead_letters, settings=ordered, until="end"))
    assert [letter.record.value for letter in letters] == [BAD["not_arabic"], BAD["missing_text"]]  # type: ignore[attr-defined]


def test_what_was_aborted_is_never_given(
    connection: Connection, ordered_topics: TopicSettings, ordered: Settings, group: str
) -> None:
    with KafkaProducer(**connection.kafka_python(), transactional_id=f"{group}-aborting") as producer:
        producer.init_transactions()
        for number in range(4):
            producer.begin_transaction()
            send(producer, ordered_topics, [Record(value=good(number), topic=ordered_topics.raw)])
            if number % 2:
                producer.abort_transaction()
            else:
                producer.commit_transaction()
    with subscribe(settings=ordered, group=group, until="end") as events:
        assert ids(events) == numbered(0, 2)
        events.commit()
    # The markers behind the last record are behind the group too.
    assert [each.behind for each in lag(connection, group, ordered_topics.enriched)] == [0]


# What is no message


def test_an_invalid_message_stops_at_its_place_until_it_is_handled(
    connection: Connection, ordered_topics: TopicSettings, ordered: Settings, group: str
) -> None:
    publish(connection, ordered_topics, [good(0)])
    with KafkaProducer(**connection.kafka_python()) as producer:
        producer.send(ordered_topics.enriched, value=b'{"event_id": "only"}')
    publish(connection, ordered_topics, [good(1)])
    with subscribe(settings=ordered, group=group) as events:
        assert ids(islice(events, 1)) == numbered(0)
        for _ in range(2):
            with pytest.raises(InvalidMessage, match=r"\[0\]@1: holds no EnrichedEvent: event_type: Field required"):
                next(iter(events))
        events.commit()
    assert committed(connection, group, ordered_topics.enriched) == {0: 1}
    told: list[tuple[int, str]] = []

    def note(record: Record, error: InvalidMessage) -> None:
        told.append((record.offset, str(error)))

    with subscribe(settings=ordered, group=group, until="end", on_invalid=note) as events:
        assert ids(events) == numbered(1)
        events.commit()
    assert [offset for offset, _ in told] == [1]
    assert committed(connection, group, ordered_topics.enriched) == {0: 3}


def test_an_invalid_message_that_is_the_last_comes_again_too(
    connection: Connection, ordered_topics: TopicSettings, ordered: Settings
) -> None:
    publish(connection, ordered_topics, [good(0)])
    with KafkaProducer(**connection.kafka_python()) as producer:
        producer.send(ordered_topics.enriched, value=b'{"event_id": "only"}')
    left = ["not now", "not now"]

    def put_off(_: Record, error: InvalidMessage) -> None:
        if left:
            raise RuntimeError(left.pop()) from error

    with subscribe(settings=ordered, until="end", on_invalid=put_off) as events:
        assert events.step(10).given
        for _ in range(2):
            with pytest.raises(RuntimeError, match="not now"):
                events.step(10)
        assert not events.step(10).ended
        assert events.step(10).ended


# Groups


class Member:
    """A member of a group in a thread of its own, as each one is a process in life."""

    def __init__(self, subscription: Subscription[EnrichedEvent]) -> None:
        self.subscription = subscription
        self.taken: list[Received[EnrichedEvent]] = []
        self.partitions: set[int] = set()
        self._commit = threading.Event()
        self._leave = threading.Event()

    def run(self) -> None:
        with self.subscription as events:
            while not self._leave.is_set():
                if (given := events.step().given) is not None:
                    self.taken.append(given)
                if self._commit.is_set():
                    events.commit()
                    self._commit.clear()
                self.partitions = set(events.offsets)

    def commit(self) -> None:
        self._commit.set()
        wait_until(lambda: not self._commit.is_set())

    def leave(self) -> None:
        self._leave.set()


@contextmanager
def member(subscription: Subscription[EnrichedEvent]) -> Iterator[Member]:
    with ThreadPoolExecutor(1) as thread:
        running = Member(subscription)
        end = thread.submit(running.run)
        try:
            yield running
        finally:
            running.leave()
            end.result(timeout=60)


def wait_until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"it did not come to it in {timeout_s} s"
        time.sleep(0.05)


def test_two_members_share_and_none_commits_for_the_other(
    connection: Connection, topics: TopicSettings, settings: Settings, group: str
) -> None:
    publish(connection, topics, map(good, range(24)))
    ends = {each.partition: each.end for each in lag(connection, group, topics.enriched)}
    with member(subscribe(settings=settings, group=group)) as first:
        wait_until(lambda: len(first.taken) == 24)
        with member(subscribe(settings=settings, group=group)) as second:
            wait_until(lambda: len(first.partitions) == len(second.partitions) == 2)
            assert not first.partitions & second.partitions
            # Nothing was committed, so what went to the second member is given again.
            again = sum(ends[partition] for partition in second.partitions)
            wait_until(lambda: len(second.taken) == again)
            first.commit()
            assert committed(connection, group, topics.enriched) == {
                partition: end if partition in first.partitions else 0 for partition, end in ends.items()
            }
        # The second member left without a commit either.
        wait_until(lambda: len(first.taken) == 24 + again)
        first.commit()
        assert committed(connection, group, topics.enriched) == ends


def test_by_itself_it_commits_what_a_rebalance_takes_away(
    connection: Connection, topics: TopicSettings, settings: Settings, group: str
) -> None:
    publish(connection, topics, map(good, range(16)))
    with member(subscribe(settings=settings, group=group, auto_commit=True)) as first:
        wait_until(lambda: len(first.taken) == 16)
        with member(subscribe(settings=settings, group=group, auto_commit=True)) as second:
            wait_until(lambda: len(first.partitions) == len(second.partitions) == 2)
            publish(connection, topics, map(good, range(16, 32)))
            wait_until(lambda: len(first.taken) + len(second.taken) >= 32)
    articles = [each.message.article.id for each in (*first.taken, *second.taken)]
    assert sorted(articles) == sorted(numbered(*range(32)))


# Faults


def test_a_broker_that_comes_back_is_waited_for_and_one_that_does_not_is_told() -> None:
    topics = unique_topics(1)
    with broker.embedded() as own:
        connection = Connection(bootstrap_servers=(own.bootstrap,))
        topics_module.declare(connection, topics_module.specs(topics))
        publish(connection, topics, [good(0)])
        with subscribe(settings=settings_of(connection, topics), group="desk") as events:
            iterator = iter(events)
            assert ids(islice(iterator, 1)) == numbered(0)
            events.commit()
            (node,) = own.nodes
            node.stop()
            assert events.step(1).given is None
            node.start()
            publish(connection, topics, [good(1), good(2)])
            assert ids(islice(iterator, 2)) == numbered(1, 2)
            events.commit()
            assert committed(connection, "desk", topics.enriched) == {0: 3}
        with subscribe(settings=settings_of(connection, topics, broker_wait_s=1), start="end") as events:
            node.kill()
            with pytest.raises(BrokerUnavailable, match=f"no answer from Kafka at {own.bootstrap}"):
                next(iter(events))
        with pytest.raises(BrokerUnavailable), subscribe(settings=settings_of(connection, topics, broker_wait_s=0)):
            pass


# Cutover


def test_a_cutover_is_followed_and_nothing_is_left_behind(
    connection: Connection, ordered_topics: TopicSettings, ordered: Settings, group: str
) -> None:
    replayed = replace_enriched(connection, ordered_topics)
    publish(connection, ordered_topics, map(good, range(3)))
    publish(connection, replayed, map(good, range(1, 5)))
    with looking_often(subscribe(settings=ordered, group=group)) as events:
        assert ids(islice(events, 1)) == numbered(0)
        events.commit()
        cut_over(connection, ordered_topics, replayed)
        for event in events:
            events.commit()
            if event.article.id == "article-4":
                break
        assert events.topic == replayed.enriched
    assert committed(connection, group, ordered_topics.enriched) == {0: 3}
    assert committed(connection, group, replayed.enriched) == {0: 4}
    with subscribe(settings=ordered, until="end") as later:
        assert later.topic == replayed.enriched
        assert ids(later) == numbered(1, 2, 3, 4)
    with subscribe(settings=ordered, start={0: 1}, until="end") as literal:
        assert ids(literal) == numbered(1, 2)


def test_a_cutover_is_followed_by_who_commits_seldom_and_the_next_commit_covers_both_topics(
    connection: Connection, ordered_topics: TopicSettings, ordered: Settings, group: str
) -> None:
    replayed = replace_enriched(connection, ordered_topics)
    publish(connection, ordered_topics, map(good, range(3)))
    publish(connection, replayed, map(good, range(1, 5)))
    with looking_often(subscribe(settings=ordered, group=group)) as events:
        assert taken(events, 1) == numbered(0)
        events.commit()
        assert taken(events, 2) == numbered(1, 2)
        cut_over(connection, ordered_topics, replayed)
        assert taken(events, 4) == numbered(1, 2, 3, 4)
        assert events.topic == replayed.enriched
        assert events.offsets == {0: 4}
        assert committed(connection, group, ordered_topics.enriched) == {0: 1}
        assert committed(connection, group, replayed.enriched) == {0: 0}
        events.commit()
        assert committed(connection, group, ordered_topics.enriched) == {0: 3}
        assert committed(connection, group, replayed.enriched) == {0: 4}


def test_by_itself_it_commits_the_old_topic_at_a_cutover(
    connection: Connection, ordered_topics: TopicSettings, ordered: Settings, group: str
) -> None:
    replayed = replace_enriched(connection, ordered_topics)
    publish(connection, ordered_topics, map(good, range(2)))
    publish(connection, replayed, [good(2)])
    with looking_often(subscribe(settings=ordered, group=group, auto_commit=True)) as events:
        assert taken(events, 2) == numbered(0, 1)
        cut_over(connection, ordered_topics, replayed)
        assert taken(events, 1) == numbered(2)
        assert committed(connection, group, ordered_topics.enriched) == {0: 2}
        events.step()
    assert committed(connection, group, replayed.enriched) == {0: 1}


def test_led_back_before_a_commit_it_goes_on_where_the_last_one_was(
    connection: Connection, ordered_topics: TopicSettings, ordered: Settings, group: str
) -> None:
    replayed = replace_enriched(connection, ordered_topics)
    publish(connection, ordered_topics, map(good, range(2)))
    publish(connection, replayed, map(good, range(2, 4)))
    with looking_often(subscribe(settings=ordered, group=group)) as events:
        assert taken(events, 1) == numbered(0)
        events.commit()
        assert taken(events, 1) == numbered(1)
        cut_over(connection, ordered_topics, replayed)
        assert taken(events, 2) == numbered(2, 3)
        write(connection, removal(ordered_topics.enriched, ordered_topics))
        publish(connection, ordered_topics, [good(4)])
        assert taken(events, 2) == numbered(1, 4)
        assert events.topic == ordered_topics.enriched
        events.commit()
        assert committed(connection, group, ordered_topics.enriched) == {0: 3}
        assert committed(connection, group, replayed.enriched) == {0: 2}


def test_members_that_commit_seldom_follow_a_cutover_and_commit_all_of_both_topics(
    connection: Connection, topics: TopicSettings, settings: Settings, group: str
) -> None:
    replayed = replace_enriched(connection, topics)

    def all_is_committed() -> bool:
        return not any(each.behind for name in (topics, replayed) for each in lag(connection, group, name.enriched))

    with (
        member(looking_often(subscribe(settings=settings, group=group))) as first,
        member(looking_often(subscribe(settings=settings, group=group))) as second,
    ):
        wait_until(lambda: len(first.partitions) == len(second.partitions) == 2)
        written = publish(connection, topics, map(good, range(16)))
        wait_until(lambda: len(first.taken) + len(second.taken) == 16)
        cut_over(connection, topics, replayed)
        wait_until(lambda: first.subscription.topic == second.subscription.topic == replayed.enriched)
        wait_until(lambda: len(first.partitions) == len(second.partitions) == 2)
        replaced = publish(connection, replayed, map(good, range(16, 32)))
        wait_until(lambda: set(replaced) <= articles_of(first, second, topic=replayed.enriched))
        first.commit()
        second.commit()
        assert all_is_committed()
        assert articles_of(first, second, topic=topics.enriched) == set(written)


def test_a_cutover_during_a_long_pause_passes_over_nothing_that_comes_after_it(
    connection: Connection, ordered_topics: TopicSettings, ordered: Settings, group: str
) -> None:
    replayed = replace_enriched(connection, ordered_topics)
    with looking_often(subscribe(settings=ordered, group=group, start="end")) as events:
        assert events.step(1).given is None
        publish(connection, ordered_topics, [good(0)])
        assert taken(events, 1) == numbered(0)
        events.commit()
        cut_over(connection, ordered_topics, replayed)
        publish(connection, replayed, [good(1)])
        time.sleep(4)  # the message is being handled: nobody looks for as long
        publish(connection, replayed, [good(2)])
        assert taken(events, 2) == numbered(1, 2)


def replace_enriched(connection: Connection, topics: TopicSettings) -> TopicSettings:
    """The same topics with another one for events."""
    other = topics.model_copy(update={"enriched": f"{topics.enriched}.replay"})
    topics_module.declare(connection, topics_module.specs(other))
    return other


def cut_over(connection: Connection, topics: TopicSettings, replayed: TopicSettings) -> None:
    """Lead who asks for the events of `topics` to those of `replayed`."""
    alias = Alias(name=topics.enriched, topic=replayed.enriched, replay="r", group="g", boundary={0: 5}, left={0: 3})
    write(connection, alias.publication(topics))


def write(connection: Connection, publication: Publication) -> None:
    with KafkaProducer(**connection.kafka_python()) as producer:
        producer.send(publication.topic, key=publication.key, value=publication.value)


def taken(events: Subscription[EnrichedEvent], count: int, timeout_s: float = 60.0) -> list[str]:
    """The ids of the articles of the next messages: `count`, or fewer where no more come in time."""
    deadline = time.monotonic() + timeout_s
    given: list[str] = []
    while len(given) < count and time.monotonic() < deadline:
        if (received := events.step().given) is not None:
            given.append(received.message.article.id)
    return given


def articles_of(*members: Member, topic: str) -> set[str]:
    """The articles of a topic that the members were given."""
    received = [each for member in members for each in list(member.taken)]
    return {each.message.article.id for each in received if each.record.topic == topic}


# asyncio


def test_async_for_gives_the_same_and_leaves_the_loop_free(
    connection: Connection, topics: TopicSettings, settings: Settings, group: str
) -> None:
    written = publish(connection, topics, map(good, range(10)))

    async def read() -> tuple[list[str], list[str], int]:
        plain = [event.article.id async for event in subscribe(settings=settings, until="end")]
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.ensure_future(tick())
        async with subscribe(settings=settings, group=group, until="end") as events:
            grouped = [each.message.article.id async for each in events.received()]
            await events.commit()
            assert sum((await events.offsets()).values()) == 10
        ticking.cancel()
        return plain, grouped, ticks

    plain, grouped, ticks = asyncio.run(read())
    assert sorted(plain) == sorted(grouped) == sorted(written)
    assert ticks > 0
    assert sum(offset or 0 for offset in committed(connection, group, topics.enriched).values()) == 10


def test_a_cancelled_wait_loses_nothing(
    connection: Connection, ordered_topics: TopicSettings, ordered: Settings, group: str
) -> None:
    async def read() -> list[str]:
        given: list[str] = []
        async with subscribe(settings=ordered, group=group) as events:
            waiting = asyncio.ensure_future(anext(aiter(events)))
            await asyncio.sleep(1)
            waiting.cancel()
            await asyncio.wait({waiting})
            assert waiting.cancelled()
            # The thread goes on waiting: it takes the first message while nobody asks.
            await asyncio.to_thread(publish, connection, ordered_topics, map(good, range(3)))
            await asyncio.sleep(1)
            await events.commit()
            assert (await asyncio.to_thread(committed, connection, group, ordered_topics.enriched))[0] in (None, 0)
            async for event in events:
                given.append(event.article.id)
                if len(given) == 3:
                    await events.commit()
                    break
        return given

    assert asyncio.run(read()) == numbered(0, 1, 2)
    assert committed(connection, group, ordered_topics.enriched) == {0: 3}


def test_an_error_reaches_who_waits_and_leaving_ends_the_thread(ordered: Settings) -> None:
    async def read(topic: str) -> None:
        async with subscribe(topic, message=Record, settings=ordered, start="end") as events:
            async with asyncio.timeout(1):
                async for _ in events:
                    raise AssertionError("nothing was written")

    with pytest.raises(DriverError, match="no topic elsewhere"):
        asyncio.run(read("elsewhere"))
    with pytest.raises(TimeoutError):
        asyncio.run(read(ordered.topics.raw))
