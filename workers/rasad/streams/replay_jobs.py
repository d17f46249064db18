"""Replays as jobs: what each was asked to do, where it is written down, and how far it has come.

A job is one record of a compacted topic, written in the same transaction that commits the start of each partition for
the job's consumer group. Every later transaction moves those offsets, with a count of what became of the records in
their metadata. So a job that is known has its progress, and both are as durable as the outputs; a job without
offsets is one whose group has lain idle for longer than the cluster keeps offsets, and is told apart from a new one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Self

import orjson
from kafka import KafkaConsumer, TopicPartition
from kafka.structs import OffsetAndMetadata

from rasad.messages import Claim, from_bytes, to_bytes
from rasad.settings import TopicSettings
from rasad.streams.connection import Connection
from rasad.streams.driver import DriverError
from rasad.streams.publication import Publication
from rasad.streams.replay_plan import Filters, Instant, PartitionBounds
from rasad.streams.tailing import Tail
from rasad.streams.topics import missing

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
_TOPIC_LENGTH: Final = 249


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """The topics that a replay writes."""

    enriched: str
    entities: str
    stances: str
    dead_letters: str

    @classmethod
    def beside(cls, topics: TopicSettings, suffix: str) -> Self:
        """`news.enriched.v1.SUFFIX` and its like, beside the live ones. Raises ValueError for what no topic can be."""
        return cls._checked({key: f"{getattr(topics, key)}.{suffix}" for key in cls.__slots__})

    @classmethod
    def under(cls, prefix: str) -> Self:
        """`PREFIX.enriched` and its like. Raises ValueError for what no topic can be called."""
        ends = {"enriched": "enriched", "entities": "entities", "stances": "stances", "dead_letters": "dlq"}
        return cls._checked({key: f"{prefix}.{end}" for key, end in ends.items()})

    @classmethod
    def _checked(cls, names: Mapping[str, str]) -> Self:
        for name in names.values():
            if not re.fullmatch(r"[A-Za-z0-9._-]+", name) or len(name) > _TOPIC_LENGTH:
                raise ValueError(f"{name!r} cannot be a topic: take letters, digits, dots, dashes and underscores")
        return cls(**names)

    def models(self, topics: TopicSettings) -> dict[str, str]:
        """For each of them the live topic whose settings it gets."""
        return {getattr(self, key): getattr(topics, key) for key in self.__slots__}

    def settings(self, topics: TopicSettings) -> TopicSettings:
        """`topics` with these in place of the live ones."""
        return topics.model_copy(update={key: getattr(self, key) for key in self.__slots__})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What became of a replay's records: two kinds of outcome, left out by a filter, removed before they were read."""

    events: int = 0
    dead_letters: int = 0
    skipped: int = 0
    removed: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(**{key: getattr(self, key) + getattr(other, key) for key in self.__slots__})

    @property
    def articles(self) -> int:
        """Records with an outcome."""
        return self.events + self.dead_letters


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a replay is asked for; None is left to the job where there is one already, else to the default."""

    name: str
    pipeline_version: str | None = None
    begin: Instant | None = None
    end: Instant | None = None
    source: str | None = None
    contains: str | None = None
    outputs: Outputs | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} cannot name a replay: take letters, digits, dots, dashes, underscores")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A replay as it was begun; `finished_at` and `tally` are written when it is done.

    `left` is where workers that wrote on into its outputs stood, by partition, when they were led elsewhere again; it
    is empty before that, and while they write there. `claims` are those that were watched then, which articles are held
    against to the end.
    """

    name: str
    topic: str
    begin: Instant
    end: Instant
    filters: Filters
    bounds: tuple[PartitionBounds, ...]
    outputs: Outputs
    pipeline_version: str
    started_at: str
    claims: tuple[Claim, ...] = ()
    finished_at: str | None = None
    tally: Tally = Tally()
    left: tuple[tuple[int, int], ...] = ()

    @property
    def group(self) -> str:
        """Its consumer group, and its transactional id."""
        return group_of(self.name)

    @property
    def count(self) -> int:
        """Offsets between its bounds."""
        return sum(each.count for each in self.bounds)

    def finished(self, tally: Tally) -> Job:
        """The same job, done."""
        return replace(self, tally=tally, finished_at=timestamp())

    def publication(self, topics: TopicSettings) -> Publication:
        """Its record on the replays topic."""
        return Publication(topic=topics.replays, key=self.name.encode(), value=to_bytes(self), headers=())


