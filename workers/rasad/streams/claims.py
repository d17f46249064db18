"""Watched claims on their compacted topic: written by commands, followed by workers.

A worker holds all claims in memory. It reads the topic without a group, from the beginning to its high watermark
before the first batch, and then follows it: a claim that is added, reworded or removed counts from the next batch on,
without a restart.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import structlog
from kafka import KafkaProducer
from kafka.errors import KafkaError
from pydantic import ValidationError

from rasad.enrich.claims import ClaimIndex
from rasad.messages import Claim, Record, derived_id, from_bytes, to_bytes
from rasad.streams.connection import ANSWER_WITHIN_S, BrokerUnavailable, Connection
from rasad.streams.driver import DriverError
from rasad.streams.files import records
from rasad.streams.tailing import Tail
from rasad.streams.topic_reader import Start, TopicReader
from rasad.streams.topics import require
from rasad.text.script import language

log = structlog.get_logger(__name__)

LARGEST_VERSION: Final = 2**63 - 1
"""JSON in most languages, and in what writes ours, has no larger numbers."""
LONGEST_TEXT: Final = 500
"""Characters of a claim: a few sentences. The model reads 90 pieces of it at most, some 280 characters."""
LONGEST_ID: Final = 200
_ANSWER_WITHIN_S: Final = 60.0
_FIRST_LOOK_S: Final = 0.2
_QUIET_S: Final = 0.5
_SHORTEST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0


class ClaimError(DriverError):
    """A claim cannot be watched. The message says why and what to do."""


def checked(claim: Claim) -> Claim:
    """The claim, its text without white space around it. Raises ClaimError for one that cannot be watched."""
    text = claim.text.strip()
    if not claim.id or len(claim.id) > LONGEST_ID or not claim.id.isprintable():
        raise ClaimError(f"claim id {claim.id[:LONGEST_ID]!r}: take 1 to {LONGEST_ID} printable characters")
    if not text:
        raise ClaimError(f"claim {claim.id!r} has no text: write the sentence to watch for")
    if len(text) > LONGEST_TEXT:
        raise ClaimError(f"claim {claim.id!r} has {len(text)} characters, {LONGEST_TEXT} at most: split it")
    if language(text) != "ar":
        raise ClaimError(f"claim {claim.id!r} does not read as Arabic: {text[:60]!r}; write it as an Arabic sentence")
    if not 1 <= claim.version <= LARGEST_VERSION:
        raise ClaimError(
            f"claim {claim.id!r} has version {claim.version}: versions count from 1 to {LARGEST_VERSION:,}"
        )
    return replace(claim, text=text)


def claim_of(text: str, id_: str | None = None) -> Claim:
    """A claim; without `id_`, equal sentences have equal ids. Raises ClaimError."""
    return checked(Claim(id=derived_id("claim", text.strip()) if id_ is None else id_, text=text))


def read_claims(source: str | Path) -> list[Claim]:
    """The claims of a JSON-lines file, `-` for standard input: `{"text": …}`, with `id` and `version` as one likes.

    Raises ClaimError for a line that holds none or repeats an id, FileError where the file cannot be read.
    """
    found: dict[str, Claim] = {}
    for record in records([str(source)]):
        place = f"{record.topic} line {record.offset + 1}"
        try:
            drafted = from_bytes(_Draft, record.value)
            named = claim_of(drafted.text, drafted.id)
            claim = checked(replace(named, version=drafted.version, created_at=drafted.created_at))
        except ValidationError as error:
            raise ClaimError(f'{place}: no claim ({_said(error)}); write lines such as {{"text": "…"}}') from None
        except ClaimError as error:
            raise ClaimError(f"{place}: {error}") from None
        if claim.id in found:
            raise ClaimError(f"{place}: claim {claim.id!r} stands there twice; keep one of them")
        found[claim.id] = claim
    return list(found.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """A claim as people write it down."""

    text: str
    id: str | None = None
    version: int = 1
    created_at: str | None = None


def _said(error: ValidationError) -> str:
    first = error.errors()[0]
    return " ".join([*map(str, first["loc"]), first["msg"]])


def watched(connection: Connection, topic: str) -> dict[str, Claim]:
    """The claims on the topic now, by id; a bad record counts as none.

    Raises DriverError where there is no such topic, kafka.errors.KafkaError where the cluster does not answer.
    """
    with Tail(connection, topic, "beginning") as tail:
        latest = _latest(tail.records(follow=False))
    return {id_: claim for id_, claim in sorted(latest.items()) if claim is not None}


@dataclass(frozen=True, slots=True)
class Added:
    """What became of a claim that was to be added: the claim as it is watched now, and whether that is news."""

    claim: Claim
    outcome: str
    """`new`, `reworded` or `unchanged`."""


def add(connection: Connection, topic: str, claims: Iterable[Claim]) -> list[Added]:
    """Watch the claims from now on. One whose id is watched already with another text gets the next version.

    Raises ClaimError before anything is written, DriverError where the topic is missing or does not take one.
    """
    wanted = [checked(claim) for claim in claims]
    require(connection, [topic])
    held = watched(connection, topic)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    added = [_added(held.get(claim.id), claim, now) for claim in wanted]
    _write(connection, topic, {each.claim.id: each.claim for each in added if each.outcome != "unchanged"})
    return added


def _added(held: Claim | None, claim: Claim, now: str) -> Added:
    stamped = replace(claim, created_at=claim.created_at or now)
    if held is None:
        return Added(stamped, "new")
    if held.text == claim.text and held.version >= claim.version:
        return Added(held, "unchanged")
    return Added(replace(stamped, version=max(claim.version, held.version + 1)), "reworded")


def remove(connection: Connection, topic: str, ids: Sequence[str]) -> None:
    """Watch the claims of these ids no more: writes a tombstone for each.

    Raises DriverError, before anything is written, for an id that is not watched.
    """
    require(connection, [topic])
    held = watched(connection, topic)
    unknown = [id_ for id_ in ids if id_ not in held]
    if unknown:
        raise DriverError(f"not watched: {', '.join(unknown)}; `rasad claims list` shows what is")
    _write(connection, topic, dict.fromkeys(ids))


def _write(connection: Connection, topic: str, claims: Mapping[str, Claim | None]) -> None:
    """Write a record for each id, a tombstone for None, and wait until the cluster has them."""
    try:
        with KafkaProducer(**connection.kafka_python()) as producer:
            answers = [
                producer.send(topic, key=id_.encode(), value=None if claim is None else to_bytes(claim))
                for id_, claim in claims.items()
            ]
            for answer in answers:
                answer.get(timeout=_ANSWER_WITHIN_S)
    except KafkaError as error:
        raise DriverError(
            f"{topic} did not take every claim ({error!r}); `rasad claims list` shows what it has"
        ) from error


def _latest(read: Iterable[Record]) -> dict[str, Claim | None]:
    """The last claim of each id, None for one that was removed."""
    latest: dict[str, Claim | None] = {}
    for record in read:
        change = _change(record)
        if change is not None:
            latest[change[0]] = change[1]
    return latest


def _change(record: Record) -> tuple[str, Claim | None] | None:
    """Which claim a record sets, and to what; None for a record that means nothing.

    A bad claim is left out, and with it the one that its record replaces: compaction takes that one away at any time,
    and what is watched must not depend on when.
    """
    place = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    try:
        id_ = (record.key or b"").decode()
    except UnicodeDecodeError:
        log.warning("skipping a claim whose key is no UTF-8", **place)
        return None
    if not record.value:
        return id_, None
    try:
        return id_, _claim(record.value, id_)
    except ClaimError as error:
        log.warning("skipping a bad claim", error=str(error), **place)
        return id_, None


def _claim(value: bytes, id_: str) -> Claim:
    try:
        claim = checked(from_bytes(Claim, value))
    except ValidationError as error:
        raise ClaimError(_said(error)) from None
    if claim.id != id_:
        raise ClaimError(f"claim {claim.id!r} stands under the key {id_!r}: they must be the same")
    return claim


class ClaimWatch:
    """The claims of a topic as they are now, kept up by a thread of its own; a context manager.

    What it needs it asks the cluster for again and again: faults of the cluster leave the claims as they were last
    known. Without the topic there are none until it is declared.
    """

    def __init__(self, connection: Connection, topic: str, *, patience_s: float = 60.0) -> None:
        self._connection = connection
        self._topic = topic
        self._patience_s = patience_s
        self._index = ClaimIndex()
        self._settled = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="claims", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._settled.set()
        self._thread.join(_ANSWER_WITHIN_S)

    def index(self) -> ClaimIndex:
        """The claims now. The first call waits until they are read, but not much longer than the patience."""
        if not self._settled.wait(max(self._patience_s, ANSWER_WITHIN_S)):
            log.warning("the claims were not read in time; going on without", topic=self._topic)
            self._settled.set()
        return self._index

    def _follow(self) -> None:
        """Read the topic until told to stop, from its beginning again after each fault."""
        pause_s, refused = _SHORTEST_PAUSE_S, ""
        while not self._stopping.is_set():
            begun = time.monotonic()
            try:
                positions = self._catch_up()
                # Another reader: kafka-python 3.0.12 may never fetch again from a partition that was paused at its end.
                with self._reader(positions) as reader:
                    while not self._stopping.is_set():
                        self._take_in(reader)
            except DriverError as error:  # the topic is missing, or may not be read
                self._settle(None)
                if str(error) != refused:
                    log.warning("claims are not watched until this is mended", error=str(error))
                refused = str(error)
            except (BrokerUnavailable, KafkaError, OSError) as error:
                log.warning("claims cannot be followed; trying again", error=repr(error), retry_in_s=pause_s)
            else:
                return
            if time.monotonic() - begun > _LONGEST_PAUSE_S:
                pause_s = _SHORTEST_PAUSE_S
            self._stopping.wait(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _reader(self, start: Start) -> TopicReader:
        return TopicReader(self._connection, self._topic, start=start, patience_s=self._patience_s)

    def _catch_up(self) -> dict[int, int]:
        """Read to the high watermark of now, then show all claims at once; gives where to go on in each partition."""
        latest: dict[str, Claim | None] = {}
        with self._reader("beginning") as reader:
            reader.stop_at("end")
            while not (reader.finished or self._stopping.is_set()):
                latest |= _latest(_given(reader, _FIRST_LOOK_S))
            positions = {partition: reader.position(partition) or 0 for partition in reader.assigned}
        self._settle(ClaimIndex(claim for claim in latest.values() if claim is not None))
        return positions

    def _take_in(self, reader: TopicReader) -> None:
        """Wait for changes, and show those that came together at once."""
        changes = _latest(_given(reader, _QUIET_S))
        while changes and (more := _latest(_given(reader, 0))):
            changes |= more
        if changes:
            self._settle(self._index.changed(changes))

    def _settle(self, index: ClaimIndex | None) -> None:
        if index is not None:
            self._index = index
            log.info("claims watched", topic=self._topic, claims=len(index))
        self._settled.set()


def _given(reader: TopicReader, wait_s: float) -> Sequence[Record]:
    """The next record, if there is one."""
    record = reader.read(wait_s)
    return () if record is None else (record,)
