"""A replay: raw articles between two times enriched again into topics of their own, beside the live worker.

Exactly once: each micro-batch's outputs and offsets are one transaction under the replay's own id, so a replay that
was killed at any point and run again leaves what one that was not would have left, in the same order: the same bytes
in each partition but for `run`. Events and dead letters keep the partition of their article; the records of entities
and stances go where their keys say, as from the live worker.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import structlog
from kafka import KafkaConsumer, TopicPartition
from kafka.structs import ConsumerGroupMetadata

from rasad.messages import EnrichedEvent, Outcome, Record
from rasad.settings import TopicSettings
from rasad.streams import replay_jobs
from rasad.streams import topics as topics_module
from rasad.streams.bounded_reader import BoundedReader, OffsetRange
from rasad.streams.claims import watched
from rasad.streams.connection import WAIT_LIMIT_S, Connection, wait_for_broker
from rasad.streams.driver import DriverError, Enrich
from rasad.streams.publication import verified
from rasad.streams.replay_jobs import Job, Outputs, Request, Standing, Tally
from rasad.streams.replay_plan import NOW, Filters, Instant, bounds
from rasad.streams.transactions import Output, Transactions, fitting, largest_messages

log = structlog.get_logger(__name__)

BATCH_MAX: Final = 32
"""Articles of a transaction."""
_BATCH_BYTES: Final = 8 * 1024 * 1024
_SKIPPED_MAX: Final = 2_000


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a replay is: offsets behind it and in all, and what became of the records."""

    done: int
    total: int
    tally: Tally


@dataclass(frozen=True, slots=True)
class Report:
    """How a run ended: the job, all that became of its records so far, and this run's share and seconds."""

    job: Job
    tally: Tally
    articles: int
    seconds: float

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        return self.job.finished_at is not None


class Throttle:
    """Spreads work over time: at most `articles_per_s` and `bytes_per_s`, None for no limit."""

    def __init__(self, articles_per_s: float | None, bytes_per_s: float | None) -> None:
        self._articles_per_s = articles_per_s
        self._bytes_per_s = bytes_per_s
        self._next_start = 0.0

    def pause_s(self, started: float, now: float, articles: int, size: int) -> float:
        """Seconds to wait from `now` on, after work that `started` then; both in seconds of one clock."""
        cost = max(
            articles / self._articles_per_s if self._articles_per_s else 0.0,
            size / self._bytes_per_s if self._bytes_per_s else 0.0,
        )
        self._next_start = max(self._next_start, started) + cost
        return max(0.0, self._next_start - now)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Records of one transaction that are meant, how many of each partition were not, and the bytes of them all."""

    records: Sequence[Record]
    skipped: Mapping[int, int]
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Runs a replay until it is complete, or `stop` is set: then the batch in hand is finished first.

    `bytes_per_s` is what is read of the raw topic. `begun` hears of the job before anything is enriched, `told` of the
    progress after each transaction.
    """

    connection: Connection
    request: Request
    topics: TopicSettings = field(default_factory=TopicSettings)
    batch_max: int = BATCH_MAX
    articles_per_s: float | None = None
    bytes_per_s: float | None = None
    patience_s: float = WAIT_LIMIT_S
    stop: threading.Event = field(default_factory=threading.Event)
    begun: Callable[[Job], None] = lambda _job: None
    told: Callable[[Progress], None] = lambda _progress: None

    def run(self, enrich: Enrich) -> Report:
        """Begin the job or go on with it.

        1. Take the transactional id: a process that still works under it is fenced, what it left open is aborted.
        2. Find the job, or settle its bounds and write it down together with where it starts.
        3. Micro-batch by micro-batch: read, enrich, and commit outputs and offsets in one transaction.
        4. Write down that it is finished.

        Raises DriverError where the request does not fit the job, where topics are missing or in the way, or where
        the cluster refuses; BrokerUnavailable where it does not answer for `patience_s`. Run it again to go on.
        """
        started = time.monotonic()
        wait_for_broker(self.connection, self.patience_s)
        wanted = [spec for spec in topics_module.specs(self.topics) if spec.name == self.topics.replays]
        topics_module.declare(self.connection, wanted)
        group = replay_jobs.group_of(self.request.name)
        with Transactions(self.connection, group, patience_s=self.patience_s) as transactions:
            job = replay_jobs.jobs(self.connection, self.topics).get(self.request.name)
            if job is None:
                job = self._begin(transactions)
            else:
                self._refuse_other(job)
            if job.finished_at is not None:
                return Report(job, job.tally, 0, time.monotonic() - started)
            self.begun(job)
            standing = replay_jobs.standings(self.connection, job)
            before = _total(standing).articles
            standing = self._work(transactions, job, standing, enrich)
            tally = _total(standing)
            if not replay_jobs.remaining(job, standing):
                job = job.finished(tally)
                transactions.commit([Output(job.publication(self.topics))], {}, ConsumerGroupMetadata(group))
        return Report(job, tally, tally.articles - before, time.monotonic() - started)

    def _begin(self, transactions: Transactions) -> Job:
        request = self.request
        if request.begin is None:
            raise DriverError(f"no replay {request.name} yet: say from when with --from, such as --from 7d")
        outputs = request.outputs or Outputs.beside(self.topics, f"replay-{request.name}")
        models = outputs.models(self.topics)
        topics_module.require(self.connection, [self.topics.raw, self.topics.claims, *models.values()])
        end = request.end or Instant(NOW, round(time.time() * 1000))
        within = bounds(self.connection, self.topics.raw, request.begin, end)
        topics_module.declare_like(self.connection, models, partitions=len(within))
        _refuse_unfit(self.connection, outputs, partitions=len(within))
        job = Job(
            name=request.name,
            topic=self.topics.raw,
            begin=request.begin,
            end=end,
            filters=Filters(source=request.source, contains=request.contains),
            bounds=within,
            outputs=outputs,
            pipeline_version=request.pipeline_version or "",
            started_at=replay_jobs.timestamp(),
            claims=tuple(watched(self.connection, self.topics.claims).values()),
        )
        self._commit(transactions, job, [Output(job.publication(self.topics))], replay_jobs.beginnings(job))
        log.info("replay begun", replay=job.name, offsets=job.count, to=outputs.enriched)
        return job

    def _refuse_other(self, job: Job) -> None:
        different = replay_jobs.differences(job, self.request)
        if job.topic != self.topics.raw:
            different.append(f"the raw topic was {job.topic}, not {self.topics.raw}")
        if different:
            raise DriverError(
                f"replay {job.name} was begun at {job.started_at} and cannot change: {'; '.join(different)}. "
                f"Go on with `rasad replay run {job.name}` and the models that it had (--ner, --stance, --backend), or "
                "give the other one a name of its own"
            )

    def _work(
        self, transactions: Transactions, job: Job, standing: dict[int, Standing], enrich: Enrich
    ) -> dict[int, Standing]:
        """Read on from `standing`; gives where it stands in the end, all of it committed."""
        outputs = job.outputs.settings(self.topics)
        largest = largest_messages(self.connection, job.outputs.models(self.topics))
        throttle = Throttle(self.articles_per_s, self.bytes_per_s)
        limit = max(1, min(self.batch_max, int(self.articles_per_s or self.batch_max)))
        removed = {partition: each.tally.removed for partition, each in standing.items()}
        ranges = {each.partition: OffsetRange(standing[each.partition].position, each.end) for each in job.bounds}
        with BoundedReader(self.connection, job.topic, ranges, patience_s=self.patience_s) as reader:
            while not (reader.finished or self.stop.is_set()):
                started = time.monotonic()
                batch = _batch(reader, job.filters, limit)
                outcomes = enrich(batch.records) if batch.records else []
                wanted = [
                    _outputs(_named(verified(outcome, record), job.name), record, outputs, largest)
                    for outcome, record in zip(outcomes, batch.records, strict=True)
                ]
                dead = [first.publication.topic == outputs.dead_letters for first, *_ in wanted]
                standing = {
                    partition: Standing(
                        reader.positions[partition],
                        replace(
                            each.tally + _counted(partition, batch, dead),
                            removed=removed[partition] + reader.removed[partition],
                        ),
                    )
                    for partition, each in standing.items()
                }
                self._commit(transactions, job, list(itertools.chain.from_iterable(wanted)), standing)
                self.told(Progress(job.count - replay_jobs.remaining(job, standing), job.count, _total(standing)))
                if not reader.finished:
                    self.stop.wait(throttle.pause_s(started, time.monotonic(), len(batch.records), batch.size))
        return standing

    def _commit(
        self, transactions: Transactions, job: Job, outputs: Sequence[Output], standing: Mapping[int, Standing]
    ) -> None:
        """One transaction. Every partition is committed each time, so that none expires while another is read."""
        offsets = {TopicPartition(job.topic, partition): each.committed() for partition, each in standing.items()}
        transactions.commit(outputs, offsets, ConsumerGroupMetadata(job.group))


