"""The topics that Rasad reads and writes: declared where they are missing, compared where they exist."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import TopicAlreadyExistsError

from rasad.settings import TopicSettings
from rasad.streams.connection import Connection
from rasad.streams.driver import DriverError

RAW_BYTES: Final = 4 * 1024 * 1024
"""Largest message of the raw topic: above the worker's own limit, so that an article over it gets a dead letter."""
OUTPUT_BYTES: Final = 8 * 1024 * 1024
"""Largest message of an output topic: an event is a few times its article, a dead letter the article and headers."""
_CLEANUP: Final = "cleanup.policy"
_LARGEST: Final = "max.message.bytes"
_IN_SYNC: Final = "min.insync.replicas"
_REPLICAS_TO_LOSE_ONE: Final = 3
"""From so many replicas on a record can wait for a second one while a node is away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """What a topic must be.

    `largest` is its `max.message.bytes`, in bytes, and `in_sync` its `min.insync.replicas`; a topic may have more of
    both. None leaves that to the cluster.
    """

    name: str
    partitions: int
    replication_factor: int
    cleanup: str
    largest: int
    in_sync: int | None = None

    def configs(self) -> dict[str, str]:
        """What a new topic is given."""
        in_sync = {} if self.in_sync is None else {_IN_SYNC: str(self.in_sync)}
        return {_CLEANUP: self.cleanup, _LARGEST: str(self.largest), **in_sync}


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which a cluster's topic is not what it must be. `found` is None where there is no topic at all."""

    topic: str
    key: str
    wanted: str
    found: str | None

    def __str__(self) -> str:
        if self.found is None:
            return f"{self.topic}: missing; declare it with `rasad topics declare`"
        return f"{self.topic}: {self.key} is {self.found}, wanted {self.wanted}; {_fix(self)}"


def _fix(difference: Difference) -> str:
    match difference.key:
        case "partitions":
            return "the number of a live topic can only grow, and then keys move: set topics.partitions or a new topic"
        case "replication factor":
            return "move its partitions with kafka-reassign-partitions.sh, or set topics.replication_factor"
        case key:
            return f"set it with kafka-configs.sh --alter --add-config {key}={difference.wanted}"


def specs(topics: TopicSettings) -> tuple[TopicSpec, ...]:
    """Every topic of Rasad under its configured name.

    With three replicas and more, what was acknowledged is on two nodes at least (`min.insync.replicas`): the producers
    ask for all that are in sync, which by Kafka's default may be a single one.
    """
    in_sync = 2 if topics.replication_factor >= _REPLICAS_TO_LOSE_ONE else None

    def spec(name: str, *, cleanup: str = "delete", largest: int = OUTPUT_BYTES) -> TopicSpec:
        return TopicSpec(
            name=name,
            partitions=topics.partitions,
            replication_factor=topics.replication_factor,
            cleanup=cleanup,
            largest=largest,
            in_sync=in_sync,
        )

    return (
        spec(topics.raw, largest=RAW_BYTES),
        spec(topics.claims, cleanup="compact", largest=RAW_BYTES),
        spec(topics.enriched),
        spec(topics.entities),
        spec(topics.stances),
        spec(topics.dead_letters),
        spec(topics.redriven, cleanup="compact"),
        spec(topics.replays, cleanup="compact"),
        spec(topics.aliases, cleanup="compact"),
    )


def output_topics(topics: TopicSettings) -> tuple[str, ...]:
    """The topics that a worker writes."""
    return (topics.enriched, topics.entities, topics.stances, topics.dead_letters)


def worker_topics(topics: TopicSettings) -> tuple[str, ...]:
    """The topics without which a worker cannot work."""
    return (topics.raw, *output_topics(topics))


def declare(connection: Connection, wanted: Iterable[TopicSpec]) -> tuple[str, ...]:
    """Create the topics that are missing and touch no other; names of the new ones. May be repeated at will.

    Raises kafka.errors.KafkaError where the broker refuses.
    """
    wanted = tuple(wanted)
    with KafkaAdminClient(**connection.kafka_python()) as admin:
        existing = set(admin.list_topics())
        created = [spec.name for spec in wanted if spec.name not in existing and _create(admin, spec)]
        admin.wait_for_topics([spec.name for spec in wanted])
    return tuple(created)


