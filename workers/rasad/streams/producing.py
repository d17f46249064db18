"""Publishing raw articles into the raw topic."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from kafka import KafkaProducer
from kafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError

from rasad.enrich.decode import decode
from rasad.messages import RawArticle, Record
from rasad.streams.connection import Connection
from rasad.streams.driver import DriverError
from rasad.streams.topics import RAW_BYTES

_UNANSWERED_MAX: Final = 1_000
_ANSWER_WITHIN_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Produced:
    """How many records the topic took, and those too large for it."""

    taken: int
    refused: tuple[Record, ...]


def article_key(record: Record) -> bytes | None:
    """The key for a raw article: its id, which keeps one article's versions in order; none for what is no article."""
    decoded = decode(record, max_bytes=RAW_BYTES, pipeline_version="")
    return decoded.id.encode() if isinstance(decoded, RawArticle) else None


def produce(
    connection: Connection,
    topic: str,
    records: Iterable[Record],
    told: Callable[[int], None] = lambda _count: None,
) -> Produced:
    """Write the records' values to `topic` in order, and wait until the cluster has them.

    A record's own key is kept; one without gets its article's id. `told` hears the number written so far.
    Raises DriverError where the cluster does not take one.
    """
    taken = 0
    refused: list[Record] = []
    unanswered: deque[tuple[Record, Any]] = deque()

    def settle(keep: int) -> None:
        nonlocal taken
        while len(unanswered) > keep:
            record, answer = unanswered.popleft()
            try:
                answer.get(timeout=_ANSWER_WITHIN_S)
            except (MessageSizeTooLargeError, RecordListTooLargeError):
                refused.append(record)
            else:
                taken += 1
                told(taken)

    try:
        with KafkaProducer(**connection.kafka_python(), max_request_size=RAW_BYTES) as producer:
            for record in records:
                try:
                    answer = producer.send(
                        topic,
                        value=record.value,
                        key=record.key or article_key(record),
                        headers=list(record.headers),
                    )
                except MessageSizeTooLargeError:
                    refused.append(record)
                    continue
                unanswered.append((record, answer))
                settle(_UNANSWERED_MAX)
            producer.flush()
            settle(0)
    except KafkaError as error:
        raise DriverError(
            f"the cluster did not take a record for {topic} after {taken} ({error}); check it with `rasad topics`"
        ) from error
    return Produced(taken, tuple(refused))
