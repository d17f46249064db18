"""The contracts: what arrives, what is published, and how they become bytes.

Plain frozen dataclasses. pydantic's TypeAdapter validates them and generates the JSON Schemas; orjson writes the
bytes. Every span is `[start, end)` in Unicode code points of the field it names, as that field arrived.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

import orjson
from pydantic import TypeAdapter

Message = TypeVar("Message")

Field = Literal["title", "body"]
EntityType = Literal["PER", "LOC", "ORG", "MISC"]
EntitySubtype = Literal["GPE", "LOC", "FAC", "NORP", "EVENT", "MISC"]
ClaimLabel = Literal["agree", "disagree", "discuss", "unrelated"]

EVENT_TYPE: Final = "ar.rasad.article.enriched.v1"
"""CloudEvents type of an EnrichedEvent; the number is the major version of its schema."""

ATTEMPT_HEADER: Final = "rasad_attempt"
"""Which attempt at a record it is, from 1: on a dead letter, and on a record that was redriven."""
REDRIVEN_FROM_HEADER: Final = "rasad_redriven_from"
"""On a redriven record, the dead letter that it comes from: `topic:partition:offset`."""
VALUE_OMITTED_HEADER: Final = "rasad_value_omitted"
"""On a dead letter whose value its topic does not take for its size, and on no other."""
_ATTEMPT: Final = re.compile(rb"[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RawArticle:
    """An article as it arrived: `title` and `body` hold every character that was sent.

    `extra` keeps the fields of a JSON record that Rasad has no name for.
    """

    id: str
    title: str
    body: str
    url: str | None = None
    source: str | None = None
    published_at: str | None = None
    fetched_at: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record of a topic or a file, before anything is known about it: bytes and where they came from.

    `headers` keeps the order and the duplicates that Kafka allows; `timestamp` is in milliseconds since the epoch.
    """

    value: bytes
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    topic: str = ""
    partition: int = 0
    offset: int = 0
    timestamp: int | None = None

    @property
    def attempt(self) -> int:
        """Which attempt at it this is: what its last `rasad_attempt` header says, or 1 where none says a number."""
        told = next((value for key, value in reversed(self.headers) if key == ATTEMPT_HEADER), b"")
        return int(told) if _ATTEMPT.fullmatch(told) else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """`[start, end)` in code points of `field`."""

    field: Field
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Article:
    """The article part of an event: its text as it arrived and how it was read."""

    id: str
    url: str | None
    source: str | None
    language: str
    published_at: str | None
    fetched_at: str | None
    title: str
    body: str
    content_sha256: str
    offset_unit: Literal["codepoint"]
    sentences: tuple[Span, ...]
    tokens_total: int
    windows: int
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """A name where it stands. `core_start:core_end` leaves off a glued proclitic (و، ب، ل ...).

    `sentence` is an index into `article.sentences`; `prob` is calibrated, 0 to 1.
    """

    mention_id: str
    entity_id: str
    field: Field
    start: int
    end: int
    surface: str
    core_start: int
    core_end: int
    type: EntityType
    prob: float
    sentence: int
    subtype: EntitySubtype | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """Mentions of one article that name the same thing; `canonical` is its fullest clitic-free form."""

    entity_id: str
    type: EntityType
    canonical: str
    aliases: tuple[str, ...]
    mention_count: int
    in_title: bool
    salience: float
    confidence: float
    subtype: EntitySubtype | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StanceTarget:
    """What a stance is about: a sentence (headline or claim), or for kind "entity" the words that name it."""

    text: str
    claim_id: str | None = None
    claim_version: int | None = None
    entity_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StanceHolder:
    """Who holds a stance of kind "entity": the article's words, and the entity where they are a mention of one."""

    text: str
    entity_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stance:
    """Where the article's body stands towards a sentence, or a holder towards a target (kind "entity").

    `probs` has an entry for every label of the kind; what those of kind "entity" leave of 1 is that the holder has no
    stance towards the target. `evidence` are the sentences or words that decide.
    """

    kind: Literal["headline", "claim", "entity"]
    target: StanceTarget
    label: Literal["agree", "disagree", "discuss", "unrelated", "support", "oppose"]
    probs: Mapping[str, float]
    evidence: tuple[Span, ...]
    holder: StanceHolder | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What was said and by whom: the span of the words, the reporting word (cue) and the speaker where known."""

    field: Field
    start: int
    end: int
    kind: Literal["direct", "indirect"]
    cue: str | None
    speaker: str | None
    speaker_entity_id: str | None
    prob: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """A model bundle of the pipeline, by the hash of its bundle.json."""

    task: str
    name: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """What made an event: `version` is a hash over all the rest.

    Equal versions mean equal bytes on one kind of processor.
    """

    version: str
    code: str
    normaliser: str
    models: tuple[ModelVersion, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrichedEvent:
    """An article and everything that Rasad found in it.

    All that may differ between two runs of one article through one pipeline stands in `run`.
    """

    event_id: str
    event_type: str
    article: Article
    mentions: tuple[Mention, ...]
    entities: tuple[Entity, ...]
    stances: tuple[Stance, ...]
    pipeline: Pipeline
    quotes: tuple[Quote, ...] = ()
    run: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityRecord:
    """One entity of one article, on the entities topic under its canonical name."""

    event_id: str
    article_id: str
    source: str | None
    published_at: str | None
    title: str
    entity: Entity
    mentions: tuple[Mention, ...]
    pipeline_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StanceRecord:
    """One stance of one article, on the stances topic under its claim id, or the article id."""

    event_id: str
    article_id: str
    source: str | None
    published_at: str | None
    title: str
    stance: Stance
    pipeline_version: str


DeadLetterReason = Literal[
    "empty",
    "too_large",
    "invalid_utf8",
    "invalid_json",
    "too_deep",
    "wrong_type",
    "missing_text",
    "not_arabic",
    "enrichment_failed",
    "output_too_large",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record that could not be enriched, untouched, and a reason that a person can act on.

    `stage` is where it stopped ("decode", "enrich" or "publish").
    """

    record: Record
    reason: DeadLetterReason
    detail: str
    stage: Literal["decode", "enrich", "publish"]
    pipeline_version: str

    @property
    def attempt(self) -> int:
        """Which attempt at the record failed, from 1: each redrive is one more."""
        return self.record.attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Redrive:
    """That a dead letter was sent back to the topic it came from; written together with that record.

    `topic`, `partition` and `offset` are the dead letter's, `timestamp` its own in milliseconds since the epoch, which
    tells it from another at that offset of a topic that was made anew. `attempt` is what the sent record counts as.
    `identity` is what the letter has in common with its copies alone; notes of earlier versions have none.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int | None
    sent_to: str
    sent_at: str
    attempt: int
    identity: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A sentence that subscribers watch for, on the compacted claims topic under its id."""

    id: str
    text: str
    version: int = 1
    language: str = "ar"
    created_at: str | None = None