def group_of(name: str) -> str:
    """The consumer group and transactional id of a replay."""
    return f"rasad-replay-{name}"


def timestamp() -> str:
    """Now, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def jobs(connection: Connection, topics: TopicSettings) -> dict[str, Job]:
    """Every replay that was ever begun, by name."""
    if missing(connection, [topics.replays]):
        return {}
    with Tail(connection, topics.replays, "beginning") as tail:
        latest = {record.key or b"": record.value for record in tail.records(follow=False)}
    return {key.decode(): from_bytes(Job, value) for key, value in latest.items() if value}


def known_job(connection: Connection, topics: TopicSettings, name: str) -> Job:
    """The replay of that name. Raises DriverError where there is none."""
    found = jobs(connection, topics)
    if name not in found:
        others = f"; there are {', '.join(sorted(found))}" if found else ""
        raise DriverError(f"no replay {name}{others}: start one with `rasad replay run {name} --from 7d`")
    return found[name]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a replay stands in one partition: the next offset to read, and what became of those before it."""

    position: int
    tally: Tally

    def committed(self) -> OffsetAndMetadata:
        """As it is committed for the job's group."""
        return OffsetAndMetadata(self.position, orjson.dumps(self.tally).decode(), -1)


def beginnings(job: Job) -> dict[int, Standing]:
    """Where each partition stands before anything is read."""
    return {each.partition: Standing(each.start, Tally()) for each in job.bounds}


def standings(connection: Connection, job: Job) -> dict[int, Standing]:
    """Where each partition stands, settled: transactions that are being committed are waited for (KIP-447).

    Raises DriverError where the cluster has forgotten.
    """
    with KafkaConsumer(
        **connection.kafka_python(),
        group_id=job.group,
        isolation_level="read_committed",
        enable_auto_commit=False,
    ) as consumer:
        found = {
            each.partition: consumer.committed(TopicPartition(job.topic, each.partition), metadata=True)
            for each in job.bounds
        }
    if any(each is None for each in found.values()):
        raise DriverError(
            f"the cluster has forgotten how far replay {job.name} came, since it lay idle for longer than "
            "offsets.retention.minutes: start it over under another name"
        )
    return {
        partition: Standing(each.offset, from_bytes(Tally, each.metadata.encode())) for partition, each in found.items()
    }


def remaining(job: Job, standing: Mapping[int, Standing]) -> int:
    """Offsets that are still to be read."""
    return sum(max(each.end - standing[each.partition].position, 0) for each in job.bounds)


def differences(job: Job, request: Request) -> list[str]:
    """What a request asks for that the job of that name does not do, as flags; the job cannot change its mind."""
    return [
        f"{what} was {was or 'not given'}, not {asked}"
        for what, was, asked in (
            ("--from", job.begin.text, _differs(job.begin, request.begin)),
            ("--to", job.end.text, _differs(job.end, request.end)),
            ("--source", job.filters.source, _unless(job.filters.source, request.source)),
            ("--contains", job.filters.contains, _unless(job.filters.contains, request.contains)),
            ("the output topic", job.outputs.enriched, _topics_differ(job, request)),
            ("the pipeline", job.pipeline_version, _unless(job.pipeline_version, request.pipeline_version)),
        )
        if asked is not None
    ]


def _differs(was: Instant, asked: Instant | None) -> str | None:
    """Words that mean another time each day are compared as words."""
    if asked is None or asked.text == was.text:
        return None
    same = asked.ms == was.ms and not (asked.relative or was.relative)
    return None if same else asked.text


def _topics_differ(job: Job, request: Request) -> str | None:
    if request.outputs is None or request.outputs == job.outputs:
        return None
    return request.outputs.enriched


def _unless(was: str | None, asked: str | None) -> str | None:
    return None if asked is None or asked == was else asked
