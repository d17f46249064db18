"""What a worker says of itself over HTTP, on a real broker."""

from __future__ import annotations

import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest
from kafka import KafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from rasad import broker
from rasad.settings import TopicSettings, WorkerSettings
from rasad.streams import topics as topics_module
from rasad.streams.connection import Connection
from rasad.streams.driver import DriverError
from rasad.streams.health import Health, serving
from tests.conftest import unique_topics
from tests.contract.contract import BAD
from tests.kafka.outcomes import article, produce, wait_for
from tests.kafka.processes import worker


@pytest.fixture
def port() -> int:
    """A port that is free now, and that no client is given for a connection of its own meanwhile."""
    return broker.free_ports()


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def comes(wanted: Callable[[], bool], timeout_s: float = 40.0) -> bool:
    """Whether something becomes so in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if wanted():
            return True
        time.sleep(0.1)
    return False


def samples(port: int) -> dict[tuple[str, str], float]:
    """Values by sample name and the value of its only label, where it has one."""
    status, text = get(port, "/metrics")
    assert status == 200
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if len(sample.labels) <= 1
    }


@pytest.mark.kafka
@pytest.mark.parametrize("exactly_once", [False, True])
def test_what_a_worker_counts(
    connection: Connection, topics: TopicSettings, group: str, port: int, exactly_once: bool
) -> None:
    places = produce(connection, topics.raw, [*map(article, range(40)), BAD["not_arabic"], BAD["invalid_json"]])
    with worker(connection, topics, group, http_port=port, exactly_once=exactly_once) as running:
        wait_for(connection, topics, places)
        assert comes(lambda: get(port, "/readyz") == (200, "ok\n"))
        assert get(port, "/livez") == (200, "ok\n")
        assert get(port, "/other")[0] == 404
        lags = {("rasad_consumer_lag_records", str(number)): 0.0 for number in range(4)}
        assert comes(lambda: lags.items() <= samples(port).items())
        found = samples(port)
        assert found["rasad_articles_total", "enriched"] == 40
        assert found["rasad_articles_total", "dead_letter"] == 2
        assert found["rasad_dead_letters_total", "not_arabic"] == 1
        assert found["rasad_dead_letters_total", "invalid_json"] == 1
        assert found["rasad_dead_letters_total", "too_large"] == 0
        assert found["rasad_batch_articles_sum", ""] == 42
        assert found["rasad_batch_tokens_sum", ""] >= 42
        assert found["rasad_buffered_records", ""] == 0
        assert found["rasad_rebalances_total", ""] >= 1
        assert found["rasad_worker_ready_seconds", ""] > 0
        assert found["rasad_stage_seconds_count", "publish"] == found["rasad_batch_articles_count", ""]
        assert running.end(signal.SIGTERM) == 0


@pytest.mark.kafka
@pytest.mark.parametrize("exactly_once", [False, True])
def test_what_is_no_record_is_nothing_to_be_done(
    connection: Connection, ordered_topics: TopicSettings, group: str, port: int, exactly_once: bool
) -> None:
    raw = ordered_topics.raw
    with KafkaProducer(**connection.kafka_python(), transactional_id=group) as producer:
        producer.init_transactions()
        producer.begin_transaction()
        producer.send(raw, value=article(0))
        producer.commit_transaction()
        producer.begin_transaction()
        for number in range(1, 11):
            producer.send(raw, value=article(number))
        producer.flush()
        producer.abort_transaction()
    with worker(connection, ordered_topics, group, http_port=port, exactly_once=exactly_once) as running:
        (outcome,) = wait_for(connection, ordered_topics, [(0, 0)])
        assert outcome.event
        # A record and its marker, ten that were taken back and theirs.
        assert comes(lambda: ("rasad_articles_total", "enriched") in samples(port))
        assert comes(lambda: samples(port)["rasad_articles_total", "enriched"] == 1)
        assert comes(lambda: samples(port).get(("rasad_consumer_lag_records", "0")) == 0, timeout_s=15)
        assert running.end(signal.SIGTERM) == 0


@pytest.mark.kafka
def test_a_batch_loop_that_stands_still_is_not_live(
    connection: Connection, ordered_topics: TopicSettings, group: str, port: int
) -> None:
    with worker(
        connection, ordered_topics, group, seconds_each=12.0, http_port=port, stall_s=4.0, broker_wait_s=1.0, grace_s=30
    ) as running:
        running.wait_for_line("worker ready")
        time.sleep(2.5)  # nothing to do is no standstill
        assert get(port, "/livez") == (200, "ok\n")
        produce(connection, ordered_topics.raw, [article(0)])
        assert comes(lambda: get(port, "/livez")[0] == 503)
        assert "no progress" in get(port, "/livez")[1] + get(port, "/readyz")[1]
        running.wait_for_line("batch done")
        assert comes(lambda: get(port, "/livez") == (200, "ok\n"))
        assert running.end(signal.SIGTERM) == 0


@pytest.mark.kafka
def test_a_worker_whose_broker_is_gone_is_not_ready(port: int) -> None:
    topics = unique_topics(1)
    with broker.embedded() as own:
        connection = Connection(bootstrap_servers=(own.bootstrap,))
        topics_module.declare(connection, topics_module.specs(topics))
        with worker(connection, topics, "watched", http_port=port, broker_wait_s=120) as running:
            running.wait_for_line("worker ready")
            assert comes(lambda: get(port, "/readyz")[0] == 200)
            broker.stop(own.directory)
            assert comes(lambda: "no broker answers" in get(port, "/readyz")[1])
            assert get(port, "/livez")[0] == 200


def test_a_port_that_is_taken_is_a_clear_error(port: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        with (
            pytest.raises(
                DriverError, match=rf"worker.http_port = {port}: cannot listen on 127.0.0.1:{port} .*free port"
            ),
            serving(Health(WorkerSettings()), WorkerSettings(http_port=port)),
        ):
            pass


def test_a_worker_is_ready_once_it_has_its_share_and_an_answer(port: int) -> None:
    settings = WorkerSettings(http_port=port)
    health = Health(settings)
    with serving(health, settings):
        assert get(port, "/readyz") == (503, "the consumer group has assigned no partitions yet\n")
        health.assigned()
        assert get(port, "/readyz") == (503, "no broker answers\n")
        health.broker(answers=True)
        assert get(port, "/readyz") == (200, "ok\n")
        health.revoked()
        assert get(port, "/readyz")[0] == 503
    with pytest.raises(urllib.error.URLError):
        get(port, "/livez")
