"""Iterating over what Rasad publishes, as typed messages: see `subscribe`.

At least once: a message counts as finished when the next one is asked for, or when `commit` is called while it is in
the caller's hands. Only what is finished is ever committed, so whatever ends the process before that, the message
comes again. A committed offset is never one of a partition that another member of the group has by then.

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
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Final, Generic, Literal, Self, TypedDict, TypeVar, Unpack, overload

from rasad import broker
from rasad.messages import DeadLetter, EnrichedEvent, EntityRecord, Record, StanceRecord
from rasad.settings import Settings, load
from rasad.streams.connection import BrokerUnavailable, Connection, wait_for_broker
from rasad.streams.driver import DriverError
from rasad.streams.recent_ids import RecentIds
from rasad.streams.selection import Selection, StanceFilter
from rasad.streams.topic_reader import Start, TopicReader
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
class Plan(Generic[Message]):
    """What a subscription reads and how; see `subscribe` for each."""

    connection: Connection
    topic: str
    message: type[Message]
    group: str | None = None
    start: Start = "beginning"
    until: Until | None = None
    selection: Selection = field(default_factory=Selection)
    auto_commit: bool = False
    remembered: int = REMEMBERED
    on_invalid: OnInvalid | None = None
    session_timeout_s: float = 6.0
    patience_s: float = 60.0


class Subscription(Generic[Message]):
    """Messages of a topic as they come: iterate over it, or over `received()` for where each one came from.

    As a context manager it is open within the block; iterated over without one, it opens, and closes when the loop is
    left. `async with` gives an `AsyncSubscription`.
    """

    def __init__(self, plan: Plan[Message]) -> None:
        self._plan = plan
        self._reader: TopicReader | None = None
        self._in_hand: Record | None = None
        self._finished: dict[int, int] = {}
        self._committed: dict[int, int] = {}
        self._seen: dict[int, RecentIds] = {}
        self._commit_at = 0.0
        self._aside: AsyncSubscription[Message] | None = None

    def open(self) -> Self:
        """Settle where to start, and join the group. Raises BrokerUnavailable or DriverError. May be repeated."""
        if self._reader is None:
            plan = self._plan
            wait_for_broker(plan.connection, plan.patience_s)
            reader = TopicReader(
                plan.connection,
                plan.topic,
                start=plan.start,
                group=plan.group,
                session_timeout_s=plan.session_timeout_s,
                patience_s=plan.patience_s,
                on_revoked=self._forget,
            )
            try:
                reader.stop_at(plan.until)
            except BaseException:
                reader.close()
                raise
            self._reader = reader
            self._commit_at = time.monotonic() + AUTO_COMMIT_EVERY_S
        return self

    def close(self) -> None:
        """Leave the group; with `auto_commit`, commit what is finished first. May be repeated."""
        reader, self._reader = self._reader, None
        if reader is None:
            return
        try:
            if self._plan.auto_commit:
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
            while not self.finished:
                if (given := self.advance()) is not None:
                    yield given
        finally:
            if opened_here:
                self.close()

    def advance(self, wait_s: float = _WAIT_S) -> Received[Message] | None:
        """The next message, or None where none comes within some `wait_s` seconds; the one before is now finished."""
        reader = self._opened()
        if self._in_hand is not None:
            self._finish(self._in_hand)
            self._in_hand = None
        if self._plan.auto_commit and time.monotonic() >= self._commit_at:
            self._commit(reader, with_hand=False)
        record = reader.read(wait_s)
        if record is None:
            return None
        given = self._accepted(reader, record)
        if given is None:
            self._finish(record)
        else:
            self._in_hand = record
        return given

    @property
    def finished(self) -> bool:
        """Whether everything before `until` was given."""
        return self._opened().finished

    @property
    def offsets(self) -> dict[int, int]:
        """The next offset by partition, after the message in the caller's hands: a `start` that goes on from here."""
        return self.offsets_given(with_hand=True)

    def commit(self) -> None:
        """Commit, for the group, everything that was given so far, the message in the caller's hands too.

        Where a rebalance overtakes it, nothing is raised and what was to be committed may be given again, to another
        member perhaps. Raises BrokerUnavailable where the cluster does not answer within the patience, DriverError
        where it refuses or where there is no group.
        """
        self.commit_given(with_hand=True)

    def offsets_given(self, *, with_hand: bool) -> dict[int, int]:
        """As `offsets`; without `with_hand`, before the message that was taken last."""
        reader, hand = self._opened(), self._in_hand
        positions = {partition: reader.position(partition) for partition in sorted(reader.assigned)}
        if hand is not None and hand.partition in positions and not with_hand:
            positions[hand.partition] = hand.offset
        return {partition: offset for partition, offset in positions.items() if offset is not None}

    def commit_given(self, *, with_hand: bool) -> None:
        """As `commit`; without `with_hand`, the message that was taken last is not committed."""
        if self._plan.group is None:
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

    def _opened(self) -> TopicReader:
        if self._reader is None:
            raise DriverError("the subscription is closed: use it within its `with` block")
        return self._reader

    def _finish(self, record: Record) -> None:
        self._finished[record.partition] = record.offset + 1

    def _accepted(self, reader: TopicReader, record: Record) -> Received[Message] | None:
        """The message in a record, where it is wanted and new."""
        plan = self._plan
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
        return self._seen.setdefault(partition, RecentIds(self._plan.remembered))

    def _commit(self, reader: TopicReader, *, with_hand: bool) -> None:
        """Commit what is new of the partitions that are still ours and of which something is finished."""
        self._commit_at = time.monotonic() + AUTO_COMMIT_EVERY_S
        # Positions lie after the last record and what is no record, such as the markers of transactions.
        positions = self.offsets_given(with_hand=with_hand)
        touched = self._finished.keys() | ({self._in_hand.partition} if self._in_hand and with_hand else set())
        new = {
            partition: offset
            for partition, offset in positions.items()
            if partition in touched and self._committed.get(partition) != offset
        }
        if new and reader.commit(new):
            self._committed |= new

    def _forget(self, partitions: frozenset[int]) -> dict[int, int]:
        """Drop all that is known of partitions that go; gives what to commit of them. On the consumer's thread."""
        gone = {partition: self._finished.pop(partition) for partition in partitions & self._finished.keys()}
        for partition in partitions:
            self._seen.pop(partition, None)
            self._committed.pop(partition, None)
        return gone if self._plan.auto_commit else {}


