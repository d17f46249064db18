"""The least that each role needs of a cluster whose authorizer allows nothing by itself, as Kafka's ACLs.

READ and WRITE imply DESCRIBE; a producer without transactions needs WRITE alone (KIP-679).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from rasad.settings import TopicSettings

Operation = Literal["READ", "WRITE", "CREATE", "DESCRIBE", "DESCRIBE_CONFIGS"]
Resource = Literal["TOPIC", "GROUP", "TRANSACTIONAL_ID"]
Role = Literal["worker", "subscriber", "producer", "operator"]

OPERATOR_IDS: Final = "rasad-"
"""What the groups and transactional ids of redrives, replays and cutovers begin with."""
_OPTIONS: Final[dict[Resource, str]] = {
    "TOPIC": "--topic",
    "GROUP": "--group",
    "TRANSACTIONAL_ID": "--transactional-id",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Acl:
    """Operations that a principal ("User:name") may do on a resource; `prefixed`: on all whose names begin so."""

    role: Role
    principal: str
    resource: Resource
    name: str
    operations: tuple[Operation, ...]
    prefixed: bool = False

    def command(self, bootstrap: str) -> str:
        """The line of Kafka's own `kafka-acls.sh` that adds it; `bootstrap` is "host:port,..."."""
        operations = (part for operation in self.operations for part in ("--operation", operation))
        arguments = ["--allow-principal", self.principal, *operations, _OPTIONS[self.resource], self.name]
        if self.prefixed:
            arguments += ["--resource-pattern-type", "prefixed"]
        return f"kafka-acls.sh --bootstrap-server {bootstrap} --add {shlex.join(arguments)}"


def acls(
    role: Role, principal: str, topics: TopicSettings, *, group: str, exactly_once: bool = False
) -> tuple[Acl, ...]:
    """What `principal` needs as `role`. `group` is the workers' consumer group.

    A subscriber's groups begin with the principal's own name, so that none can move another's offsets.
    """
    match role:
        case "worker":
            needs = _worker(topics, group, exactly_once=exactly_once)
        case "subscriber":
            needs = _subscriber(topics, principal.partition(":")[2])
        case "producer":
            needs = iter([_Need("TOPIC", topics.raw, ("WRITE",))])
        case "operator":
            needs = _operator(topics, group)
    return tuple(
        Acl(
            role=role,
            principal=principal,
            resource=need.resource,
            name=need.name,
            operations=need.operations,
            prefixed=need.prefixed,
        )
        for need in needs
    )


@dataclass(frozen=True, slots=True)
class _Need:
    resource: Resource
    name: str
    operations: tuple[Operation, ...]
    prefixed: bool = False


def _outputs(topics: TopicSettings) -> tuple[str, ...]:
    return (topics.enriched, topics.entities, topics.stances)


def _worker(topics: TopicSettings, group: str, *, exactly_once: bool) -> Iterator[_Need]:
    # In a transaction a message over its topic's limit would lose all the others, so that limit is read first.
    writing: tuple[Operation, ...] = ("WRITE", "DESCRIBE_CONFIGS") if exactly_once else ("WRITE",)
    for name in (topics.raw, topics.claims, topics.aliases):
        yield _Need("TOPIC", name, ("READ",))
    for name in (*_outputs(topics), topics.dead_letters):
        yield _Need("TOPIC", name, writing)
    for name in _outputs(topics):
        # The outputs of replays, where a cutover sends the writers.
        yield _Need("TOPIC", f"{name}.", writing, prefixed=True)
    yield _Need("GROUP", group, ("READ",))
    if exactly_once:
        yield _Need("TRANSACTIONAL_ID", f"{group}.", ("WRITE",), prefixed=True)


def _subscriber(topics: TopicSettings, name: str) -> Iterator[_Need]:
    for topic in _outputs(topics):
        yield _Need("TOPIC", topic, ("READ",))
        # The outputs of replays, where a cutover sends the readers.
        yield _Need("TOPIC", f"{topic}.", ("READ",), prefixed=True)
    yield _Need("TOPIC", topics.aliases, ("READ",))
    yield _Need("GROUP", name, ("READ",), prefixed=True)


def _operator(topics: TopicSettings, group: str) -> Iterator[_Need]:
    for name in (topics.raw, topics.redriven, topics.replays, topics.aliases, topics.claims):
        yield _Need("TOPIC", name, ("READ", "WRITE", "CREATE", "DESCRIBE_CONFIGS"))
    for name in (*_outputs(topics), topics.dead_letters):
        yield _Need("TOPIC", name, ("READ", "CREATE", "DESCRIBE_CONFIGS"))
        yield _Need("TOPIC", f"{name}.", ("READ", "WRITE", "CREATE", "DESCRIBE_CONFIGS"), prefixed=True)
    # A cutover moves the workers' offsets, and looks for other groups that read what it replaces.
    yield _Need("GROUP", group, ("READ",))
    yield _Need("GROUP", OPERATOR_IDS, ("READ",), prefixed=True)
    yield _Need("GROUP", "*", ("DESCRIBE",))
    yield _Need("TRANSACTIONAL_ID", OPERATOR_IDS, ("WRITE",), prefixed=True)
