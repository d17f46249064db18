"""A driver at work: topics and a group of its own, articles fed to it, and the processes of its workers."""

from __future__ import annotations

import itertools
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import orjson
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from rasad.streams.connection import Connection
from rasad.streams.tailing import lag
from rasad.streams.topics import declare, output_topics, specs, worker_topics
from tests.conftest import unique_topics
from tests.faults.verdict import Verdict, judge
from tests.kafka.outcomes import Place, produce
from tests.kafka.processes import WorkerProcess, worker

POISON = b"\xff\xfe\x00 not an article"
VERSIONS = 6


def key(number: int) -> bytes:
    """Every VERSIONS records are of one article, and in one partition."""
    return f"article-{number // VERSIONS}".encode()


def value(number: int) -> bytes:
    """The next version of an article, or bytes that are none."""
    if number % 15 == 7:
        return POISON + str(number).encode()
    return orjson.dumps(
        {
            "id": key(number).decode(),
            "title": f"الأمم المتحدة تدعو إلى محادثات في جنيف، الطبعة {number}",
            "body": "دعت الأمم المتحدة أطراف النزاع في ليبيا إلى محادثات جديدة. " * (1 + number % 3),
        }
    )


class Lane:
    """One driver with its input, its workers and its outputs.

    `plain` is how the test itself reaches the cluster, `through` how the workers do. `settings` are those of workers.
    """

    def __init__(
        self, plain: Connection, through: Connection, *, exactly_once: bool, seconds_each: float = 0.0, **settings: Any
    ) -> None:
        self.plain = plain
        self.exactly_once = exactly_once
        self.group = f"lane-{uuid.uuid4().hex[:12]}"
        self.topics = unique_topics(3).model_copy(update={"replication_factor": 3})
        self.places: list[Place] = []
        self.workers: list[WorkerProcess] = []
        self._through = through
        self._seconds_each = seconds_each
        # However long a busy machine takes to bring nodes back, no worker gives up.
        self._settings = {"exactly_once": exactly_once, "batch_max": 8, "broker_wait_s": 600} | settings
        self._numbers = itertools.count()
        self._stacks: dict[WorkerProcess, ExitStack] = {}
        self.declare()

    @property
    def name(self) -> str:
        return "exactly once" if self.exactly_once else "at least once"

    def declare(self) -> None:
        """Create those topics that are missing, of the ones that workers use."""
        used = (*worker_topics(self.topics), self.topics.claims)
        declare(self.plain, [spec for spec in specs(self.topics) if spec.name in used])

    def feed(self, count: int, timestamp_ms: int | None = None) -> None:
        """The next `count` records into the raw topic, as of now or of another time; some are no articles."""
        numbers = list(itertools.islice(self._numbers, count))
        self.places += produce(
            self.plain, self.topics.raw, map(value, numbers), map(key, numbers), timestamp_ms=timestamp_ms
        )

    def start(self, **settings: Any) -> WorkerProcess:
        """One more worker."""
        stack = ExitStack()
        options = {"seconds_each": self._seconds_each} | self._settings | settings
        process = stack.enter_context(worker(self._through, self.topics, self.group, **options))
        self._stacks[process] = stack
        self.workers.append(process)
        return process

    def at_work(self, **settings: Any) -> WorkerProcess:
        """One more worker, which has finished a batch."""
        process = self.start(**settings)
        process.wait_for_line("batch done", timeout_s=120)
        return process

    def end(self, process: WorkerProcess, number: signal.Signals) -> None:
        """End a worker by a signal, SIGKILL where it does not end by another one, and forget it."""
        process.process.send_signal(number)
        self.workers.remove(process)
        if number != signal.SIGKILL:
            process.exit_status(120)
        self._stacks.pop(process).close()

    def settle(self, timeout_s: float = 120.0, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Wait until all is done and readable, and do something `meanwhile` again and again.

        What was done may not be readable yet: a killed worker's transaction stays open until the broker ends it, and
        hides from readers of committed records what others commit after it.
        """
        deadline = time.monotonic() + timeout_s
        while self.behind() != 0 or self._hidden() != 0:
            last = "".join(line for process in self.workers for line in process.lines[-5:])
            assert time.monotonic() < deadline, f"{self.name}: {self.behind()} records behind; the workers say:\n{last}"
            meanwhile()
            time.sleep(0.3)

    def behind(self) -> int | None:
        """How many records the group has still to do; None while the cluster is too busy with itself to say."""
        try:
            return sum(each.behind for each in lag(self.plain, self.group, self.topics.raw))
        except KafkaError:
            return None

    def _hidden(self) -> int | None:
        """How many offsets of the outputs lie behind a transaction that is still open; None while nobody can say."""
        try:
            return self._output_ends("read_uncommitted") - self._output_ends("read_committed")
        except KafkaError:
            return None

    def _output_ends(self, isolation_level: str) -> int:
        with KafkaConsumer(
            **self.plain.kafka_python(), isolation_level=isolation_level, enable_auto_commit=False
        ) as consumer:
            partitions = [
                TopicPartition(topic, number)
                for topic in output_topics(self.topics)
                for number in consumer.partitions_for_topic(topic) or ()
            ]
            return sum(consumer.end_offsets(partitions).values())

    def judge(self) -> Verdict:
        """What became of everything that was fed."""
        return judge(self.plain, self.topics, self.places)

    def close(self) -> None:
        """End the workers and remove the topics."""
        for process in tuple(self.workers):
            process.process.send_signal(signal.SIGCONT)
            self.end(process, signal.SIGKILL)
        with KafkaAdminClient(**self.plain.kafka_python()) as admin:
            existing = set(admin.list_topics())
            admin.delete_topics([spec.name for spec in specs(self.topics) if spec.name in existing])


@contextmanager
def lanes(plain: Connection, through: Connection, **settings: Any) -> Iterator[tuple[Lane, Lane]]:
    """Both drivers side by side, so that one fault tries both."""
    both = (
        Lane(plain, through, exactly_once=False, **settings),
        Lane(plain, through, exactly_once=True, **settings),
    )
    try:
        yield both
    finally:
        for lane in both:
            lane.close()


def assert_sound(*lanes: Lane) -> None:
    """Let every lane finish, and hold it against what its delivery promises."""
    for lane in lanes:
        lane.settle()
    verdicts = {lane.name: lane.judge() for lane in lanes}
    problems = {lane.name: verdicts[lane.name].problems(exactly_once=lane.exactly_once) for lane in lanes}
    assert not any(problems.values()), (problems, verdicts)
