"""Sending dead letters back to the topic they came from, each of them once.

A letter and the note that it was sent are written in one Kafka transaction (KIP-98), so that whatever dies in between,
readers of committed records see both or neither. The notes stand on a compacted topic of their own, under the letter's
place: the dead-letter topic holds nothing but dead letters, and no retention takes a note away before its letter. All
redrives of one dead-letter topic share a transactional id. Taking it ends what a killed one left open and fences one
that still runs; only then are the notes read, so two at once send nothing twice.

A worker that was killed before it acknowledged a record has written its letter, and the next one writes it again. Such
copies have one identity, under which one of them is sent and all count as sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal

from kafka import KafkaConsumer
from pydantic import ValidationError

from rasad.messages import ATTEMPT_HEADER, REDRIVEN_FROM_HEADER, Record, Redrive, from_bytes, to_bytes
from rasad.settings import TopicSettings
from rasad.streams.bounded_reader import BoundedReader, OffsetRange
from rasad.streams.connection import WAIT_LIMIT_S, Connection
from rasad.streams.dead_letters import EARLIEST, LATEST, Place, StoredLetter, letters_at
from rasad.streams.driver import DriverError
from rasad.streams.publication import Headers, Publication
from rasad.streams.replay_plan import bounds
from rasad.streams.tailing import Tail
from rasad.streams.topic_reader import partitions_of
from rasad.streams.topics import OUTPUT_BYTES, missing, require
from rasad.streams.transactions import Output, Transactions, batch_bytes, largest_messages

MAX_ATTEMPTS: Final = 3
"""How often a record is tried before a redrive leaves it alone."""
_TRANSACTION_LETTERS: Final = 100
_TRANSACTION_BYTES: Final = 4 * 1024 * 1024
_REDRIVE_HEADERS: Final = (REDRIVEN_FROM_HEADER, ATTEMPT_HEADER)

Notes = Mapping[bytes, Redrive]
"""What was redriven, under the names of the letters and under what all copies of them have in common."""
Standing = Literal["pending", "redriven", "exhausted"]


def notes(connection: Connection, topics: TopicSettings) -> Notes:
    """What was redriven so far; nothing where the topic of the notes is missing, for then nothing was.

    Raises DriverError where something else stands on that topic.
    """
    if missing(connection, [topics.redriven]):
        return {}
    found: dict[bytes, Redrive] = {}
    with Tail(connection, topics.redriven, "beginning") as tail:
        for record in tail.records(follow=False):
            key = record.key or b""
            try:
                if record.value:
                    found[key] = from_bytes(Redrive, record.value)
                else:
                    found.pop(key, None)  # a tombstone: whoever wrote it wants the letter to be sent again
            except ValidationError as error:
                place = f"{record.topic}:{record.partition}:{record.offset}"
                raise DriverError(f"{place} is no note of a redrive: write a tombstone under its key") from error
    return with_copies(found)


def with_copies(found: Mapping[bytes, Redrive]) -> Notes:
    """The notes of single letters, also under what their copies have in common with them."""
    return {**found, **{note.identity.encode(): note for note in found.values() if note.identity is not None}}


def note_of(letter: StoredLetter, known: Notes) -> Redrive | None:
    """The note that `letter` or a copy was redriven, if one was; not that of an earlier topic's at the same place."""
    note = known.get(_name(letter))
    if note is not None and note.timestamp == letter.timestamp:
        return note
    return known.get(letter.identity.encode())


def _once(letters: Iterable[StoredLetter]) -> Iterator[StoredLetter]:
    """The letters without the copies of those that came before."""
    seen: set[str] = set()
    for letter in letters:
        if letter.identity not in seen:
            seen.add(letter.identity)
            yield letter


