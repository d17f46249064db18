"""`rasad dlq` on a real broker, through the command line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from typer.testing import CliRunner, Result

from rasad.cli import app
from rasad.messages import ATTEMPT_HEADER, REDRIVEN_FROM_HEADER, DeadLetter, Outcome, Record
from rasad.settings import TopicSettings
from rasad.streams.connection import Connection
from rasad.streams.dead_letters import Seen, Selection, selected
from rasad.streams.publication import dead_letter_publication
from rasad.streams.redriving import outputs, transactional_id
from rasad.streams.transactions import Fenced, Transactions
from tests.contract.contract import BAD, good
from tests.kafka.outcomes import produce, read, wait_for, written
from tests.kafka.plain_enrichment import enrich
from tests.kafka.processes import worker

pytestmark = pytest.mark.kafka

_ROOT = Path(__file__).resolve().parents[2]
HEADERS = (("x", b"1"), ("x", b"\xff"), ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))

Rasad = Callable[..., Result]


@pytest.fixture
def rasad(connection: Connection, ordered_topics: TopicSettings) -> Rasad:
    """The command line of a user who set the cluster and topic names in the environment."""
    names = {f"RASAD_TOPICS__{key.upper()}": str(value) for key, value in ordered_topics.model_dump().items()}
    env = {"KAFKA_BOOTSTRAP_SERVERS": ",".join(connection.bootstrap_servers), **names}

    def run(*arguments: str, answer: str | None = None) -> Result:
        return CliRunner().invoke(app, ["dlq", *arguments], env=env, input=answer, catch_exceptions=False)

    return run


def letter(topics: TopicSettings, value: bytes, number: int = 0) -> DeadLetter:
    """The dead letter of a value; a good one's is that of a fault of Rasad."""
    record = Record(value=value, key=f"key-{number}".encode(), headers=HEADERS, topic=topics.raw, offset=number)
    (outcome,) = enrich([record])
    return outcome if isinstance(outcome, DeadLetter) else failed(outcome, record)


def failed(outcome: Outcome, record: Record) -> DeadLetter:
    return DeadLetter(
        record=record, reason="enrichment_failed", detail="KeyError", stage="enrich", pipeline_version="p0"
    )


def publish(
    connection: Connection,
    topics: TopicSettings,
    letters: Sequence[DeadLetter],
    *,
    with_value: bool = True,
    hours_ago: Sequence[int] = (),
) -> None:
    now = datetime.now(UTC).timestamp()
    with KafkaProducer(**connection.kafka_python()) as producer:
        for index, each in enumerate(letters):
            wanted = dead_letter_publication(each, topics, with_value=with_value)
            producer.send(
                wanted.topic,
                value=wanted.value,
                key=wanted.key,
                headers=list(wanted.headers),
                timestamp_ms=round((now - 3600 * hours_ago[index]) * 1000) if hours_ago else None,
            )
        producer.flush()


def places(shown: Result) -> list[str]:
    assert shown.exit_code == 0, shown.output
    return [json.loads(line)["letter"] for line in shown.stdout.splitlines()]


def test_letters_are_listed_filtered_and_counted(
    connection: Connection, ordered_topics: TopicSettings, rasad: Rasad
) -> None:
    topics = ordered_topics
    mine = '{"source": "الأهرام", "body": 7}'.encode()
    values = [BAD["not_arabic"], mine, BAD["invalid_utf8"], BAD["empty"]]
    publish(connection, topics, [letter(topics, value) for value in values], hours_ago=[50, 10, 3, 0])
    with KafkaProducer(**connection.kafka_python(), transactional_id=f"{topics.raw}-abort") as producer:
        producer.init_transactions()
        producer.begin_transaction()
        producer.send(topics.dead_letters, value=b"aborted", key=b"k").get()
        producer.abort_transaction()
        producer.begin_transaction()
        producer.send(topics.dead_letters, value=b"foreign", key=b"k").get()
        producer.commit_transaction()
    assert places(rasad("list", "--json", "--reason", "empty", "--reason", "wrong_type")) == ["0:1", "0:3"]
    assert places(rasad("list", "--json", "--source", "الاهرام")) == ["0:1"]
    assert places(rasad("list", "--json", "--since", "1d", "--until", "2h")) == ["0:1", "0:2"]
    assert places(rasad("list", "--json", "--since", "3d", "--limit", "2")) == ["0:2", "0:3"]
    table = rasad("list")
    assert [line.split()[2] for line in table.stdout.splitlines()[1:]] == [f"{topics.raw}:0:0"] * 4
    assert "1 that are no dead letters" in table.stderr
    counts = json.loads(rasad("stats", "--json", "--since", "1d").stdout)
    assert (counts["total"], counts["sources"]) == (3, {"": 2, "الأهرام": 1})
    assert "4 dead letters" in rasad("stats").stdout


