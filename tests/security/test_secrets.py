"""Secrets stay out of everything that is printed or published, at the most talkative log level too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rasad.settings import TopicSettings
from rasad.streams.connection import Connection
from rasad.streams.topics import declare, specs
from tests.conftest import unique_topics
from tests.kafka.outcomes import written
from tests.security.acl_grants import grant
from tests.security.secure_broker import PASSWORD, SecureBroker, environment

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

RASAD = Path(sys.executable).parent / "rasad"
ARTICLE = "الأمم المتحدة تدعو إلى محادثات جديدة في جنيف\n\nدعت الأمم المتحدة طرفي النزاع في ليبيا إلى محادثات جديدة."


def surroundings(topics: TopicSettings, settings: dict[str, str]) -> dict[str, str]:
    """The environment of a user who set everything there."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "RASAD_"))}
    names = {f"RASAD_TOPICS__{key.upper()}": str(value) for key, value in topics.model_dump().items()}
    return {**others, **names, **environment(settings), "RASAD_LOGS__LEVEL": "debug", "RASAD_LOGS__FORMAT": "json"}


def rasad(env: dict[str, str], *arguments: str, code: int = 0) -> str:
    """All that a command printed."""
    answer = subprocess.run(
        [RASAD, *arguments], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
    )
    assert answer.returncode == code, answer.stderr
    return answer.stdout + answer.stderr


def secrets_of(secure: SecureBroker, user: str) -> set[str]:
    """What must not be seen: the password, the token, and the private key."""
    token = secure.token(user).read_text().strip()
    key = (secure.files / "client.key").read_text().splitlines()[1]
    return {PASSWORD, token, token.split(".")[1], key}


@pytest.mark.parametrize("mechanism", ["PLAIN", "OAUTHBEARER"], ids=["password", "token"])
def test_no_command_shows_a_secret(secure: SecureBroker, mechanism: str, group: str, tmp_path: Path) -> None:
    topics = unique_topics(1)
    plain = Connection(bootstrap_servers=(secure.plain,))
    declare(plain, specs(topics))
    exactly_once = mechanism == "OAUTHBEARER"
    grant(plain, topics, group, exactly_once=exactly_once)
    file = tmp_path / "article.txt"
    file.write_text(ARTICLE, encoding="utf-8")
    env = {user: surroundings(topics, secure.settings(user, mechanism)) for user in ("worker", "operator", "producer")}
    secrets = secrets_of(secure, "worker") | secrets_of(secure, "operator")
    said = rasad(env["worker"], "config")
    said += rasad(env["operator"], "topics", "check")
    said += rasad(env["producer"], "produce", str(file))
    with subprocess.Popen(
        [RASAD, "worker", "--group", group, *(["--exactly-once"] if exactly_once else [])],
        env=env["worker"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as worker:
        assert worker.stderr is not None
        lines = []
        for line in worker.stderr:
            lines.append(line)
            if '"event": "batch done"' in line:
                worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0, "".join(lines[-20:])
    said += "".join(lines)
    said += rasad(env["operator"], "tail", topics.enriched, "--from", "beginning", "--no-follow")
    wrong = {**env["worker"], "KAFKA_SASL_PASSWORD": f"{PASSWORD}x"}
    if mechanism != "OAUTHBEARER":
        said += rasad(wrong, "topics", "check", code=1)
    for topic in (topics.enriched, topics.entities, topics.stances, topics.dead_letters):
        for record in written(plain, topic):
            said += f"{record.value!r} {record.headers!r} {record.key!r}"
    assert topics.enriched in said
    for secret in secrets:
        assert secret not in said, next(line for line in said.splitlines() if secret in line)[:300]
