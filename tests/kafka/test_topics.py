"""Topics are declared once, and told apart from what they must be."""

from __future__ import annotations

from dataclasses import replace

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from rasad.settings import TopicSettings
from rasad.streams.connection import Connection
from rasad.streams.topics import declare, drift, missing, specs
from tests.conftest import unique_topics

pytestmark = pytest.mark.kafka


def test_declaring_again_changes_nothing(connection: Connection) -> None:
    settings = unique_topics(2)
    wanted = specs(settings)
    assert [str(each) for each in drift(connection, wanted)] == [
        f"{spec.name}: missing; declare it with `rasad topics declare`" for spec in wanted
    ]
    assert declare(connection, wanted) == tuple(spec.name for spec in wanted)
    assert declare(connection, wanted) == ()
    assert drift(connection, wanted) == ()
    with KafkaAdminClient(**connection.kafka_python()) as admin:
        admin.delete_topics([spec.name for spec in wanted])


def test_only_what_is_missing_is_declared(connection: Connection, topics: TopicSettings) -> None:
    renamed = topics.model_copy(update={"claims": f"{topics.claims}.other"})
    assert missing(connection, [topics.raw, renamed.claims]) == (renamed.claims,)
    assert declare(connection, specs(renamed)) == (renamed.claims,)
    with KafkaAdminClient(**connection.kafka_python()) as admin:
        admin.delete_topics([renamed.claims])


def test_drift_names_topic_key_and_values(connection: Connection, topics: TopicSettings) -> None:
    other = topics.model_copy(
        update={"raw": topics.claims, "claims": topics.raw, "partitions": 6, "replication_factor": 2}
    )
    found = {(each.topic, each.key): (each.wanted, each.found) for each in drift(connection, specs(other))}
    assert found[topics.claims, "partitions"] == ("6", "4")
    assert found[topics.claims, "replication factor"] == ("2", "1")
    assert found[topics.claims, "cleanup.policy"] == ("delete", "compact")
    assert found[topics.raw, "cleanup.policy"] == ("compact", "delete")
    assert not any(key == "cleanup.policy" for topic, key in found if topic == topics.enriched)


def test_a_topic_that_takes_less_than_it_must_has_drifted(connection: Connection, topics: TopicSettings) -> None:
    swapped = topics.model_copy(update={"raw": topics.enriched, "enriched": topics.raw})
    (difference,) = drift(connection, specs(swapped))
    assert (difference.topic, difference.key) == (topics.raw, "max.message.bytes")
    assert "kafka-configs.sh --alter --add-config max.message.bytes=8388608" in str(difference)


def test_with_three_replicas_a_record_waits_for_a_second_one(connection: Connection, topics: TopicSettings) -> None:
    replicated = specs(topics.model_copy(update={"replication_factor": 3}))
    waiting = replace(replicated[0], name=f"{topics.raw}.waiting", replication_factor=1)
    with KafkaAdminClient(**connection.kafka_python()) as admin:
        one = [ConfigResource(ConfigResourceType.TOPIC, spec.name, {"min.insync.replicas": "1"}) for spec in replicated]
        admin.alter_configs(one)
    found = {(each.topic, each.key): (each.wanted, each.found) for each in drift(connection, replicated)}
    assert found[topics.raw, "min.insync.replicas"] == ("2", "1")
    assert found[topics.aliases, "min.insync.replicas"] == ("2", "1")
    assert declare(connection, [waiting]) == (waiting.name,)
    assert drift(connection, [waiting]) == ()
    with KafkaAdminClient(**connection.kafka_python()) as admin:
        admin.delete_topics([waiting.name])
