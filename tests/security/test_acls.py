"""With the rights that `rasad topics acls` prints each role can do its work, and nothing else."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from rasad.settings import KafkaSettings, TopicSettings
from rasad.streams.access import refusal
from rasad.streams.acls import acls
from rasad.streams.aliases import Alias, removal, resolved
from rasad.streams.connection import Connection
from rasad.streams.publication import Publication
from rasad.streams.topics import declare, specs
from tests.conftest import unique_topics
from tests.kafka.outcomes import article, produce
from tests.kafka.processes import worker
from tests.security.acl_grants import grant
from tests.security.secure_broker import USERS, SecureBroker, environment

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

GROUP = "newsroom"
PARTITION = 0


def write(as_user: Connection, topic: str) -> None:
    with KafkaProducer(**as_user.kafka_python(), max_block_ms=20_000) as producer:
        producer.send(topic, value=b"a").get(20)


def publish(as_user: Connection, record: Publication) -> None:
    with KafkaProducer(**as_user.kafka_python()) as producer:
        producer.send(record.topic, key=record.key, value=record.value).get(20)


def operations(as_user: Connection, topics: TopicSettings) -> dict[str, set[str]]:
    """What the broker says that the user may do on each of Rasad's topics; nothing of those that it does not show."""
    with KafkaAdminClient(**as_user.kafka_python()) as admin:
        shown = {topic["name"]: set(topic["authorized_operations"]) for topic in admin.describe_topics()}
    names = {key: name for key, name in topics.model_dump().items() if isinstance(name, str)}
    return {key: shown.get(name, set()) for key, name in names.items()}


def commit(as_user: Connection, group: str, topic: str) -> None:
    with KafkaConsumer(**as_user.kafka_python(), group_id=group, enable_auto_commit=False) as consumer:
        consumer.assign([TopicPartition(topic, PARTITION)])
        consumer.commit({TopicPartition(topic, PARTITION): OffsetAndMetadata(0, "", -1)})


def transact(as_user: Connection, transactional_id: str) -> None:
    with KafkaProducer(**as_user.kafka_python(), transactional_id=transactional_id) as producer:
        producer.init_transactions()


def allowed(action: Callable[..., None], *arguments: object) -> bool:
    try:
        action(*arguments)
    except KafkaError as error:
        said = refusal(error)
    else:
        return True
    assert re.search(r"refuses a right .*`rasad topics acls`", said)
    return False


@pytest.fixture(scope="module")
def topics(secure: SecureBroker) -> TopicSettings:
    """Rasad's topics under names of their own, and the rights of exactly-once workers and all others."""
    settings = unique_topics(1)
    administrator = Connection(bootstrap_servers=(secure.plain,))
    declare(administrator, specs(settings))
    grant(administrator, settings, GROUP, exactly_once=True)
    return settings


@pytest.fixture(scope="module")
def users(secure: SecureBroker) -> Mapping[str, Connection]:
    return {
        user: Connection.of(KafkaSettings.model_validate(secure.settings(user, "PLAIN", tls=False))) for user in USERS
    }


OUTPUTS = ("enriched", "entities", "stances")
READ, WRITE, CREATE, LIMITS = {"READ", "DESCRIBE"}, {"WRITE", "DESCRIBE"}, {"CREATE"}, {"DESCRIBE_CONFIGS"}
KEPT = READ | WRITE | CREATE | LIMITS
RIGHTS: dict[str, dict[str, set[str]]] = {
    "worker": dict.fromkeys(("raw", "claims", "aliases"), READ)
    | dict.fromkeys((*OUTPUTS, "dead_letters"), WRITE | LIMITS),
    "subscriber": dict.fromkeys((*OUTPUTS, "aliases"), READ),
    "producer": {"raw": WRITE},
    "operator": dict.fromkeys(("raw", "claims", "redriven", "replays", "aliases"), KEPT)
    | dict.fromkeys((*OUTPUTS, "dead_letters"), READ | CREATE | LIMITS),
}


@pytest.mark.parametrize("role", USERS)
def test_topics(topics: TopicSettings, users: Mapping[str, Connection], role: str) -> None:
    found = operations(users[role], topics)
    assert found == {key: RIGHTS[role].get(key, set()) for key in found}


