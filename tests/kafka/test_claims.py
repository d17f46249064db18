"""Watched claims on a real broker: written, followed, and judged by a running worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest
from kafka import KafkaProducer

from rasad import broker
from rasad.messages import Claim, EnrichedEvent, StanceRecord, from_bytes, to_bytes
from rasad.settings import TopicSettings
from rasad.streams import topics as topics_module
from rasad.streams.claims import ClaimError, ClaimWatch, add, remove, watched
from rasad.streams.connection import Connection
from rasad.streams.driver import DriverError
from tests.conftest import unique_topics
from tests.kafka.outcomes import produce, written

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

RASAD = Path(sys.executable).parent / "rasad"
RAIN = Claim(id="rain", text="هطلت أمطار غزيرة على جنيف")
SNOW = Claim(id="snow", text="تساقطت الثلوج على جبال الأطلس")
SOON_S = 60.0


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ids(watch: ClaimWatch) -> list[str]:
    return [claim.id for claim in watch.index().claims]


def versions(watch: ClaimWatch) -> dict[str, int]:
    return {claim.id: claim.version for claim in watch.index().claims}


class TestWriting:
    def test_added_claims_are_watched_with_the_time_they_were_added(
        self, connection: Connection, topics: TopicSettings
    ) -> None:
        added = add(connection, topics.claims, [SNOW, RAIN])
        assert [(each.claim.id, each.outcome) for each in added] == [("snow", "new"), ("rain", "new")]
        held = watched(connection, topics.claims)
        assert list(held) == ["rain", "snow"]
        assert held["rain"] == added[1].claim
        assert held["rain"].created_at
        assert {record.key for record in written(connection, topics.claims)} == {b"rain", b"snow"}

    def test_another_text_is_the_next_version_and_the_same_one_is_not_written_again(
        self, connection: Connection, ordered_topics: TopicSettings
    ) -> None:
        topic = ordered_topics.claims
        (first,) = add(connection, topic, [RAIN])
        (again,) = add(connection, topic, [Claim(id="rain", text=f" {RAIN.text}\n")])
        (second,) = add(connection, topic, [Claim(id="rain", text="هطلت أمطار خفيفة على جنيف")])
        (far,) = add(connection, topic, [Claim(id="rain", text="لم تهطل أمطار على جنيف", version=7)])
        assert [(each.outcome, each.claim.version) for each in (first, again, second, far)] == [
            ("new", 1),
            ("unchanged", 1),
            ("reworded", 2),
            ("reworded", 7),
        ]
        assert again.claim == first.claim
        assert len(written(connection, topic)) == 3
        assert watched(connection, topic)["rain"] == far.claim

    def test_a_removed_claim_leaves_a_tombstone(self, connection: Connection, ordered_topics: TopicSettings) -> None:
        topic = ordered_topics.claims
        add(connection, topic, [RAIN, SNOW])
        remove(connection, topic, ["rain"])
        assert list(watched(connection, topic)) == ["snow"]
        last = written(connection, topic)[-1]
        assert (last.key, last.value) == (b"rain", b"")

    def test_nothing_is_written_where_one_of_them_is_wrong(self, connection: Connection, topics: TopicSettings) -> None:
        with pytest.raises(ClaimError, match="does not read as Arabic"):
            add(connection, topics.claims, [RAIN, Claim(id="english", text="Heavy rain fell on Geneva")])
        with pytest.raises(DriverError, match="not watched: snow"):
            remove(connection, topics.claims, ["snow"])
        assert written(connection, topics.claims) == []

    def test_a_missing_topic_is_named(self, connection: Connection) -> None:
        with pytest.raises(DriverError, match="missing topics: nowhere; declare them"):
            add(connection, "nowhere", [RAIN])
        with pytest.raises(DriverError, match="no topic nowhere"):
            watched(connection, "nowhere")


class TestWatching:
    def test_it_knows_what_is_there_and_follows_what_comes(self, connection: Connection, topics: TopicSettings) -> None:
        many = [Claim(id=f"{number:04}", text=f"افتتح الوزير المدرسة رقم {number}") for number in range(1_000)]
        add(connection, topics.claims, many)
        remove(connection, topics.claims, ["0007"])
        with ClaimWatch(connection, topics.claims) as watch:
            first = watch.index()
            assert len(first) == 999
            add(connection, topics.claims, [RAIN, Claim(id="0008", text="أغلق الوزير المدرسة رقم ثمانية")])
            eventually(lambda: len(watch.index()) == 1_000 and versions(watch)["0008"] == 2)
            assert (versions(watch)["rain"], versions(watch)["0009"]) == (1, 1)
            remove(connection, topics.claims, ["rain", "0009"])
            eventually(lambda: len(watch.index()) == 998)
            assert len(first) == 999

    def test_bad_records_are_left_out_with_what_they_replace(
        self, connection: Connection, topics: TopicSettings
    ) -> None:
        add(connection, topics.claims, [RAIN, SNOW])
        bad = [
            (b"rain", b"nonsense"),
            (b"\xff", to_bytes(SNOW)),
            (b"", b""),
            (b"other", to_bytes(SNOW)),
            (b"x", b"{}"),
        ]
        with KafkaProducer(**connection.kafka_python()) as producer:
            for key, value in bad:
                producer.send(topics.claims, key=key, value=value).get()
        assert list(watched(connection, topics.claims)) == ["snow"]
        with ClaimWatch(connection, topics.claims) as watch:
            assert ids(watch) == ["snow"]

    def test_without_the_topic_there_are_no_claims_until_it_is_declared(self, connection: Connection) -> None:
        settings = unique_topics(1)
        with ClaimWatch(connection, settings.claims) as watch:
            assert ids(watch) == []
            topics_module.declare(
                connection, [each for each in topics_module.specs(settings) if each.name == settings.claims]
            )
            add(connection, settings.claims, [RAIN])
            eventually(lambda: ids(watch) == ["rain"])

    # kafka-python 3.0.12 leaves the socket of a refused connection to the garbage collector.
    @pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
    def test_it_outlives_the_broker(self) -> None:
        settings = unique_topics(1)
        with broker.embedded() as running:
            connection = Connection(bootstrap_servers=(running.bootstrap,))
            topics_module.declare(connection, topics_module.specs(settings))
            add(connection, settings.claims, [RAIN])
            with ClaimWatch(connection, settings.claims, patience_s=1.0) as watch:
                eventually(lambda: ids(watch) == ["rain"])
                (node,) = running.nodes
                node.kill()
                time.sleep(2.5)  # longer than the patience
                assert ids(watch) == ["rain"]
                node.start()
                add(connection, settings.claims, [SNOW])
                eventually(lambda: ids(watch) == ["rain", "snow"])
            assert "claims" not in {thread.name for thread in threading.enumerate()}


@pytest.fixture
def env(connection: Connection, ordered_topics: TopicSettings) -> dict[str, str]:
    """The environment of a user who set the cluster and topic names there."""
    names = {f"RASAD_TOPICS__{key.upper()}": str(value) for key, value in ordered_topics.model_dump().items()}
    return {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": ",".join(connection.bootstrap_servers), **names}


def rasad(env: dict[str, str], *arguments: str) -> bytes:
    answer = subprocess.run([RASAD, *arguments], env=env, capture_output=True, timeout=120, check=False)
    assert answer.returncode == 0, answer.stderr.decode()
    return answer.stdout


@contextmanager
def running_worker(env: dict[str, str], group: str) -> Iterator[Callable[[str], dict[str, object]]]:
    """A worker; gives what waits for the next line of its log that has certain words in it."""
    process = subprocess.Popen(
        [RASAD, "worker", "--group", group], env=env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    lines = process.stderr

    def heard(words: str) -> dict[str, object]:
        return next(dict(json.loads(line)) for line in lines if words in line)

    try:
        yield heard
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        lines.close()


def article(id_: str) -> bytes:
    return orjson.dumps(
        {
            "id": id_,
            "title": "أمطار غزيرة تهطل على جنيف",
            "body": "هطلت أمطار غزيرة على جنيف صباح الأحد.\nوأغلقت البلدية الشوارع، وقال السكان إن الأمطار لم تتوقف.",
        }
    )


def test_a_running_worker_takes_claims_up_and_its_events_do_not_know_them(
    env: dict[str, str], connection: Connection, ordered_topics: TopicSettings, group: str
) -> None:
    topic = ordered_topics.claims

    def judge(id_: str, outputs: int) -> None:
        produce(connection, ordered_topics.raw, [article(id_)])
        eventually(lambda: len(written(connection, ordered_topics.enriched)) == outputs)

    with running_worker(env, group) as heard:
        assert heard("claims watched")["claims"] == 0
        heard("worker ready")
        judge("one", 1)
        add(connection, topic, [RAIN])
        assert heard("claims watched")["claims"] == 1
        judge("one", 2)
        eventually(lambda: len(towards_claims(connection, ordered_topics)) == 1)
        add(connection, topic, [Claim(id="rain", text="لم تهطل أمطار على جنيف")])
        heard("claims watched")
        judge("two", 3)
        eventually(lambda: len(towards_claims(connection, ordered_topics)) == 2)
        remove(connection, topic, ["rain"])
        heard("claims watched")
        judge("three", 4)
    found = towards_claims(connection, ordered_topics)
    assert [(each.article_id, each.stance.target.claim_version) for each in found] == [("one", 1), ("two", 2)]
    assert [each.stance.target.text for each in found] == [RAIN.text, "لم تهطل أمطار على جنيف"]
    before, after = (record.value for record in written(connection, ordered_topics.enriched)[:2])
    assert without_run(before) == without_run(after)


def towards_claims(connection: Connection, topics: TopicSettings) -> list[StanceRecord]:
    records = written(connection, topics.stances)
    found = [from_bytes(StanceRecord, record.value) for record in records if record.key == b"rain"]
    assert all(each.stance.kind == "claim" for each in found)
    return found


def without_run(value: bytes) -> dict[str, object]:
    event = dict(orjson.loads(value))
    del event["run"]
    assert {stance.kind for stance in from_bytes(EnrichedEvent, value).stances} <= {"headline", "entity"}
    return event


def test_the_command_line_from_a_file_to_a_table_and_back(env: dict[str, str]) -> None:
    shown = rasad(env, "claims", "add", "--file", "seeds/claims.jsonl").decode()
    assert shown.count("new") == 6
    assert "متحفا للجليد" in rasad({**env, "COLUMNS": "200"}, "claims", "list").decode()
    listed = rasad(env, "claims", "list", "--json")
    assert [from_bytes(Claim, line).id for line in listed.splitlines()] == [f"seed-claim-{n}" for n in range(1, 7)]
    assert (
        "reworded  seed-claim-1  version 2" in rasad(env, "claims", "add", RAIN.text, "--id", "seed-claim-1").decode()
    )
    assert rasad(env, "claims", "remove", "seed-claim-1", "seed-claim-2").startswith(b"2 removed")
