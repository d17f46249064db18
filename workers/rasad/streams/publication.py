"""Outcomes as the Kafka records that are published for them. Pure: no broker, no clock."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from rasad.messages import (
    ATTEMPT_HEADER,
    EVENT_TYPE,
    VALUE_OMITTED_HEADER,
    DeadLetter,
    EnrichedEvent,
    EntityRecord,
    Mention,
    Outcome,
    Record,
    Stance,
    StanceRecord,
    derived_id,
    to_bytes,
)
from rasad.schemas import schema_id
from rasad.settings import TopicSettings

ENTITY_TYPE: Final = "ar.rasad.entity.found.v1"
"""CloudEvents type of an EntityRecord."""
STANCE_TYPE: Final = "ar.rasad.stance.found.v1"
"""CloudEvents type of a StanceRecord."""
SOURCE: Final = "urn:rasad"
"""CloudEvents source of every output."""
REASON_HEADER: Final = "rasad_reason"
"""The first header that a dead letter gets: those before its last occurrence are the record's own."""
REPEATED_BYTES: Final = 16 * 1024 * 1024
"""Most that the records of one article's entities and stances repeat of it together: 200 times what 400 records with a
headline of 200 bytes do, and room in memory for all articles of a batch."""
_TRACEPARENT: Final = "traceparent"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# To the end of year 9999, which is what RFC 3339 can write. Kafka keeps any number that a producer calls a time.
_WRITTEN_MS: Final = range(253_402_300_800_000)

Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A record to be written. `value` None leaves the value out (see `dead_letter_publication`)."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers


def verified(outcome: Outcome, record: Record) -> Outcome:
    """The outcome, or a dead letter in its place where a span of it does not hold the text that it says.

    Such an event would be wrong for every subscriber, so it never leaves.
    """
    if isinstance(outcome, DeadLetter):
        return outcome
    wrong = next(_misplaced(outcome), None)
    if wrong is None:
        return outcome
    return DeadLetter(
        record=record,
        reason="enrichment_failed",
        detail=f"{wrong}; this is a fault of Rasad: report it with the article, then redrive it after the mend",
        stage="publish",
        pipeline_version=outcome.pipeline.version,
    )


def _misplaced(event: EnrichedEvent) -> Iterator[str]:
    """What is wrong with the event's spans, one line each."""
    fields = {"title": event.article.title, "body": event.article.body}
    for mention in event.mentions:
        if fields[mention.field][mention.start : mention.end] != mention.surface:
            yield f"mention {mention.mention_id} does not hold its surface at {_place(mention)}"
        if not mention.start <= mention.core_start < mention.core_end <= mention.end:
            yield f"the core of mention {mention.mention_id} is not inside it at {_place(mention)}"
    spans = [
        *((span.field, span.start, span.end) for span in event.article.sentences),
        *((quote.field, quote.start, quote.end) for quote in event.quotes),
        *((span.field, span.start, span.end) for stance in event.stances for span in stance.evidence),
    ]
    for field, start, end in spans:
        if not 0 <= start < end <= len(fields[field]):
            yield f"span {start}:{end} is outside the {field}"


def _place(mention: Mention) -> str:
    return f"{mention.field} {mention.start}:{mention.end}"


def publishable(outcome: Outcome, record: Record) -> Outcome:
    """The outcome, or a dead letter in its place where its records would repeat more than REPEATED_BYTES.

    Every record of an entity or a stance has the title. Of a text that came as one title, with all its names in it,
    they would take memory by the square of its length.
    """
    if isinstance(outcome, DeadLetter):
        return outcome
    count = len(outcome.entities) + len(outcome.stances)
    each = _repeated_bytes(outcome, record)
    if count * each <= REPEATED_BYTES:
        return outcome
    return DeadLetter(
        record=record,
        reason="output_too_large",
        detail=(
            f"{count:,} records of entities and stances would repeat {each:,} bytes each (title, id, source, "
            f"published_at and traceparent), and {REPEATED_BYTES:,} in all is the most: have the sender keep the body "
            "out of the title and send the article anew"
        ),
        stage="publish",
        pipeline_version=outcome.pipeline.version,
    )


def _repeated_bytes(event: EnrichedEvent, record: Record) -> int:
    """Bytes of the article that each record of an entity or a stance holds."""
    article = event.article
    texts = to_bytes((article.title, article.id, article.source, article.published_at))
    return len(texts) + sum(len(value) for _, value in _trace(record))


def publications(outcome: Outcome, record: Record, topics: TopicSettings) -> tuple[Publication, ...]:
    """What is published for one outcome: its own record first, then those of its entities and stances.

    A dead letter is one record on the dead-letter topic. The event's `run` says where its article was read. Stances
    towards watched claims are records of their own and no part of the event, whose bytes are its article's alone.
    All are built at once: see `publishable` for what that may take.
    """
    if isinstance(outcome, DeadLetter):
        return (dead_letter_publication(outcome, topics),)
    read_at = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    event = replace(outcome, run={**outcome.run, **read_at, "timestamp": record.timestamp, "attempt": record.attempt})
    return (
        Publication(
            topic=topics.enriched,
            key=event.article.id.encode(),
            value=to_bytes(without_claims(event)),
            headers=_headers(event.event_id, EVENT_TYPE, EnrichedEvent, record),
        ),
        *_entities(event, record, topics),
        *_stances(event, record, topics),
    )


