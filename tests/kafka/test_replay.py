"""A replay leaves each outcome exactly once and in one order, whatever killed it, and reads within its bounds."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from rasad.settings import TopicSettings
from rasad.streams import replay_jobs
from rasad.streams.connection import Connection
from rasad.streams.driver import DriverError
from rasad.streams.replay import Progress, Replay, Report
from rasad.streams.replay_jobs import Outputs, Request, Tally
from rasad.streams.replay_plan import Filters, Instant, bounds, instant, matching
from rasad.streams.transactions import Fenced
from tests.contract.contract import BAD
from tests.kafka.outcomes import article, produce, written
from tests.kafka.plain_enrichment import PIPELINE, enrich

pytestmark = pytest.mark.kafka

_ROOT = Path(__file__).resolve().parents[2]
BEGINNING = instant("beginning", datetime.now(UTC))

Contents = dict[str, dict[int, list[tuple[Any, ...]]]]
"""By output and partition: key, value without `run`, and headers of each record."""


def request(name: str, **asked: Any) -> Request:
    return Request(**{"name": name, "pipeline_version": PIPELINE.version, "begin": BEGINNING, **asked})


def replayed(connection: Connection, topics: TopicSettings, name: str, **how: Any) -> Report:
    asked = {key: how.pop(key) for key in list(how) if key in Request.__slots__}
    return Replay(connection=connection, topics=topics, request=request(name, **asked), **how).run(enrich)


def contents(connection: Connection, outputs: Outputs) -> Contents:
    found: Contents = {}
    for key in Outputs.__slots__:
        of_topic: dict[int, list[tuple[Any, ...]]] = {}
        for record in written(connection, getattr(outputs, key)):
            value: Any = record.value
            if key == "enriched":
                value = orjson.loads(value)
                assert value.pop("run")["replay"]
            of_topic.setdefault(record.partition, []).append((record.key, value, record.headers))
        found[key] = of_topic
    return found


def events(found: Contents) -> list[str]:
    return [value["article"]["id"] for records in found["enriched"].values() for _, value, _ in records]


@contextmanager
def process(
    connection: Connection, topics: TopicSettings, name: str, **options: Any
) -> Iterator[subprocess.Popen[str]]:
    argument = {
        "bootstrap": connection.bootstrap_servers[0],
        "topics": topics.model_dump(),
        "name": name,
        "batch_max": 16,
        "seconds_each": 0.012,
        **options,
    }
    running = subprocess.Popen(
        [sys.executable, "-m", "tests.kafka.replay_process", json.dumps(argument)],
        cwd=_ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield running
    finally:
        if running.poll() is None:
            running.kill()
        running.wait(30)
        assert running.stdout is not None
        running.stdout.close()


def killed_after(running: subprocess.Popen[str], transactions: int) -> int:
    """Kill it after so many transactions, in the middle of the next; gives how many articles it had committed."""
    assert running.stdout is not None
    lines = [json.loads(running.stdout.readline()) for _ in range(transactions)]
    time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    assert running.wait(30) == -signal.SIGKILL
    return int(lines[-1]["articles"])


def values(count: int) -> list[bytes]:
    bad = [value for reason, value in BAD.items() if reason != "too_large"]  # its megabyte would be most of the time
    return [bad[number // 10 % len(bad)] if number % 10 == 3 else article(number) for number in range(count)]


def killed_twice_is_like_not_killed(
    connection: Connection, topics: TopicSettings, count: int, transactions: Sequence[int]
) -> None:
    raw = values(count)
    produce(connection, topics.raw, raw)
    whole = replayed(connection, topics, "whole")
    committed = []
    for number in transactions:
        with process(connection, topics, "killed") as victim:
            committed.append(killed_after(victim, number))
    assert 0 < committed[0] < committed[1] < count
    resumed = replayed(connection, topics, "killed")
    assert resumed.articles < count - committed[1] + 1
    assert resumed.tally == whole.tally == Tally(events=count - count // 10, dead_letters=count // 10)
    first, second = (contents(connection, report.job.outputs) for report in (whole, resumed))
    assert first == second
    assert len(events(first)) == len(set(events(first))) == count - count // 10
    assert sum(len(records) for records in first["dead_letters"].values()) == count // 10


def test_killed_twice_and_resumed_is_like_one_that_was_not(connection: Connection, topics: TopicSettings) -> None:
    killed_twice_is_like_not_killed(connection, topics, 240, (3, 4))


@pytest.mark.soak
def test_five_thousand_articles_killed_twice(connection: Connection, topics: TopicSettings) -> None:
    killed_twice_is_like_not_killed(connection, topics, 5_000, (60, 90))


def timed(connection: Connection, topic: str, records: Sequence[tuple[int, int]]) -> None:
    """Articles of these partitions and timestamps (milliseconds), in this order, each numbered by its place."""
    with KafkaProducer(**connection.kafka_python()) as producer:
        for number, (partition, timestamp) in enumerate(records):
            producer.send(topic, value=article(number), partition=partition, timestamp_ms=timestamp).get(10)


def at(milliseconds: int) -> Instant:
    return instant(datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(), datetime.now(UTC))


def test_what_is_read_is_bounded_by_time_and_in_its_order(connection: Connection, topics: TopicSettings) -> None:
    day = 1_700_000_000_000
    places = [(0, 100), (0, 300), (0, 500), (1, 200), (1, 250), (1, 600), (2, 300), (2, 50)]
    timed(connection, topics.raw, [(partition, day + offset) for partition, offset in places])
    within = bounds(connection, topics.raw, at(day + 150), at(day + 600))
    assert [(each.start, each.end) for each in within] == [(1, 3), (0, 2), (0, 2), (0, 0)]
    read = matching(connection, topics.raw, within, Filters())
    # A partition keeps its own order: what is late in partition 2 is not put before its neighbours.
    assert [(each.partition, (each.timestamp or 0) - day) for each in read] == [
        (1, 200),
        (1, 250),
        (0, 300),
        (2, 300),
        (2, 50),
        (0, 500),
    ]
    nothing = bounds(connection, topics.raw, at(day + 10_000), Instant("now", 0))
    assert sum(each.count for each in nothing) == 0


def test_what_comes_after_the_start_is_not_read(connection: Connection, topics: TopicSettings) -> None:
    produce(connection, topics.raw, map(article, range(40)))
    stop = threading.Event()

    def more(progress: Progress) -> None:
        produce(connection, topics.raw, map(article, range(100, 120)))
        stop.set()

    stopped = replayed(connection, topics, "bounded", batch_max=16, stop=stop, told=more)
    assert not stopped.complete
    assert stopped.tally == Tally(events=16)
    resumed = replayed(connection, topics, "bounded", begin=None)
    assert resumed.complete
    assert resumed.articles == 24
    assert resumed.tally == Tally(events=40)
    assert replayed(connection, topics, "bounded").articles == 0
    kept = contents(connection, resumed.job.outputs)
    assert len(events(kept)) == 40
    came = {record.value.split(b"\n")[0].decode(): record.partition for record in written(connection, topics.raw)}
    for partition, records in kept["enriched"].items():
        assert {came[value["article"]["title"]] for _, value, _ in records} == {partition}


def test_filters_leave_out_and_are_committed_past(connection: Connection, topics: TopicSettings) -> None:
    raw = [
        orjson.dumps({"title": f"خبر رقم {n}", "body": "في جنيف", "source": "رصد" if n % 3 else "غيرها"})
        for n in range(30)
    ]
    produce(connection, topics.raw, [*raw, BAD["not_arabic"]])
    report = replayed(connection, topics, "some", source="رصد", contains="رقم")
    assert report.tally == Tally(events=20, skipped=11)
    done = replay_jobs.standings(connection, report.job)
    assert {partition: each.position for partition, each in done.items()} == {
        each.partition: each.end for each in report.job.bounds
    }


def test_a_job_is_held_to_what_it_was_begun_with(connection: Connection, topics: TopicSettings) -> None:
    with pytest.raises(DriverError, match=r"no replay held yet: say from when with --from"):
        replayed(connection, topics, "held", begin=None)
    produce(connection, topics.raw, map(article, range(3)))
    replayed(connection, topics, "held")
    with pytest.raises(
        DriverError, match=r"cannot change: --contains was not given, not جنيف; the pipeline was plain-1"
    ):
        replayed(connection, topics, "held", contains="جنيف", pipeline_version="plain-2")
    with pytest.raises(DriverError, match="holds records already"):
        replayed(connection, topics, "other", outputs=Outputs.beside(topics, "replay-held"))
    assert "other" not in replay_jobs.jobs(connection, topics)
    with pytest.raises(DriverError, match="missing topics: nowhere; declare them"):
        replayed(connection, topics.model_copy(update={"stances": "nowhere"}), "other")


def test_given_topics_are_made_like_the_live_ones(connection: Connection, topics: TopicSettings) -> None:
    with KafkaAdminClient(**connection.kafka_python()) as admin:
        changed = {"max.message.bytes": "20000", "retention.ms": "123456789"}
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topics.enriched, changed)])
    produce(connection, topics.raw, [article(0), article(1, repeat=300)])
    report = replayed(connection, topics, "given", outputs=Outputs.under(f"{topics.raw}.given"))
    assert report.tally == Tally(events=1, dead_letters=1)
    outputs = report.job.outputs
    (letter,) = written(connection, outputs.dead_letters)
    assert dict(letter.headers)["rasad_reason"] == b"output_too_large"
    with KafkaAdminClient(**connection.kafka_python()) as admin:
        resource = ConfigResource(ConfigResourceType.TOPIC, outputs.enriched)
        found = admin.describe_configs([resource], config_filter="modified")["topic"][outputs.enriched]
    assert {key: found[key]["value"] for key in changed} == changed


def test_another_process_of_the_same_name_fences_this_one(connection: Connection, topics: TopicSettings) -> None:
    produce(connection, topics.raw, map(article, range(40)))
    finished: list[Report] = []

    def overtake(progress: Progress) -> None:
        if not finished:
            finished.append(replayed(connection, topics, "contested"))

    with pytest.raises(Fenced, match="another process took over"):
        replayed(connection, topics, "contested", batch_max=8, told=overtake)
    assert finished[0].tally == Tally(events=40)
    assert len(events(contents(connection, finished[0].job.outputs))) == 40


def test_what_retention_removed_is_counted(connection: Connection, ordered_topics: TopicSettings) -> None:
    topics = ordered_topics
    produce(connection, topics.raw, map(article, range(30)))
    stop = threading.Event()
    replayed(connection, topics, "late", batch_max=10, stop=stop, told=lambda _progress: stop.set())
    with KafkaAdminClient(**connection.kafka_python()) as admin:
        admin.delete_records({TopicPartition(topics.raw, 0): 17})
    report = replayed(connection, topics, "late", batch_max=5)
    assert report.tally == Tally(events=23, removed=7)
    (bound,) = bounds(connection, topics.raw, BEGINNING, Instant("now", 0))
    assert (bound.start, bound.end, bound.cut) == (17, 30, True)


def test_aborted_articles_and_markers_are_passed_by(connection: Connection, ordered_topics: TopicSettings) -> None:
    topics = ordered_topics
    with KafkaProducer(**connection.kafka_python(), transactional_id=f"{topics.raw}-scraper") as producer:
        producer.init_transactions()
        for number in range(4):
            producer.begin_transaction()
            producer.send(topics.raw, value=article(number)).get(10)
            if number % 2:
                producer.abort_transaction()
            else:
                producer.commit_transaction()
    report = replayed(connection, topics, "scraped")
    assert report.tally == Tally(events=2)
    assert report.complete


def test_a_job_whose_offsets_the_cluster_forgot_is_told_apart(connection: Connection, topics: TopicSettings) -> None:
    produce(connection, topics.raw, map(article, range(20)))
    stop = threading.Event()
    report = replayed(connection, topics, "idle", batch_max=5, stop=stop, told=lambda _progress: stop.set())
    with KafkaAdminClient(**connection.kafka_python()) as admin:
        admin.delete_groups([report.job.group])
    with pytest.raises(DriverError, match="the cluster has forgotten how far replay idle came"):
        replayed(connection, topics, "idle")