def _refuse_unfit(connection: Connection, outputs: Outputs, *, partitions: int) -> None:
    """Topics that hold something would mix with the replay; those of fewer partitions could not keep its order."""
    with KafkaConsumer(**connection.kafka_python(), group_id=None, enable_auto_commit=False) as consumer:
        for topic in (outputs.enriched, outputs.entities, outputs.stances, outputs.dead_letters):
            places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
            if any(consumer.end_offsets(places).values()):
                raise DriverError(f"{topic} holds records already: name other topics, or delete it first")
            if len(places) < partitions:
                raise DriverError(f"{topic} has {len(places)} partitions and needs {partitions}, as the raw topic has")


def _batch(reader: BoundedReader, filters: Filters, limit: int) -> _Batch:
    records: list[Record] = []
    skipped: dict[int, int] = {}
    size = looked_at = 0
    while len(records) < limit and size < _BATCH_BYTES and looked_at < _SKIPPED_MAX:
        record = reader.take()
        if record is None:
            break
        looked_at += 1
        size += len(record.value)
        if filters.match(record):
            records.append(record)
        else:
            skipped[record.partition] = skipped.get(record.partition, 0) + 1
    return _Batch(records, skipped, size)


def _counted(partition: int, batch: _Batch, dead: Sequence[bool]) -> Tally:
    """What a batch adds to a partition's tally; `dead` says of each record whether its outcome is a dead letter."""
    own = [each for each, record in zip(dead, batch.records, strict=True) if record.partition == partition]
    return Tally(events=own.count(False), dead_letters=own.count(True), skipped=batch.skipped.get(partition, 0))


def _named(outcome: Outcome, name: str) -> Outcome:
    """An event with the replay's name in its `run`."""
    return replace(outcome, run={**outcome.run, "replay": name}) if isinstance(outcome, EnrichedEvent) else outcome


def _outputs(outcome: Outcome, record: Record, topics: TopicSettings, largest: Mapping[str, int]) -> list[Output]:
    """Events and dead letters go to the partition that their article came from, whoever had chosen it."""
    kept = (topics.enriched, topics.dead_letters)
    return [
        Output(each, record.partition if each.topic in kept else None)
        for each in fitting(outcome, record, topics, largest)
    ]


def _total(standing: Mapping[int, Standing]) -> Tally:
    return sum((each.tally for each in standing.values()), Tally())