def standing(letter: StoredLetter, known: Notes, max_attempts: int) -> Standing:
    """Whether a letter waits for a redrive, had one, or was tried too often for another."""
    if note_of(letter, known) is not None:
        return "redriven"
    return "pending" if letter.attempt < max_attempts else "exhausted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a redrive would do: the letters to send, oldest first, those tried too often, and how many were sent."""

    pending: Sequence[StoredLetter]
    exhausted: Sequence[StoredLetter]
    already: int


def planned(letters: Iterable[StoredLetter], known: Notes, max_attempts: int, limit: int | None = None) -> Plan:
    """Sort letters out by their standing, without their values and copies; of those to send, the newest `limit`."""
    pending: deque[StoredLetter] = deque(maxlen=limit)
    exhausted: list[StoredLetter] = []
    already = 0
    for letter in _once(letters):
        match standing(letter, known, max_attempts):
            case "pending":
                pending.append(letter.without_value())
            case "exhausted":
                exhausted.append(letter.without_value())
            case "redriven":
                already += 1
    return Plan(pending=tuple(pending), exhausted=exhausted, already=already)


def sent_back(letter: StoredLetter) -> Publication:
    """The record of a redrive: the original, and after its headers those of this redrive in place of an earlier one's.

    It has a time of its own: with the original's, the topic's retention might take it away unread.
    """
    record = letter.record
    own: Headers = record.headers
    if tuple(key for key, _ in own[-len(_REDRIVE_HEADERS) :]) == _REDRIVE_HEADERS:
        own = own[: -len(_REDRIVE_HEADERS)]
    added = zip(_REDRIVE_HEADERS, (_name(letter), str(letter.attempt + 1).encode()), strict=True)
    return Publication(
        topic=record.topic,
        key=record.key,
        value=record.value,
        headers=own + tuple(added),
    )


def _name(letter: StoredLetter) -> bytes:
    """The letter in the header of its redriven record, and as the key of its note."""
    return f"{letter.topic}:{letter.place}".encode()


def outputs(letter: StoredLetter, topics: TopicSettings, now: datetime) -> tuple[Output, Output]:
    """What a redrive of `letter` writes: the record, to the partition that it had, and the note."""
    note = Redrive(
        topic=letter.topic,
        partition=letter.place.partition,
        offset=letter.place.offset,
        timestamp=letter.timestamp,
        sent_to=letter.record.topic,
        sent_at=now.isoformat(timespec="milliseconds"),
        attempt=letter.attempt + 1,
        identity=letter.identity,
    )
    noted = Publication(topic=topics.redriven, key=_name(letter), value=to_bytes(note), headers=())
    return Output(sent_back(letter), letter.record.partition), Output(noted)


def transactional_id(topics: TopicSettings) -> str:
    """The id that all redrives of one dead-letter topic work under."""
    return f"rasad-redrive-{topics.dead_letters}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A letter that was not sent, and why."""

    place: Place
    why: str


_Verdict = StoredLetter | Refusal | Redrive
"""A letter to send, one not to send, or the note that it was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redriven:
    """What became of a redrive's letters: sent, already sent by an earlier redrive, or not sent."""

    sent: int
    already: int
    refused: tuple[Refusal, ...]


def redrive(
    connection: Connection,
    topics: TopicSettings,
    chosen: Sequence[StoredLetter],
    *,
    max_attempts: int = MAX_ATTEMPTS,
    told: Callable[[int], None] = lambda _done: None,
    patience_s: float = WAIT_LIMIT_S,
) -> Redriven:
    """Send the letters back, oldest first; values of `chosen` may be left out, since all are read again, and of copies
    the first goes.

    `told` hears how many letters are done with after each transaction. Raises DriverError where the topic of notes is
    missing or another redrive takes over, BrokerUnavailable where no broker answers for `patience_s`; what was sent
    until then stays sent, and the next redrive leaves it out.
    """
    if not chosen:
        return Redriven(sent=0, already=0, refused=())
    require(connection, [topics.redriven])
    limits = _limits(connection, {letter.record.topic for letter in chosen})
    sent = already = 0
    refused: list[Refusal] = []
    with Transactions(connection, transactional_id(topics), patience_s=patience_s) as transactions:
        known = notes(connection, topics)
        places = [letter.place for letter in _once(chosen)]
        reading = letters_at(connection, topics.dead_letters, places, patience_s=patience_s)
        verdicts = (note_of(each, known) or _sendable(connection, each, limits, max_attempts) for each in reading)
        for batch in _batches(verdicts):
            good = [each for each in batch if isinstance(each, StoredLetter)]
            if good:
                now = datetime.now(UTC)
                transactions.commit(output for letter in good for output in outputs(letter, topics, now))
            sent += len(good)
            refused += [each for each in batch if isinstance(each, Refusal)]
            already += sum(isinstance(each, Redrive) for each in batch)
            told(sent + already + len(refused))
    return Redriven(sent=sent, already=already, refused=tuple(refused))


