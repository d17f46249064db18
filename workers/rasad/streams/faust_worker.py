"""The default driver: a Faust worker in a consumer group, at least once.

One batch at a time: take it, enrich it in a thread, publish and await every output, acknowledge in order. What dies
in between is read again by the group and gives the same bytes, since all ids are derived. Nothing escapes the batch
loop: an exception there would leave Faust's agent dead and the process up, so it ends the process instead.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, TypeVar

import faust
import structlog
import tenacity
from aiokafka.errors import (
    BrokerResponseError,
    IllegalGenerationError,
    InconsistentGroupProtocolError,
    InvalidSessionTimeoutError,
    KafkaError,
    MessageSizeTooLargeError,
    RebalanceInProgressError,
    RecordListTooLargeError,
    UnknownError,
    UnknownMemberIdError,
)
from faust.exceptions import ProducerSendError

from rasad import metrics
from rasad.messages import DeadLetter, Outcome, Record
from rasad.settings import TopicSettings, WorkerSettings
from rasad.streams import topics as topics_module
from rasad.streams.access import AccessRefused, is_refusal, refusal
from rasad.streams.aliases import require_unmoved, resolved
from rasad.streams.batching import Limits, Waiting
from rasad.streams.connection import BrokerUnavailable, Connection, unanswered, wait_for_broker
from rasad.streams.driver import DriverError, Enrich, Ready, no_one
from rasad.streams.group_coordinator import other_driver, require_group, session_refused
from rasad.streams.health import Health, serving
from rasad.streams.log_limits import limit_repeats
from rasad.streams.offset_tracking import Transport
from rasad.streams.publication import (
    Publication,
    dead_letter_publication,
    publications,
    publishable,
    too_large,
    turns,
    verified,
)
from rasad.streams.unreadable import UnreadableRecord

log = structlog.get_logger(__name__)

COMMIT_INTERVAL_S: Final = 1.0
"""What was finished since the last commit is done again after a crash."""
ASSIGNOR: Final = "faust"
"""How Faust's workers share out the partitions of their group."""
REQUEST_TIMEOUT_S: Final = 30.0
"""How long the client library itself retries an output before it gives it back."""
_WATCH_EVERY_S: Final = 2.0
_ANSWER_WITHIN_S: Final = 5.0
_LONGEST_PAUSE_S: Final = 5.0
# Two batches: the next one is at hand while one is enriched, and little is read twice after a rebalance.
_BUFFERED_BATCHES: Final = 2
_IDLE_S: Final = 1.0
_STOP_WITHIN_S: Final = 10.0
# aiokafka takes a member that fetches nothing for stuck, and Faust fetches nothing for a spare one, which has no
# partitions: it would leave the group and never come back. `/livez` tells of one that is stuck.
_NEVER_S: Final = 10 * 365 * 86_400.0
_OVERTAKEN: Final = (RebalanceInProgressError, IllegalGenerationError, UnknownMemberIdError)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class FaustWorker:
    """A driver (see `rasad.streams.driver`), which writes where aliases of `topics` lead.

    `started` is `time.monotonic()` when the process began its start.
    """

    connection: Connection
    topics: TopicSettings = field(default_factory=TopicSettings)
    worker: WorkerSettings = field(default_factory=WorkerSettings)
    ready: Ready = no_one
    started: float = field(default_factory=time.monotonic)

    def run(self, enrich: Enrich) -> None:
        """Work until SIGTERM or SIGINT, then finish the batch in hand, commit and return.

        Raises BrokerUnavailable where no broker answers for `worker.broker_wait_s`, DriverError where a topic is
        missing, a cutover has moved the outputs or work fails beyond repair. Must be called in the main thread, which
        takes the signals.
        """
        health = Health(self.worker)
        with serving(health, self.worker):
            wait_for_broker(self.connection, self.worker.broker_wait_s)
            led = replace(self, topics=resolved(self.connection, self.topics))
            topics_module.require(self.connection, topics_module.worker_topics(led.topics))
            require_group(self.connection, self.worker.group_id, ASSIGNOR, self.worker.broker_wait_s)
            limit_repeats("aiokafka")
            with ThreadPoolExecutor(max_workers=1, thread_name_prefix="enrich") as executor:
                asyncio.run(_Session(led, self.topics, enrich, executor, health).work())


