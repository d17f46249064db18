"""One real broker for the whole run: embedded, or the one that KAFKA_BOOTSTRAP_SERVERS names."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from rasad import broker
from rasad.settings import TopicSettings, load
from rasad.streams import topics as topics_module
from rasad.streams.connection import Connection, wait_for_broker

# A broker and its workers share the machine with the tests, so how long an example takes says nothing.
settings.register_profile("rasad", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rasad")


@pytest.fixture(scope="session")
def connection() -> Iterator[Connection]:
    """A cluster that answers."""
    if os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        given = Connection.of(load().settings.kafka)
        wait_for_broker(given)
        yield given
        return
    # Tests write records of years ago, which the default of a week would remove at some time.
    with broker.embedded(overrides={"log.retention.ms": "-1"}) as running:
        yield Connection(bootstrap_servers=(running.bootstrap,))


def unique_topics(partitions: int) -> TopicSettings:
    """Names that no other test uses."""
    prefix = f"test-{uuid.uuid4().hex[:12]}"
    return TopicSettings(
        raw=f"{prefix}.raw",
        claims=f"{prefix}.claims",
        enriched=f"{prefix}.enriched",
        entities=f"{prefix}.entities",
        stances=f"{prefix}.stances",
        dead_letters=f"{prefix}.dlq",
        redriven=f"{prefix}.dlq.redriven",
        replays=f"{prefix}.replays",
        aliases=f"{prefix}.aliases",
        partitions=partitions,
    )


def _declared(connection: Connection, partitions: int) -> Iterator[TopicSettings]:
    made = unique_topics(partitions)
    topics_module.declare(connection, topics_module.specs(made))
    yield made
    with KafkaAdminClient(**connection.kafka_python()) as admin:
        # Those of the test itself too, such as a replay's, which are named after these.
        own = made.raw.removesuffix("raw")
        admin.delete_topics([name for name in admin.list_topics() if name.startswith(own)])


@pytest.fixture
def topics(connection: Connection) -> Iterator[TopicSettings]:
    """Rasad's topics under names of their own, four partitions each."""
    yield from _declared(connection, partitions=4)


@pytest.fixture
def ordered_topics(connection: Connection) -> Iterator[TopicSettings]:
    """Rasad's topics under names of their own, with one partition, whose offsets are the order of the records."""
    yield from _declared(connection, partitions=1)


def limit_message_bytes(connection: Connection, topic: str, limit: int) -> None:
    """Set the `max.message.bytes` of a topic, which holds from the next message on."""
    with KafkaAdminClient(**connection.kafka_python()) as admin:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": str(limit)})])


@pytest.fixture
def group() -> str:
    """A consumer group that no other test uses."""
    return f"test-{uuid.uuid4().hex[:12]}"
