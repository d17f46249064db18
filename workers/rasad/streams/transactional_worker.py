"""The exactly-once driver: a consumer group member that writes outputs and offsets in one transaction a batch.

What a reader of committed records sees of each input record is one outcome, whatever dies, stalls or is cut off in
between. Three things see to it:

- The offsets of a batch are committed in the transaction of its outputs, so neither is ever visible alone (KIP-98).
- They carry the generation of the group in which the partitions were ours. Once the group has moved on, the coordinator
  refuses them, and with them the outputs: a process that was taken for dead cannot write (KIP-447).
- Whoever takes a partition over waits until no offset of it is pending (KIP-447), which read_committed asks for.

The main thread keeps up the membership (see `rasad.streams.membership`) while another enriches a batch and writes it.
The members of one group are all of one driver: Faust knows eager rebalances alone, this one cooperative ones.

A static member (`worker.instance_id`, KIP-345) does not leave the group when it ends. One that is back within its
session gets its partitions again without a rebalance: a rolling deploy that restarts a process at a time moves nothing,
where `worker.session_timeout_s` is longer than a restart takes.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, TypeVar

import structlog
import tenacity
from kafka import TopicPartition
from kafka.errors import (
    CommitFailedError,
    FencedInstanceIdError,
    InconsistentGroupProtocolError,
    InvalidSessionTimeoutError,
    KafkaError,
    RetriableError,
)
from kafka.structs import ConsumerGroupMetadata

from rasad import metrics
from rasad.messages import Outcome, Record
from rasad.settings import TopicSettings, WorkerSettings
from rasad.streams import topics as topics_module
from rasad.streams.access import AccessRefused, is_refusal, refusal
from rasad.streams.aliases import require_unmoved, resolved
from rasad.streams.connection import BrokerUnavailable, BrokerWatch, Connection, wait_for_broker
from rasad.streams.driver import DriverError, Enrich, Ready, no_one
from rasad.streams.group_coordinator import other_driver, require_group, session_refused
from rasad.streams.health import Health, serving
from rasad.streams.log_limits import limit_repeats
from rasad.streams.membership import ASSIGNOR, Membership, Taken, committing
from rasad.streams.publication import REASON_HEADER, Publication, verified
from rasad.streams.transactions import Aborted, Fenced, Output, Transactions, fitting, largest_messages
from rasad.streams.unreadable import UnreadableRecord

log = structlog.get_logger(__name__)

TRANSACTION_TIMEOUT_S: Final = 10.0
"""How long a transaction may be open; Kafka Streams' choice too (KIP-447).

