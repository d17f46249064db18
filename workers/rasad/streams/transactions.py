"""Outputs and consumed offsets written together or not at all: one Kafka transaction a micro-batch (KIP-98, KIP-447).

A reader with `isolation.level=read_committed` then sees each input record's outcome exactly once, whatever died.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Final, Self

from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import InvalidProducerEpochError, KafkaError, KafkaTimeoutError, ProducerFencedError
from kafka.net.compat import KafkaNetClient
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata

from rasad.messages import DeadLetter, Outcome, Record
from rasad.settings import TopicSettings
from rasad.streams.access import AccessRefused, is_refusal, refusal
from rasad.streams.connection import ANSWER_WITHIN_S, WAIT_LIMIT_S, BrokerUnavailable, Connection
from rasad.streams.driver import DriverError
from rasad.streams.publication import Publication, dead_letter_publication, publications, publishable, too_large
from rasad.streams.topics import OUTPUT_BYTES

TIMEOUT_S: Final = 60.0
"""How long the broker leaves a transaction open that nobody ends; readers wait behind it for so long."""
_LARGEST: Final = "max.message.bytes"
_BATCH_BYTES: Final = 16_384
_CLOSE_WITHIN_S: Final = 5.0
_RECONNECT_WITHIN_MS: Final = 5_000


class Fenced(DriverError):  # noqa: N818
    """Another process works under the same transactional id since; this one must not write any more."""


class Aborted(DriverError):  # noqa: N818
    """The cluster did not take a transaction, and nothing of it is visible to readers of committed records."""


@dataclass(frozen=True, slots=True)
class Output:
    """A record to be written; `partition` None lets its key choose one, as murmur2 does in every Kafka client."""

    publication: Publication
    partition: int | None = None


def largest_messages(connection: Connection, topics: Iterable[str]) -> dict[str, int]:
    """Bytes of the largest message that each of `topics` can get: its `max.message.bytes`, or the producer's limit.

    Raises kafka.errors.KafkaError where a topic is missing, AccessRefused where its settings may not be read.
    """
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic, [_LARGEST]) for topic in topics]
    with KafkaAdminClient(**connection.kafka_python()) as admin:
        answer = admin.describe_configs(resources, config_filter="all")["topic"]
    unreadable = sorted(topic for topic, entries in answer.items() if _LARGEST not in entries)
    if unreadable:
        raise AccessRefused(
            f"Kafka refuses a right: DESCRIBE_CONFIGS on {', '.join(unreadable)}; grant it: `rasad topics acls` prints "
            "what each role needs"
        )
    return {topic: min(int(entries[_LARGEST]["value"]), OUTPUT_BYTES) for topic, entries in answer.items()}


def fitting(
    outcome: Outcome, record: Record, topics: TopicSettings, largest: Mapping[str, int]
) -> tuple[Publication, ...]:
    """What is published for an outcome; one dead letter where it is too large, as a whole or for a topic.

    `largest` are the topics' `max.message.bytes`: a transaction that meets the limit at the broker is lost as a whole,
    so sizes are reckoned before it begins. Raises DriverError where the dead-letter topic takes not even the headers.
    """
    outcome = publishable(outcome, record)
    wanted = publications(outcome, record, topics)
    refused = next((each.topic for each in wanted if batch_bytes(each) > largest[each.topic]), None)
    if refused is None:
        return wanted
    letter = outcome if isinstance(outcome, DeadLetter) else too_large(outcome, record, refused)
    for with_value in (True, False):
        publication = dead_letter_publication(letter, topics, with_value=with_value)
        if batch_bytes(publication) <= largest[publication.topic]:
            return (publication,)
    raise DriverError(f"{topics.dead_letters} takes not even headers; raise its max.message.bytes")


def batch_bytes(publication: Publication) -> int:
    """Bytes of a batch that holds this record alone: what a broker compares with `max.message.bytes`."""
    size: int = DefaultRecordBatchBuilder.estimate_size_in_bytes(
        publication.key, publication.value, list(publication.headers)
    )
    return size


class _Client(KafkaNetClient):  # type: ignore[misc]
    """kafka-python's client, mended: a node that cannot be reached is not ready, and no exception.

    3.0.12 loses the transactional request that it was about to send where this raises
    (`Sender._maybe_send_pending_request`). So when the transaction's coordinator died, partitions were not added to the
    transaction any more, and the producer span until the records expired after two minutes.
    """

    def await_ready(self, node_id: Any, timeout_ms: float = 30_000) -> bool:  # noqa: ANN401
        """Whether the node took a connection within the time."""
        try:
            return bool(super().await_ready(node_id, timeout_ms))
        except KafkaError:
            return False


class _Producer(KafkaProducer):  # type: ignore[misc]
    """kafka-python's producer, mended: closing it ends its thread.

    3.0.12 gives up closing where records cannot be flushed, as when a failure took their transaction from them; the
    thread then goes on, and the interpreter's end trips over it.
    """

    def close(self, timeout: float | None = None, null_logger: bool = False) -> None:
        """As in the base class; records that are not written after `timeout` seconds are given up."""
        try:
            super().close(timeout, null_logger)
        except KafkaTimeoutError:
            self._sender.force_close()
            self._sender.join(_CLOSE_WITHIN_S)
            super().close(0, null_logger)


class Transactions:
    """A transactional producer, used from one thread.

    Taking the id ends whatever an earlier process left open under it, and fences that process if it still lives.
    `patience_s` bounds every wait for the cluster, `timeout_s` how long a transaction may be open before the broker
    aborts it. Raises BrokerUnavailable where it does not answer.
    """

    def __init__(
        self,
        connection: Connection,
        transactional_id: str,
        *,
        patience_s: float = WAIT_LIMIT_S,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._servers = ",".join(connection.bootstrap_servers)
        self._patience_s = max(patience_s, ANSWER_WITHIN_S)
        self._producer = _Producer(
            **connection.kafka_python(),
            kafka_client=_Client,
            transactional_id=transactional_id,
            transaction_timeout_ms=round(timeout_s * 1000),
            max_block_ms=round(self._patience_s * 1000),
            reconnect_backoff_max_ms=_RECONNECT_WITHIN_MS,
            max_request_size=OUTPUT_BYTES,
            # A broker refuses a batch for its size even where each record would fit; no topic's limit is below this.
            batch_size=_BATCH_BYTES,
            # The sends of one transaction go out together.
            linger_ms=5,
        )
        try:
            self._waited(self._producer.init_transactions)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the producer; a transaction that is still open is aborted by the broker or by a successor."""
        self._producer.close(timeout=_CLOSE_WITHIN_S)

    def commit(
        self,
        outputs: Iterable[Output],
        offsets: Mapping[TopicPartition, OffsetAndMetadata] | None = None,
        group: ConsumerGroupMetadata | None = None,
    ) -> None:
        """Write `outputs` in order and commit `offsets` for `group`, where there are any, in one transaction.

        1. Send every output and wait until the cluster has all of them.
        2. Add the offsets; the coordinator refuses them where the group has moved on (KIP-447).
        3. Commit. Only now do readers of committed records see any of it.

        Raises Fenced, Aborted, or BrokerUnavailable, after which it is unknown whether the transaction was committed:
        a successor under the same id finds out from the committed offsets.
        """
        self._waited(lambda: self._transaction(list(outputs), offsets or {}, group))

    def _transaction(
        self,
        outputs: list[Output],
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
        group: ConsumerGroupMetadata | None,
    ) -> None:
        self._producer.begin_transaction()
        try:
            _await_all([self._send(output) for output in outputs], self._patience_s)
            if offsets:
                self._producer.send_offsets_to_transaction(dict(offsets), group)
            self._producer.commit_transaction()
        except (ProducerFencedError, InvalidProducerEpochError):
            raise
        except KafkaError:
            # An abort that fails too leaves the transaction to the broker's timeout; the first error says more.
            with suppress(KafkaError):
                self._producer.abort_transaction()
            raise

    def _send(self, output: Output) -> Any:  # noqa: ANN401
        publication = output.publication
        return self._producer.send(
            publication.topic,
            value=publication.value,
            key=publication.key,
            headers=list(publication.headers),
            partition=output.partition,
        )

    def _waited(self, call: Callable[[], None]) -> None:
        """Call in a thread that may be left behind: kafka-python waits for transactional answers without end."""
        failures: list[BaseException] = []

        def caught() -> None:
            try:
                call()
            except BaseException as error:  # noqa: BLE001 - handed to the waiting thread, which raises it
                failures.append(error)

        thread = threading.Thread(target=caught, name="transaction", daemon=True)
        thread.start()
        thread.join(self._patience_s)
        if thread.is_alive() or (failures and isinstance(failures[0], KafkaTimeoutError)):
            raise BrokerUnavailable(
                f"no answer from Kafka at {self._servers} for {self._patience_s:.0f} s; what was not committed will be "
                "done again by the next run"
            )
        if failures:
            raise _as_driver_error(failures[0]) from failures[0]


def _await_all(answers: Sequence[Any], timeout_s: float) -> None:
    """Return once every record is written; raise the first failure at once.

    A flush would wait for the rest, which kafka-python keeps back without end after some failures: the epoch that it
    takes then is of no transaction (3.0.12, `TransactionManager.bump_producer_id_and_epoch`).
    """
    settled: SimpleQueue[object] = SimpleQueue()
    for answer in answers:
        answer.add_both(settled.put)
    for _ in answers:
        try:
            result = settled.get(timeout=timeout_s)
        except Empty:
            raise KafkaTimeoutError(f"an output was not written within {timeout_s:.0f} s") from None
        if isinstance(result, BaseException):
            raise result


def _as_driver_error(error: BaseException) -> BaseException:
    # A send that comes after the refusal raises an error of its own, with the refusal inside.
    if any(isinstance(each, ProducerFencedError | InvalidProducerEpochError) for each in (error, *error.args)):
        return Fenced(f"another process took over the same work ({error}); this one ends and has lost nothing")
    if is_refusal(error):
        return AccessRefused(refusal(error))
    if isinstance(error, KafkaError):
        return Aborted(f"the cluster did not take a transaction ({error!r}); nothing of it is visible, run it again")
    return error
