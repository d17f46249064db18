"""Iterating over what Rasad publishes, as typed messages: see `subscribe`.

At least once: a message counts as finished when the next one is asked for, or when `commit` is called while it is in
the caller's hands. Only what is finished is ever committed, so whatever ends the process before that, the message
comes again. A committed offset is never one of a partition that another member of the group has by then.

After a cutover it goes on in the new topic once the old one is read to its end, be all of that committed or not: the
commit may be due with a message that has yet to come. When it comes, it covers the old topic too. Members that still
read that one may be given what was not committed of it: there alone, a commit may be of a partition of others.

A producer that dies between writing and committing writes the same outputs again when it is back, under the same ids
(see `rasad.messages`). Such copies lie near each other in one partition, as far apart as what the partition takes
while a worker is replaced, so remembering the last ids of each partition is enough to give each output once. The
memory is this process's own: what a crashed subscriber had not committed is given again to the next one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Any, Final, Generic, Literal, Self, TypedDict, TypeVar, Unpack, overload

from kafka.errors import KafkaError

from rasad import broker
from rasad.messages import DeadLetter, EnrichedEvent, EntityRecord, Record, StanceRecord
from rasad.settings import Settings, load
from rasad.streams.aliases import ALIASED, resolve
from rasad.streams.connection import BrokerUnavailable, Connection, wait_for_broker
from rasad.streams.driver import DriverError
from rasad.streams.recent_ids import RecentIds
from rasad.streams.selection import Selection, StanceFilter
from rasad.streams.topic_reader import LOOK_EVERY_S, Start, TopicReader, check_start
from rasad.streams.typed_records import InvalidMessage, identity, read, type_of_topic

log = logging.getLogger(__name__)

Message = TypeVar("Message")
Result = TypeVar("Result")

Until = Literal["end"] | datetime | Mapping[int, int]
"""Where to end: at the end as it is on opening, at a time (with its zone), or at an offset by partition."""
OnInvalid = Callable[[Record, InvalidMessage], None]
"""Told of a record that holds no message of the type: it returns to go on past the record, or raises to stop there."""

REMEMBERED: Final = 10_000
"""Ids remembered for each partition, some 1.5 MB. After a crash the worker repeats its uncommitted work, a few seconds
of it, once its session has run out: hundreds of records, not thousands, lie between a message and its copy."""
AUTO_COMMIT_EVERY_S: Final = 5.0
_WAIT_S: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Received(Generic[Message]):
    """A message and the record that held it: topic, partition, offset, timestamp, key, headers."""

    message: Message
    record: Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(Generic[Message]):
    """What asking for the next message came to: one given, or none in time, or none to come any more."""

    given: Received[Message] | None = None
    ended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Generic[Message]):
    """What a subscription reads and how: see `subscribe`.

    Times are in seconds; `look_every_s` is how often the cluster is asked whether the topic has grown or was cut over.
    """

    connection: Connection
    topic: str
    message: type[Message]
    aliases: str | None = None
    group: str | None = None
    start: Start = "beginning"
    until: Until | None = None
    selection: Selection = field(default_factory=Selection)
    auto_commit: bool = False
    remembered: int = REMEMBERED
    on_invalid: OnInvalid | None = None
    session_timeout_s: float = 6.0
    patience_s: float = 60.0
    look_every_s: float = LOOK_EVERY_S


class Subscription(Generic[Message]):
    """Messages of a topic as they come: iterate over it, or over `received()` for where each one came from.

    As a context manager it is open within the block; iterated over without one, it opens, and closes when the loop is
    left. `async with` gives an `AsyncSubscription`.
    """

    def __init__(self, plan: Plan[Message]) -> None:
        self.plan = plan
        self._reader: TopicReader | None = None
        self._in_hand: Record | None = None
        self._finished: dict[int, int] = {}
        self._committed: dict[int, int] = {}
        self._seen: dict[int, RecentIds] = {}
        self._commit_at = 0.0
        self._topic = plan.topic
        self._next_topic: str | None = None
        self._look_at = 0.0
        self._unmoved_at = datetime.now(UTC)
        self._owed: set[int] = set()
        self._left: dict[str, dict[int, int]] = {}
        self._aside: AsyncSubscription[Message] | None = None

    def open(self) -> Self:
        """Settle where to start, and join the group. Raises BrokerUnavailable or DriverError. May be repeated."""
        if self._reader is None:
            wait_for_broker(self.plan.connection, self.plan.patience_s)
            self._begin_anew()
            self._left.clear()
            self._unmoved_at = datetime.now(UTC)
            self._topic = self._led_to()
            self._reader = self._reader_of(self._topic, self.plan.start)
            self._look_at = time.monotonic() + self.plan.look_every_s
            self._commit_at = time.monotonic() + AUTO_COMMIT_EVERY_S
        return self

    def close(self) -> None:
        """Leave the group; with `auto_commit`, commit what is finished first. May be repeated."""
        reader, self._reader = self._reader, None
        if reader is None:
            return
        try:
            if self.plan.auto_commit:
                self._commit(reader, with_hand=False)
        except (BrokerUnavailable, DriverError) as error:
            log.warning("not committed on the way out; it will be given again", extra={"error": str(error)})
        finally:
            self._in_hand = None
            reader.close()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Message]:
        return (each.message for each in self.received())

    def received(self) -> Iterator[Received[Message]]:
        """Messages with the records that held them.

        Raises InvalidMessage where a record holds none and nothing handles that; the record is then the next one
        again. Raises BrokerUnavailable where the cluster is away for longer than the patience, and DriverError where
        it refuses. Ends only where `until` is given.
        """
        opened_here = self._reader is None
        self.open()
        try:
            while not (step := self.step()).ended:
                if step.given is not None:
                    yield step.given
        finally:
            if opened_here:
                self.close()

    def step(self, wait_s: float = _WAIT_S) -> Step[Message]:
        """Ask for the next message, so that the one before is finished; wait some `wait_s` seconds at most."""
        reader = self._opened()
        if self._in_hand is not None:
            self._finish(self._in_hand)
            self._in_hand = None
        if self.plan.until is not None and reader.finished:
            return Step(ended=True)
        if self.plan.aliases is not None and self.plan.until is None:
            reader = self._follow(reader)
        if self.plan.auto_commit and time.monotonic() >= self._commit_at:
            self._commit(reader, with_hand=False)
        record = reader.read(wait_s)
        if record is None:
            return Step()
        given = self._accepted(reader, record)
        if given is None:
            self._finish(record)
        else:
            self._in_hand = record
            self._owed.add(record.partition)
        return Step(given=given)

    @property
    def topic(self) -> str:
        """The topic that is read: the one asked for, or the one that stands in for it after `rasad replay cutover`."""
        return self._topic

    @property
    def offsets(self) -> dict[int, int]:
        """The next offset by partition of `topic`, after the message in the caller's hands: a `start` to go on from."""
        return self.offsets_given(with_hand=True)

    def commit(self) -> None:
        """Commit, for the group, everything that was given so far, the message in the caller's hands too.

        That includes what was given before a cutover, of the topic that it left.
        Where a rebalance overtakes it, nothing is raised and what was to be committed may be given again, to another
        member perhaps. Raises BrokerUnavailable where the cluster does not answer within the patience, DriverError
        where it refuses or where there is no group.
        """
        self.commit_given(with_hand=True)

    def offsets_given(self, *, with_hand: bool) -> dict[int, int]:
        """As `offsets`; without `with_hand`, before the message that was taken last."""
        return self._positions(self._opened(), with_hand=with_hand)

    def commit_given(self, *, with_hand: bool) -> None:
        """As `commit`; without `with_hand`, the message that was taken last is not committed."""
        if self.plan.group is None:
            raise DriverError("a commit needs a group: pass group=, or keep `offsets` and start from them")
        self._commit(self._opened(), with_hand=with_hand)

    async def __aenter__(self) -> AsyncSubscription[Message]:
        self._aside = AsyncSubscription(self)
        return await self._aside.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        aside, self._aside = self._aside, None
        if aside is not None:
            await aside.close()

    async def __aiter__(self) -> AsyncIterator[Message]:
        async with self as events:
            async for message in events:
                yield message

    def _begin_anew(self) -> None:
        """Drop all that is known of what an earlier reader gave; the next one may give it again."""
        self._finished.clear()
        self._committed.clear()
        self._seen.clear()
        self._owed.clear()
        self._next_topic = None

    def _led_to(self) -> str:
        """Where the plan's topic leads today. Raises DriverError where the cluster does not say."""
        plan = self.plan
        if plan.aliases is None or isinstance(plan.start, Mapping):  # offsets are those of this very topic
            return plan.topic
        try:
            return resolve(plan.connection, plan.topic, plan.aliases)
        except KafkaError as error:
            raise DriverError(f"Kafka does not say where {plan.topic} leads ({error!r}); try again") from error

    def _reader_of(self, topic: str, start: Start) -> TopicReader:
        plan = self.plan
        reader = TopicReader(
            plan.connection,
            topic,
            start=start,
            group=plan.group,
            session_timeout_s=plan.session_timeout_s,
            patience_s=plan.patience_s,
            look_every_s=plan.look_every_s,
            on_revoked=self._forget,
        )
        try:
            reader.stop_at(plan.until)
        except BaseException:
            reader.close()
            raise
        return reader

    def _follow(self, reader: TopicReader) -> TopicReader:
        """The reader to go on with: another topic's once the plan's has been cut over and nothing is left to read.

        See `rasad.streams.aliases`.
        """
        if self._next_topic is None and reader.answered and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + self.plan.look_every_s
            asked_at = datetime.now(UTC)
            try:
                led_to = self._led_to()
            except (BrokerUnavailable, DriverError) as error:
                log.warning("not known whether the topic was cut over", extra={"error": str(error)})
                return reader
            if led_to == self._topic:
                self._unmoved_at = asked_at
            else:
                self._next_topic = led_to
                reader.stop_at("end")
        if self._next_topic is None or not reader.finished:
            return reader
        self._leave(reader)
        self._topic = self._next_topic
        self._begin_anew()
        # What is not committed of a topic that we are led back to is given again.
        self._left.pop(self._topic, None)
        at_end = self.plan.start == "end" or isinstance(self.plan.start, int)
        # What the replay wrote before the cutover is not new; what has gone there since the last look is.
        start = self._unmoved_at - timedelta(seconds=self.plan.look_every_s) if at_end else self.plan.start
        self._reader = self._reader_of(self._topic, start)
        return self._reader

    def _leave(self, reader: TopicReader) -> None:
        """Let the reader of a topic go that was cut over, and remember what the caller has yet to commit of it."""
        if self.plan.auto_commit:
            self._commit(reader, with_hand=False)
        positions = self._positions(reader, with_hand=True)
        owed = {partition: offset for partition, offset in positions.items() if partition in self._owed}
        told = {"topic": self._topic, "to": self._next_topic, "uncommitted": owed}
        log.warning("the topic was cut over; going on there", extra=told)
        self.close()
        if owed and self.plan.group is not None:
            self._left[self._topic] = owed

    def _opened(self) -> TopicReader:
        if self._reader is None:
            raise DriverError("the subscription is closed: use it within its `with` block")
        return self._reader

    def _finish(self, record: Record) -> None:
        self._finished[record.partition] = record.offset + 1

    def _accepted(self, reader: TopicReader, record: Record) -> Received[Message] | None:
        """The message in a record, where it is wanted and new."""
        plan = self.plan
        try:
            message = read(plan.message, record)
        except InvalidMessage as error:
            try:
                if plan.on_invalid is None:
                    raise
                plan.on_invalid(record, error)
            except BaseException:
                reader.seek(record.partition, record.offset)
                raise
            return None
        if not plan.selection.matches(message):
            return None
        id_ = identity(message, record)
        if id_ is not None and not self._seen_in(record.partition).add(id_):
            return None
        return Received(message=message, record=record)

    def _seen_in(self, partition: int) -> RecentIds:
        return self._seen.setdefault(partition, RecentIds(self.plan.remembered))

    def _positions(self, reader: TopicReader, *, with_hand: bool) -> dict[int, int]:
        hand = self._in_hand
        positions = {partition: reader.position(partition) for partition in sorted(reader.assigned)}
        if hand is not None and hand.partition in positions and not with_hand:
            positions[hand.partition] = hand.offset
        return {partition: offset for partition, offset in positions.items() if offset is not None}

    def _commit(self, reader: TopicReader, *, with_hand: bool) -> None:
        """Commit what is new of the partitions that are still ours and of which something is finished."""
        self._commit_at = time.monotonic() + AUTO_COMMIT_EVERY_S
        # Positions lie after the last record and what is no record, such as the markers of transactions.
        positions = self._positions(reader, with_hand=with_hand)
        touched = self._finished.keys() | ({self._in_hand.partition} if self._in_hand and with_hand else set())
        new = {
            partition: offset
            for partition, offset in positions.items()
            if partition in touched and self._committed.get(partition) != offset
        }
        if not new or reader.commit(new):
            self._committed |= new
            self._finished |= new
            if with_hand:
                self._in_hand = None
            self._owed -= positions.keys()
            if self._in_hand is not None:
                self._owed.add(self._in_hand.partition)
        self._left = {topic: owed for topic, owed in self._left.items() if not reader.commit_left(topic, owed)}

    def _forget(self, partitions: frozenset[int]) -> dict[int, int]:
        """Drop all that is known of partitions that go; gives what to commit of them. On the consumer's thread."""
        gone = {partition: self._finished.pop(partition) for partition in partitions & self._finished.keys()}
        for partition in partitions:
            self._seen.pop(partition, None)
            self._committed.pop(partition, None)
            self._owed.discard(partition)
        return gone if self.plan.auto_commit else {}


