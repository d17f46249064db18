"""`rasad tail` on a real broker: where it starts, what it leaves out, how it shows what is left."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import orjson
import pytest
from kafka import KafkaProducer
from typer.testing import CliRunner, Result

from rasad.cli import app
from rasad.messages import Record
from rasad.settings import TopicSettings
from rasad.streams.connection import Connection
from tests.contract.contract import BAD, good
from tests.kafka.published import publish, send

pytestmark = pytest.mark.kafka


def tail(connection: Connection, topics: TopicSettings, *arguments: str) -> Result:
    names = {f"RASAD_TOPICS__{key.upper()}": str(value) for key, value in topics.model_dump().items()}
    env = {"KAFKA_BOOTSTRAP_SERVERS": ",".join(connection.bootstrap_servers), "COLUMNS": "200", **names}
    return CliRunner().invoke(app, ["tail", *arguments, "--no-follow"], env=env)


def articles(shown: Result) -> list[str]:
    assert shown.exit_code == 0, shown.output
    return [orjson.loads(line)["article"]["id"] for line in shown.stdout.splitlines()]


def test_starts_and_filters(connection: Connection, ordered_topics: TopicSettings) -> None:
    now = datetime.now(UTC)
    values = [good(0), good(1).replace("جنيف".encode(), "باريس".encode()), good(2)]
    with KafkaProducer(**connection.kafka_python()) as producer:
        for hours, value in zip((3, 2, 1), values, strict=True):
            written = round((now - timedelta(hours=hours)).timestamp() * 1000)
            send(producer, ordered_topics, [Record(value=value, topic=ordered_topics.raw)], timestamp_ms=written)
    one, two, three = (f"article-{number}" for number in range(3))
    assert articles(tail(connection, ordered_topics, "--from", "150m")) == [two, three]
    since = (now - timedelta(hours=1, minutes=30)).isoformat()
    assert articles(tail(connection, ordered_topics, "--from", since)) == [three]
    assert articles(tail(connection, ordered_topics, "--from", "beginning", "--entity", "جنيف")) == [one, three]
    assert articles(tail(connection, ordered_topics, "--from", "3", "--type", "PER", "--type", "GPE")) == []
    both = ("--type", "ORG", "--stance", "headline:discuss", "--count", "2")
    assert articles(tail(connection, ordered_topics, "--from", "beginning", *both)) == [one, two]
    assert tail(connection, ordered_topics).output == ""


def test_what_is_no_event_is_shown_as_it_is_or_told_where_it_cannot_be_filtered(
    connection: Connection, ordered_topics: TopicSettings
) -> None:
    publish(connection, ordered_topics, [good(0), BAD["not_arabic"]])
    with KafkaProducer(**connection.kafka_python()) as producer:
        producer.send(ordered_topics.enriched, value=b"no event")
    shown = tail(connection, ordered_topics, "--from", "beginning", "--pretty")
    assert "جنيف" in shown.stdout
    assert shown.stdout.endswith("no event\n")
    filtered = tail(connection, ordered_topics, "--from", "beginning", "--type", "LOC")
    assert len(articles(filtered)) == 1
    assert "[0]@1: holds no EnrichedEvent" in filtered.stderr
    letters = tail(connection, ordered_topics, ordered_topics.dead_letters, "--from", "beginning", "--pretty")
    assert "dead letter not_arabic" in letters.stdout


def test_filters_that_cannot_hold_are_refused(connection: Connection, topics: TopicSettings) -> None:
    for arguments, told in {
        (topics.raw, "--type", "PER"): "none of Rasad's output topics",
        (topics.dead_letters, "--type", "PER"): "DeadLetter cannot be selected by types",
        ("--type", "PERSON"): "no entity is of type 'PERSON'",
        ("--from", "1969-01-01"): "before 1970",
    }.items():
        shown = tail(connection, topics, *arguments)
        assert shown.exit_code == 2
        assert told in shown.output
