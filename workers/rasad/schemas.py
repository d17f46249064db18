"""JSON Schemas of the messages and an AsyncAPI 3.0 document of the topics, generated, never written by hand.

Public topics evolve FULL_TRANSITIVE: the current schemas and every released one read each other's messages, so
fields are only ever added, and none of those is required.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from rasad.enrich.decode import FIELD_NAMES
from rasad.messages import (
    ATTEMPT_HEADER,
    EVENT_TYPE,
    REDRIVEN_FROM_HEADER,
    VALUE_OMITTED_HEADER,
    Claim,
    DeadLetter,
    DeadLetterReason,
    EnrichedEvent,
    EntityRecord,
    RawArticle,
    Redrive,
    StanceRecord,
)
from rasad.settings import TopicSettings

Schema = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
ASYNCAPI: Final = "asyncapi.json"
RELEASED: Final = "released"
"""Folder of the schemas of each release, `v1`, `v2`, ...: consumers may be reading by any of them."""

_MAJOR: Final = 1
_ENDING: Final = ".schema.json"
_SUMS: Final = "SHA256SUMS"
# What says nothing about which messages are valid.
_ANNOTATIONS: Final = frozenset({"title", "description", "examples", "$id", "$schema", "$defs"})

_RAW_DESCRIPTIONS: Final[Mapping[str, str]] = {
    "id": "Key of the article everywhere downstream; derived from the content where it is missing, null or blank.",
    "title": "The headline, kept character for character.",
    "body": "The article's text, kept character for character; title or body must hold more than white space.",
    "url": "Where the article was published.",
    "source": "Who published it.",
    "published_at": "When it was published, ISO 8601; passed on as it is.",
    "fetched_at": "When it was fetched, ISO 8601; passed on as it is.",
}

_CLOUDEVENTS: Final[Mapping[str, Schema]] = {
    "ce_specversion": {"type": "string", "const": "1.0", "description": "Version of CloudEvents."},
    "ce_id": {"type": "string", "description": "Id of the message, the same for its duplicates."},
    "ce_type": {"type": "string", "description": f"Type and major version, such as {EVENT_TYPE}."},
    "ce_source": {"type": "string", "format": "uri-reference", "description": "What made the message."},
    "ce_time": {"type": "string", "format": "date-time", "description": "Time of the input record, RFC 3339, UTC."},
    "ce_dataschema": {"type": "string", "format": "uri", "description": "The `$id` of the schema of the value."},
    "content-type": {"type": "string", "description": "Media type of the value."},
}
_TRACEPARENT: Final[Mapping[str, Schema]] = {
    "traceparent": {"type": "string", "description": "W3C trace context, passed on where it came in."}
}
_OPTIONAL_HEADERS: Final = frozenset({"ce_time", *_TRACEPARENT})

_WHOLE_NUMBER: Final = "^[0-9]+$"
DEAD_LETTER_HEADERS: Final[Mapping[str, Schema]] = {
    "rasad_reason": {
        "type": "string",
        "enum": list(get_args(DeadLetterReason)),
        "description": "Why the record could not be enriched.",
    },
    "rasad_detail": {"type": "string", "description": "What was found and what to do about it, for a person."},
    "rasad_stage": {
        "type": "string",
        "enum": ["decode", "enrich", "publish"],
        "description": "Where the record stopped.",
    },
    "rasad_pipeline_version": {"type": "string", "description": "The pipeline that gave it up."},
    ATTEMPT_HEADER: {"type": "string", "pattern": _WHOLE_NUMBER, "description": "Counts redrives, from 1."},
    "rasad_topic": {"type": "string", "description": "Topic that the record was read from."},
    "rasad_partition": {"type": "string", "pattern": _WHOLE_NUMBER, "description": "Its partition there."},
    "rasad_offset": {"type": "string", "pattern": _WHOLE_NUMBER, "description": "Its offset there."},
}
"""Headers that a dead letter has beside the record's own, as UTF-8 strings."""

_REDRIVE_HEADERS: Final[Mapping[str, Schema]] = {
    REDRIVEN_FROM_HEADER: {
        "type": "string",
        "pattern": "^[A-Za-z0-9._-]+:[0-9]+:[0-9]+$",
        "description": "On a redriven record: the dead letter that it comes from, as topic:partition:offset.",
    },
    ATTEMPT_HEADER: {
        "type": "string",
        "pattern": _WHOLE_NUMBER,
        "description": "On a redriven record: which attempt this is, from 2.",
    },
}

