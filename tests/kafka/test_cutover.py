"""Moving workers and readers to a replay and back, rewinding a group, and the commands that do it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata
from typer.testing import CliRunner, Result

from rasad.cli import app
from rasad.settings import TopicSettings
from rasad.streams.aliases import aliases, resolve, resolved
from rasad.streams.claims import add, claim_of
from rasad.streams.connection import Connection
from rasad.streams.cutover import (
    Behind,
    Cutover,
    Move,
    cut_over,
    members_of,
    prepare,
    revert,
    rewind,
    rewinding,
)
from rasad.streams.driver import DriverError
from rasad.streams.replay_jobs import jobs
from rasad.streams.replay_plan import Instant
from rasad.streams.tailing import lag
from rasad.streams.transactions import Aborted
from tests.conftest import limit_message_bytes
from tests.kafka.outcomes import article, produce, wait_for, written
from tests.kafka.processes import worker
from tests.kafka.test_replay import at, replayed, timed

pytestmark = pytest.mark.kafka

HOUR_AGO = round(time.time() - 3600) * 1000
"""In milliseconds: what is older than a week, retention may remove while a test runs."""


def stand(connection: Connection, group: str, topic: str, offsets: dict[int, int]) -> None:
    """Let a group have read so far."""
    committed = {TopicPartition(topic, number): OffsetAndMetadata(offset, "", -1) for number, offset in offsets.items()}
    with KafkaAdminClient(**connection.kafka_python()) as admin:
        admin.alter_group_offsets(group, committed)


def standing(connection: Connection, group: str, topic: str) -> dict[int, int | None]:
    return {each.partition: each.committed for each in lag(connection, group, topic)}


def planned_behind(connection: Connection, topics: TopicSettings, group: str, *, stood: int, articles: int) -> Cutover:
    """The cutover to a finished replay of all articles, of which the group has read the first `stood`."""
    produce(connection, topics.raw, map(article, range(articles)))
    replayed(connection, topics, "new")
    stand(connection, group, topics.raw, {0: stood})
    return prepare(connection, topics, "new", group)


@contextmanager
def member(connection: Connection, group: str, topic: str) -> Iterator[None]:
    """A member of the group, until the end of the block."""
    with KafkaConsumer(topic, **connection.kafka_python(), group_id=group, enable_auto_commit=False) as consumer:
        while not consumer.assignment():
            consumer.poll(timeout_ms=100)
        yield


def test_everyone_moves_to_a_finished_replay_and_back(
    connection: Connection, ordered_topics: TopicSettings, group: str
) -> None:
    topics = ordered_topics
    produce(connection, topics.raw, map(article, range(12)))
    stop = threading.Event()
    replayed(connection, topics, "new", batch_max=5, stop=stop, told=lambda _progress: stop.set())
    assert prepare(connection, topics, "new", group).remaining == 7
    replayed(connection, topics, "new")
    produce(connection, topics.raw, map(article, range(100, 105)))
    stand(connection, group, topics.raw, {0: 17})
    stand(connection, f"{group}-reader", topics.enriched, {0: 0})
    planned = prepare(connection, topics, "new", group)
    assert (planned.remaining, planned.members, planned.moves) == (0, 0, (Move(0, 17, 12),))
    assert Behind(f"{group}-reader", topics.enriched, 0) in planned.readers
    with member(connection, group, topics.raw), pytest.raises(DriverError, match="has 1 members: stop them all"):
        cut_over(connection, topics, planned)
    assert aliases(connection, topics.aliases) == {}
    assert resolve(connection, topics.enriched, topics.aliases) == topics.enriched

    cut_over(connection, topics, planned)
    led = resolved(connection, topics)
    assert (led.enriched, led.entities) == (f"{topics.enriched}.replay-new", f"{topics.entities}.replay-new")
    assert (led.raw, led.dead_letters) == (topics.raw, topics.dead_letters)
    assert resolve(connection, topics.stances, topics.aliases) == f"{topics.stances}.replay-new"
    assert standing(connection, group, topics.raw) == {0: 12}
    assert aliases(connection, topics.aliases)[topics.enriched].left == {0: 17}
    # Done again once the workers went on, it leaves them where they are.
    stand(connection, group, topics.raw, {0: 15})
    again = prepare(connection, topics, "new", group)
    assert (again.done, again.moves) == (True, ())
    cut_over(connection, topics, again)
    assert standing(connection, group, topics.raw) == {0: 15}
    # Another cutover remembers where the live topics were left, not where the first replay was.
    other = prepare(connection, topics, "new", f"{group}-other")
    assert (other.done, other.aliases[0].left) == (False, {0: 17})

    assert {each.name for each in revert(connection, topics)} == {topics.enriched, topics.entities, topics.stances}
    assert standing(connection, group, topics.raw) == {0: 17}
    assert resolved(connection, topics) == topics
    assert revert(connection, topics) == ()
    # What workers wrote into the replay's topics is there still: whoever goes back goes on behind it.
    assert jobs(connection, topics)["new"].left == ((0, 15),)
    back = prepare(connection, topics, "new", group)
    assert back.moves == (Move(0, 17, 15),)
    cut_over(connection, topics, back)
    assert (standing(connection, group, topics.raw), jobs(connection, topics)["new"].left) == ({0: 15}, ())
    stand(connection, group, topics.raw, {0: 16})
    assert prepare(connection, topics, "new", group).done
    assert prepare(connection, topics, "new", f"{group}-other").moves == (Move(0, None, 16),)


def test_a_second_replay_leaves_the_first_where_its_workers_stood(
    connection: Connection, ordered_topics: TopicSettings, group: str
) -> None:
    topics = ordered_topics
    cut_over(connection, topics, planned_behind(connection, topics, group, stood=6, articles=6))
    replayed(connection, topics, "newer")
    produce(connection, topics.raw, map(article, range(100, 104)))
    stand(connection, group, topics.raw, {0: 9})
    cut_over(connection, topics, prepare(connection, topics, "newer", group))
    assert standing(connection, group, topics.raw) == {0: 6}
    assert jobs(connection, topics)["new"].left == ((0, 9),)
    assert prepare(connection, topics, "new", group).moves == (Move(0, 6, 9),)


def test_a_cutover_that_dies_once_the_group_is_set_remembers_where_it_stood(
    connection: Connection, ordered_topics: TopicSettings, group: str
) -> None:
    topics = ordered_topics
    planned = planned_behind(connection, topics, group, stood=5, articles=12)
    # The cluster takes no alias as long as these.
    limit_message_bytes(connection, topics.aliases, 2_000)
    long = tuple(replace(each, topic="x" * 3_000) for each in planned.aliases)
    with pytest.raises(Aborted):
        cut_over(connection, topics, replace(planned, aliases=long))
    assert standing(connection, group, topics.raw) == {0: 12}
    assert resolved(connection, topics) == topics

    again = prepare(connection, topics, "new", group)
    assert [each.left for each in again.aliases] == [{0: 5}] * 3
    cut_over(connection, topics, again)
    assert resolve(connection, topics.enriched, topics.aliases) == f"{topics.enriched}.replay-new"
    revert(connection, topics)
    assert standing(connection, group, topics.raw) == {0: 5}


@pytest.mark.parametrize(("stood", "since", "left"), [(8, 10, 10), (2, 4, 4), (2, 6, 2)])
def test_what_workers_wrote_after_a_cutover_that_died_is_left_behind(
    connection: Connection, ordered_topics: TopicSettings, group: str, stood: int, since: int, left: int
) -> None:
    topics = ordered_topics
    produce(connection, topics.raw, map(article, range(6)))
    replayed(connection, topics, "new")
    produce(connection, topics.raw, map(article, range(100, 106)))
    stand(connection, group, topics.raw, {0: stood})
    planned = prepare(connection, topics, "new", group)
    with KafkaProducer(**connection.kafka_python()) as producer:
        for each in planned.aliases:
            begun = replace(each, topic=each.name).publication(topics)
            producer.send(begun.topic, key=begun.key, value=begun.value)
    stand(connection, group, topics.raw, {0: since})
    assert prepare(connection, topics, "new", group).aliases[0].left == {0: left}
    revert(connection, topics)
    assert standing(connection, group, topics.raw) == {0: left}


def test_a_cutover_whose_group_cannot_be_set_leaves_nothing_behind(
    connection: Connection, ordered_topics: TopicSettings, group: str
) -> None:
    topics = ordered_topics
    planned = planned_behind(connection, topics, group, stood=1, articles=3)
    with pytest.raises(DriverError, match="does not set the offsets"):
        cut_over(connection, topics, replace(planned, moves=(Move(99, None, 1),)))
    assert aliases(connection, topics.aliases) == {}
    assert standing(connection, group, topics.raw) == {0: 1}


@pytest.mark.parametrize("exactly_once", [pytest.param(False, marks=pytest.mark.soak), True])
def test_a_worker_cut_off_during_a_cutover_ends_before_it_writes(
    connection: Connection, ordered_topics: TopicSettings, group: str, exactly_once: bool
) -> None:
    topics = ordered_topics
    with worker(connection, topics, group, exactly_once=exactly_once, session_timeout_s=6) as cut_off:
        cut_off.wait_for_line("worker ready")
        places = produce(connection, topics.raw, map(article, range(3)))
        wait_for(connection, topics, places)
        replayed(connection, topics, "new")
        cut_off.process.send_signal(signal.SIGSTOP)
        while members_of(connection, group):
            time.sleep(0.5)
        cut_over(connection, topics, prepare(connection, topics, "new", group))
        cut_off.process.send_signal(signal.SIGCONT)
        # Until it learns that it is out of the group, only transactions keep it from writing.
        while not exactly_once and not members_of(connection, group):
            time.sleep(0.5)
        produce(connection, topics.raw, [article(3)])
        assert cut_off.exit_status(60) == 1
    assert f"leads {topics.enriched} to {topics.enriched}.replay-new now" in cut_off.lines[-1]
    assert len(written(connection, topics.enriched)) == 3
    # Started again, it is led there.
    with worker(connection, topics, group, exactly_once=exactly_once) as again:
        again.wait_for_line("batch done")
        assert again.end(signal.SIGTERM) == 0
    assert len(written(connection, f"{topics.enriched}.replay-new")) == 4


def test_an_unknown_replay_is_told_with_the_known_ones(connection: Connection, topics: TopicSettings) -> None:
    with pytest.raises(DriverError, match="no replay old: start one with"):
        prepare(connection, topics, "old", "rasad")


def test_a_group_is_rewound_only_when_it_is_empty(connection: Connection, topics: TopicSettings, group: str) -> None:
    timed(connection, topics.raw, [(number % 2, HOUR_AGO + number) for number in range(10)])
    with pytest.raises(DriverError, match="has committed nothing"):
        rewinding(connection, group, topics.raw, at(HOUR_AGO + 4))
    stand(connection, group, topics.raw, {0: 5, 1: 1})
    moves = rewinding(connection, group, topics.raw, at(HOUR_AGO + 4))
    # Partition 1 stands before the record of that time already; partitions 2 and 3 have nothing committed.
    assert moves == (Move(0, 5, 2), Move(1, 1, 1))
    assert sum(each.again for each in moves) == 3
    with member(connection, group, topics.raw), pytest.raises(DriverError, match="has 1 members"):
        rewind(connection, group, topics.raw, moves)
    assert standing(connection, group, topics.raw) == {0: 5, 1: 1, 2: None, 3: None}
    rewind(connection, group, topics.raw, moves)
    assert standing(connection, group, topics.raw) == {0: 2, 1: 1, 2: None, 3: None}
    beginning = rewinding(connection, group, topics.raw, Instant("beginning", 0))
    assert [each.target for each in beginning] == [0, 0]


def test_the_commands_with_the_bundled_models(
    connection: Connection, topics: TopicSettings, group: str, tmp_path: Path
) -> None:
    env = {
        "KAFKA_BOOTSTRAP_SERVERS": ",".join(connection.bootstrap_servers),
        "RASAD_WORKER__GROUP_ID": group,
        "COLUMNS": "200",
        **{f"RASAD_TOPICS__{key.upper()}": str(value) for key, value in topics.model_dump().items()},
    }

    def replay(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["replay", *arguments], env=env)

    produce(connection, topics.raw, [*map(article, range(3)), b"\xff"])
    claim = claim_of("الأمم المتحدة تدعو إلى محادثات في جنيف")
    add(connection, topics.claims, [claim])
    planned = replay("plan", "--from", "1h", "--contains", "الامم المتحده", "--rate", "3")
    assert planned.exit_code == 0, planned.output
    assert "4 records at most, of which 3 match" in planned.stdout
    assert "about 1 s at 3.0 articles/s, as stated" in planned.stdout
    assert f"{topics.enriched}.replay-NAME" in planned.stdout

    early = replay("cutover", "cli")
    assert (early.exit_code, "no replay cli" in early.stderr) == (1, True)
    ran = replay("run", "cli", "--from", "1h")
    assert ran.exit_code == 0, ran.output
    assert "4 articles: 3 events, 1 dead letters" in ran.stdout
    assert claim.id.encode() in {record.key for record in written(connection, f"{topics.stances}.replay-cli")}

    compared = replay("compare", f"{topics.enriched}.replay-cli", f"{topics.enriched}.replay-cli", "--json")
    assert orjson.loads(compared.stdout)["articles"]["same"] == 3

    stand(connection, group, topics.raw, dict.fromkeys(range(4), 0))
    dry = replay("cutover", "cli")
    assert dry.exit_code == 0, dry.output
    assert "nothing was done; add --yes" in dry.stdout
    assert aliases(connection, topics.aliases) == {}
    done = replay("cutover", "cli", "--yes")
    assert done.exit_code == 0, done.output
    assert sum(each or 0 for each in standing(connection, group, topics.raw).values()) == 4
    again = replay("cutover", "cli", "--yes")
    assert (again.exit_code, again.stdout) == (0, f"group {group} is cut over to cli already: nothing to do\n")
    assert replay("cutover", "--revert", "--yes").exit_code == 0
    assert aliases(connection, topics.aliases) == {}

    stand(connection, group, topics.raw, {each.partition: each.end for each in lag(connection, group, topics.raw)})
    assert "4 records would be read again" in replay("rewind", group, "--to", "1h").stdout
    assert replay("rewind", group, "--to", "1h", "--yes").exit_code == 0
    assert set(standing(connection, group, topics.raw).values()) == {0}