class AsyncSubscription(Generic[Message]):
    """A subscription that waits in a thread of its own, so that the event loop never does.

    `async for` may be cancelled at any time: the message that was being read then is the next one to be given, and
    is not committed before it is.
    """

    def __init__(self, subscription: Subscription[Message]) -> None:
        self._subscription = subscription
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rasad-subscriber")
        # What was asked of the thread and not yet given to anyone: it outlives the cancelling of who asked.
        self._reading: asyncio.Future[Step[Message]] | None = None

    async def open(self) -> Self:
        """As `Subscription.open`."""
        try:
            await self._run(self._subscription.open)
        except BaseException:
            self._thread.submit(self._subscription.close)
            self._thread.shutdown(wait=False)
            raise
        return self

    async def close(self) -> None:
        """As `Subscription.close`; a wait that is going on ends first, within seconds."""
        try:
            # A cancelled executor call that has not begun never runs, and this one must.
            await asyncio.shield(self._run(self._subscription.close))
            if self._reading is not None:
                await asyncio.wait({self._reading})
                if not self._reading.cancelled() and (error := self._reading.exception()) is not None:
                    log.warning("the wait for the next message ended early", extra={"error": str(error)})
        finally:
            self._thread.shutdown(wait=False)

    def __aiter__(self) -> AsyncIterator[Message]:
        return (each.message async for each in self.received())

    async def received(self) -> AsyncIterator[Received[Message]]:
        """As `Subscription.received`."""
        while True:
            if self._reading is None:
                self._reading = self._run(self._subscription.step)
            try:
                step = await asyncio.shield(self._reading)
            except Exception:
                self._reading = None
                raise
            self._reading = None
            if step.ended:
                return
            if step.given is not None:
                yield step.given

    async def offsets(self) -> dict[int, int]:
        """As `Subscription.offsets`."""
        return await self._run(partial(self._subscription.offsets_given, with_hand=self._reading is None))

    async def commit(self) -> None:
        """As `Subscription.commit`."""
        await self._run(partial(self._subscription.commit_given, with_hand=self._reading is None))

    def _run(self, call: Callable[[], Result]) -> asyncio.Future[Result]:
        return asyncio.get_running_loop().run_in_executor(self._thread, call)