_CONNECT: Final[Mapping[str, str]] = {
    "topic": "rasad_topic",
    "partition": "rasad_partition",
    "offset": "rasad_offset",
    "stage": "rasad_stage, in capitals",
    "exception.class.name": "rasad_reason",
    "exception.message": "rasad_detail",
}
# Under the names that Kafka Connect gives them, for the tools that know those.
_CONNECT_HEADERS: Final[Mapping[str, Schema]] = {
    f"__connect.errors.{name}": {"type": "string", "description": f"The same as {same}, by Kafka Connect's name."}
    for name, same in _CONNECT.items()
}


_VALUE_OMITTED: Final[Mapping[str, Schema]] = {
    VALUE_OMITTED_HEADER: {
        "type": "string",
        "const": "true",
        "description": "Only where the value is left out: it stays at the topic, partition and offset named here.",
    }
}


class _Generator(GenerateJsonSchema):
    """pydantic's generator without a title for each property: it would only repeat the name."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002
        """Never."""
        return False


@dataclass(frozen=True, slots=True)
class _Message:
    """A message type and the file of its schema, `NAME.schema.json`."""

    name: str
    type_: type[object]

    @property
    def file(self) -> str:
        return self.name + _ENDING

    @property
    def camel(self) -> str:
        first, *rest = self.name.split("-")
        return first + "".join(part.capitalize() for part in rest)


_MESSAGES: Final = (
    _Message("raw-article", RawArticle),
    _Message("claim", Claim),
    _Message("enriched-event", EnrichedEvent),
    _Message("entity-record", EntityRecord),
    _Message("stance-record", StanceRecord),
    _Message("dead-letter", DeadLetter),
    _Message("redrive", Redrive),
)


@dataclass(frozen=True, slots=True)
class _Channel:
    """A topic for AsyncAPI. `setting` is its name among the topic settings; `action` is what Rasad does there."""

    setting: str
    message: str
    action: Literal["receive", "send"]
    summary: str
    key: str
    cleanup: Literal["delete", "compact"] = "delete"


_CHANNELS: Final = (
    _Channel("raw", "raw-article", "receive", "Raw Arabic articles.", "Article id."),
    _Channel("claims", "claim", "receive", "Claims that subscribers watch.", "Claim id.", "compact"),
    _Channel("enriched", "enriched-event", "send", "Enriched events, whole.", "Article id."),
    _Channel("entities", "entity-record", "send", "One record per entity of an article.", "Canonical entity."),
    _Channel(
        "stances",
        "stance-record",
        "send",
        "One record per stance of an article.",
        "Claim id of a stance towards a claim, else the article id.",
    ),
    _Channel(
        "dead_letters", "dead-letter", "send", "Records that could not be enriched.", "The original record's key."
    ),
    _Channel(
        "redriven",
        "redrive",
        "send",
        "Dead letters that were sent back.",
        "The dead letter, as topic:partition:offset.",
        "compact",
    ),
)


def schema_id(message: type[object]) -> str:
    """The `$id` of a message type's schema, for `ce_dataschema`. Raises KeyError for a type without a schema."""
    return _schema_id({each.type_: each.name for each in _MESSAGES}[message])


def documents() -> dict[str, Schema]:
    """Every generated document by file name."""
    return {each.file: _schema(each) for each in _MESSAGES} | {ASYNCAPI: asyncapi(TopicSettings())}


def write(folder: Path) -> list[Path]:
    """Write every document into `folder`, which is made where it is missing; the released copies stay untouched."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, document in documents().items():
        path = folder / name
        path.write_bytes(_to_bytes(document))
        written.append(path)
    return written


def drift(folder: Path) -> list[str]:
    """How the files of `folder` differ from what the messages generate, one line a file; empty where they do not."""
    expected = documents()
    problems = []
    for name, document in expected.items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{path} is missing: run rasad schemas")
        elif path.read_bytes() != _to_bytes(document):
            problems.append(f"{path} differs from the messages: run rasad schemas and commit it")
    stale = sorted(path for path in folder.glob("*" + _ENDING) if path.name not in expected)
    return problems + [f"{path} belongs to no message: remove it" for path in stale]


def breaks(folder: Path) -> list[str]:
    """What keeps the messages of any release under `folder`/released and the current ones from being read alike.

    Schemas of a release that are not what it published are told too.
    """
    current = documents()
    problems = [problem for release in sorted((folder / RELEASED).glob("v*")) for problem in _edited(release)]
    for path in sorted((folder / RELEASED).glob("v*/*" + _ENDING)):
        where = f"{path.parent.name}/{path.name}"
        if path.name not in current:
            problems.append(f"{where}: released, and the message is gone")
            continue
        problems += [
            f"{where}: {each}" for each in incompatibilities(json.loads(path.read_bytes()), current[path.name])
        ]
    return problems


def _edited(release: Path) -> Iterator[str]:
    """Schemas of a release that are not what its SHA256SUMS (of `sha256sum *.json`) says, or are not named there."""
    sums = release / _SUMS
    noted = dict(line.split()[::-1] for line in sums.read_text().splitlines()) if sums.is_file() else {}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in release.glob("*" + _ENDING)}
    for name in sorted(noted.keys() | found.keys()):
        if noted.get(name) != found.get(name):
            yield f"{release.name}/{name}: not as it was released ({_SUMS}): put it back"


def incompatibilities(released: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Why a reader by one of two versions of a schema may refuse or misread a message written by the other.

    Properties may only be added, and not as required ones; all else that decides about a message must be equal.
    """
    return list(_compared(released, current, _Versions(released, current), "$", frozenset()))


