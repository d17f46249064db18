"""Records of the output topics as the messages that they hold."""

from __future__ import annotations

from typing import Any, Final, TypeVar, cast, get_args

from pydantic import ValidationError

from rasad.messages import (
    DeadLetter,
    DeadLetterReason,
    EnrichedEvent,
    EntityRecord,
    Record,
    StanceRecord,
    from_bytes,
)
from rasad.schemas import schema_id
from rasad.settings import TopicSettings
from rasad.streams.dead_letters import stored_letter
from rasad.streams.driver import DriverError

Message = TypeVar("Message")

_SCHEMA_HEADER: Final = "ce_dataschema"
_ID_HEADER: Final = "ce_id"
_PROBLEMS_TOLD: Final = 3
_STAGES: Final = ("decode", "enrich", "publish")


class InvalidMessage(DriverError):  # noqa: N818
    """A record does not hold a message of the type that its topic carries. The message says where and what is wrong.

    `record` is what arrived, untouched.
    """

    def __init__(self, record: Record, problem: str) -> None:
        place = f"{record.topic}[{record.partition}]@{record.offset}"
        super().__init__(f"{place}: {problem}; to go on past it, handle it with `on_invalid`")
        self.record = record


def type_of_topic(topic: str, topics: TopicSettings) -> type[object] | None:
    """The type of the messages of one of Rasad's output topics, None for any other topic."""
    types: dict[str, type[object]] = {
        topics.enriched: EnrichedEvent,
        topics.entities: EntityRecord,
        topics.stances: StanceRecord,
        topics.dead_letters: DeadLetter,
    }
    return types.get(topic)


def read(type_: type[Message], record: Record) -> Message:
    """The message in a record, validated; a `Record` is the record itself. Raises InvalidMessage."""
    if type_ is Record:
        return cast("Message", record)
    if type_ is DeadLetter:
        return cast("Message", dead_letter(record))
    _check_schema(type_, record)
    if not record.value:
        raise InvalidMessage(record, f"no value where {type_.__name__} is wanted")
    try:
        return from_bytes(type_, record.value)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, each['loc'])) or 'the value'}: {each['msg']}"
            for each in error.errors(include_url=False, include_input=False)[:_PROBLEMS_TOLD]
        ]
        raise InvalidMessage(record, f"holds no {type_.__name__}: {'; '.join(problems)}") from error


def _check_schema(type_: type[object], record: Record) -> None:
    """Raise InvalidMessage where the record says that it is by another schema: such a value may fit by chance."""
    told = dict(record.headers).get(_SCHEMA_HEADER)
    if told is None:
        return
    try:
        known = schema_id(type_)
    except KeyError:  # a type of the caller's own
        return
    if told != known.encode():
        raise InvalidMessage(
            record,
            f"its schema is {told.decode('utf-8', 'replace')}, and {type_.__name__} is {known}: "
            "subscribe to another topic, or upgrade rasad",
        )


def dead_letter(record: Record) -> DeadLetter:
    """A record of the dead-letter topic as its dead letter: the original record, and why it stopped.

    When the original was written is not told there. Raises InvalidMessage where reasons are missing or unknown.
    """
    stored = stored_letter(record)
    if stored is None:
        raise InvalidMessage(record, "holds no DeadLetter: the headers that say why and from where are missing")
    if stored.reason not in get_args(DeadLetterReason) or stored.stage not in _STAGES:
        raise InvalidMessage(
            record, f"holds no DeadLetter known here: reason {stored.reason!r}, stage {stored.stage!r}; upgrade rasad"
        )
    return DeadLetter(
        record=stored.record,
        reason=cast("DeadLetterReason", stored.reason),
        detail=stored.detail,
        stage=cast("Any", stored.stage),
        pipeline_version=stored.pipeline_version,
    )


def identity(message: object, record: Record) -> str | None:
    """What two copies of one output have in common and no other output has; None where nothing says it.

    That is the CloudEvents id, for an event its own id where a mirror dropped the headers, and for a dead letter the
    identity of its `StoredLetter`. A record as it is has none.
    """
    if isinstance(message, Record):
        return None
    if isinstance(message, DeadLetter):
        stored = stored_letter(record)
        return None if stored is None else stored.identity
    told = dict(record.headers).get(_ID_HEADER)
    if told is not None:
        return told.decode("utf-8", "replace")
    return message.event_id if isinstance(message, EnrichedEvent) else None
