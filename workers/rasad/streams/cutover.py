"""Moving everyone over to a finished replay, and back; and rewinding a group in place.

A replay ends at a boundary in each partition of the raw topic. A cutover sets the workers' group to that boundary and
aliases the live outputs to the replay's, so the workers, started again, write on where the replay ended: the new topic
then holds every article of both, none twice. Nothing moves while the group has members, for they would commit over it.
Where they are led elsewhere again, the replay's record keeps where they stood: whoever goes back to it goes on there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from kafka import KafkaAdminClient, TopicPartition
from kafka.errors import NoError
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata

from rasad.settings import TopicSettings
from rasad.streams import replay_jobs
from rasad.streams import topics as topics_module
from rasad.streams.aliases import ALIASED, Alias, aliases, removal
from rasad.streams.connection import WAIT_LIMIT_S, Connection
from rasad.streams.driver import DriverError
from rasad.streams.publication import Publication
from rasad.streams.replay_jobs import Job
from rasad.streams.replay_plan import Instant, bounds
from rasad.streams.tailing import PartitionLag, lag
from rasad.streams.transactions import Output, Transactions

_TRANSACTIONAL_ID: Final = "rasad-replay-cutover"
_GONE: Final = "Dead"


@dataclass(frozen=True, slots=True)
class Move:
    """A partition of a group: what it has committed, None for nothing, and what it is to be set to."""

    partition: int
    committed: int | None
    target: int

    @property
    def again(self) -> int:
        """Records that will be read again; fewer than none are skipped."""
        return 0 if self.committed is None else self.committed - self.target


@dataclass(frozen=True, slots=True)
class Behind:
    """How many offsets of `topic` a group that reads it has not read yet."""

    group: str
    topic: str
    count: int


@dataclass(frozen=True, slots=True)
class Cutover:
    """What a cutover would do; `remaining` are offsets that the replay has still to read, `members` the group's.

    There are no `moves` where all of it is done: back at the boundary, workers would write what they wrote since again.
    """

    job: Job
    remaining: int
    group: str
    members: int
    moves: tuple[Move, ...]
    aliases: tuple[Alias, ...]
    readers: tuple[Behind, ...]

    @property
    def done(self) -> bool:
        """Whether the group was cut over to this very replay already."""
        return not self.moves


def prepare(connection: Connection, topics: TopicSettings, name: str, group: str) -> Cutover:
    """What moving the workers of `group` and all readers to replay `name` would do; nothing is written.

    Raises DriverError where there is no such replay.
    """
    job = replay_jobs.known_job(connection, topics, name)
    remaining = 0
    if job.finished_at is None:
        remaining = replay_jobs.remaining(job, replay_jobs.standings(connection, job))
    held = aliases(connection, topics.aliases)
    boundary = _boundary(connection, job, held, group)
    moves = _moves(lag(connection, group, job.topic), boundary)
    left = {each.partition: each.target if each.committed is None else each.committed for each in moves}
    names = {key: getattr(topics, key) for key in ALIASED}
    wanted = tuple(
        Alias(
            name=live,
            topic=getattr(job.outputs, key),
            replay=name,
            group=group,
            boundary=boundary,
            # The live topic itself was last written before the first cutover, be it one that died.
            left=_left(held[live], left) if live in held else left,
        )
        for key, live in names.items()
    )
    return Cutover(
        job=job,
        remaining=remaining,
        group=group,
        members=members_of(connection, group),
        moves=() if all(held.get(each.name) == each for each in wanted) else moves,
        aliases=wanted,
        readers=_readers(connection, {held[live].topic if live in held else live for live in names.values()}),
    )


def cut_over(
    connection: Connection, topics: TopicSettings, planned: Cutover, *, patience_s: float = WAIT_LIMIT_S
) -> None:
    """Do what `prepare` found, nothing where it is done.

    1. Write down where the group stood, in aliases that lead to the live topics still: the next step forgets it. Where
       an earlier replay is left by this, its record keeps where the workers stood.
    2. Set the group to the boundary; the cluster refuses while it has members.
    3. Write the aliases, all in one transaction.

    Where it dies behind the second step, the workers read on from the boundary into the live topics, with the same
    ids; before that, from where they stood. Do it again, or revert. Where the group cannot be set, what the first step
    wrote is taken back. Raises DriverError where the group has members, BrokerUnavailable where the cluster does not
    answer.
    """
    if planned.done:
        return
    _require_empty(connection, planned.group)
    wanted = [spec for spec in topics_module.specs(topics) if spec.name == topics.aliases]
    topics_module.declare(connection, wanted)
    held = aliases(connection, topics.aliases)
    _note_leaving(connection, topics, held, patience_s)
    pending = [replace(each, topic=each.name) for each in planned.aliases if each.name not in held]
    if pending:
        _write(connection, [each.publication(topics) for each in pending], patience_s)
    try:
        _set(connection, planned.group, planned.job.topic, planned.moves)
    except DriverError:
        _write(connection, [removal(each.name, topics) for each in pending], patience_s)
        raise
    job = replay_jobs.known_job(connection, topics, planned.job.name)
    entered = [replace(job, left=()).publication(topics)] if job.left else []
    _write(connection, [*(each.publication(topics) for each in planned.aliases), *entered], patience_s)


def _left(held: Alias, stood: Mapping[int, int]) -> dict[int, int]:
    """Up to where the live topics hold all, given where the group of an alias stands.

    Of a cutover that died before it was done, workers may have gone on into the live topics since: from where they had
    stood, or, where the group was set already, from the boundary.
    """
    left = dict(held.left)
    if held.topic != held.name:
        return left
    for partition, offset in stood.items():
        before, boundary = left.get(partition, 0), held.boundary.get(partition, 0)
        if boundary <= before or offset < boundary:
            left[partition] = max(before, offset)
    return left


def _standing(held: Mapping[str, Alias]) -> Alias | None:
    """An alias of the replay that workers write to now; None where that are the live topics."""
    return next((each for each in held.values() if each.topic != each.name), None)


def _boundary(connection: Connection, job: Job, held: Mapping[str, Alias], group: str) -> dict[int, int]:
    """Where `group` is to go on in each partition: where the replay's topics end, by its own work and by workers'."""
    now = _standing(held)
    here = now if now is not None and now.replay == job.name else None
    if here is not None and here.group == group:
        return dict(here.boundary)
    reached = [(each.partition, each.end) for each in job.bounds] + list(job.left)
    if here is not None:
        reached += [(each.partition, each.committed or 0) for each in lag(connection, here.group, job.topic)]
    boundary: dict[int, int] = {}
    for partition, offset in reached:
        boundary[partition] = max(offset, boundary.get(partition, 0))
    return boundary


def _note_leaving(connection: Connection, topics: TopicSettings, held: Mapping[str, Alias], patience_s: float) -> None:
    """Keep where the workers stand that write to a replay's topics, once, before their group is set elsewhere.

    Raises DriverError where they have not stopped.
    """
    now = _standing(held)
    job = None if now is None else replay_jobs.jobs(connection, topics).get(now.replay)
    if now is None or job is None or job.left:
        return
    _require_empty(connection, now.group)
    stood = lag(connection, now.group, topics.raw)
    left = tuple((each.partition, each.committed) for each in stood if each.committed is not None)
    if left:
        _write(connection, [replace(job, left=left).publication(topics)], patience_s)


def revert(connection: Connection, topics: TopicSettings, *, patience_s: float = WAIT_LIMIT_S) -> tuple[Alias, ...]:
    """Lead everyone back to the live topics, and the workers' group to where it had left them.

    What was enriched since is enriched again into the live topics. Gives the aliases that were taken away, none where
    there were none. Raises DriverError where the group has members.
    """
    held = aliases(connection, topics.aliases)
    mine = tuple(held[getattr(topics, key)] for key in ALIASED if getattr(topics, key) in held)
    if mine:
        _note_leaving(connection, topics, held, patience_s)
        lags = lag(connection, mine[0].group, topics.raw)
        stood = {each.partition: each.committed for each in lags if each.committed is not None}
        _set(connection, mine[0].group, topics.raw, _moves(lags, _left(mine[0], stood)))
        _write(connection, [removal(each.name, topics) for each in mine], patience_s)
    return mine


def rewinding(connection: Connection, group: str, topic: str, when: Instant) -> tuple[Move, ...]:
    """What setting `group` back to the first record of `when` would do, partition by partition; nothing is written.

    A partition that stands before that already stays where it is, and so does one of which nothing is committed.
    Raises DriverError where the group has committed nothing of `topic` at all.
    """
    committed = {each.partition: each.committed for each in lag(connection, group, topic)}
    if all(each is None for each in committed.values()):
        raise DriverError(f"group {group} has committed nothing of {topic}: check its name")
    return tuple(
        Move(each.partition, stood, min(each.start, stood))
        for each in bounds(connection, topic, when, when)
        if (stood := committed[each.partition]) is not None
    )


def rewind(connection: Connection, group: str, topic: str, moves: tuple[Move, ...]) -> None:
    """Do what `rewinding` found. Raises DriverError where the group has members."""
    _set(connection, group, topic, moves)


def members_of(connection: Connection, group: str) -> int:
    """How many members a group has; 0 for one that is not there."""
    with KafkaAdminClient(**connection.kafka_python()) as admin:
        described = admin.describe_groups([group])[group]
    return 0 if described["group_state"] == _GONE else len(described["members"])


def _moves(lags: tuple[PartitionLag, ...], targets: Mapping[int, int]) -> tuple[Move, ...]:
    """One a partition; a partition that was added since begins at its beginning."""
    return tuple(Move(each.partition, each.committed, targets.get(each.partition, each.beginning)) for each in lags)


def _readers(connection: Connection, topics: set[str]) -> tuple[Behind, ...]:
    """The groups that read any of `topics`, and how far they are behind."""
    with KafkaAdminClient(**connection.kafka_python()) as admin:
        groups = [each["group_id"] for each in admin.list_groups()]
        committed = admin.list_group_offsets(groups) if groups else {}
    reading = sorted((group, each.topic) for group, offsets in committed.items() for each in offsets)
    return tuple(
        Behind(group, topic, sum(each.behind for each in lag(connection, group, topic)))
        for group, topic in dict.fromkeys(reading)
        if topic in topics
    )


def _require_empty(connection: Connection, group: str) -> None:
    count = members_of(connection, group)
    if count:
        raise DriverError(f"group {group} has {count} members: stop them all first, they would commit over it")


def _set(connection: Connection, group: str, topic: str, moves: tuple[Move, ...]) -> None:
    offsets = {TopicPartition(topic, each.partition): OffsetAndMetadata(each.target, "", -1) for each in moves}
    _require_empty(connection, group)
    with KafkaAdminClient(**connection.kafka_python()) as admin:
        answers = admin.alter_group_offsets(group, offsets)
    refused = {error.__name__ for error in answers.values() if error is not NoError}
    if refused:
        raise DriverError(
            f"the cluster does not set the offsets of group {group} ({', '.join(sorted(refused))}): has a member come "
            "back? stop them all and try again"
        )


def _write(connection: Connection, publications: list[Publication], patience_s: float) -> None:
    with Transactions(connection, _TRANSACTIONAL_ID, patience_s=patience_s) as transactions:
        transactions.commit([Output(each) for each in publications], {}, ConsumerGroupMetadata(_TRANSACTIONAL_ID))