def asyncapi(topics: TopicSettings) -> Schema:
    """The AsyncAPI 3.0 document of all topics, under the names that `topics` gives them."""
    messages = {each.name: each for each in _MESSAGES}
    channels: Schema = {}
    operations: Schema = {}
    for channel in _CHANNELS:
        name = messages[channel.message].camel
        carried = [name, f"{name}Text"] if channel.message == "raw-article" else [name]
        address = getattr(topics, channel.setting)
        channels[channel.setting] = {
            "address": address,
            "summary": channel.summary,
            "messages": {each: {"$ref": f"#/components/messages/{each}"} for each in carried},
            "bindings": {
                "kafka": {
                    "topic": address,
                    "partitions": topics.partitions,
                    "replicas": topics.replication_factor,
                    "topicConfiguration": {"cleanup.policy": [channel.cleanup]},
                    "bindingVersion": "0.5.0",
                }
            },
        }
        operations[f"{channel.action}_{channel.setting}"] = {
            "action": channel.action,
            "channel": {"$ref": f"#/channels/{channel.setting}"},
            "summary": channel.summary,
            "messages": [{"$ref": f"#/channels/{channel.setting}/messages/{each}"} for each in carried],
        }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Rasad",
            "version": f"{_MAJOR}.0.0",
            "description": "Raw Arabic news articles in, enriched events out. Operations are Rasad's own: what it "
            "receives is for others to send, what it sends for others to receive.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": _asyncapi_messages(),
            "messageTraits": {
                "cloudEvent": {
                    "headers": {
                        "type": "object",
                        "description": "CloudEvents in binary mode: the attributes are headers, the value is the data.",
                        "required": [name for name in _CLOUDEVENTS if name not in _OPTIONAL_HEADERS],
                        "properties": {**_CLOUDEVENTS, **_TRACEPARENT},
                        "additionalProperties": True,
                    }
                }
            },
        },
    }


def _asyncapi_messages() -> Schema:
    keys = {channel.message: channel.key for channel in _CHANNELS}
    messages: Schema = {}
    for each in _MESSAGES:
        message: Schema = {
            "name": each.type_.__name__,
            "title": each.type_.__name__,
            "summary": _description(each.type_).partition("\n")[0],
            "contentType": "application/json",
            "payload": {"$ref": f"./{each.file}"},
            "bindings": {
                "kafka": {"key": {"type": "string", "description": keys[each.name]}, "bindingVersion": "0.5.0"}
            },
        }
        match each.name:
            case "raw-article":
                message["headers"] = {
                    "type": "object",
                    "description": "A record may have any headers: a dead letter keeps them, and a redrive puts its "
                    "own after them.",
                    "properties": {**_REDRIVE_HEADERS, **_TRACEPARENT},
                    "additionalProperties": True,
                }
                text = {
                    "title": f"{each.type_.__name__} as plain text",
                    "summary": "UTF-8 text: the headline on the first line, then the body.",
                    "contentType": "text/plain; charset=utf-8",
                    "payload": {"type": "string", "minLength": 1},
                }
                messages[f"{each.camel}Text"] = message | text
            case "dead-letter":
                message["contentType"] = "application/octet-stream"
                message["headers"] = {"$ref": f"./{each.file}"}
                message["payload"] = {"description": "The original value, untouched; it may be no JSON at all."}
            case "enriched-event" | "entity-record" | "stance-record":
                message["traits"] = [{"$ref": "#/components/messageTraits/cloudEvent"}]
        messages[each.camel] = message
    return messages


def _schema_id(name: str) -> str:
    return f"urn:rasad:schema:{name}:v{_MAJOR}"


def _description(message: type[object]) -> str:
    return inspect.cleandoc(message.__doc__ or "")


def _schema(message: _Message) -> Schema:
    match message.name:
        case "raw-article":
            generated = _raw_article()
        case "dead-letter":
            generated = _dead_letter()
        case _:
            generated = TypeAdapter(message.type_).json_schema(schema_generator=_Generator)
    head = {"$schema": DIALECT, "$id": _schema_id(message.name), "title": message.type_.__name__}
    opened = _opened({key: value for key, value in generated.items() if key not in head})
    assert isinstance(opened, dict)
    return head | {"description": _description(message.type_)} | opened