def _create(admin: KafkaAdminClient, spec: TopicSpec) -> bool:
    """Create one topic; False where another process was faster."""
    request = {
        spec.name: {
            "num_partitions": spec.partitions,
            "replication_factor": spec.replication_factor,
            "configs": spec.configs(),
        }
    }
    try:
        admin.create_topics(request)
    except TopicAlreadyExistsError:
        return False
    return True


def drift(connection: Connection, wanted: Iterable[TopicSpec]) -> tuple[Difference, ...]:
    """Every difference between the cluster's topics and what they must be; none means all is well."""
    wanted = tuple(wanted)
    with KafkaAdminClient(**connection.kafka_python()) as admin:
        existing = set(admin.list_topics())
        present = [spec.name for spec in wanted if spec.name in existing]
        described = {topic["name"]: topic for topic in admin.describe_topics(present)} if present else {}
        configured = _configurations(admin, present)
    return tuple(
        difference
        for spec in wanted
        for difference in _differences(spec, described.get(spec.name), configured.get(spec.name, {}))
    )


def _configurations(admin: KafkaAdminClient, names: list[str]) -> Mapping[str, Mapping[str, str]]:
    if not names:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name, [_CLEANUP, _LARGEST, _IN_SYNC]) for name in names]
    answer = admin.describe_configs(resources, config_filter="all")["topic"]
    return {name: {key: entry["value"] for key, entry in entries.items()} for name, entries in answer.items()}


def _differences(
    spec: TopicSpec, described: Mapping[str, Any] | None, configured: Mapping[str, str]
) -> Iterator[Difference]:
    if described is None:
        yield Difference(spec.name, "topic", "present", None)
        return
    partitions = described["partitions"]
    if len(partitions) != spec.partitions:
        yield Difference(spec.name, "partitions", str(spec.partitions), str(len(partitions)))
    replicas = min(len(partition["replica_nodes"]) for partition in partitions)
    if replicas != spec.replication_factor:
        yield Difference(spec.name, "replication factor", str(spec.replication_factor), str(replicas))
    if configured[_CLEANUP] != spec.cleanup:
        yield Difference(spec.name, _CLEANUP, spec.cleanup, configured[_CLEANUP])
    if int(configured[_LARGEST]) < spec.largest:
        yield Difference(spec.name, _LARGEST, str(spec.largest), configured[_LARGEST])
    if spec.in_sync is not None and int(configured[_IN_SYNC]) < spec.in_sync:
        yield Difference(spec.name, _IN_SYNC, str(spec.in_sync), configured[_IN_SYNC])


def missing(connection: Connection, names: Iterable[str]) -> tuple[str, ...]:
    """Those of `names` that the cluster does not have."""
    with KafkaAdminClient(**connection.kafka_python()) as admin:
        existing = set(admin.list_topics())
    return tuple(name for name in names if name not in existing)


def require(connection: Connection, names: Iterable[str]) -> None:
    """Raise DriverError where the cluster lacks one of `names`."""
    absent = missing(connection, names)
    if absent:
        fix = "declare them with `rasad topics declare`"
        if connection.authenticated or connection.encrypted:
            fix += ", or grant the right to see them: `rasad topics acls`"
        raise DriverError(f"missing topics: {', '.join(absent)}; {fix}")


def declare_like(connection: Connection, models: Mapping[str, str], *, partitions: int) -> tuple[str, ...]:
    """Create those topics of `models` that are missing, each with the settings of the existing topic it maps to.

    They get its partitions, but at least `partitions`, its replication factor and every setting of its own. Gives the
    names of the new ones. Raises kafka.errors.KafkaError where a model is missing or the broker refuses.
    """
    with KafkaAdminClient(**connection.kafka_python()) as admin:
        existing = set(admin.list_topics())
        described = {topic["name"]: topic["partitions"] for topic in admin.describe_topics(list(models.values()))}
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in models.values()]
        configured = admin.describe_configs(resources, config_filter="modified")["topic"]
        wanted = {
            name: {
                "num_partitions": max(len(described[model]), partitions),
                "replication_factor": min(len(each["replica_nodes"]) for each in described[model]),
                "configs": {
                    key: entry["value"]
                    for key, entry in configured[model].items()
                    if entry["config_source"] == "DYNAMIC_TOPIC_CONFIG"
                },
            }
            for name, model in models.items()
            if name not in existing
        }
        if wanted:
            admin.create_topics(wanted)
            admin.wait_for_topics(list(wanted))
    return tuple(wanted)