Outcome = EnrichedEvent | DeadLetter
"""What becomes of one record: exactly one of these."""


_ADAPTERS: Final[dict[type, TypeAdapter[Any]]] = {}


def adapter(message: type[Message]) -> TypeAdapter[Message]:
    """The validator of a message type; built once, when it is first asked for."""
    if message not in _ADAPTERS:
        _ADAPTERS[message] = TypeAdapter(message)
    return _ADAPTERS[message]


def to_bytes(message: object) -> bytes:
    """JSON bytes of a message, keys in declaration order: the same message always gives the same bytes."""
    return orjson.dumps(message)


def from_bytes(message: type[Message], data: bytes) -> Message:
    """Read and validate a message; unknown fields are ignored. Raises pydantic.ValidationError."""
    return adapter(message).validate_json(data)


def content_sha256(title: str, body: str) -> str:
    """SHA-256 over title and body as they arrived, parted by a byte that UTF-8 never uses."""
    encoded = (text.encode("utf-8", "surrogatepass") for text in (title, body))
    return hashlib.sha256(b"\xff".join(encoded)).hexdigest()


def derived_id(*parts: str) -> str:
    """A short stable id from parts that may hold any text: 32 hexadecimal digits of SHA-256."""
    joined = b"\xff".join(part.encode("utf-8", "surrogatepass") for part in parts)
    return hashlib.sha256(joined).hexdigest()[:32]