def test_writing(topics: TopicSettings, users: Mapping[str, Connection]) -> None:
    for role in USERS:
        assert allowed(write, users[role], topics.raw) == (role in ("producer", "operator"))
        assert allowed(write, users[role], topics.enriched) == (role == "worker")


def test_a_worker_writes_where_a_cutover_leads(
    secure: SecureBroker, topics: TopicSettings, users: Mapping[str, Connection]
) -> None:
    replayed = f"{topics.enriched}.replay-july"
    with KafkaAdminClient(**Connection(bootstrap_servers=(secure.plain,)).kafka_python()) as admin:
        admin.create_topics({replayed: {"num_partitions": 1, "replication_factor": 1}})
    alias = Alias(
        name=topics.enriched, topic=replayed, replay="july", group=GROUP, boundary={PARTITION: 0}, left={PARTITION: 0}
    )
    publish(users["operator"], alias.publication(topics))
    assert resolved(users["worker"], topics).enriched == replayed
    assert allowed(write, users["worker"], replayed)
    publish(users["operator"], removal(topics.enriched, topics))
    assert resolved(users["worker"], topics) == topics


def test_groups_and_transactional_ids(topics: TopicSettings, users: Mapping[str, Connection]) -> None:
    assert allowed(commit, users["worker"], GROUP, topics.raw)
    assert not allowed(commit, users["worker"], "another", topics.raw)
    assert allowed(commit, users["subscriber"], "subscriber-archive", topics.enriched)
    assert not allowed(commit, users["subscriber"], GROUP, topics.enriched)
    assert not allowed(commit, users["subscriber"], "subscriber-archive", topics.raw)
    assert not allowed(commit, users["producer"], GROUP, topics.raw)
    assert allowed(commit, users["operator"], GROUP, topics.raw)
    assert allowed(commit, users["operator"], "rasad-replay-july", topics.raw)
    assert not allowed(commit, users["operator"], "subscriber-archive", topics.enriched)
    assert allowed(transact, users["worker"], f"{GROUP}.one")
    assert not allowed(transact, users["worker"], "rasad-replay-july")
    assert allowed(transact, users["operator"], "rasad-replay-july")
    assert not allowed(transact, users["subscriber"], f"{GROUP}.one")


@pytest.mark.parametrize(
    ("user", "group", "exactly_once", "named"),
    [
        ("worker", "another", False, "GROUP/another"),
        ("operator", GROUP, False, "TopicAuthorizationFailed"),
        ("operator", GROUP, True, "TransactionalIdAuthorizationFailed"),
    ],
)
def test_a_worker_without_a_right_ends_and_names_it(
    secure: SecureBroker,
    topics: TopicSettings,
    users: Mapping[str, Connection],
    user: str,
    group: str,
    exactly_once: bool,
    named: str,
) -> None:
    produce(users["producer"], topics.raw, [article(0)])
    env = {**os.environ, **environment(secure.settings(user, "PLAIN", tls=False))}
    with worker(
        users[user], topics, group, env=env, exactly_once=exactly_once, auto_offset_reset="earliest", broker_wait_s=600
    ) as running:
        assert running.exit_status(120) == 1
    assert re.search(r"refuses a right .*`rasad topics acls`", running.lines[-1])
    assert named in running.lines[-1]


def test_workers_at_least_once_need_less() -> None:
    settings = TopicSettings()

    def rights(*, exactly_once: bool) -> set[tuple[str, str, str]]:
        granted = acls("worker", "User:worker", settings, group=GROUP, exactly_once=exactly_once)
        return {(operation, acl.resource, acl.name) for acl in granted for operation in acl.operations}

    less, more = rights(exactly_once=False), rights(exactly_once=True)
    assert less < more
    live = (settings.enriched, settings.entities, settings.stances)
    outputs = (*live, settings.dead_letters, *(f"{name}." for name in live))
    assert more - less == {
        ("WRITE", "TRANSACTIONAL_ID", f"{GROUP}."),
        *(("DESCRIBE_CONFIGS", "TOPIC", name) for name in outputs),
    }
