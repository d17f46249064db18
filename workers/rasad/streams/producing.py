"""Publishing raw articles into the raw topic."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, Self

from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError, RecordListTooLargeError

from rasad.enrich.decode import decode
from rasad.messages import RawArticle, Record
from rasad.streams.connection import WAIT_LIMIT_S, Connection
from rasad.streams.driver import DriverError
from rasad.streams.topics import RAW_BYTES

_UNANSWERED_MAX: Final = 1_000
_CLOSE_WITHIN_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Refused:
    """Where a record stands that is too large for a topic, and its bytes."""

    source: str
    offset: int
    size: int

    @classmethod
    def of(cls, record: Record) -> Self:
        """Without the value: there may be many such."""
        return cls(record.topic, record.offset, len(record.value))


@dataclass(frozen=True, slots=True)
class Produced:
    """How many records the topic took, and those too large for it."""

    taken: int
    refused: tuple[Refused, ...]


def article_key(record: Record) -> bytes | None:
    """The key for a raw article: its id, which keeps one article's versions in order; none for what is no article."""
    decoded = decode(record, max_bytes=RAW_BYTES, pipeline_version="")
    return decoded.id.encode() if isinstance(decoded, RawArticle) else None


@contextmanager
def _producer(connection: Connection, patience_s: float) -> Iterator[KafkaProducer]:
    producer = KafkaProducer(
        **connection.kafka_python(), max_request_size=RAW_BYTES, max_block_ms=round(patience_s * 1000)
    )
    try:
        yield producer
    finally:
        # Where a record is left over, kafka-python waits for it without end.
        with suppress(KafkaTimeoutError):
            producer.close(timeout=_CLOSE_WITHIN_S)


def produce(
    connection: Connection,
    topic: str,
    records: Iterable[Record],
    told: Callable[[int], None] = lambda _count: None,
    patience_s: float = WAIT_LIMIT_S,
) -> Produced:
    """Write the records' values to `topic` in order, and wait until the cluster has them.

    A record's own key is kept; one without gets its article's id. `told` hears the number written so far.
    Raises DriverError where the cluster does not take one within `patience_s`.
    """
    taken = 0
    refused: list[Refused] = []
    unanswered: deque[tuple[Record, Any]] = deque()

    def settle(keep: int) -> None:
        nonlocal taken
        while len(unanswered) > keep:
            record, answer = unanswered.popleft()
            try:
                answer.get(timeout=patience_s)
            except (MessageSizeTooLargeError, RecordListTooLargeError):
                refused.append(Refused.of(record))
            else:
                taken += 1
                told(taken)

    try:
        with _producer(connection, patience_s) as producer:
            for record in records:
                try:
                    answer = producer.send(
                        topic,
                        value=record.value,
                        key=record.key or article_key(record),
                        headers=list(record.headers),
                    )
                except MessageSizeTooLargeError:
                    refused.append(Refused.of(record))
                    continue
                unanswered.append((record, answer))
                settle(_UNANSWERED_MAX)
            settle(0)
    except KafkaError as error:
        raise DriverError(
            f"the cluster did not take a record for {topic} after {taken} ({error}); check it with `rasad topics`"
        ) from error
    return Produced(taken, tuple(refused))