Behind one that a crash left open wait the readers of its partitions and the next owners of its input, so it is short.
It holds the writing of one batch alone, which takes a fraction of a second: enrichment comes before it.
"""
_LOOK_AFTER_S: Final = 0.2
_LAGS_EVERY_S: Final = 1.0
_KEEP_UP_MS: Final = 20
_WAIT_MS: Final = 200
_LONGEST_PAUSE_S: Final = 5.0

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionalWorker:
    """A driver (see `rasad.streams.driver`), which writes where aliases of `topics` lead.

    `started` is `time.monotonic()` when the process began its start.
    """

    connection: Connection
    topics: TopicSettings = field(default_factory=TopicSettings)
    worker: WorkerSettings = field(default_factory=WorkerSettings)
    ready: Ready = no_one
    started: float = field(default_factory=time.monotonic)

    def run(self, enrich: Enrich) -> None:
        """Work until SIGTERM or SIGINT, then finish the batch in hand, commit, leave the group and return.

        Raises BrokerUnavailable where no broker answers for `worker.broker_wait_s`, DriverError where a topic is
        missing, another process took this one's place, a cutover has moved the outputs, or work fails beyond repair.
        Must be called in the main thread, which takes the signals once the cluster has answered; until then they do
        what they did before.
        """
        stopping = threading.Event()
        health = Health(self.worker)
        try:
            with serving(health, self.worker):
                finished = self._work(enrich, stopping, health)
        except Exception as error:
            failure = _as_driver_error(error, self.worker)
            told = None if isinstance(error, UnreadableRecord) else error
            log.exception("the worker ends early", error=str(failure), exc_info=told)
            if failure is error:
                raise
            raise failure from error
        log.info("stopped")
        if not finished:
            # The thread with the batch may be in native code, which the end of the interpreter can crash.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)

    def _work(self, enrich: Enrich, stopping: threading.Event, health: Health) -> bool:
        """Work until told to stop; False where the batch in hand was not finished in time."""
        wait_for_broker(self.connection, self.worker.broker_wait_s)
        led = replace(self, topics=resolved(self.connection, self.topics))
        topics_module.require(self.connection, topics_module.worker_topics(led.topics))
        require_group(self.connection, self.worker.group_id, ASSIGNOR, self.worker.broker_wait_s)
        limit_repeats("kafka")
        writer = _Writer(led)
        with (
            _signals(stopping),
            closing(writer),
            BrokerWatch(self.connection, self.worker.broker_wait_s) as watch,
            Membership(self.connection, self.topics.raw, self.worker) as membership,
        ):
            return _Session(led, self.topics, enrich, stopping, health, watch, writer, membership).work()


@contextmanager
def _signals(stopping: threading.Event) -> Iterator[None]:
    """Within, SIGTERM and SIGINT ask for an end in place of what they did before."""
    before = {number: signal.signal(number, lambda *_: stopping.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """Records in hand, their outcomes once they are there, and when (`time.monotonic()`) they were read."""

    taken: tuple[Taken, ...]
    begun: float
    outcomes: tuple[Outcome, ...] = ()

    def only(self, keep: Callable[[Taken], bool]) -> _Batch:
        """The records that pass, with their outcomes."""
        kept = [index for index, each in enumerate(self.taken) if keep(each)]
        return replace(
            self,
            taken=tuple(self.taken[index] for index in kept),
            outcomes=tuple(self.outcomes[index] for index in kept),
        )

    @property
    def ends(self) -> dict[TopicPartition, int]:
        """The offset after the last record of each partition."""
        return {each.partition: each.record.offset + 1 for each in self.taken}


class _Patience:
    """Ends attempts (tenacity's `stop`) once the first failure lies `limit_s` seconds back; to wait is no failure."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._since: float | None = None

    def __call__(self, _state: tenacity.RetryCallState) -> bool:
        """Whether to try no more."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        return now - self._since >= self._limit_s


class _OutOfTimeError(Exception):
    """The grace period is over before the batch in hand."""


class _OverdueError(Aborted):
    """The broker aborted a transaction that was open for too long."""


class _Session:
    """One run of a worker, in the main thread: what it has in hand, and how it ends.

    `settings` have the topics to which aliases of `named` led when it began.
    """

    def __init__(
        self,
        settings: TransactionalWorker,
        named: TopicSettings,
        enrich: Enrich,
        stopping: threading.Event,
        health: Health,
        watch: BrokerWatch,
        writer: _Writer,
        membership: Membership,
    ) -> None:
        self._settings = settings
        self._named = named
        self._unmoved_in: int | None = None
        self._enrich = enrich
        self._stopping = stopping
        self._health = health
        self._watch = watch
        self._writer = writer
        self._membership = membership
        self._told: frozenset[int] | None = None
        self._was_ready = False
        self._measure_after = 0.0
        self._stop_before: float | None = None

    def work(self) -> bool:
        """Carry batch after batch until told to stop. False where the grace period ended before the batch in hand."""
        try:
            while not self._stopping.is_set():
                taken = self._membership.take()
                self._look_round()
                if taken and not self._stopping.is_set():
                    self._carry(_Batch(taken=tuple(taken), begun=time.monotonic()))
                self._health.progressed()
            self._hurry()
        except _OutOfTimeError:
            log.warning("the batch in hand did not finish in time; it will be read again")
            return False
        return True

    def _carry(self, batch: _Batch) -> None:
        """Enrich a batch and write it, however often the group or the cluster makes it begin again."""
        records = [each.record for each in batch.taken]
        batch = replace(batch, outcomes=self._await("enrich", partial(_enriched, self._enrich, records)))
        attempts = tenacity.Retrying(
            wait=tenacity.wait_exponential(multiplier=0.25, max=_LONGEST_PAUSE_S),
            stop=_Patience(self._settings.worker.broker_wait_s),
            retry=tenacity.retry_if_exception_type((Aborted, RetriableError)),
            sleep=self._sleep,
            before_sleep=_say_retrying,
            reraise=True,
        )
        for attempt in attempts:
            with attempt:
                if attempt.retry_state.attempt_number > 1:
                    batch = self._uncommitted(batch)
                self._write(batch)

    def _write(self, batch: _Batch) -> None:
        """Write what is still ours of a batch. Raises Aborted where the cluster, not the group, does not take it."""
        refused: ConsumerGroupMetadata | None = None
        while (batch := self._still_ours(batch)).taken:
            group = self._membership.group()
            if group is None or group == refused:
                self._wait(_WAIT_MS)
                continue
            if group.generation_id != self._unmoved_in:
                self._await("aliases", self._require_unmoved)
                self._unmoved_in = group.generation_id
                continue
            try:
                reasons = self._await("transaction", partial(self._writer.write, batch, group))
            except Aborted as error:
                if not isinstance(error.__cause__, CommitFailedError):
                    raise
                log.info("the group moved on, the transaction is aborted", records=len(batch.taken))
                refused = group
                continue
            self._membership.finished(batch.ends)
            self._health.done(reasons)
            milliseconds = round((time.monotonic() - batch.begun) * 1000)
            dead_letters = sum(reason is not None for reason in reasons)
            log.info("batch done", records=len(batch.taken), dead_letters=dead_letters, ms=milliseconds)
            return

    def _require_unmoved(self) -> None:
        """Raise DriverError where a cutover has moved the outputs: none does while this generation writes (KIP-447)."""
        settings = self._settings
        require_unmoved(settings.connection, self._named, settings.topics, settings.worker.broker_wait_s)

    def _still_ours(self, batch: _Batch) -> _Batch:
        """The batch without the records whose partitions were taken away since they were read."""
        kept = batch.only(self._membership.holds)
        if len(kept.taken) < len(batch.taken):
            log.info("partitions taken away, their next owner reads on", records=len(batch.taken) - len(kept.taken))
        return kept

    def _uncommitted(self, batch: _Batch) -> _Batch:
        """The batch without what is committed, as a transaction may be of whose end nobody heard."""
        committed: dict[TopicPartition, int] = {}
        for partition in batch.ends:
            while partition not in committed:
                with suppress(RetriableError):
                    committed[partition] = self._membership.committed(partition) or 0
                self._wait(_KEEP_UP_MS)
        self._membership.finished(committed)
        return batch.only(lambda each: each.record.offset >= committed[each.partition])

    def _await(self, name: str, work: Callable[[], Result]) -> Result:
        """The result of work in another thread, while this one keeps up the membership."""
        future = _in_thread(name, work)
        while not future.done():
            if self._membership.group() is None or not futures.wait([future], timeout=_LOOK_AFTER_S).done:
                self._wait(_KEEP_UP_MS)
        return future.result()

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._wait(min(round(left * 1000), _WAIT_MS))

    def _wait(self, milliseconds: int) -> None:
        """Keep up the membership with a batch in hand. Raises where it is time to give it up."""
        self._membership.keep_up(milliseconds)
        self._look_round()
        if self._stopping.is_set():
            self._hurry()

    def _look_round(self) -> None:
        """Log a new assignment. Raises BrokerUnavailable where the cluster has not answered for too long."""
        self._health.broker(answers=self._watch.answers)
        self._watch.check()
        if time.monotonic() >= self._measure_after:
            self._measure_after = time.monotonic() + _LAGS_EVERY_S
            self._health.lags(self._membership.lags())
        assigned = self._membership.partitions()
        if self._told is not None and not assigned and self._membership.group() is None:
            # Put out of the group, or waiting for it with nothing in hand.
            self._health.revoked()
            self._told = None
        if assigned == self._told or self._membership.group() is None:
            return
        first, self._was_ready, self._told = not self._was_ready, True, assigned
        log.info("partitions assigned", topic=self._settings.topics.raw, partitions=sorted(assigned))
        self._health.assigned()
        if first:
            milliseconds = round((time.monotonic() - self._settings.started) * 1000)
            metrics.READY_SECONDS.set(milliseconds / 1000)
            log.info("worker ready", group=self._settings.worker.group_id, ms=milliseconds)
            self._settings.ready(milliseconds)

    def _hurry(self) -> None:
        """Note when to be done at the latest. Raises _OutOfTimeError then."""
        if self._stop_before is None:
            log.info("stopping", grace_s=self._settings.worker.grace_s)
            self._stop_before = time.monotonic() + self._settings.worker.grace_s
        elif time.monotonic() >= self._stop_before:
            raise _OutOfTimeError


class _Writer:
    """Writes batches, each in a transaction; used by one thread at a time."""

    def __init__(self, settings: TransactionalWorker) -> None:
        self._settings = settings
        self._ids = _transactional_ids(settings.worker)
        self._largest: Mapping[str, int] = {}
        self._transactions: Transactions | None = self._opened()

    def _opened(self) -> Transactions:
        settings = self._settings
        # Read anew each time: a transaction may have been lost because a limit was lowered.
        self._largest = largest_messages(settings.connection, topics_module.output_topics(settings.topics))
        return Transactions(
            settings.connection,
            next(self._ids),
            patience_s=max(settings.worker.broker_wait_s, TRANSACTION_TIMEOUT_S),
            timeout_s=TRANSACTION_TIMEOUT_S,
        )

    def close(self) -> None:
        """Let go of the producer, whatever it is doing; the next batch gets another."""
        transactions, self._transactions = self._transactions, None
        if transactions is not None:
            with suppress(KafkaError):
                transactions.close()

    def write(self, batch: _Batch, group: ConsumerGroupMetadata) -> list[str | None]:
        """Write a batch and commit its offsets; gives for each outcome the reason that made it a dead letter, or None.

        Raises Aborted, with CommitFailedError for its cause where the group has moved on; Fenced where another process
        has taken this one's transactional id; BrokerUnavailable.
        """
        if self._transactions is None:
            self._transactions = self._opened()
        topics = self._settings.topics
        with metrics.stage("serialise"):
            wanted = [
                fitting(outcome, taken.record, topics, self._largest)
                for outcome, taken in zip(batch.outcomes, batch.taken, strict=True)
            ]
        outputs = [Output(publication) for publications in wanted for publication in publications]
        begun = time.monotonic()
        try:
            with metrics.stage("publish"):
                self._transactions.commit(outputs, committing(batch.ends), group)
        except Fenced as error:
            open_s = time.monotonic() - begun
            if open_s < TRANSACTION_TIMEOUT_S:
                raise
            self.close()
            raise _OverdueError(_overdue(len(batch.taken), open_s)) from error
        except Aborted:
            # kafka-python 3.0.12 would add refused offsets to the next transaction too, when their partitions may be
            # another's (`TransactionManager._pending_txn_offset_commits`), and other failures leave it in any state.
            self.close()
            raise
        return [_reason(first) if first.topic == topics.dead_letters else None for first, *_ in wanted]


def _transactional_ids(worker: WorkerSettings) -> Iterator[str]:
    """A producer's id, then those of the producers that replace it.

    Which it is does not matter for correctness, since the group fences by generation (KIP-447), but no two processes
    may share one. A static member takes its instance's: its next start then ends at once what this one left open, where
    everyone would else wait for TRANSACTION_TIMEOUT_S. It does so once only, so that a process that was replaced while
    it slept does not take the id back from its successor.
    """
    if worker.instance_id is not None:
        yield f"{worker.group_id}.{worker.instance_id}"
    yield from itertools.repeat(f"{worker.group_id}.{uuid.uuid4().hex}")


def _enriched(enrich: Enrich, records: Sequence[Record]) -> tuple[Outcome, ...]:
    return tuple(verified(outcome, record) for outcome, record in zip(enrich(records), records, strict=True))


def _reason(letter: Publication) -> str:
    """The reason that a dead letter's headers give."""
    return next(value.decode() for key, value in reversed(letter.headers) if key == REASON_HEADER)


def _in_thread(name: str, work: Callable[[], Result]) -> futures.Future[Result]:
    """Begin work in a thread that the process does not wait for in the end."""
    future: futures.Future[Result] = futures.Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - handed to the main thread, which raises it
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def _say_retrying(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    pause = state.next_action.sleep if state.next_action else 0.0
    log.warning("output not written; trying again", error=str(error), retry_in_s=round(pause, 1))


def _overdue(records: int, open_s: float) -> str:
    return (
        f"a transaction for {records} records was open for {open_s:.1f} s, and the broker ends them after "
        f"{TRANSACTION_TIMEOUT_S:.0f} s: lower worker.batch_max, or see to the brokers"
    )


def _as_driver_error(error: Exception, worker: WorkerSettings) -> Exception:
    """What ended the work, as an error that says what to do."""
    if any(isinstance(each, FencedInstanceIdError) for each in (error, error.__cause__)):
        return DriverError(
            f"another process works as instance {worker.instance_id} of group {worker.group_id}; this one ends and has "
            "lost nothing: give each process a worker.instance_id of its own"
        )
    if isinstance(error, InconsistentGroupProtocolError):
        return DriverError(other_driver(worker.group_id))
    if isinstance(error, InvalidSessionTimeoutError):
        return DriverError(session_refused(worker))
    if isinstance(error, DriverError | BrokerUnavailable):
        return error
    if is_refusal(error):
        return AccessRefused(refusal(error))
    return DriverError(f"the worker failed: {error!r}; what was not finished will be read again")
