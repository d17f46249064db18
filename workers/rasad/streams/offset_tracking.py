"""Faust's Kafka transport with offset tracking that loses nothing.

Faust 0.15.3 commits past work in flight in two ways, and both lose records when the process dies:

- `Consumer._drain_messages` notes a gap in offsets (a transaction marker, a compacted record) one too far, so the
  record right after it counts as handled before it is.
- With nothing committed yet, `Consumer._new_offset` takes the lowest handled offset for the first one of all.

Here a partition's committable offset is that of its oldest record still in flight, or else the one after its newest:
what no record was handed out for needs no bookkeeping. For that to hold, each record from a position on is handed
out once and in order, so records fetched before a seek are dropped after it, and a group without a committed offset
commits the one it starts from.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from aiokafka.errors import CommitFailedError, KafkaError
from faust.transport.drivers import aiokafka as faust_aiokafka
from faust.types.tuples import TP, ack_lock
from mode.utils.futures import notify

from rasad.streams.connection import BrokerUnavailable
from rasad.streams.driver import DriverError
from rasad.streams.retention import first_left
from rasad.streams.unreadable import UnreadableRecord

_SEEK_WITHIN: Final = 0.9
"""Of the time after which Faust gives up waiting for it."""
_BEGINNINGS_WITHIN_S: Final = 5.0
# Of Faust's own logger family, so that its talk of every start and stop is set apart from Rasad's log.
_LOGGER = logging.getLogger("faust.rasad")


class InFlight:
    """The offsets of one partition that were handed out and not finished yet."""

    __slots__ = ("_after_newest", "_open")

    def __init__(self) -> None:
        self._open: set[int] = set()
        self._after_newest: int | None = None

    def hand_out(self, offset: int) -> None:
        """Note that the record at `offset` goes to work."""
        self._open.add(offset)
        self._after_newest = max(offset + 1, self._after_newest or 0)

    def finish(self, offset: int) -> bool:
        """Note that the record at `offset` is done with. False where it was not in flight."""
        if offset not in self._open:
            return False
        self._open.remove(offset)
        return True

    @property
    def idle(self) -> bool:
        """Whether all that was handed out is finished."""
        return not self._open

    def committable(self) -> int | None:
        """The offset before which all is finished; None where nothing was handed out."""
        return min(self._open) if self._open else self._after_newest


class Fetched(dict[Any, Any]):
    """Records by partition, and the number of seeks that came before they were fetched."""

    __slots__ = ("seeks",)

    def __init__(self, records: Mapping[Any, Any], seeks: int) -> None:
        super().__init__(records)
        self.seeks = seeks


class ConsumerThread(faust_aiokafka.AIOKafkaConsumerThread):  # type: ignore[misc]
    """The thread that owns the Kafka client: seeks all partitions in one step, and says which fetches preceded it."""

    logger = _LOGGER

    seeks = 0
    highwaters: Mapping[Any, int] = {}
    """By assigned partition, where it ended when records were last fetched."""
    positions: Mapping[Any, int] = {}
    """By assigned partition, where the client stood then: behind what it fetched, and behind what is no record."""

    def _create_worker_consumer(self, transport: Any) -> Any:  # noqa: ANN401
        consumer = super()._create_worker_consumer(transport)
        # Faust offers read_committed only with its own transactions; an aborted article must not be enriched.
        consumer._isolation_level = "read_committed"  # noqa: SLF001
        return consumer

    def _stopped_set(self) -> None:
        # After a crash the thread ends by itself, at any time from then on, and closes its loop.
        with suppress(RuntimeError):
            super()._stopped_set()

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek every assigned partition to its committed offset; gives these offsets."""
        offsets: Mapping[TP, int] = await self.call_thread(self._seek_to_committed)
        return offsets

    async def _seek_to_committed(self) -> Mapping[TP, int]:
        consumer = self._ensure_consumer()
        offsets = {partition: await consumer.committed(partition) for partition in consumer.assignment()}
        fresh = [partition for partition, offset in offsets.items() if offset is None]
        left = first_left(offsets, await self._beginnings(consumer, [*offsets.keys() - fresh]))
        begun = await self._firsts(consumer, fresh) if fresh else {}
        if moved := {**left, **begun}:
            await self._settle(consumer, moved)
        offsets |= moved
        assigned = consumer.assignment()
        sought = {partition: offset for partition, offset in offsets.items() if partition in assigned}
        # From here to the count nothing awaits, so that a fetch comes before all of these seeks or after all.
        for partition, offset in sought.items():
            consumer.seek(partition, offset)
        self.seeks += 1
        return sought

    async def _beginnings(self, consumer: Any, partitions: list[Any]) -> Mapping[Any, int]:  # noqa: ANN401
        """Where partitions begin; nothing where no leader answers at once, since the client finds out by itself."""
        if not partitions:
            return {}
        with suppress(TimeoutError, KafkaError):
            async with asyncio.timeout(_BEGINNINGS_WITHIN_S):
                beginnings: Mapping[Any, int] = await consumer.beginning_offsets(partitions)
                return beginnings
        return {}

    async def _firsts(self, consumer: Any, fresh: list[Any]) -> Mapping[Any, int]:  # noqa: ANN401
        """Where a group without committed offsets starts."""
        at_end = self.consumer.transport.fresh_at_end
        starts: Mapping[Any, int] = await (consumer.end_offsets(fresh) if at_end else consumer.beginning_offsets(fresh))
        return starts

    async def _settle(self, consumer: Any, starts: Mapping[Any, int]) -> None:  # noqa: ANN401
        """Commit where partitions are started, at once: the next member starts there too."""
        assigned = consumer.assignment()
        try:
            await consumer.commit({each: offset for each, offset in starts.items() if each in assigned})
        except CommitFailedError:
            self.log.info("The group rebalances again before its first offsets are committed")

    async def _fetch_records(self, *arguments: Any, **named: Any) -> Fetched:  # noqa: ANN401
        consumer = self._ensure_consumer()
        try:
            records = await super()._fetch_records(*arguments, **named)
        except UnicodeDecodeError as error:
            found = _unreadable(consumer)
            if found is None:
                raise
            partition, offset = found
            raise UnreadableRecord.in_fetch(self.app.conf.id, partition, offset) from error
        known = {partition: consumer.highwater(partition) for partition in consumer.assignment()}
        self.highwaters = {partition: end for partition, end in known.items() if end is not None}
        # Where records are still to be handed out, the client stands behind them.
        self.positions = {partition: offset for partition, offset in _positions(consumer) if partition not in records}
        return Fetched(records, self.seeks)

    async def check_group(self) -> None:
        """Raise what stopped the client from joining the group or from staying in it, for it to try again.

        The client waits until it is asked, which Faust never does without partitions to fetch.
        """
        await self.call_thread(self._check_group)

    async def _check_group(self) -> None:
        coordinator = self._consumer and self._consumer._coordinator  # noqa: SLF001
        if coordinator is None:
            return
        if (ended := _failure(coordinator._coordination_task)) is not None:  # noqa: SLF001
            raise DriverError(f"the client ended its part in the group: {ended!r}; start the worker again")
        if _failure(coordinator._heartbeat_task) is not None:  # noqa: SLF001
            # A join alone begins them anew.
            coordinator.request_rejoin()
        coordinator.check_errors()