class _App(faust.App):  # type: ignore[misc]
    """A Faust app that keeps nothing on disk: it has no tables, so its data folders would only be litter."""

    def _create_directories(self) -> None:
        """Make none."""


class _Session:
    """One run of a worker: the Faust app, what it is doing, and how it ends.

    `settings` have the topics to which aliases of `named` led when it began.
    """

    def __init__(
        self,
        settings: FaustWorker,
        named: TopicSettings,
        enrich: Enrich,
        executor: ThreadPoolExecutor,
        health: Health,
    ) -> None:
        self._settings = settings
        self._named = named
        self._unmoved_in: int | None = None
        self._enrich = enrich
        self._executor = executor
        self._health = health
        self._stopping = asyncio.Event()
        self._busy = asyncio.Lock()
        self._threaded: Future[Any] | None = None
        self._failure: asyncio.Future[BaseException] | None = None
        self._was_ready = False

    async def work(self) -> None:
        """Run until told to stop. Raises what ended the work early."""
        loop = asyncio.get_running_loop()
        self._failure = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        app = self._app(loop)
        watch = loop.create_task(self._watch(app))
        watch.add_done_callback(self._on_watch_end)
        failure: BaseException | None = None
        error: Exception | None = None
        try:
            failure = await self._first_end(app)
            if failure is not None:
                error = _as_driver_error(failure, self._settings.worker)
                told = None if isinstance(failure, UnreadableRecord) else failure
                log.error("the worker ends early", error=str(error), exc_info=told)
        finally:
            watch.cancel()
            await self._wind_up(app, commit=failure is None)
        if error is not None:
            raise error from failure

    async def _first_end(self, app: Any) -> BaseException | None:  # noqa: ANN401
        """Start the app and wait for the first of: a signal (None), a failure, a crash inside Faust."""
        assert self._failure is not None
        starting = asyncio.ensure_future(app.start())
        stopping = asyncio.ensure_future(self._stopping.wait())
        crashed = asyncio.ensure_future(app.wait_until_stopped())
        ends: set[asyncio.Future[Any]] = {stopping, crashed, self._failure}
        try:
            done, _ = await asyncio.wait({starting, *ends}, return_when=asyncio.FIRST_COMPLETED)
            if done == {starting}:
                if starting.exception() is not None:
                    error: BaseException | None = starting.exception()
                    return error
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if self._failure.done():
                return self._failure.result()
            if crashed.done():
                reason: BaseException | None = app.crash_reason
                return reason or RuntimeError("Faust stopped by itself")
            return None
        finally:
            for task in (starting, stopping, crashed):
                task.cancel()

    def _app(self, loop: asyncio.AbstractEventLoop) -> Any:  # noqa: ANN401
        settings, worker = self._settings, self._settings.worker
        buffered = worker.batch_max * _BUFFERED_BATCHES
        app = _App(
            worker.group_id,
            # What else the environment has, such as BROKER_URL, would be stronger than all that follows.
            env={},
            loop=loop,
            broker=settings.connection.faust_urls(),
            broker_credentials=settings.connection.faust_credentials(),
            broker_session_timeout=worker.session_timeout_s,
            broker_heartbeat_interval=worker.heartbeat_s,
            broker_request_timeout=max(REQUEST_TIMEOUT_S, worker.session_timeout_s),
            broker_commit_interval=COMMIT_INTERVAL_S,
            broker_max_poll_records=buffered,
            broker_max_poll_interval=_NEVER_S,
            consumer_group_instance_id=worker.instance_id,
            consumer_max_fetch_size=topics_module.RAW_BYTES,
            producer_acks=-1,
            producer_max_request_size=topics_module.OUTPUT_BYTES,
            producer_request_timeout=REQUEST_TIMEOUT_S,
            stream_buffer_maxsize=buffered,
            stream_wait_empty=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
            autodiscover=False,
            store="memory://",
        )
        app.transport = Transport(app.conf.broker_consumer, app)
        app.transport.fresh_at_end = worker.auto_offset_reset == "latest"
        app.producer_transport = app.transport
        raw = app.topic(
            settings.topics.raw, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )
        app.agent(raw, name="enrich", concurrency=1)(self._consume)
        app.on_partitions_revoked.connect(self._on_revoked)
        app.on_rebalance_complete.connect(self._on_assigned)
        return app

    async def _on_revoked(self, *_: Any, **__: Any) -> None:  # noqa: ANN401
        self._health.revoked()

    async def _on_assigned(self, app: Any, **_: Any) -> None:  # noqa: ANN401
        partitions = sorted(assigned.partition for assigned in app.consumer.assignment())
        log.info("partitions assigned", topic=self._settings.topics.raw, partitions=partitions)
        self._health.assigned()
        if not self._was_ready:
            self._was_ready = True
            milliseconds = round((time.monotonic() - self._settings.started) * 1000)
            metrics.READY_SECONDS.set(milliseconds / 1000)
            log.info("worker ready", group=self._settings.worker.group_id, ms=milliseconds)
            self._settings.ready(milliseconds)

    async def _consume(self, stream: Any) -> None:  # noqa: ANN401
        assert self._failure is not None
        stream.enable_acks = False
        inbox = _Inbox(Limits.of(self._settings.worker))
        reading = asyncio.create_task(inbox.fill(stream.events()))
        reading.add_done_callback(lambda task: self._on_stream_end(stream.app, task))
        try:
            while not (self._stopping.is_set() or self._failure.done()):
                events = await inbox.batch(lambda: sum(stream.app.consumer.lags().values()))
                try:
                    await self._work(stream, events)
                except Exception as error:  # noqa: BLE001 - the outermost boundary: nothing may escape to the agent
                    self._fail(error)
            # An agent that returns is started again; this one waits for the app to stop.
            await asyncio.Event().wait()
        finally:
            reading.cancel()

    def _on_stream_end(self, app: Any, reading: asyncio.Task[None]) -> None:  # noqa: ANN401
        if not (reading.cancelled() or app.should_stop):
            self._fail(reading.exception() or RuntimeError("Faust's stream ended by itself"))

    async def _work(self, stream: Any, events: Sequence[Any]) -> None:  # noqa: ANN401
        """Handle what there is, and tell that the loop goes on."""
        # What was taken before a rebalance is handed out again after it.
        current = [event for event in events if event.message.generation_id == stream.app.consumer_generation_id]
        async with self._busy:
            if current and not self._stopping.is_set():
                await self._handle(stream, current)
        self._health.progressed()

    async def _handle(self, stream: Any, events: Sequence[Any]) -> None:  # noqa: ANN401
        """One batch: enrich, publish, acknowledge."""
        begun = time.monotonic()
        records = [_record(event.message) for event in events]
        outcomes = await self._in_thread(partial(self._enrich, records))
        await self._require_unmoved(stream.app.consumer_generation_id)
        checked = [verified(outcome, record) for outcome, record in zip(outcomes, records, strict=True)]
        published = await _Publisher(stream.app, self._settings).publish(checked, records)
        for event in events:
            await stream.ack(event)
        reasons = [outcome.reason if isinstance(outcome, DeadLetter) else None for outcome in published]
        self._health.done(reasons)
        log.info(
            "batch done",
            records=len(records),
            dead_letters=sum(reason is not None for reason in reasons),
            ms=round((time.monotonic() - begun) * 1000),
        )

    async def _require_unmoved(self, generation: int) -> None:
        """Raise DriverError where the group's generation is another and the outputs have been moved since.

        A batch that a worker takes before it learns that it is out of the group is still written where it wrote before;
        its offsets are refused, so others write it where it belongs.
        """
        if generation == self._unmoved_in:
            return
        settings = self._settings
        patience_s = settings.worker.broker_wait_s
        await self._in_thread(partial(require_unmoved, settings.connection, self._named, settings.topics, patience_s))
        self._unmoved_in = generation

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        """The result of what would hold up the loop; one at a time."""
        self._threaded = self._executor.submit(work)
        return await asyncio.wrap_future(self._threaded)

    async def _watch(self, app: Any) -> None:  # noqa: ANN401
        """Fail once no broker has answered for `broker_wait_s`; until then log a line, ever more seldom."""
        limit = self._settings.worker.broker_wait_s
        last_answer, silent, next_line = time.monotonic(), 0.0, 0.0
        while True:
            await asyncio.sleep(_WATCH_EVERY_S)
            if not app.producer.started:
                last_answer = time.monotonic()
                continue
            refused = await _group_refusal(app.consumer)
            if refused is not None:
                self._fail(refused)
                return
            self._health.lags({each.partition: behind for each, behind in app.consumer.lags().items()})
            answers = await _answers(app.producer)
            self._health.broker(answers=answers)
            if answers:
                last_answer, next_line = time.monotonic(), 0.0
                continue
            silent = time.monotonic() - last_answer
            if silent >= limit:
                self._fail(unanswered(self._settings.connection, limit))
                return
            if silent >= next_line:
                log.warning("waiting for the broker", silent_s=round(silent, 1), limit_s=limit)
                next_line = max(silent * 2, _WATCH_EVERY_S)

    def _on_watch_end(self, watch: asyncio.Task[None]) -> None:
        if not watch.cancelled() and (error := watch.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        assert self._failure is not None
        if not self._failure.done():
            self._failure.set_result(error)

    async def _wind_up(self, app: Any, *, commit: bool) -> None:  # noqa: ANN401
        """Let the batch in hand finish within the grace period, commit, and stop everything.

        What does not stop in time ends with the process, right here.
        """
        self._stopping.set()
        if commit:
            log.info("stopping", grace_s=self._settings.worker.grace_s)
            try:
                async with asyncio.timeout(self._settings.worker.grace_s), self._busy:
                    await app.consumer.commit()
            except TimeoutError:
                log.warning("the batch in hand did not finish in time; it will be read again")
        try:
            async with asyncio.timeout(_STOP_WITHIN_S):
                await app.stop()
            if self._threaded is not None and not commit:
                # Whoever started the worker tells why it failed, so the process should live that long.
                await asyncio.wait([asyncio.wrap_future(self._threaded)], timeout=self._settings.worker.grace_s)
            left_behind = self._threaded is not None and self._threaded.running()
        except TimeoutError:
            log.warning("Faust did not stop in time; leaving it behind")
            left_behind = True
        log.info("stopped")
        if left_behind:
            # Its threads and the one with the batch are not daemons: the interpreter would wait for them without end.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0 if commit else 1)


class _Inbox:
    """Events that wait for a batch: one task fills it from a stream, another takes batches out."""

    def __init__(self, limits: Limits) -> None:
        self._capacity = limits.articles
        self._waiting: Waiting[Any] = Waiting(limits)
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()

    async def fill(self, events: AsyncIterable[Any]) -> None:
        """Take events as they come, as many as a batch may have."""
        async for event in events:
            self._waiting.add(event, len(event.message.value or b""))
            self._arrived.set()
            while len(self._waiting) >= self._capacity:
                self._taken.clear()
                await self._taken.wait()

    async def batch(self, behind: Callable[[], int]) -> list[Any]:
        """The next batch; an empty one after `_IDLE_S` seconds without an event. See `batching.plan`."""
        pause_s = 0.0 if self._waiting else _IDLE_S
        while pause_s > 0:
            self._arrived.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._arrived.wait()
            pause_s = self._waiting.wait_s(behind())
        batch = self._waiting.take(behind())
        self._taken.set()
        return batch


class _Publisher:
    """Writes the records of outcomes and waits until the cluster has every one of them."""

    def __init__(self, app: Any, settings: FaustWorker) -> None:  # noqa: ANN401
        self._producer = app.producer
        self._topics = settings.topics
        self._patience_s = settings.worker.broker_wait_s

    async def publish(self, outcomes: Sequence[Outcome], records: Sequence[Record]) -> list[Outcome]:
        """Publish every outcome; one that is too large, or so to the broker, becomes a dead letter. Gives what was.

        Raises BrokerUnavailable where the cluster does not take them within the patience.
        """
        outcomes = [publishable(outcome, record) for outcome, record in zip(outcomes, records, strict=True)]
        with metrics.stage("serialise"):
            wanted = [
                publications(outcome, record, self._topics) for outcome, record in zip(outcomes, records, strict=True)
            ]
        with metrics.stage("publish"):
            return await self._write(wanted, outcomes, records)

    async def _write(
        self, wanted: Sequence[tuple[Publication, ...]], outcomes: Sequence[Outcome], records: Sequence[Record]
    ) -> list[Outcome]:
        """Versions of an article in turn: aiokafka can write a later record although it gave an earlier one back.

        Events last: until then an outcome of which the broker refuses a record can still be a dead letter alone.
        """
        final = list(outcomes)
        for turn in turns([first for first, *_ in wanted]):
            others = [(index, other) for index in turn for other in wanted[index][1:]]
            refused = await self._send_or_give_up(others, final, records)
            own = [(index, wanted[index][0]) for index in turn if index not in refused]
            await self._send_or_give_up(own, final, records)
        return final

    async def _send_or_give_up(
        self, wanted: Sequence[tuple[int, Publication]], outcomes: list[Outcome], records: Sequence[Record]
    ) -> Mapping[int, str]:
        """Write records of outcomes, or a dead letter for each that has one too large; gives these by index."""
        oversized = await self._send([publication for _, publication in wanted])
        refused = {wanted[position][0]: wanted[position][1].topic for position in sorted(oversized)}
        await self._give_up(outcomes, records, refused)
        return refused

    async def _give_up(self, outcomes: list[Outcome], records: Sequence[Record], refused: Mapping[int, str]) -> None:
        """A dead letter in place of each outcome whose index is in `refused`, with the topic that finds it too large.

        Where even that is too large, one without the value.
        """
        letters = []
        for index, topic in refused.items():
            outcome = outcomes[index]
            letter = outcome if isinstance(outcome, DeadLetter) else too_large(outcome, records[index], topic)
            outcomes[index] = letter
            letters.append(letter)
        again = await self._send([dead_letter_publication(letter, self._topics) for letter in letters])
        bare = [dead_letter_publication(letters[index], self._topics, with_value=False) for index in sorted(again)]
        if await self._send(bare):
            raise DriverError(f"{self._topics.dead_letters} takes not even headers; raise its max.message.bytes")

    async def _send(self, wanted: Sequence[Publication]) -> set[int]:
        """Write `wanted` in order; gives the indices of those that are too large for their topic."""
        refused: set[int] = set()
        pending = list(range(len(wanted)))
        attempts = tenacity.AsyncRetrying(
            wait=tenacity.wait_exponential(multiplier=0.25, max=_LONGEST_PAUSE_S),
            stop=tenacity.stop_after_delay(self._patience_s),
            retry=tenacity.retry_if_exception_type(_NotWrittenError),
            before_sleep=_say_retrying,
            reraise=True,
        )
        async for attempt in attempts:
            with attempt:
                errors = await self._attempt([wanted[index] for index in pending])
                failed = {index: error for index, error in zip(pending, errors, strict=True) if error is not None}
                oversized = [index for index, error in failed.items() if _is_too_large(error)]
                # A broker refuses a whole batch for its size: each one must be tried alone before it is given up.
                for index in oversized:
                    (error,) = await self._attempt([wanted[index]])
                    if error is None:
                        del failed[index]
                    elif _is_too_large(error):
                        refused.add(index)
                        del failed[index]
                    else:
                        failed[index] = error
                pending = list(failed)
                for error in failed.values():
                    raise AccessRefused(refusal(error)) if is_refusal(error) else _NotWrittenError(error)
        return refused

    async def _attempt(self, wanted: Sequence[Publication]) -> list[BaseException | None]:
        """Write once; for each of `wanted` the error that it met, or None."""
        sent = [await self._enqueue(publication) for publication in wanted]
        answers = await asyncio.gather(*sent, return_exceptions=True)
        errors: list[BaseException | None] = []
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, KafkaError | ProducerSendError):
                raise answer
            errors.append(answer if isinstance(answer, BaseException) else None)
        return errors

    async def _enqueue(self, publication: Publication) -> Awaitable[Any]:
        """Hand a record to the client library; gives what to await for the cluster's answer."""
        try:
            answer: Awaitable[Any] = await self._producer.send(
                publication.topic, publication.key, publication.value, None, None, list(publication.headers)
            )
        except ProducerSendError as error:
            failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            failed.set_exception(error.__cause__ or error)
            return failed
        return answer


