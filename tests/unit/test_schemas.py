"""Schemas: as committed, true of real messages, and readable both ways across releases."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError

from rasad import messages, schemas
from rasad.enrich.decode import FIELD_NAMES, decode
from rasad.settings import TopicSettings
from rasad.streams.publication import Publication, dead_letter_publication, publications

FOLDER = Path(__file__).parents[2] / "schemas"
RELEASES = sorted(path for path in (FOLDER / schemas.RELEASED).iterdir() if path.is_dir())

SPAN = messages.Span(field="body", start=0, end=4)
MENTION = messages.Mention(
    mention_id="m", entity_id="e", field="title", start=0, end=5, surface="وجنيف", core_start=1, core_end=5,
    type="LOC", subtype="GPE", prob=0.9, sentence=0,
)  # fmt: skip
ENTITY = messages.Entity(
    entity_id="e", type="LOC", subtype="GPE", canonical="جنيف", aliases=("وجنيف",), mention_count=1, in_title=True,
    salience=1.0, confidence=0.9,
)  # fmt: skip
STANCE = messages.Stance(
    kind="headline", target=messages.StanceTarget(text="وجنيف"), label="agree",
    probs={"agree": 0.7, "disagree": 0.1, "discuss": 0.1, "unrelated": 0.1}, evidence=(SPAN,),
)  # fmt: skip
EVENT = messages.EnrichedEvent(
    event_id="v",
    event_type=messages.EVENT_TYPE,
    article=messages.Article(
        id="a", url=None, source="s", language="ar", published_at=None, fetched_at=None, title="وجنيف", body="نص.",
        content_sha256=messages.content_sha256("وجنيف", "نص."), offset_unit="codepoint", sentences=(SPAN,),
        tokens_total=3, windows=1, truncated=False,
    ),
    mentions=(MENTION,),
    entities=(ENTITY,),
    stances=(STANCE,),
    quotes=(
        messages.Quote(
            field="body", start=0, end=2, kind="direct", cue=None, speaker="x", speaker_entity_id=None, prob=1.0
        ),
    ),
    pipeline=messages.Pipeline(
        version="1", code="1", normaliser="n", models=(messages.ModelVersion(task="ner", name="n", sha256="0"),)
    ),
    run={"ms": 3},
)  # fmt: skip
COMMON: dict[str, Any] = {
    "event_id": "v", "article_id": "a", "source": None, "published_at": None, "title": "t", "pipeline_version": "1",
}  # fmt: skip
EXAMPLES: dict[str, list[object]] = {
    "enriched-event": [EVENT],
    "entity-record": [messages.EntityRecord(entity=ENTITY, mentions=(MENTION,), **COMMON)],
    "stance-record": [messages.StanceRecord(stance=STANCE, **COMMON)],
    "claim": [messages.Claim(id="c", text="نص")],
    "redrive": [
        messages.Redrive(topic="dlq", partition=0, offset=1, timestamp=2, sent_to="raw", sent_at="", attempt=2)
    ],
    "raw-article": [messages.RawArticle(id="a", title="t", body="b", extra={"x": [1]})],
}


def current(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((FOLDER / f"{name}.schema.json").read_bytes())
    return document


def test_the_committed_files_are_what_the_messages_generate():
    assert schemas.drift(FOLDER) == []


def test_nothing_breaks_what_was_released():
    assert RELEASES
    assert schemas.breaks(FOLDER) == []


def test_every_schema_is_one():
    names = sorted(path.name for path in FOLDER.glob("*.schema.json"))
    assert names == sorted(f"{name}.schema.json" for name in [*EXAMPLES, "dead-letter"])
    for name in names:
        schema = json.loads((FOLDER / name).read_bytes())
        Draft202012Validator.check_schema(schema)
        assert schema["$schema"] == schemas.DIALECT
        assert schema["description"]
    ids = {json.loads((FOLDER / name).read_bytes())["$id"] for name in names}
    assert len(ids) == len(names)
    assert schemas.schema_id(messages.EnrichedEvent) in ids


SCHEMAS = [
    path for folder in [FOLDER, *RELEASES] for name in EXAMPLES if (path := folder / f"{name}.schema.json").is_file()
]


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_messages_as_written_are_valid_now_and_by_every_release(path: Path):
    name = path.name.removesuffix(".schema.json")
    validator = Draft202012Validator(json.loads(path.read_bytes()))
    for example in EXAMPLES[name]:
        written = orjson.loads(messages.to_bytes(example))
        validator.validate(written)
        validator.validate(written | {"added_later": {"x": 1}})
        assert messages.from_bytes(type(example), orjson.dumps(written | {"added_later": 1})) == example


def test_a_wrong_event_is_refused():
    written = orjson.loads(messages.to_bytes(EVENT))
    written["mentions"][0]["start"] = "0"
    with pytest.raises(ValidationError):
        Draft202012Validator(current("enriched-event")).validate(written)


def test_writing_gives_the_committed_bytes_and_drift_names_what_differs(tmp_path: Path):
    written = schemas.write(tmp_path / "new")
    assert {path.name: path.read_bytes() for path in written} == {
        path.name: path.read_bytes() for path in FOLDER.glob("*.json")
    }
    assert schemas.drift(tmp_path / "new") == []
    (tmp_path / "new" / "claim.schema.json").write_text("{}")
    (tmp_path / "new" / "asyncapi.json").unlink()
    (tmp_path / "new" / "gone.schema.json").write_text("{}")
    told = "\n".join(schemas.drift(tmp_path / "new"))
    assert "claim.schema.json differs" in told
    assert "asyncapi.json is missing" in told
    assert "gone.schema.json belongs to no message" in told


# What decode takes is what the raw schema says

VALUES = st.none() | st.text(max_size=5) | st.integers(-5, 5) | st.booleans() | st.lists(st.integers(0, 9), max_size=1)
NAMES = st.sampled_from([name for names in FIELD_NAMES.values() for name in names] + ["extra", "other"])


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_what_the_raw_schema_allows_is_of_the_right_type_for_decode(record: dict[str, Any]):
    outcome = decode(messages.Record(value=orjson.dumps(record)), pipeline_version="p")
    refused = isinstance(outcome, messages.DeadLetter) and outcome.reason == "wrong_type"
    valid = Draft202012Validator(current("raw-article")).is_valid(record)
    assert not (valid and refused)
    # Of several names for a field decode looks only at the one it reads.
    if all(sum(name in record for name in names) <= 1 for names in FIELD_NAMES.values()):
        assert valid is not refused


# Headers as published


def headers(publication: Publication) -> dict[str, str]:
    return {name: value.decode() for name, value in publication.headers}


def test_dead_letter_headers_are_what_their_schema_says():
    record = messages.Record(value=b"{", topic="news.raw.ar", partition=1, offset=5, headers=(("x", b"1"),))
    letter = decode(record, pipeline_version="p")
    assert isinstance(letter, messages.DeadLetter)
    (publication,) = publications(letter, record, TopicSettings())
    schema = current("dead-letter")
    without_value = dead_letter_publication(letter, TopicSettings(), with_value=False)
    for each in (publication, without_value):
        Draft202012Validator(schema).validate(headers(each))
    assert headers(without_value).keys() == schema["properties"].keys() | {"x"}
    assert headers(without_value).keys() - headers(publication).keys() == {messages.VALUE_OMITTED_HEADER}


@pytest.mark.parametrize("timestamp", [None, 1_700_000_000_123])
def test_event_headers_are_what_the_asyncapi_document_says(timestamp: int | None):
    trace = (("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), ("x", b"1"))
    record = messages.Record(value=b"", timestamp=timestamp, headers=trace)
    document = json.loads((FOLDER / schemas.ASYNCAPI).read_bytes())
    schema = document["components"]["messageTraits"]["cloudEvent"]["headers"]
    published = publications(EVENT, record, TopicSettings())
    assert len(published) == 3
    for publication in published:
        Draft202012Validator(schema).validate(headers(publication))
        assert headers(publication).keys() - schema["properties"].keys() == set()


# Evolution


def changed(name: str, *path: str, **changes: Any) -> dict[str, Any]:
    """The current schema with keywords at `path` set, or removed where None."""
    schema = copy.deepcopy(current(name))
    node = schema
    for part in path:
        node = node[part]
    for key, value in changes.items():
        if value is None:
            del node[key]
        else:
            node[key] = value
    return schema


@pytest.mark.parametrize(
    ("path", "changes", "told"),
    [
        (("properties",), {"quotes": None}, ["$.quotes was removed"]),
        (("properties",), {"added": {"type": "string", "default": ""}}, []),
        ((), {"description": "other words"}, []),
        (("$defs", "Mention", "properties"), {"prob": None}, ["$.mentions.items.prob was removed"]),
        (("$defs", "Mention", "properties"), {"added": {"type": "null"}}, []),
        (
            ("$defs", "Span", "properties", "start"),
            {"type": "string"},
            ["$.article.sentences.items.start.type", "$.stances.items.evidence.items.start.type"],
        ),
        (("$defs", "Span"), {"required": ["field"]}, ["start is no longer required", "end is no longer required"]),
        (("$defs", "Quote"), {"required": ["field", "start", "end", "kind", "cue", "speaker", "speaker_entity_id",
                                           "prob", "new"]}, ["$.quotes.items.new is required"]),
        (("$defs", "Stance", "properties", "kind"), {"enum": ["headline"]}, ["$.stances.items.kind.enum was"]),
        (("$defs", "Entity", "properties", "salience"), {"maximum": 1}, ["maximum was added"]),
        (("properties", "run"), {"additionalProperties": None}, ["$.run: additionalProperties was removed"]),
    ],
)  # fmt: skip
def test_incompatible_changes_are_told_and_compatible_ones_are_not(path, changes, told):
    found = schemas.incompatibilities(current("enriched-event"), changed("enriched-event", *path, **changes))
    assert bool(found) is bool(told), found
    for part in told:
        assert any(part in each for each in found), found


def test_a_recursive_schema_is_compared_to_its_end():
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}, "value": {"type": "integer"}}}
    released = {"$ref": "#/$defs/Node", "$defs": {"Node": node}}
    other = copy.deepcopy(released)
    assert schemas.incompatibilities(released, other) == []
    other["$defs"]["Node"]["properties"]["value"]["type"] = "string"
    assert schemas.incompatibilities(released, other) == ['$.value.type was "integer" and is "string"']


def test_a_released_message_cannot_go(tmp_path: Path):
    schemas.write(tmp_path)
    (tmp_path / "released" / "v1").mkdir(parents=True)
    (tmp_path / "released" / "v1" / "gone.schema.json").write_text("{}")
    (tmp_path / "released" / "v1" / "SHA256SUMS").write_text(f"{hashlib.sha256(b'{}').hexdigest()}  gone.schema.json\n")
    assert schemas.breaks(tmp_path) == ["v1/gone.schema.json: released, and the message is gone"]


# AsyncAPI


def references(node: object) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [each for value in node.values() for each in references(value)]
    return [each for value in node for each in references(value)] if isinstance(node, list) else []


def test_the_asyncapi_document_covers_every_topic_and_its_references_lead_somewhere():
    document = json.loads((FOLDER / schemas.ASYNCAPI).read_bytes())
    assert document["asyncapi"] == "3.0.0"
    # Replays and aliases are Rasad's own notes to itself, no contract with anyone.
    topics = TopicSettings().model_dump(exclude={"partitions", "replication_factor", "replays", "aliases"})
    assert {name: channel["address"] for name, channel in document["channels"].items()} == topics
    assert {operation["channel"]["$ref"] for operation in document["operations"].values()} == {
        f"#/channels/{name}" for name in topics
    }
    compacted = {
        name
        for name, channel in document["channels"].items()
        if channel["bindings"]["kafka"]["topicConfiguration"]["cleanup.policy"] == ["compact"]
    }
    assert compacted == {"claims", "redriven"}
    for reference in references(document):
        if reference.startswith("./"):
            assert (FOLDER / reference).is_file()
            continue
        node = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
        assert node
    for message in document["components"]["messages"].values():
        assert message["bindings"]["kafka"]["key"]["description"]
