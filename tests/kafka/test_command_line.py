"""The whole way by the command line with the bundled models: file, raw topic, worker, events; and the same by file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from rasad.settings import TopicSettings
from rasad.streams.connection import Connection
from tests.conftest import unique_topics
from tests.contract.contract import BAD

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

RASAD = Path(sys.executable).parent / "rasad"
ARTICLE = """الأمم المتحدة تدعو إلى محادثات جديدة في جنيف

دعت الأمم المتحدة، اليوم الأربعاء، طرفي النزاع في ليبيا إلى محادثات جديدة في جنيف.
., وقال المبعوث الأممي غسان سلامة إن رئيس الحكومة فايز السراج وافق على الحضور.
"""


@pytest.fixture
def env(connection: Connection) -> dict[str, str]:
    """The environment of a user who set the cluster and topic names there."""
    settings = unique_topics(2)
    names = {f"RASAD_TOPICS__{key.upper()}": str(value) for key, value in settings.model_dump().items()}
    return {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": ",".join(connection.bootstrap_servers), **names}


def rasad(env: dict[str, str], *arguments: str) -> bytes:
    answer = subprocess.run([RASAD, *arguments], env=env, capture_output=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stderr.decode()
    return answer.stdout


@contextmanager
def running_worker(env: dict[str, str], group: str) -> Iterator[subprocess.Popen[str]]:
    """A worker that has said that it is ready."""
    process = subprocess.Popen(
        [RASAD, "worker", "--group", group], env=env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            if "worker ready" in line:
                break
        assert "worker ready" in said[-1], "".join(said)
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        process.stderr.close()


def without_run(line: bytes) -> dict[str, Any]:
    event = dict(orjson.loads(line))
    del event["run"]
    return event


def test_an_article_by_topic_and_by_file_gives_the_same_event(env: dict[str, str], group: str, tmp_path: Path) -> None:
    article = tmp_path / "article.txt"
    article.write_text(ARTICLE, encoding="utf-8")
    bad = tmp_path / "bad.txt"
    bad.write_bytes(BAD["not_arabic"])
    topics = TopicSettings(**{key: env[f"RASAD_TOPICS__{key.upper()}"] for key in TopicSettings.model_fields})
    rasad(env, "topics", "declare")
    with running_worker(env, group) as worker:
        rasad(env, "produce", str(bad), str(article))
        event = rasad(env, "tail", topics.enriched, "--from", "beginning", "--count", "1")
        rasad(env, "tail", topics.dead_letters, "--from", "beginning", "--count", "1")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
    by_topic, by_file = without_run(event), without_run(rasad(env, "enrich", str(article)))
    assert by_topic == by_file
    fields = by_topic["article"]
    assert fields["title"] == "الأمم المتحدة تدعو إلى محادثات جديدة في جنيف"
    assert fields["truncated"] is False
    for mention in by_topic["mentions"]:
        assert fields[mention["field"]][mention["start"] : mention["end"]] == mention["surface"]
    assert {"جنيف", "ليبيا"} <= {entity["canonical"] for entity in by_topic["entities"] if entity["type"] == "LOC"}


def test_producing_to_a_topic_that_is_not_there_is_one_line(env: dict[str, str]) -> None:
    command = [RASAD, "produce", "seeds/01-politics-kites-geneva.txt", "--topic", "nowhere"]
    answer = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 1
    assert answer.stderr == "rasad: missing topics: nowhere; declare them with `rasad topics declare`\n"


@pytest.mark.parametrize("delivery", ["--at-least-once", "--exactly-once"])
def test_sigterm_before_any_work_ends_the_worker_at_once(delivery: str) -> None:
    arguments = [RASAD, "worker", delivery, "--bootstrap-servers", "127.0.0.1:1"]
    with subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("waiting for the broker" in line for line in process.stderr)
        process.terminate()
        assert process.wait(10) == 0