class AsyncSubscription(Generic[Message]):
    """A subscription that waits in a thread of its own, so that the event loop never does.

    `async for` may be cancelled at any time: the message that was being read then is the next one to be given, and
    is not committed before it is.
    """

    def __init__(self, subscription: Subscription[Message]) -> None:
        self._subscription = subscription
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rasad-subscriber")
        # What was asked of the thread and not yet given to anyone: it outlives the cancelling of who asked.
        self._reading: asyncio.Future[_Step[Message]] | None = None

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
                self._reading = self._run(self._step)
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

    def _step(self) -> _Step[Message]:
        if self._subscription.finished:
            return _Step(ended=True)
        return _Step(given=self._subscription.advance())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step(Generic[Message]):
    """What one wait of the thread came to."""

    ended: bool = False
    given: Received[Message] | None = None


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
    `group`: a consumer group, whose members share the partitions and whose committed offsets are where it goes on.
    Without one the caller keeps `subscription.offsets` and starts from them.
    `start`: where to begin in partitions that the group has committed nothing of: "beginning", "end", a number of
    records before the end, a datetime (with its zone), a timedelta back, or {partition: offset}.
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
    embedded = None if loaded.kafka.bootstrap_servers else broker.status()
    return Subscription(
        Plan(
            connection=Connection.of(loaded.kafka, embedded.bootstrap if embedded else None),
            topic=name,
            message=type_,
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


def _listed(addresses: str | Iterable[str] | None) -> str | None:
    return addresses if addresses is None or isinstance(addresses, str) else ",".join(addresses)
