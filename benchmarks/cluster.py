"""Workers on a real Kafka: processes under load, and when the outcomes of what they were sent arrive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import psutil
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from rasad.messages import Record
from rasad.settings import TopicSettings
from rasad.streams import topics as topics_module
from rasad.streams.connection import Connection
from rasad.streams.driver import DriverError

ROOT: Final = Path(__file__).parents[1]
PARTITIONS: Final = 4
_READY_WITHIN_S: Final = 300.0
_SILENT_WITHIN_S: Final = 300.0
_STOP_WITHIN_S: Final = 30.0
_NOT_NAMES: Final = ("partitions", "replication_factor")


class WorkerError(DriverError):
    """A worker did not become ready, ended, or fell silent; the message has the end of its log."""


@contextmanager
def fresh_topics(connection: Connection) -> Iterator[TopicSettings]:
    """Rasad's topics under names that nobody has used, gone at the end of the block."""
    prefix = f"bench-{uuid.uuid4().hex[:12]}"
    names = {key: f"{prefix}.{key}" for key in TopicSettings.model_fields if key not in _NOT_NAMES}
    settings = TopicSettings.model_validate({**names, "partitions": PARTITIONS})
    specs = topics_module.specs(settings)
    topics_module.declare(connection, specs)
    try:
        yield settings
    finally:
        with KafkaAdminClient(**connection.kafka_python()) as admin:
            admin.delete_topics([spec.name for spec in specs])


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process and its log."""

    process: psutil.Popen
    log: Path

    def check(self) -> None:
        """Raise WorkerError where it has ended."""
        if self.process.poll() is not None:
            raise WorkerError(f"a worker ended with exit code {self.process.returncode}: {self.last_lines()}")

    def last_lines(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:])

    def seconds(self) -> float:
        """Of processor time so far."""
        used = self.process.cpu_times()
        return float(used.user + used.system)

    def resident(self) -> int:
        """Bytes of memory that it holds."""
        return int(self.process.memory_info().rss)


@contextmanager
def _running(command: Sequence[str], env: Mapping[str, str], scratch: Path) -> Iterator[Worker]:
    """The process of a command; SIGTERM at the end of the block, and SIGKILL where that does not end it."""
    home = scratch / uuid.uuid4().hex[:12]
    home.mkdir()
    log = home / "log"
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with log.open("wb") as sink:
        process = psutil.Popen(
            [sys.executable, "-m", *command],
            cwd=home,  # no rasad.toml there
            env={**os.environ, **env, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
        )
    try:
        yield Worker(process, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_WITHIN_S)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(_STOP_WITHIN_S)


def rasad_worker(
    connection: Connection,
    topics: TopicSettings,
    scratch: Path,
    *,
    group: str = "bench",
    threads: int = 0,
    ner: Path | None = None,
    stance: Path | None = None,
    exactly_once: bool = False,
) -> AbstractContextManager[Worker]:
    """`rasad worker` with these models, the bundled ones for None. It starts; see `wait_until_ready`."""
    names = {f"RASAD_TOPICS__{key.upper()}": str(value) for key, value in topics.model_dump().items()}
    env = {**names, "RASAD_LOGS__FORMAT": "json", "RASAD_LOGS__LEVEL": "info", "RASAD_MODELS__THREADS": str(threads)}
    command = ["rasad.cli", "worker", "--group", group, "--bootstrap-servers", ",".join(connection.bootstrap_servers)]
    command += ["--ner", str(ner)] if ner else []
    command += ["--stance", str(stance)] if stance else []
    command += ["--exactly-once"] if exactly_once else []
    return _running(command, env, scratch)


def first_try_worker(
    connection: Connection, topics: TopicSettings, scratch: Path, names: Path, *, stance: Path | None = None
) -> AbstractContextManager[Worker]:
    """The worker of benchmarks.first_try_worker with the Hugging Face models at these directories. It starts."""
    servers = ",".join(connection.bootstrap_servers)
    command = ["benchmarks.first_try_worker", servers, topics.raw, topics.enriched, str(names)]
    command += [str(stance)] if stance else []
    return _running(command, {}, scratch)


def wait_until_ready(worker: Worker) -> None:
    """Return once partitions are assigned to it. Raises WorkerError where it does not come to that."""
    deadline = time.monotonic() + _READY_WITHIN_S
    while b"worker ready" not in worker.log.read_bytes():
        worker.check()
        if time.monotonic() > deadline:
            raise WorkerError(f"a worker was not ready after {_READY_WITHIN_S:.0f} s: {worker.last_lines()}")
        time.sleep(0.05)


def send(connection: Connection, topic: str, records: Iterable[Record]) -> None:
    """Write records as fast as the cluster takes them, and wait until it has all."""
    with KafkaProducer(**connection.kafka_python(), linger_ms=5) as producer:
        answers = [producer.send(topic, key=each.key, value=each.value) for each in records]
        producer.flush()
        for answer in answers:
            answer.get(timeout=0)


def send_at(
    connection: Connection, topic: str, records: Sequence[Record], rate: float, told: Callable[[float], None]
) -> dict[bytes, float]:
    """Write `rate` records a second, whatever becomes of them; when each was due, seconds since the epoch by key.

    A record's timestamp is when it was due and not when it was sent, so that a sender that is late hides no latency.
    `told` hears how many were sent.
    """
    due: dict[bytes, float] = {}
    with KafkaProducer(**connection.kafka_python()) as producer:
        producer.partitions_for(topic)
        begun = time.time()
        for number, record in enumerate(records):
            at = begun + number / rate
            time.sleep(max(at - time.time(), 0.0))
            producer.send(topic, key=record.key, value=record.value, timestamp_ms=round(at * 1000))
            due[record.key or b""] = at
            told(number + 1)
        producer.flush()
    return due


@dataclass(slots=True)
class Arrivals:
    """When the outcome of each record could first be read, by the record's key, as a subscriber sees it.

    Events and dead letters have the key of their article. Read in a thread of its own, committed records alone.
    """

    connection: Connection
    topics: TopicSettings
    times: dict[bytes, float] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        consumer = KafkaConsumer(
            **self.connection.kafka_python(),
            group_id=None,
            enable_auto_commit=False,
            isolation_level="read_committed",
        )
        partitions = outcome_partitions(self.topics)
        consumer.assign(partitions)
        consumer.seek_to_end(*partitions)
        for partition in partitions:
            consumer.position(partition)
        self._thread = threading.Thread(target=self._read, args=(consumer,), name="arrivals", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        assert self._thread is not None
        self._thread.join()

    def _read(self, consumer: Any) -> None:  # noqa: ANN401
        try:
            while not self._ended.is_set():
                found = consumer.poll(timeout_ms=100)
                now = time.time()
                with self._changed:
                    for message in (message for messages in found.values() for message in messages):
                        self.times.setdefault(message.key, now)
                    self._changed.notify_all()
        finally:
            consumer.close()

    def wait_for(self, keys: Iterable[bytes], worker: Worker) -> None:
        """Return once all have arrived. Raises WorkerError where nothing comes for a long while."""
        missing = set(keys)
        heard, seen = time.monotonic(), -1
        with self._changed:
            while missing := {key for key in missing if key not in self.times}:
                if len(missing) != seen:
                    heard, seen = time.monotonic(), len(missing)
                worker.check()
                if self._thread is None or not self._thread.is_alive():
                    raise WorkerError("reading the outcomes failed; what it said stands above")
                if time.monotonic() - heard > _SILENT_WITHIN_S:
                    raise WorkerError(f"{seen} outcomes never came: {worker.last_lines()}")
                self._changed.wait(1.0)


def outcome_partitions(topics: TopicSettings) -> list[TopicPartition]:
    """Where exactly one record is written for each raw one."""
    names = (topics.enriched, topics.dead_letters)
    return [TopicPartition(name, number) for name in names for number in range(PARTITIONS)]