def test_a_letter_is_shown_safely_and_given_back_byte_for_byte(
    connection: Connection, ordered_topics: TopicSettings, rasad: Rasad
) -> None:
    topics = ordered_topics
    hostile = '{"title": "\u202eالأمم", "body": 7, "x": "\x9b31m"}'.encode()
    publish(connection, topics, [letter(topics, hostile), letter(topics, BAD["invalid_utf8"])])
    shown = rasad("show", "0:0")
    assert shown.exit_code == 0
    assert "\\u202eالأمم" in shown.stdout
    assert "\\u009b31m" in shown.stdout
    assert not {"\u202e", "\x9b", "\x1b"} & set(shown.stdout)
    assert "send it as one string" in shown.stdout
    assert "0xff" in shown.stdout
    assert "00000000  cf da ca" in rasad("show", "0:1").stdout
    assert rasad("show", "0:1", "--raw").stdout_bytes == BAD["invalid_utf8"]
    for absent in ("0:2", "7:0"):
        missing = rasad("show", absent)
        assert missing.exit_code == 1
        assert f"no dead letter at {absent}" in missing.stderr


def test_a_redrive_asks_first_and_sends_each_letter_once_as_it_was(
    connection: Connection, ordered_topics: TopicSettings, rasad: Rasad
) -> None:
    topics = ordered_topics
    values = [good(0), BAD["not_arabic"], good(1)]
    publish(connection, topics, [letter(topics, value, number) for number, value in enumerate(values)])
    assert rasad("redrive", answer="n\n").exit_code == 1
    assert rasad("redrive", "--dry-run").exit_code == 0
    assert written(connection, topics.raw) == []
    some = rasad("redrive", "--reason", "enrichment_failed", "--limit", "1", answer="y\n")
    assert (some.exit_code, some.stdout.splitlines()[-1]) == (0, "sent 1 of 1")
    rest = rasad("redrive", "--yes")
    assert "1 not_arabic: the same text is refused again" in rest.stderr
    assert rest.stdout.splitlines()[-2:] == ["1 sent back earlier: left out", "sent 2 of 2"]
    again = rasad("redrive", "--yes", "0:0", "0:2")
    assert (again.exit_code, again.stdout) == (0, "2 sent back earlier: left out\n")
    raw = written(connection, topics.raw)
    assert [each.value for each in raw] == [good(1), good(0), BAD["not_arabic"]]
    assert [each.key for each in raw] == [b"key-2", b"key-0", b"key-1"]
    assert raw[0].headers == (
        *HEADERS,
        (REDRIVEN_FROM_HEADER, f"{topics.dead_letters}:0:2".encode()),
        (ATTEMPT_HEADER, b"2"),
    )
    listed = [json.loads(line) for line in rasad("list", "--json").stdout.splitlines()]
    assert [each["redriven"]["to"] for each in listed] == [topics.raw] * 3


def test_of_a_letter_that_was_written_twice_one_is_sent(
    connection: Connection, ordered_topics: TopicSettings, rasad: Rasad
) -> None:
    topics = ordered_topics
    found = letter(topics, good(0))
    publish(connection, topics, [found, found, letter(topics, good(1), 1), found])
    assert rasad("redrive", "--yes", "0:3").stdout.splitlines()[-1] == "sent 1 of 1"
    rest = rasad("redrive", "--yes")
    assert rest.stdout.splitlines()[-2:] == ["1 sent back earlier: left out", "sent 1 of 1"]
    assert [each.value for each in written(connection, topics.raw)] == [good(0), good(1)]
    assert len(places(rasad("list", "--json"))) == 4


def test_a_mended_fault_gives_an_event_and_a_lasting_one_stops_after_some_attempts(
    connection: Connection, ordered_topics: TopicSettings, group: str, rasad: Rasad
) -> None:
    topics = ordered_topics
    (place,) = produce(connection, topics.raw, [BAD["invalid_utf8"]])
    with worker(connection, topics, group) as running:
        running.wait_for_line("worker ready", timeout_s=90)
        wait_for(connection, topics, [place])
        publish(connection, topics, [letter(topics, good(0))])
        for sent in (2, 1):
            redriven = rasad("redrive", "--yes")
            assert redriven.stdout.splitlines()[-1] == f"sent {sent} of {sent}", redriven.output
            raw = [(each.partition, each.offset) for each in written(connection, topics.raw)]
            wait_for(connection, topics, raw)
        exhausted = rasad("redrive", "--yes")
        assert running.end(signal.SIGTERM) == 0
    assert exhausted.exit_code == 1
    assert "1 failed 3 times or more" in exhausted.stdout
    outcomes = read(connection, topics)
    (event,) = [outcome.event for outcome in outcomes if outcome.event]
    assert (event.article.id, event.run["attempt"]) == ("article-0", 2)
    poison = [outcome.record for outcome in outcomes if outcome.reason == "invalid_utf8"]
    assert [each.attempt for each in poison] == [1, 2, 3]
    assert [Counter(key for key, _ in each.headers)[REDRIVEN_FROM_HEADER] for each in poison] == [0, 1, 1]
    assert {(each.key, each.value) for each in poison} == {(b"0", BAD["invalid_utf8"])}
    assert rasad("redrive", "--max-attempts", "4", "--dry-run").exit_code == 0


