"""The examples, as processes, against a real broker, a real HTTP server and real files."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson
import pyarrow.dataset as ds
import pytest
from kafka import KafkaProducer

from rasad.messages import EnrichedEvent, Record, from_bytes
from rasad.settings import TopicSettings
from rasad.streams.connection import Connection
from rasad.streams.tailing import lag
from tests.contract.contract import good
from tests.kafka.published import publish, send

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py") if path.name != "__init__.py")


def run(connection: Connection, topics: TopicSettings, example: str, *arguments: str) -> subprocess.CompletedProcess:
    env = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": ",".join(connection.bootstrap_servers),
        "RASAD_TOPICS__ENRICHED": topics.enriched,
        "RASAD_TOPICS__ALIASES": topics.aliases,
    }
    command = [sys.executable, str(ROOT / "examples" / example), *arguments]
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


class Receiver(ThreadingHTTPServer):
    """Takes events; answers those of `answers` first, then 204."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[int] = []
        self.asked: list[str] = []
        self.taken: list[EnrichedEvent] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/events"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        event = from_bytes(EnrichedEvent, body)
        assert self.headers["Idempotency-Key"] == event.event_id
        self.server.asked.append(event.article.id)
        status = self.server.answers.pop(0) if self.server.answers else 204
        if status == 204:
            self.server.taken.append(event)
        self.send_response(status)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing: what was asked is kept."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


@contextmanager
def receiving() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def numbered(*numbers: int) -> list[str]:
    return [f"article-{number}" for number in numbers]


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_teaches(example: str) -> None:
    shown = subprocess.run([sys.executable, ROOT / "examples" / example, "--help"], capture_output=True, check=True)
    assert b"usage: " in shown.stdout


def test_the_forwarder_repeats_what_a_busy_receiver_did_not_take_and_stops_at_a_refusal(
    connection: Connection, ordered_topics: TopicSettings, receiver: Receiver, group: str
) -> None:
    publish(connection, ordered_topics, [good(0), good(0), good(1), good(2)])
    receiver.answers = [503, 429, 204, 204, 302]
    stopped = run(connection, ordered_topics, "webhook_forwarder.py", receiver.url, "--group", group, "--once")
    assert stopped.returncode == 1
    assert f"{receiver.url} does not take event" in stopped.stderr
    assert "HTTP Error 302" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert receiver.asked == numbered(0, 0, 0, 1, 2)
    receiver.asked.clear()
    again = run(connection, ordered_topics, "webhook_forwarder.py", receiver.url, "--group", group, "--once")
    assert (again.returncode, again.stderr) == (0, "")
    assert receiver.asked == numbered(2)
    assert [event.article.id for event in receiver.taken] == numbered(0, 1, 2)
    assert [each.behind for each in lag(connection, group, ordered_topics.enriched)] == [0]


def test_the_forwarder_forwards_what_is_selected(
    connection: Connection, topics: TopicSettings, receiver: Receiver, group: str
) -> None:
    publish(connection, topics, [good(0), good(1).replace("جنيف".encode(), "باريس".encode()), good(2)])
    done = run(connection, topics, "webhook_forwarder.py", receiver.url, "--group", group, "--once", "--entity", "جِنيف")
    assert done.returncode == 0, done.stderr
    assert sorted(receiver.asked) == numbered(0, 2)


def rows(file: Path) -> tuple[list[tuple], list[tuple]]:
    with closing(sqlite3.connect(file)) as database:
        return (
            database.execute("SELECT event_id, article_id, title FROM event ORDER BY 1").fetchall(),
            database.execute("SELECT * FROM mention ORDER BY 1").fetchall(),
        )


def test_the_sink_holds_the_same_however_often_it_reads(
    connection: Connection, topics: TopicSettings, group: str, tmp_path: Path
) -> None:
    publish(connection, topics, [good(number % 5) for number in range(8)])
    file = tmp_path / "news.db"
    for member_of in (group, group, f"{group}-again"):
        done = run(connection, topics, "sqlite_sink.py", str(file), "--group", member_of, "--once")
        assert (done.returncode, done.stderr) == (0, "")
        events, mentions = rows(file)
        assert sorted(event[1] for event in events) == numbered(0, 1, 2, 3, 4)
    with closing(sqlite3.connect(file)) as database:
        stored = [orjson.loads(line) for (line,) in database.execute("SELECT json FROM event")]
    assert sum(len(event["mentions"]) for event in stored) == len(mentions)
    assert {mention[3] for mention in mentions} == {"الأمم المتحدة", "جنيف", "ليبيا"}
    assert all(each.behind == 0 for each in lag(connection, group, topics.enriched))


def test_the_export_holds_the_range_in_folders_of_days_and_writes_the_same_again(
    connection: Connection, topics: TopicSettings, tmp_path: Path
) -> None:
    first = datetime(2026, 1, 30, 12, tzinfo=UTC)
    with KafkaProducer(**connection.kafka_python()) as producer:
        for number in range(8):
            when = first + timedelta(hours=12 * number)
            raw = Record(value=good(number), topic=topics.raw)
            send(producer, topics, [raw], timestamp_ms=round(when.timestamp() * 1000))
    range_ = ("--from", "2026-01-31", "--to", "2026-02-02T00:00:00Z")
    for _ in range(2):
        done = run(connection, topics, "parquet_export.py", str(tmp_path), *range_)
        assert (done.returncode, done.stderr) == (0, "")
        table = ds.dataset(tmp_path, partitioning="hive").to_table()
        assert Counter(table["day"].to_pylist()) == {"2026-01-31": 2, "2026-02-01": 2}
    by_article = {each["article_id"]: each for each in table.to_pylist()}
    assert sorted(by_article) == numbered(1, 2, 3, 4)
    assert {"name": "جنيف", "type": "LOC", "mentions": 2} in by_article["article-1"]["entities"]
    assert by_article["article-1"]["stances"][0]["label"] == "discuss"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["day=2026-01-31", "day=2026-02-01"]