def _raw_article() -> Schema:
    """What `decode` takes, which is more than a RawArticle writes: other names, nulls, ids as numbers."""
    properties: Schema = {}
    for field, names in FIELD_NAMES.items():
        types = ["string", "integer", "null"] if field == "id" else ["string", "null"]
        for name in names:
            description = _RAW_DESCRIPTIONS[field] if name == names[0] else f"Read where {names[0]} is missing or null."
            properties[name] = {"type": types, "description": description}
    properties["extra"] = {"description": "Fields that Rasad has no name for; those beside it are kept as well."}
    return {"type": "object", "properties": properties, "additionalProperties": True}


def _dead_letter() -> Schema:
    """On its topic a dead letter is the original key, value and headers, so the schema is that of its own headers."""
    return {
        "description": f"{_description(DeadLetter)}\n\nOn the topic the key, the value and the headers are those of "
        "the original record; this schema describes the headers that are added after them, read as UTF-8. Where a "
        "name occurs more than once, after a redrive, the last one holds. The value is left out where no topic takes "
        "one so large: it stays at the topic, partition and offset named here.",
        "type": "object",
        "properties": {**DEAD_LETTER_HEADERS, **_CONNECT_HEADERS, **_VALUE_OMITTED},
        "required": list(DEAD_LETTER_HEADERS),
        "additionalProperties": True,
    }


def _opened(node: object) -> object:
    """The schema with every object said to be open, so that validators with a strict default agree."""
    if isinstance(node, list):
        return [_opened(each) for each in node]
    if not isinstance(node, dict):
        return node
    inner = {key: _opened(value) for key, value in node.items()}
    if inner.get("type") == "object" and "properties" in inner:
        inner.setdefault("additionalProperties", True)
    return inner


def _to_bytes(document: Schema) -> bytes:
    return (json.dumps(document, ensure_ascii=False, indent=2) + "\n").encode("utf-8")


@dataclass(frozen=True, slots=True)
class _Versions:
    """The two roots that references are looked up in."""

    released: Mapping[str, Any]
    current: Mapping[str, Any]


def _compared(
    released: object, current: object, roots: _Versions, path: str, seen: frozenset[tuple[str, str]]
) -> Iterator[str]:
    if isinstance(released, list) and isinstance(current, list) and len(released) == len(current):
        for index, (old, new) in enumerate(zip(released, current, strict=True)):
            yield from _compared(old, new, roots, f"{path}[{index}]", seen)
        return
    if not (isinstance(released, Mapping) and isinstance(current, Mapping)):
        if released != current:
            yield f"{path} was {json.dumps(released)} and is {json.dumps(current)}"
        return
    pair = (str(released.get("$ref")), str(current.get("$ref")))
    if pair in seen:
        return
    if pair != ("None", "None"):
        seen |= {pair}
    old, new = _resolved(released, roots.released), _resolved(current, roots.current)
    yield from _compared_properties(old, new, roots, path, seen)
    ignored = _ANNOTATIONS | {"properties", "required"}
    for keyword in sorted((old.keys() | new.keys()) - ignored):
        if keyword in old and keyword in new:
            yield from _compared(old[keyword], new[keyword], roots, f"{path}.{keyword}", seen)
        else:
            yield f"{path}: {keyword} was {'removed' if keyword in old else 'added'}"


def _compared_properties(
    old: Mapping[str, Any], new: Mapping[str, Any], roots: _Versions, path: str, seen: frozenset[tuple[str, str]]
) -> Iterator[str]:
    before, after = old.get("properties", {}), new.get("properties", {})
    for name, schema in before.items():
        if name in after:
            yield from _compared(schema, after[name], roots, f"{path}.{name}", seen)
        else:
            yield f"{path}.{name} was removed"
    was_required, is_required = set(old.get("required", ())), set(new.get("required", ()))
    for name in sorted(is_required - was_required):
        yield f"{path}.{name} is required, and messages written before do not have it"
    for name in sorted(was_required - is_required):
        yield f"{path}.{name} is no longer required, and readers from before need it"


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema behind a reference into `$defs`, with what stands beside the reference; or the schema itself."""
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    resolved = root["$defs"][reference.removeprefix("#/$defs/")]
    assert isinstance(resolved, Mapping)
    # Since 2019-09 both hold, so that a keyword on both sides is kept under a name of its own.
    beside = {key: value for key, value in schema.items() if key != "$ref" and key not in _ANNOTATIONS}
    return {**resolved, **{f"{key} beside $ref" if key in resolved else key: value for key, value in beside.items()}}