def _failure(task: asyncio.Task[Any] | None) -> BaseException | None:
    """What a task ended with, if it has and not well."""
    return task.exception() if task is not None and task.done() and not task.cancelled() else None


def _positions(consumer: Any) -> Iterator[tuple[Any, int]]:  # noqa: ANN401
    """The next offset of each assigned partition where that is known."""
    assignment = consumer._subscription.subscription.assignment  # noqa: SLF001
    for partition in consumer.assignment():
        state = assignment.state_value(partition)
        if state is not None and state.has_valid_position:
            yield partition, state.position


def _unreadable(consumer: Any) -> tuple[Any, int] | None:  # noqa: ANN401
    """The partition whose records broke off in the last fetch, and the offset at which they did."""
    for partition, result in consumer._fetcher._records.items():  # noqa: SLF001
        records = getattr(result, "_partition_records", None)
        if records is not None and records._records_iterator.gi_frame is None:  # noqa: SLF001
            return partition, records.next_fetch_offset
    return None


class Consumer(faust_aiokafka.Consumer):  # type: ignore[misc]
    """Faust's consumer; hands out each record after the committed offset once, and commits by what is in flight."""

    logger = _LOGGER

    _thread: ConsumerThread

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401
        self._in_flight: defaultdict[TP, InFlight] = defaultdict(InFlight)
        super().__init__(*arguments, **named)

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Mapping[TP, Any]:  # noqa: ASYNC109
        fetched: Fetched = await super()._getmany(active_partitions, timeout)
        return fetched if fetched.seeks == self._thread.seeks else {}

    async def on_stop(self) -> None:
        """Commit what is finished; not after a crash, when the thread that would do it may be gone."""
        if not self.crashed:
            await super().on_stop()

    async def perform_seek(self) -> None:
        """Go back to the committed offsets: what is in flight will be handed out again.

        Raises BrokerUnavailable where they do not come in time. Faust waits for `broker_request_timeout` seconds, then
        takes it for a stop: nothing would be read any more, and nothing would say so.
        """
        limit_s = _SEEK_WITHIN * self.app.conf.broker_request_timeout
        try:
            async with asyncio.timeout(limit_s):
                await super().perform_seek()
        except TimeoutError as error:
            raise BrokerUnavailable(
                f"Kafka did not tell within {limit_s:.0f} s from which offsets to go on; see whether all partitions of "
                "the raw topic and of __consumer_offsets have a leader"
            ) from error
        self._in_flight.clear()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Commit what is finished, so that the next owner does not repeat it, and forget the rest."""
        await self.commit()
        for partition in revoked:
            self._in_flight.pop(partition, None)
        await super().on_partitions_revoked(revoked)

    async def _drain_messages(self, fetcher: Any) -> None:  # noqa: ANN401
        """Hand fetched records to the streams until the consumer or its fetcher stops."""
        unreadable: UnreadableRecord | None = None
        try:
            while not (self.should_stop or fetcher.should_stop):
                await self.sleep(0)
                messages: AsyncIterator[tuple[TP, Any]] = self.getmany(timeout=1.0)
                async for partition, message in messages:
                    self._in_flight[partition].hand_out(message.offset)
                    await self.wait_first(self.callback(message), self.suspend_flow.wait())
        except UnreadableRecord as error:
            unreadable = error
        except (*self.consumer_stopped_errors, asyncio.CancelledError):
            if not self.app.should_stop:
                raise
        if unreadable is not None:
            # Raised, or told while it is handled, it is logged with its way through the libraries, which helps nobody.
            await self.crash(unreadable)

    def ack(self, message: Any) -> bool:  # noqa: ANN401
        """Note that a record is done with. False where it was not in flight, as after a rebalance."""
        with ack_lock:
            message.acked = True
            self._unacked_messages.discard(message)
            finished = self._in_flight[message.tp].finish(message.offset)
            notify(self._waiting_for_ack)
        return finished

    async def check_group(self) -> None:
        """Raise what stopped the client from joining the group or from staying in it, for it to try again."""
        await self._thread.check_group()

    def lags(self) -> dict[TP, int]:
        """By assigned partition, the offsets from the oldest unfinished record to the end that the last fetch saw.

        Where all is finished, from where the client stands: markers and aborted records are nothing to be done.
        """
        found: dict[TP, int] = {}
        for partition, end in self._thread.highwaters.items():
            handed_out = self._in_flight.get(partition) or InFlight()
            start = handed_out.committable()
            if start is None:
                start = self._read_offset.get(partition)
            if start is not None and handed_out.idle:
                start = max(start, self._thread.positions.get(partition, start))
            if start is not None:
                found[partition] = max(end - start, 0)
        return found

    def _filter_tps_with_pending_acks(self, topics: Iterable[Any] | None = None) -> Iterator[TP]:
        return (
            partition
            for partition in list(self._in_flight)
            if topics is None or partition in topics or partition.topic in topics
        )

    def _new_offset(self, tp: TP) -> int | None:
        return self._in_flight[tp].committable()


class Producer(faust_aiokafka.Producer):  # type: ignore[misc]
    """Faust's producer, which can say whether the cluster answers."""

    logger = _LOGGER

    async def answers(self) -> bool:
        """Whether some broker answers a metadata request now."""
        return bool(await self._ensure_producer().client.force_metadata_update())


class Transport(faust_aiokafka.Transport):  # type: ignore[misc]
    """Faust's aiokafka transport with the classes above.

    With `fresh_at_end`, a group without committed offsets starts at the end. Faust's own setting would also decide
    where a group goes on whose next records retention has removed: at the end, it would lose those that are left.
    """

    fresh_at_end = False

    Consumer = Consumer
    Producer = Producer
