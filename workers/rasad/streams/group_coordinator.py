"""The broker that coordinates a consumer group: waiting for one, and whether a group takes this client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import tenacity
from kafka import KafkaAdminClient
from kafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    GroupAuthorizationFailedError,
    NotCoordinatorError,
)

from rasad.settings import WorkerSettings
from rasad.streams.access import AccessRefused, refusal
from rasad.streams.connection import ANSWER_WITHIN_S, BrokerUnavailable, Connection, waiting_for
from rasad.streams.driver import DriverError

Answer = TypeVar("Answer")

_COORDINATOR_AWAY: Final = (CoordinatorNotAvailableError, CoordinatorLoadInProgressError, NotCoordinatorError)


def require_group(connection: Connection, group: str, assignor: str, limit_s: float) -> None:
    """See that this client may work in a consumer group: Faust would wait without end for one that it cannot join.

    Raises AccessRefused where it has no right to, DriverError where the group's members share out its partitions by
    another assignor than the one named, as those of another driver do, and BrokerUnavailable where the group has no
    coordinator for `limit_s` seconds, or for what one answer may take where that is longer.
    """

    def ask() -> str:
        with KafkaAdminClient(**connection.kafka_python()) as admin:
            described = admin.describe_groups([group])[group]
        told = described["error"] or ""
        if any(error.__name__ in told for error in _COORDINATOR_AWAY):
            raise CoordinatorNotAvailableError(told)
        return str(described["protocol_data"])

    try:
        found = coordinated(ask, max(limit_s, ANSWER_WITHIN_S))
    except GroupAuthorizationFailedError as error:
        raise AccessRefused(refusal(error)) from error
    if found not in ("", assignor):
        raise DriverError(other_driver(group))


def coordinated(ask: Callable[[], Answer], limit_s: float) -> Answer:
    """What a group's coordinator answers, waiting for one as long as `limit_s`.

    The first question of all makes a cluster create the topic of its coordinators, and there is none meanwhile, nor
    while one moves. `ask` must look for the coordinator anew each time: kafka-python's clients keep the one they found.
    Raises BrokerUnavailable where none comes, and what else `ask` raises.
    """
    attempts = waiting_for("the group's coordinator", limit_s, tenacity.retry_if_exception_type(_COORDINATOR_AWAY))
    try:
        return attempts(ask)
    except _COORDINATOR_AWAY as error:
        raise BrokerUnavailable(
            f"no coordinator for the group within {limit_s:.0f} s ({error}); see whether all partitions of "
            "__consumer_offsets have a leader"
        ) from error


def other_driver(group: str) -> str:
    """What is wrong where members of two drivers meet in one group."""
    return (
        f"group {group} has members of the other kind, some with --exactly-once and some without: stop them all before "
        "the first of another kind starts, or take a group of its own with --group"
    )


def session_refused(worker: WorkerSettings) -> str:
    """What is wrong where a broker takes no session as long, or as short, as a worker's."""
    return (
        f"worker.session_timeout_s = {worker.session_timeout_s:g}: the broker refuses it; take one between its "
        "group.min.session.timeout.ms and its group.max.session.timeout.ms"
    )
