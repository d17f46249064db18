"""The embedded broker: it comes up, is found by other processes, goes without a trace, and says what it lacks."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from kafka import KafkaAdminClient, KafkaProducer

from rasad import broker
from rasad.broker import BrokerError

pytestmark = pytest.mark.kafka

_TELL_STATUS = "from rasad import broker; b = broker.status(); print(b and b.bootstrap)"
_STOP = "from rasad import broker; print(broker.stop())"


def in_another_process(code: str, env: dict[str, str]) -> str:
    answer = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    return answer.stdout.strip()


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def environment(tmp_path: Path, *commands: str) -> dict[str, str]:
    """An environment whose PATH has `sh` and the given commands alone, with an empty cache."""
    commands_here = tmp_path / "bin"
    commands_here.mkdir()
    for command in ("sh", *commands):
        found = shutil.which(command)
        assert found is not None
        (commands_here / command).symlink_to(found)
    return {"PATH": str(commands_here), "RASAD_CACHE": str(tmp_path / "cache"), "HOME": str(tmp_path)}


def test_a_broker_outlives_its_starter_and_leaves_nothing_behind(tmp_path: Path) -> None:
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    said: list[str] = []
    running = broker.start(env=env, progress=said.append)
    try:
        assert said[-1] == f"starting Apache Kafka 4.3.1 on {running.bootstrap}"
        assert in_another_process(_TELL_STATUS, env) == running.bootstrap
        assert broker.start(env=env) == running
        with pytest.raises(BrokerError, match="already runs on"):
            broker.start(env=env, port=1)
        with KafkaAdminClient(bootstrap_servers=running.bootstrap) as admin:
            assert admin.describe_cluster()["brokers"]
        _, port = running.bootstrap.split(":")
        with pytest.raises(BrokerError, match=f"port {port} is taken"):
            broker.start(directory=tmp_path / "second", port=int(port))
        assert not (tmp_path / "second").exists()
    finally:
        stopped = in_another_process(_STOP, env)
    assert stopped == "True"
    assert list((tmp_path / "rasad").iterdir()) == []
    assert broker.status(running.directory) is None
    assert in_another_process(_STOP, env) == "False"


def write(bootstrap: str, topic: str, value: bytes) -> int:
    """Write a record that the cluster must confirm; gives its offset."""
    with KafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        offset: int = producer.send(topic, value=value).get(60).offset
        return offset


def test_a_killed_node_comes_back_on_its_port_with_its_data() -> None:
    with broker.embedded() as running:
        (node,) = running.nodes
        with KafkaAdminClient(bootstrap_servers=running.bootstrap) as admin:
            admin.create_topics({"kept": {"num_partitions": 1, "replication_factor": 1}})
        write(running.bootstrap, "kept", b"before")
        first = node.pid
        node.kill()
        assert node.pid is None
        assert broker.status(running.directory) is None
        node.start()
        assert node.pid not in (None, first)
        assert write(running.bootstrap, "kept", b"after") == 1
        node.pause()
        # A signal is delivered when the kernel gets to it: a process of many threads stops a moment later.
        deadline = time.monotonic() + 10
        while psutil.Process(node.pid).status() != psutil.STATUS_STOPPED and time.monotonic() < deadline:
            time.sleep(0.01)
        assert psutil.Process(node.pid).status() == psutil.STATUS_STOPPED
        node.resume()
        assert write(running.bootstrap, "kept", b"thawed") == 2


def test_a_process_that_got_the_brokers_number_is_left_alone(tmp_path: Path) -> None:
    home = tmp_path / "broker"
    home.mkdir()
    record = {"bootstrap": "127.0.0.1:9092", "pid": os.getpid(), "started_at": 0.0}
    (home / "broker.json").write_text(json.dumps(record))
    assert broker.status(home) is None
    assert broker.stop(home) is False
    assert not home.exists()


def test_a_start_that_fails_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    home = tmp_path / "broker"
    with pytest.raises(BrokerError, match=r"no-number for configuration num\.partitions"):
        broker.start(directory=home, overrides={"num.partitions": "no-number"})
    assert not home.exists()


def test_a_start_that_takes_too_long_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    home = tmp_path / "broker"
    with pytest.raises(BrokerError, match=r"did not answer within 0 s"):
        broker.start(directory=home, timeout_s=0.0)
    assert not home.exists()


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(BrokerError, match=rf"port {port} is taken .*choose another one"):
            broker.start(directory=tmp_path / "broker", port=port)


def test_no_java(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="no java on PATH; install a Java 17"):
        broker.start(directory=tmp_path / "broker", env=environment(tmp_path))


def test_a_java_home_without_java(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match=r"JAVA_HOME=.*has no bin/java"):
        broker.start(directory=tmp_path / "broker", env={**environment(tmp_path), "JAVA_HOME": str(tmp_path)})


@pytest.mark.parametrize(("version", "major"), [("11.0.22", 11), ("1.8.0_402", 8)])
def test_an_old_java(tmp_path: Path, version: str, major: int) -> None:
    env = environment(tmp_path)
    script(Path(env["PATH"], "java"), f"echo 'openjdk version \"{version}\" 2024-01-16' >&2")
    with pytest.raises(BrokerError, match=f"is Java {major} and Kafka 4.3.1 needs 17 or later"):
        broker.start(directory=tmp_path / "broker", env=env)


def test_no_maven(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match=r"no mvn on PATH .*install Maven 3"):
        broker.jars(environment(tmp_path))


def test_a_maven_that_fails_is_quoted_and_nothing_half_fetched_stays(tmp_path: Path) -> None:
    env = environment(tmp_path)
    script(Path(env["PATH"], "mvn"), "echo '[ERROR] Could not transfer artifact'; exit 1")
    with pytest.raises(BrokerError, match=r"(?s)exit 1\).*Could not transfer artifact"):
        broker.jars(env)
    assert list((tmp_path / "cache").iterdir()) == []


def test_of_two_processes_at_once_one_fetches(tmp_path: Path) -> None:
    env = environment(tmp_path, "sleep", "mkdir", "touch")
    calls = tmp_path / "calls"
    script(
        Path(env["PATH"], "mvn"),
        f"echo called >> {calls}; sleep 0.5; mkdir lib; touch lib/kafka_2.13-{broker.KAFKA_VERSION}.jar",
    )
    code = "from rasad import broker; print(broker.jars(progress=str))"
    both = [
        subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    assert [process.communicate()[0].strip() for process in both] == [str(tmp_path / "cache" / "kafka-4.3.1")] * 2
    assert calls.read_text() == "called\n"
    assert [each.name for each in (tmp_path / "cache").iterdir()] == ["kafka-4.3.1"]


def test_the_cache_is_where_the_environment_says(tmp_path: Path) -> None:
    assert broker.cache_directory({"RASAD_CACHE": "/one"}) == Path("/one")
    assert broker.cache_directory({"RASAD_CACHE": "one"}) == Path.cwd() / "one"
    assert broker.cache_directory({"XDG_CACHE_HOME": "/two"}) == Path("/two/rasad")
    assert broker.cache_directory({}) == Path.home() / ".cache" / "rasad"


def test_the_pom_names_the_version() -> None:
    assert f"<version>{broker.KAFKA_VERSION}</version>" in broker.pom().read_text()