class _NotWrittenError(DriverError):
    """The cluster did not take an output; what is raised in the end says why."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(f"the cluster did not take an output: {cause!r}; check its brokers and topics")


def _say_retrying(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    pause = state.next_action.sleep if state.next_action else 0.0
    log.warning("output not written; trying again", error=str(error), retry_in_s=round(pause, 1))


def _is_too_large(error: BaseException) -> bool:
    return isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError)


async def _answers(producer: Any) -> bool:  # noqa: ANN401
    with suppress(TimeoutError, KafkaError):
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            return bool(await producer.answers())
    return False


async def _group_refusal(consumer: Any) -> BrokerResponseError | None:  # noqa: ANN401
    """What the group's coordinator refuses this member for good; what passes, the client tries again once it is told.

    Raises DriverError where the client has given up its part in the group, or is refused by an error that it has no
    name for. Where its thread is gone, Faust tells why.
    """
    try:
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            await consumer.check_group()
    except BrokerResponseError as error:
        if not (error.retriable or isinstance(error, _OVERTAKEN)):
            return error
        log.warning("the group's coordinator answered with an error; trying again", error=repr(error))
    except KafkaError as error:
        if repr(UnknownError()) in str(error):
            raise DriverError(
                "the group refuses this member, and the client has no name for the reason: another process may have "
                "its worker.instance_id, or the group may be full (group.max.size); the broker's log says which"
            ) from error
        log.warning("the group's coordinator did not answer; trying again", error=repr(error))
    except (TimeoutError, RuntimeError) as error:
        log.debug("the consumer's thread did not answer", error=repr(error))
    return None


def _as_driver_error(failure: BaseException, worker: WorkerSettings) -> Exception:
    if isinstance(failure, DriverError | BrokerUnavailable):
        return failure
    if isinstance(failure, InvalidSessionTimeoutError):
        return DriverError(session_refused(worker))
    if isinstance(failure, InconsistentGroupProtocolError):
        return DriverError(other_driver(worker.group_id))
    if is_refusal(failure):
        return AccessRefused(refusal(failure))
    return DriverError(f"the worker failed: {failure!r}; what was not finished will be read again")


def _record(message: Any) -> Record:  # noqa: ANN401
    """A consumed message as it arrived. Faust's timestamps are seconds, Kafka's milliseconds."""
    return Record(
        value=message.value or b"",
        key=message.key,
        headers=tuple((key, value or b"") for key, value in message.headers or ()),
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp=None if message.timestamp is None else round(message.timestamp * 1000),
    )
