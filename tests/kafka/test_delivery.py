"""At least once, under the ends that a worker comes to."""

from __future__ import annotations

import os
import signal
import time

import orjson
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata

from rasad import broker
from rasad.settings import TopicSettings
from rasad.streams import topics as topics_module
from rasad.streams.bounded_reader import BoundedReader, OffsetRange
from rasad.streams.connection import Connection
from rasad.streams.tailing import lag
from rasad.streams.topic_reader import TopicReader
from rasad.streams.unreadable import UnreadableRecord
from tests.conftest import limit_message_bytes, unique_topics
from tests.kafka.outcomes import article, produce, read, repeated, wait_for, written
from tests.kafka.processes import worker

pytestmark = pytest.mark.kafka

POISON = b"\xff\xfe\x00 not an article"


both_drivers = pytest.mark.parametrize("exactly_once", [False, True])


def committed(connection: Connection, group: str, topic: str) -> dict[int, int | None]:
    return {each.partition: each.committed for each in lag(connection, group, topic)}


def version(number: int, event_bytes: int) -> bytes:
    """An article with one id in all versions, whose event has about so many bytes."""
    sentence = "محادثات " * 50
    body = sentence * ((event_bytes - 1_500) // len(sentence.encode()))
    return orjson.dumps({"id": "article", "title": f"محادثات جديدة للمرة {number}", "body": body})


def test_two_workers_share_the_partitions(connection: Connection, topics: TopicSettings, group: str) -> None:
    with worker(connection, topics, group) as first:
        assert first.wait_for_line("partitions assigned")["partitions"] == [0, 1, 2, 3]
        with worker(connection, topics, group) as second:
            share = second.wait_for_line("partitions assigned")["partitions"]
            rest = first.wait_for_line("partitions assigned")["partitions"]
            assert sorted(share + rest) == [0, 1, 2, 3]
            assert len(share) == len(rest) == 2
            places = produce(connection, topics.raw, map(article, range(100)))
            outcomes = wait_for(connection, topics, places)
            assert second.end(signal.SIGTERM) == 0
        assert first.end(signal.SIGTERM) == 0
    assert repeated(outcomes) == {}
    for process in (first, second):
        assert any("batch done" in line for line in process.lines)


def test_killed_in_the_middle_of_a_batch_nothing_is_lost(
    connection: Connection, topics: TopicSettings, group: str
) -> None:
    values = [POISON if number % 10 == 3 else article(number) for number in range(90)]
    places = produce(connection, topics.raw, values)
    for _ in range(3):
        with worker(connection, topics, group, seconds_each=0.03, batch_max=16, batch_share=1) as victim:
            victim.wait_for_line("batch done")
            time.sleep(0.2)  # the next batch takes half a second
            assert victim.end(signal.SIGKILL) == -signal.SIGKILL
    assert len({outcome.place for outcome in read(connection, topics)}) < len(places)
    with worker(connection, topics, group) as last:
        outcomes = wait_for(connection, topics, places)
        assert last.end(signal.SIGTERM) == 0
    first_of = {}
    for outcome in outcomes:
        assert first_of.setdefault(outcome.place, outcome.comparable) == outcome.comparable
    reasons = {outcome.place: outcome.reason for outcome in outcomes}
    assert [reasons[place] for place in places] == ["invalid_utf8" if value == POISON else None for value in values]
    assert all(each.behind == 0 for each in lag(connection, group, topics.raw))


@both_drivers
def test_sigterm_finishes_the_batch_and_commits_it(
    connection: Connection, topics: TopicSettings, group: str, exactly_once: bool
) -> None:
    places = produce(connection, topics.raw, map(article, range(60)))
    batches = {"batch_max": 20, "batch_share": 1}
    with worker(connection, topics, group, seconds_each=0.1, exactly_once=exactly_once, **batches) as first:
        first.wait_for_line("batch done")
        time.sleep(0.1)
        assert first.end(signal.SIGTERM, timeout_s=20) == 0
    done = read(connection, topics)
    assert 20 <= len(done) < 60
    assert sum(offset or 0 for offset in committed(connection, group, topics.raw).values()) == len(done)
    with worker(connection, topics, group, exactly_once=exactly_once) as second:
        outcomes = wait_for(connection, topics, places)
        assert second.end(signal.SIGTERM) == 0
    assert repeated(outcomes) == {}


@both_drivers
def test_a_batch_that_outlasts_the_grace_period_is_left_behind(
    connection: Connection, ordered_topics: TopicSettings, group: str, exactly_once: bool
) -> None:
    places = produce(connection, ordered_topics.raw, [article(0)])
    with worker(connection, ordered_topics, group, seconds_each=60, exactly_once=exactly_once, grace_s=1) as first:
        first.wait_for_line("batch begun")
        assert first.end(signal.SIGTERM, timeout_s=20) == 0
    assert any("did not finish in time" in line for line in first.lines)
    assert read(connection, ordered_topics) == []
    with worker(connection, ordered_topics, group, exactly_once=exactly_once) as second:
        outcomes = wait_for(connection, ordered_topics, places)
        assert second.end(signal.SIGTERM) == 0
    assert repeated(outcomes) == {}


def test_every_output_topic_gets_its_records(connection: Connection, ordered_topics: TopicSettings, group: str) -> None:
    places = produce(connection, ordered_topics.raw, map(article, range(3)))
    with worker(connection, ordered_topics, group) as running:
        assert running.wait_for_line("worker ready")["ms"] > 0
        outcomes = wait_for(connection, ordered_topics, places)
        assert running.end(signal.SIGTERM) == 0
    events = [outcome.event for outcome in outcomes if outcome.event]
    entities = written(connection, ordered_topics.entities)
    assert [entity.key.decode() for entity in entities if entity.key] == [
        entity.canonical for event in events for entity in event.entities
    ]
    stances = written(connection, ordered_topics.stances)
    assert [stance.key.decode() for stance in stances if stance.key] == [event.article.id for event in events]
    assert all(dict(record.headers)["ce_specversion"] == b"1.0" for record in (*entities, *stances))


@both_drivers
def test_an_output_that_is_too_large_becomes_one_dead_letter(
    connection: Connection, ordered_topics: TopicSettings, group: str, exactly_once: bool
) -> None:
    limit_message_bytes(connection, ordered_topics.enriched, 20_000)
    values = [article(0), article(1, repeat=300), article(2), article(3, repeat=3_000), article(4)]
    places = produce(connection, ordered_topics.raw, values)
    limit_message_bytes(connection, ordered_topics.dead_letters, 100_000)
    with worker(connection, ordered_topics, group, exactly_once=exactly_once) as running:
        outcomes = wait_for(connection, ordered_topics, places)
        assert running.end(signal.SIGTERM) == 0
    assert repeated(outcomes) == {}
    by_place = {outcome.place: outcome for outcome in outcomes}
    assert [by_place[place].reason for place in places] == [None, "output_too_large", None, "output_too_large", None]
    assert by_place[places[1]].record.value == values[1]
    without_value = by_place[places[3]].record
    assert without_value.value == b""
    assert "stays at the topic" in dict(without_value.headers)["rasad_detail"].decode()
    assert committed(connection, group, ordered_topics.raw) == {0: 5}


@pytest.mark.parametrize("refusing", ["entities", "stances"])
def test_a_refused_entity_or_stance_makes_a_dead_letter_without_an_event(
    connection: Connection, ordered_topics: TopicSettings, group: str, refusing: str
) -> None:
    topic = getattr(ordered_topics, refusing)
    with worker(connection, ordered_topics, group) as running:
        running.wait_for_line("worker ready")
        limit_message_bytes(connection, topic, 200)
        places = produce(connection, ordered_topics.raw, [article(0), POISON])
        outcomes = wait_for(connection, ordered_topics, places)
        assert running.end(signal.SIGTERM) == 0
    assert repeated(outcomes) == {}
    assert {outcome.place: outcome.reason for outcome in outcomes} == {
        places[0]: "output_too_large",
        places[1]: "invalid_utf8",
    }
    (refused,) = (outcome.record for outcome in outcomes if outcome.place == places[0])
    assert topic in dict(refused.headers)["rasad_detail"].decode()


def test_versions_of_an_article_stay_in_order_where_some_are_written_later(
    connection: Connection, ordered_topics: TopicSettings, group: str
) -> None:
    # The client library puts the first two events into one batch, which the broker refuses, and the third into another.
    limit_message_bytes(connection, ordered_topics.enriched, 12_000)
    places = produce(connection, ordered_topics.raw, [version(1, 7_000), version(2, 7_000), version(3, 10_000)])
    with worker(connection, ordered_topics, group, batch_share=1, seconds_each=0.1) as running:
        assert running.wait_for_line("batch done")["records"] == len(places)
        outcomes = wait_for(connection, ordered_topics, places)
        assert running.end(signal.SIGTERM) == 0
    assert [outcome.place for outcome in outcomes] == places


class BadName(str):
    """A header's name that a producer writes as bytes that are no UTF-8."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"\xff\xfe"


def given(reader: BoundedReader | TopicReader) -> tuple[list[int], str]:
    """The offsets that a reader gives before its end, and what it says where it stops earlier."""
    offsets = []
    try:
        while not reader.finished:
            record = reader.take() if isinstance(reader, BoundedReader) else reader.read(0.5)
            offsets += [record.offset] if record else []
    except UnreadableRecord as error:
        return offsets, str(error)
    return offsets, ""


@pytest.mark.parametrize("before", [0, 5])
def test_a_record_that_no_client_can_read_ends_workers_with_its_place(
    connection: Connection, ordered_topics: TopicSettings, group: str, before: int
) -> None:
    topics = ordered_topics
    places = produce(connection, topics.raw, map(article, range(before)))
    with KafkaProducer(**connection.kafka_python()) as producer:
        producer.send(topics.raw, value=article(98), headers=[(BadName("name"), b"")])
    (last,) = produce(connection, topics.raw, [article(99)])
    with worker(connection, topics, group) as at_least_once:
        assert at_least_once.exit_status(60) == 1
    with worker(connection, topics, group, exactly_once=True) as exactly_once:
        assert exactly_once.exit_status(60) == 1
    for ended, advice in ((at_least_once, "--exactly-once"), (exactly_once, f"--to-offset {before + 1}")):
        assert f"{topics.raw}[0]@{before}: " in ended.lines[-1]
        assert advice in ended.lines[-1]
        assert not any("Traceback" in line for line in ended.lines), "".join(ended.lines)
    assert {outcome.place for outcome in read(connection, topics)} == set(places)
    assert committed(connection, group, topics.raw) == {0: before}
    for end, told in ((before + 2, f"go on behind it, at offset {before + 1}"), (before, "")):
        with (
            BoundedReader(connection, topics.raw, {0: OffsetRange(0, end)}) as bounded,
            TopicReader(connection, topics.raw, start="beginning") as following,
        ):
            following.stop_at({0: end})
            for reader in (bounded, following):
                offsets, why = given(reader)
                assert (offsets, told in why, bool(why)) == ([*range(before)], True, bool(told))
    with TopicReader(connection, topics.raw, start={0: before + 1}) as behind:
        behind.stop_at({0: before + 2})
        assert given(behind) == ([before + 1], "")
    with KafkaConsumer(**connection.kafka_python(), group_id=group) as moved:
        moved.commit({TopicPartition(topics.raw, 0): OffsetAndMetadata(before + 1, "", -1)})
    with worker(connection, topics, group) as again:
        wait_for(connection, topics, [*places, last])
        assert again.end(signal.SIGTERM) == 0


@both_drivers
def test_articles_are_read_whatever_their_producer_compresses_with(
    connection: Connection, ordered_topics: TopicSettings, group: str, exactly_once: bool
) -> None:
    codecs = ("gzip", "snappy", "lz4", "zstd")
    for number, codec in enumerate(codecs):
        with KafkaProducer(**connection.kafka_python(), compression_type=codec) as producer:
            producer.send(ordered_topics.raw, value=article(number, repeat=50))
    with worker(connection, ordered_topics, group, exactly_once=exactly_once) as running:
        outcomes = wait_for(connection, ordered_topics, [(0, number) for number in range(len(codecs))])
        assert running.end(signal.SIGTERM) == 0
    titles = [outcome.event.article.title for outcome in outcomes if outcome.event]
    assert [title[-1] for title in titles] == ["0", "1", "2", "3"]


@both_drivers
def test_what_retention_has_left_is_read_and_what_it_took_is_told(
    connection: Connection, ordered_topics: TopicSettings, group: str, exactly_once: bool
) -> None:
    topics = ordered_topics
    places = produce(connection, topics.raw, map(article, range(20)))
    partition = TopicPartition(topics.raw, 0)
    with KafkaAdminClient(**connection.kafka_python()) as admin:
        admin.alter_group_offsets(group, {partition: OffsetAndMetadata(5, "", -1)})
        admin.delete_records({partition: 10})
    # Where a group without an offset starts says nothing of one that has one.
    with worker(connection, topics, group, exactly_once=exactly_once, auto_offset_reset="latest") as running:
        told = running.wait_for_line("retention removed records before they were read")
        outcomes = wait_for(connection, topics, places[10:])
        assert running.end(signal.SIGTERM) == 0
    assert (told["offset"], told["next"]) == (5, 10)
    assert [outcome.place for outcome in outcomes] == places[10:]


@both_drivers
def test_a_group_without_an_offset_starts_where_the_settings_say(
    connection: Connection, ordered_topics: TopicSettings, group: str, exactly_once: bool
) -> None:
    topics = ordered_topics
    produce(connection, topics.raw, map(article, range(3)))
    with worker(connection, topics, group, exactly_once=exactly_once, auto_offset_reset="latest") as running:
        running.wait_for_line("worker ready")
        while committed(connection, group, topics.raw) != {0: 3}:
            time.sleep(0.1)
        places = produce(connection, topics.raw, [article(3)])
        outcomes = wait_for(connection, topics, places)
        assert running.end(signal.SIGTERM) == 0
    assert [outcome.place for outcome in outcomes] == places


@pytest.mark.soak
def test_a_spare_member_takes_over_and_nothing_in_the_environment_lets_it_go(
    connection: Connection, ordered_topics: TopicSettings, group: str
) -> None:
    # Faust reads this by itself; aiokafka lets a member go that fetches nothing for so long.
    impatient = {**os.environ, "BROKER_MAX_POLL_INTERVAL": "3"}
    with worker(connection, ordered_topics, group, env=impatient) as owner:
        owner.wait_for_line("worker ready")
        with worker(connection, ordered_topics, group, env=impatient) as spare:
            assert spare.wait_for_line("partitions assigned")["partitions"] == []
            time.sleep(8)
            owner.end(signal.SIGKILL)
            places = produce(connection, ordered_topics.raw, [article(0)])
            wait_for(connection, ordered_topics, places)
            assert spare.end(signal.SIGTERM) == 0


def test_a_session_that_the_broker_refuses_ends_workers_with_the_setting() -> None:
    topics = unique_topics(1)
    with broker.embedded(overrides={"group.min.session.timeout.ms": "10000"}) as own:
        connection = Connection(bootstrap_servers=(own.bootstrap,))
        topics_module.declare(connection, topics_module.specs(topics))
        with (
            worker(connection, topics, "at least once") as first,
            worker(connection, topics, "exactly once", exactly_once=True) as second,
        ):
            for running in (first, second):
                assert running.exit_status(40) == 1
    for running in (first, second):
        assert "worker.session_timeout_s = 6: the broker refuses it" in running.lines[-1]


def test_missing_topics_are_a_start_up_error(connection: Connection, group: str) -> None:
    absent = unique_topics(1)
    with worker(connection, absent, group) as running:
        assert running.exit_status(20) == 1
    assert f"missing topics: {absent.raw}" in running.lines[-1]
    assert "rasad topics declare" in running.lines[-1]


def test_a_broker_that_goes_away_ends_workers_after_the_limit() -> None:
    topics = unique_topics(1)
    with broker.embedded() as own:
        connection = Connection(bootstrap_servers=(own.bootstrap,))
        topics_module.declare(connection, topics_module.specs(topics))
        with (
            worker(connection, topics, "watched", broker_wait_s=4) as first,
            worker(connection, topics, "exactly", broker_wait_s=4, exactly_once=True) as second,
        ):
            for running in (first, second):
                running.wait_for_line("worker ready")
            broker.stop(own.directory)
            for running in (first, second):
                running.wait_for_line("waiting for the broker")
                assert running.exit_status(40) == 1
    for running in (first, second):
        assert f"no answer from Kafka at {own.bootstrap}" in running.lines[-1]


def test_no_broker_at_all_ends_the_worker_after_the_limit(group: str) -> None:
    nobody = Connection(bootstrap_servers=("127.0.0.1:1",))
    with worker(nobody, unique_topics(1), group, broker_wait_s=1) as running:
        running.wait_for_line("waiting for the broker")
        assert running.exit_status(20) == 1
    assert "no answer from Kafka at 127.0.0.1:1" in running.lines[-1]


@both_drivers
def test_signals_are_the_process_own_until_the_broker_answers(group: str, exactly_once: bool) -> None:
    nobody = Connection(bootstrap_servers=("127.0.0.1:1",))
    with worker(nobody, unique_topics(1), group, broker_wait_s=60, exactly_once=exactly_once) as running:
        running.wait_for_line("waiting for the broker")
        assert running.end(signal.SIGTERM, timeout_s=10) == -signal.SIGTERM