@pytest.mark.parametrize("dies", ["sending", "between"])
def test_a_redrive_that_was_killed_is_finished_by_the_next(
    connection: Connection, ordered_topics: TopicSettings, rasad: Rasad, dies: str
) -> None:
    topics = ordered_topics
    count = 130
    publish(connection, topics, [letter(topics, good(number), number) for number in range(count)])
    options = {"bootstrap": connection.bootstrap_servers[0], "topics": topics.model_dump(), "dies": dies}
    command = [sys.executable, "-m", "tests.kafka.redrive_process", json.dumps(options)]
    assert subprocess.run(command, cwd=_ROOT, timeout=120, check=False).returncode == -signal.SIGKILL
    before = len(written(connection, topics.raw))
    assert before == {"sending": 0, "between": 100}[dies]
    with KafkaConsumer(**connection.kafka_python(), group_id=None) as uncommitted:
        (end,) = uncommitted.end_offsets([TopicPartition(topics.raw, 0)]).values()
    assert end >= {"sending": count, "between": 100}[dies]
    finished = rasad("redrive", "--yes")
    assert finished.stdout.splitlines()[-1] == f"sent {count - before} of {count - before}", finished.output
    assert [each.value for each in written(connection, topics.raw)] == [good(number) for number in range(count)]


def test_of_two_redrives_at_once_the_earlier_ends(
    connection: Connection, ordered_topics: TopicSettings, rasad: Rasad
) -> None:
    topics = ordered_topics
    publish(connection, topics, [letter(topics, good(0))])
    (found,) = selected(connection, topics.dead_letters, Selection(), Seen())
    with Transactions(connection, transactional_id(topics)) as earlier:
        assert rasad("redrive", "--yes").exit_code == 0
        with pytest.raises(Fenced):
            earlier.commit(outputs(found, topics, datetime.now(UTC)))
    assert [each.value for each in written(connection, topics.raw)] == [good(0)]


def test_values_left_out_are_read_where_they_were_and_what_cannot_be_sent_is_told(
    connection: Connection, ordered_topics: TopicSettings, rasad: Rasad
) -> None:
    topics = ordered_topics
    produce(connection, topics.raw, [good(0)])
    (original,) = written(connection, topics.raw)
    (outcome,) = enrich([original])
    omitted = failed(outcome, original)
    gone = replace(omitted, record=replace(original, offset=9_999))
    other = replace(omitted, record=replace(original, key=b"of another record"))
    publish(connection, topics, [omitted, gone, other], with_value=False)
    publish(connection, topics, [letter(topics, b"\xff" * 3_000), letter(topics, good(1))])
    with KafkaAdminClient(**connection.kafka_python()) as admin:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topics.raw, {"max.message.bytes": "2000"})])
    assert rasad("show", "0:0", "--raw").stdout_bytes == good(0)
    assert rasad("show", "0:1", "--raw").exit_code == 1
    done = rasad("redrive", "--yes")
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (1, "sent 2 of 5")
    for place, why in (("0:1", "does not hold it any more"), ("0:2", "any more"), ("0:3", "bytes are more than")):
        assert any(f"{place} not sent" in line and why in line for line in done.stderr.splitlines()), done.stderr
    assert [each.value for each in written(connection, topics.raw)] == [good(0), good(0), good(1)]


def test_a_letter_whose_topic_is_gone_keeps_no_other_back(
    connection: Connection, ordered_topics: TopicSettings, rasad: Rasad
) -> None:
    topics = ordered_topics
    found = letter(topics, good(0))
    publish(connection, topics, [replace(found, record=replace(found.record, topic=f"{topics.raw}.gone")), found])
    for last in ("sent 1 of 2", "sent 0 of 1"):
        done = rasad("redrive", "--yes")
        assert (done.exit_code, done.stdout.splitlines()[-1]) == (1, last), done.output
        assert f"0:0 not sent: {topics.raw}.gone has no partition 0 any more" in done.stderr
    assert [each.value for each in written(connection, topics.raw)] == [good(0)]


def test_without_its_topic_of_notes_nothing_is_sent(connection: Connection, ordered_topics: TopicSettings) -> None:
    publish(connection, ordered_topics, [letter(ordered_topics, good(0))])
    without = ordered_topics.model_copy(update={"redriven": f"{ordered_topics.redriven}.none"})
    env = {f"RASAD_TOPICS__{key.upper()}": str(value) for key, value in without.model_dump().items()}
    env["KAFKA_BOOTSTRAP_SERVERS"] = ",".join(connection.bootstrap_servers)
    done = CliRunner().invoke(app, ["dlq", "redrive", "--yes"], env=env)
    assert done.exit_code == 1
    assert f"missing topics: {without.redriven}; declare them with `rasad topics declare`" in done.stderr
    assert written(connection, ordered_topics.raw) == []