def _entities(event: EnrichedEvent, record: Record, topics: TopicSettings) -> Iterator[Publication]:
    mentions: defaultdict[str, list[Mention]] = defaultdict(list)
    for mention in event.mentions:
        mentions[mention.entity_id].append(mention)
    for entity in event.entities:
        message = EntityRecord(
            event_id=event.event_id,
            article_id=event.article.id,
            source=event.article.source,
            published_at=event.article.published_at,
            title=event.article.title,
            entity=entity,
            mentions=tuple(mentions[entity.entity_id]),
            pipeline_version=event.pipeline.version,
        )
        yield Publication(
            topic=topics.entities,
            key=entity.canonical.encode(),
            value=to_bytes(message),
            headers=_headers(derived_id(event.event_id, entity.entity_id), ENTITY_TYPE, EntityRecord, record),
        )


def without_claims(event: EnrichedEvent) -> EnrichedEvent:
    """The event without its stances towards the claims that happened to be watched."""
    return replace(event, stances=tuple(stance for stance in event.stances if stance.kind != "claim"))


def _stances(event: EnrichedEvent, record: Record, topics: TopicSettings) -> Iterator[Publication]:
    """A record for each stance. Those towards claims have ids that do not depend on what else is watched."""
    for index, stance in enumerate(without_claims(event).stances):
        yield _stance(stance, derived_id(event.event_id, "stance", str(index)), event, record, topics)
    for stance in event.stances:
        if stance.kind == "claim":
            target = stance.target
            # The text too: a claim that was removed and added anew starts again at version 1.
            claimed = (target.claim_id or "", str(target.claim_version), target.text)
            yield _stance(stance, derived_id(event.event_id, "claim", *claimed), event, record, topics)


def _stance(stance: Stance, id_: str, event: EnrichedEvent, record: Record, topics: TopicSettings) -> Publication:
    message = StanceRecord(
        event_id=event.event_id,
        article_id=event.article.id,
        source=event.article.source,
        published_at=event.article.published_at,
        title=event.article.title,
        stance=stance,
        pipeline_version=event.pipeline.version,
    )
    return Publication(
        topic=topics.stances,
        key=(stance.target.claim_id or event.article.id).encode(),
        value=to_bytes(message),
        headers=_headers(id_, STANCE_TYPE, StanceRecord, record),
    )


def _headers(id_: str, type_: str, message: type[object], record: Record) -> Headers:
    """CloudEvents in binary mode. The time is the input record's, so that a repeated run gives the same bytes."""
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": id_,
        "ce_type": type_,
        "ce_source": SOURCE,
        "ce_dataschema": schema_id(message),
        "content-type": "application/json",
    }
    if record.timestamp is not None and record.timestamp in _WRITTEN_MS:
        attributes["ce_time"] = _rfc3339(record.timestamp)
    return tuple((key, value.encode()) for key, value in attributes.items()) + _trace(record)


def _trace(record: Record) -> Headers:
    """The trace context that is passed on: one header, or none."""
    return tuple((key, value) for key, value in record.headers if key == _TRACEPARENT)[:1]


def _rfc3339(timestamp: int) -> str:
    return (_EPOCH + timedelta(milliseconds=timestamp)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def dead_letter_publication(letter: DeadLetter, topics: TopicSettings, *, with_value: bool = True) -> Publication:
    """A dead letter's record: the original key, value and headers untouched, the reasons in headers after them.

    `with_value` False leaves the value where it was read, for the broker that takes no message of its size. It is
    empty where there is no key either: clients write no record without both.
    """
    record = letter.record
    detail = letter.detail
    if not with_value:
        detail += "; the value is too large for the dead-letter topic and stays at the topic, partition and offset here"
    reasons = {
        REASON_HEADER: letter.reason,
        "rasad_detail": detail,
        "rasad_stage": letter.stage,
        "rasad_pipeline_version": letter.pipeline_version,
        ATTEMPT_HEADER: str(letter.attempt),
        "rasad_topic": record.topic,
        "rasad_partition": str(record.partition),
        "rasad_offset": str(record.offset),
        # Kafka Connect's names, which dead-letter tools know.
        "__connect.errors.topic": record.topic,
        "__connect.errors.partition": str(record.partition),
        "__connect.errors.offset": str(record.offset),
        "__connect.errors.stage": letter.stage.upper(),
        "__connect.errors.exception.class.name": letter.reason,
        "__connect.errors.exception.message": detail,
    }
    if not with_value:
        reasons[VALUE_OMITTED_HEADER] = "true"
    omitted = b"" if record.key is None else None
    return Publication(
        topic=topics.dead_letters,
        key=record.key,
        value=record.value if with_value else omitted,
        headers=record.headers + tuple((key, value.encode("utf-8", "replace")) for key, value in reasons.items()),
    )


def turns(wanted: Sequence[Publication]) -> list[list[int]]:
    """Indices of `wanted`, in turns to write one after another: none has two records of one topic and key."""
    found: list[list[int]] = []
    before: Counter[tuple[str, bytes]] = Counter()
    for index, publication in enumerate(wanted):
        turn = 0
        if publication.key is not None:
            turn = before[publication.topic, publication.key]
            before[publication.topic, publication.key] += 1
        if turn == len(found):
            found.append([])
        found[turn].append(index)
    return found


def too_large(outcome: Outcome, record: Record, topic: str) -> DeadLetter:
    """The dead letter for an outcome that has a record which the broker finds too large for `topic`."""
    version = outcome.pipeline_version if isinstance(outcome, DeadLetter) else outcome.pipeline.version
    return DeadLetter(
        record=record,
        reason="output_too_large",
        detail=f"an output is larger than {topic} takes: raise its max.message.bytes and redrive, or split the article",
        stage="publish",
        pipeline_version=version,
    )