class Options(TypedDict, total=False):
    """The keyword arguments of `subscribe` that are the same for every type of message."""

    settings: Settings | None
    bootstrap_servers: str | Iterable[str] | None
    group: str | None
    start: Start
    until: Until | None
    types: str | Iterable[str]
    entities: str | Iterable[str]
    sources: str | Iterable[str]
    stances: str | StanceFilter | Iterable[str | StanceFilter]
    claims: str | Iterable[str]
    auto_commit: bool
    remembered: int
    on_invalid: OnInvalid | None


@overload
def subscribe(
    topic: Literal["news.enriched.v1"] | None = None, *, message: None = None, **options: Unpack[Options]
) -> Subscription[EnrichedEvent]: ...
@overload
def subscribe(
    topic: Literal["news.entities.v1"], *, message: None = None, **options: Unpack[Options]
) -> Subscription[EntityRecord]: ...
@overload
def subscribe(
    topic: Literal["news.stances.v1"], *, message: None = None, **options: Unpack[Options]
) -> Subscription[StanceRecord]: ...
@overload
def subscribe(
    topic: Literal["news.raw.ar.dlq"], *, message: None = None, **options: Unpack[Options]
) -> Subscription[DeadLetter]: ...
@overload
def subscribe(topic: str | None, *, message: type[Message], **options: Unpack[Options]) -> Subscription[Message]: ...
@overload
def subscribe(topic: str, *, message: None = None, **options: Unpack[Options]) -> Subscription[Any]: ...
def subscribe(
    topic: str | None = None,
    *,
    message: type[Any] | None = None,
    settings: Settings | None = None,
    bootstrap_servers: str | Iterable[str] | None = None,
    group: str | None = None,
    start: Start = "beginning",
    until: Until | None = None,
    types: str | Iterable[str] = (),
    entities: str | Iterable[str] = (),
    sources: str | Iterable[str] = (),
    stances: str | StanceFilter | Iterable[str | StanceFilter] = (),
    claims: str | Iterable[str] = (),
    auto_commit: bool = False,
    remembered: int = REMEMBERED,
    on_invalid: OnInvalid | None = None,
) -> Subscription[Any]:
    """Iterate over what Rasad publishes, as typed messages.

    ```python
    with subscribe(group="desk", entities="الأمم المتحدة") as events:
        for event in events:
            handle(event)
            events.commit()
    ```

    `topic`: the enriched topic by default; it also says the type of the messages, or `message` does, of which
    `rasad.messages.Record` means records as they are.
    `settings`, `bootstrap_servers` ("host:port,..."): the cluster; by default those of the `rasad` command, from the
    same file and environment (`rasad.settings.load`), or the broker of `rasad broker start`.
    After `rasad replay cutover` its name leads to the replay's topic, also while it is being read.
    `group`: a consumer group, whose members share the partitions and whose committed offsets are where it goes on.
    Without one the caller keeps `subscription.offsets` and starts from them. A member that asks for no message for 5
    minutes is taken for dead, and what it has not committed goes to others.
    `start`: where to begin in partitions that the group has committed nothing of: "beginning", "end", a number of
    records before the end, a datetime (with its zone), a timedelta back, or
    {partition: offset}, which are offsets of the very topic that is named.
    `until`: where to end, settled on opening: "end", a datetime or {partition: offset}; by default never.
    `types`, `entities`, `sources`, `stances`, `claims`: one value or several of what a message must hold, see
    `rasad.streams.selection.Selection`; a stance is written "kind:label", "kind" or "label".
    `auto_commit`: commit what is finished every few seconds and on leaving, but never the message in hand.
    `remembered`: ids kept for each partition so that a producer's repetitions are given once; 0 gives them all.
    `on_invalid(record, error)`: told of a record that holds no such message, and returns to go on past it; by default
    the error, an `InvalidMessage`, is raised.

    Raises SettingsError or ValueError for what cannot be meant. Nothing is connected before the first use.
    """
    loaded = settings or load(overrides={"kafka.bootstrap_servers": _listed(bootstrap_servers)}).settings
    if settings is not None and bootstrap_servers is not None:
        addresses = {"bootstrap_servers": tuple((_listed(bootstrap_servers) or "").split(","))}
        loaded = settings.model_copy(update={"kafka": settings.kafka.model_copy(update=addresses)})
    name = topic or loaded.topics.enriched
    type_ = message or type_of_topic(name, loaded.topics)
    if type_ is None:
        raise ValueError(f"{name} is none of Rasad's output topics: say the type of its messages with message=")
    selection = Selection.of(types=types, entities=entities, sources=sources, stances=stances, claims=claims)
    selection.check(type_)
    if auto_commit and group is None:
        raise ValueError("auto_commit needs a group to commit for: pass group=")
    check_start(start)
    _check_until(until)
    embedded = None if loaded.kafka.bootstrap_servers else broker.status()
    return Subscription(
        Plan(
            connection=Connection.of(loaded.kafka, embedded.bootstrap if embedded else None),
            topic=name,
            message=type_,
            aliases=loaded.topics.aliases if name in {getattr(loaded.topics, key) for key in ALIASED} else None,
            group=group,
            start=start,
            until=until,
            selection=selection,
            auto_commit=auto_commit,
            remembered=remembered,
            on_invalid=on_invalid,
            session_timeout_s=loaded.worker.session_timeout_s,
            patience_s=loaded.worker.broker_wait_s,
        )
    )


def _check_until(until: object) -> None:
    match until:
        case None | "end" | datetime() | Mapping():
            return
    raise ValueError(f'until={until!r}: say "end", a datetime, or {{partition: offset}}; leave it out for no end')


def _listed(addresses: str | Iterable[str] | None) -> str | None:
    return addresses if addresses is None or isinstance(addresses, str) else ",".join(addresses)