def _batches(verdicts: Iterable[_Verdict]) -> Iterator[list[_Verdict]]:
    """By the transaction, which holds up the readers of the topic until it ends, so it is kept short."""
    batch: list[_Verdict] = []
    size = 0
    for verdict in verdicts:
        added = verdict.value_bytes if isinstance(verdict, StoredLetter) else 0
        if batch and (len(batch) >= _TRANSACTION_LETTERS or size + added > _TRANSACTION_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(verdict)
        size += added
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class _Limits:
    """What a topic takes: how many partitions there are, and the bytes of the largest message."""

    partitions: int
    largest: int


def _limits(connection: Connection, names: set[str]) -> Mapping[str, _Limits]:
    """Those of the topics that the cluster has."""
    present = names - set(missing(connection, names))
    if not present:
        return {}
    with KafkaConsumer(**connection.kafka_python(), group_id=None, enable_auto_commit=False) as consumer:
        partitions = {name: len(partitions_of(consumer, name)) for name in sorted(present)}
    largest = largest_messages(connection, present)
    return {name: _Limits(partitions[name], min(largest[name], OUTPUT_BYTES)) for name in present}


def _sendable(
    connection: Connection, letter: StoredLetter, limits: Mapping[str, _Limits], max_attempts: int
) -> StoredLetter | Refusal:
    """The letter with its value, or why it cannot be sent."""
    if letter.attempt >= max_attempts:
        return Refusal(letter.place, f"it failed {letter.attempt} times, the limit is {max_attempts} (--max-attempts)")
    topic = letter.record.topic
    if topic not in limits or letter.record.partition >= limits[topic].partitions:
        return Refusal(letter.place, f"{topic} has no partition {letter.record.partition} any more")
    try:
        whole = _whole(connection, letter)
    except DriverError as error:
        return Refusal(letter.place, str(error))
    size = batch_bytes(sent_back(whole))
    if size > limits[topic].largest:
        return Refusal(letter.place, f"its {size:,} bytes are more than {topic} takes, {limits[topic].largest:,}")
    return whole


def _whole(connection: Connection, letter: StoredLetter) -> StoredLetter:
    if not letter.value_omitted:
        return letter
    record = original(connection, letter)
    return replace(letter, record=record, value_bytes=len(record.value))


def original(connection: Connection, letter: StoredLetter) -> Record:
    """The record that `letter` is about, read where it was read then, for the value that the letter leaves out.

    Raises DriverError where it is gone.
    """
    wanted = letter.record
    gone = DriverError(f"its value was left out, and {letter.origin} does not hold it any more: send the article anew")
    within = bounds(connection, wanted.topic, EARLIEST, LATEST)
    if not any(each.partition == wanted.partition and each.start <= wanted.offset < each.end for each in within):
        raise gone
    ranges = {wanted.partition: OffsetRange(wanted.offset, wanted.offset + 1)}
    with BoundedReader(connection, wanted.topic, ranges) as reader:
        found = reader.take()
    if found is None or (found.key, found.headers) != (wanted.key, wanted.headers):
        raise gone
    return found
