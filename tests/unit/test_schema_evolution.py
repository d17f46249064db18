"""FULL_TRANSITIVE, tried out: the schemas and the code of every version on the messages of every other.

Three ways: what the pipeline writes now, by the schemas of each release; what each release wrote, kept in
`released_messages`, by the schemas and the code of now; and schemas changed at random, with messages made from them, to
see that what `rasad schemas --check` lets through is indeed readable both ways.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from rasad import messages, schemas
from rasad.enrich.enricher import Enricher
from rasad.settings import TopicSettings
from rasad.streams.publication import publications

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "schemas"
RELEASES = sorted(path for path in (FOLDER / schemas.RELEASED).iterdir() if path.is_dir())
KEPT = Path(__file__).parent / "released_messages"
TOPICS = TopicSettings()
SEEDS = ["06-sport-jump-doha.json", "13-culture-lantern-festival-denial.txt", "flawed/english.txt"]
TYPES: dict[str, type[object]] = {
    "enriched-event": messages.EnrichedEvent,
    "entity-record": messages.EntityRecord,
    "stance-record": messages.StanceRecord,
    "claim": messages.Claim,
}

Schema = dict[str, Any]


def schema(name: str, folder: Path = FOLDER) -> Schema:
    document: Schema = json.loads((folder / f"{name}.schema.json").read_bytes())
    return document


def kept() -> Iterator[tuple[str, str, bytes]]:
    """Release, name of the message and value, of every message that a release wrote."""
    for path in sorted(KEPT.glob("v*/*.jsonl")):
        for line in path.read_bytes().splitlines():
            yield path.parent.name, path.stem, line


@pytest.fixture(scope="module")
def written(enricher: Enricher) -> list[tuple[str, Any]]:
    """What is published now for some seeds: name of the message, and its value, or its headers for a dead letter."""
    records = [messages.Record(value=(ROOT / "seeds" / name).read_bytes(), topic=TOPICS.raw) for name in SEEDS]
    names = {
        TOPICS.enriched: "enriched-event",
        TOPICS.entities: "entity-record",
        TOPICS.stances: "stance-record",
        TOPICS.dead_letters: "dead-letter",
    }
    return [
        (
            names[each.topic],
            {key: value.decode() for key, value in each.headers}
            if each.topic == TOPICS.dead_letters
            else orjson.loads(each.value or b""),
        )
        for outcome, record in zip(enricher.enrich(records), records, strict=True)
        for each in publications(outcome, record, TOPICS)
    ]


def test_what_is_written_now_is_valid_by_every_release(written: list[tuple[str, Any]]) -> None:
    assert {name for name, _ in written} == {"enriched-event", "entity-record", "stance-record", "dead-letter"}
    for folder in (FOLDER, *RELEASES):
        validators = {name: Draft202012Validator(schema(name, folder)) for name, _ in written}
        for name, value in written:
            validators[name].validate(value)


def test_every_release_kept_messages_of_every_kind() -> None:
    released = {
        (path.parent.name, path.name.removesuffix(".schema.json"))
        for path in (FOLDER / "released").glob("v*/*.schema.json")
    }
    assert {(release, name) for release, name, _ in kept()} == released


def test_what_every_release_wrote_is_valid_now_and_by_every_other() -> None:
    for folder in (FOLDER, *RELEASES):
        for release, name, line in kept():
            if (folder / f"{name}.schema.json").is_file():
                assert Draft202012Validator(schema(name, folder)).is_valid(orjson.loads(line)), (release, name, folder)


def test_what_every_release_wrote_is_read_now_and_written_with_nothing_lost() -> None:
    for release, name, line in kept():
        if name in TYPES:
            again = orjson.loads(messages.to_bytes(messages.from_bytes(TYPES[name], line)))
            assert lacking(orjson.loads(line), again) == [], (release, name)


def lacking(old: Any, new: Any, path: str = "$") -> list[str]:
    """Where `new` does not hold what `old` does; what it holds beside that is no matter."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            each
            for key in old
            for each in (lacking(old[key], new[key], f"{path}.{key}") if key in new else [f"{path}.{key}"])
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [
            each
            for index, (a, b) in enumerate(zip(old, new, strict=True))
            for each in lacking(a, b, f"{path}[{index}]")
        ]
    return [] if old == new else [path]


def test_released_schemas_are_as_they_were_released(tmp_path: Path) -> None:
    schemas.write(tmp_path)
    release = tmp_path / "released" / "v1"
    release.mkdir(parents=True)
    content = (tmp_path / "claim.schema.json").read_bytes()
    (release / "claim.schema.json").write_bytes(content)
    assert schemas.breaks(tmp_path) == ["v1/claim.schema.json: not as it was released (SHA256SUMS): put it back"]
    (release / "SHA256SUMS").write_text(f"{hashlib.sha256(content).hexdigest()}  claim.schema.json\n")
    assert schemas.breaks(tmp_path) == []
    (release / "claim.schema.json").write_bytes(content.replace(b"Claim", b"claim"))
    assert len(schemas.breaks(tmp_path)) == 1


# Schemas changed at random

JSON = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.text(max_size=2)
TYPE_NAMES = ["string", "integer", "number", "boolean", "null", "object", "array"]


def instances(node: Schema, root: Schema) -> st.SearchStrategy[Any]:
    """Messages by a schema, as far as its keywords are those that Rasad's schemas use; the caller checks each."""
    if "$ref" in node:
        return instances(root["$defs"][node["$ref"].removeprefix("#/$defs/")], root)
    if "const" in node:
        return st.just(node["const"])
    if "enum" in node:
        return st.sampled_from(node["enum"])
    if "anyOf" in node:
        return st.one_of([instances(each, root) for each in node["anyOf"]])
    types = node.get("type", [])
    return st.one_of([typed(each, node, root) for each in ([types] if isinstance(types, str) else types)] or [JSON])


def typed(type_: str, node: Schema, root: Schema) -> st.SearchStrategy[Any]:
    if type_ == "object":
        needed = node.get("required", [])
        properties = {key: instances(each, root) for key, each in node.get("properties", {}).items()}
        return st.fixed_dictionaries(
            {key: properties.get(key, JSON) for key in needed},
            optional={key: each for key, each in properties.items() if key not in needed},
        )
    if type_ == "array":
        return st.lists(instances(node.get("items", {}), root), max_size=2)
    return {
        "string": st.text(max_size=3) | st.sampled_from(["a" * 9, "7"]),
        "integer": st.integers(-2, 2) | st.just(99),
        "number": st.floats(-2, 2) | st.just(99.5),
        "boolean": st.booleans(),
        "null": st.none(),
    }[type_]


def nodes(node: Any) -> Iterator[Schema]:
    """Every schema within a schema, itself first."""
    if not isinstance(node, dict):
        return
    yield node
    for key in ("properties", "$defs"):
        for each in node.get(key, {}).values():
            yield from nodes(each)
    for key in ("items", "additionalProperties"):
        yield from nodes(node.get(key))
    for each in node.get("anyOf", []):
        yield from nodes(each)


def retype(node: Schema, draw: Callable[..., Any]) -> None:
    node["type"] = draw(st.sampled_from(TYPE_NAMES))


def tighten(node: Schema, draw: Callable[..., Any]) -> None:
    node |= draw(st.sampled_from([{"maxLength": 5}, {"maximum": 5}, {"maxItems": 1}, {"minLength": 1}, {"const": "7"}]))


def add_property(node: Schema, draw: Callable[..., Any]) -> None:
    node.setdefault("properties", {})["added"] = draw(st.sampled_from([{"type": "string"}, {"type": "null"}, {}]))


def drop_property(node: Schema, draw: Callable[..., Any]) -> None:
    if properties := node.get("properties"):
        del properties[draw(st.sampled_from(sorted(properties)))]


def require(node: Schema, draw: Callable[..., Any]) -> None:
    names = [*node.get("properties", {}), "added"]
    node["required"] = sorted({*node.get("required", []), draw(st.sampled_from(names))})


def relax(node: Schema, draw: Callable[..., Any]) -> None:
    if needed := node.get("required"):
        node["required"] = [name for name in needed if name != draw(st.sampled_from(needed))]


def change_choices(node: Schema, draw: Callable[..., Any]) -> None:
    for key in ("enum", "anyOf"):
        if key in node:
            more: Any = "other" if key == "enum" else {"type": "boolean"}
            node[key] = draw(st.sampled_from([node[key][:-1] or node[key], [*node[key], more], node[key][::-1]]))


def close(node: Schema, draw: Callable[..., Any]) -> None:
    node["additionalProperties"] = draw(st.sampled_from([False, True, {"type": "string"}]))


def reword(node: Schema, draw: Callable[..., Any]) -> None:
    node["description"] = draw(st.text(max_size=3))


CHANGES = [retype, tighten, add_property, drop_property, require, relax, change_choices, close, reword]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_what_the_check_lets_through_is_read_both_ways(data: st.DataObject) -> None:
    released = schema(data.draw(st.sampled_from(["claim", "stance-record", "raw-article", "dead-letter"])))
    changed = copy.deepcopy(released)
    within = list(nodes(changed))
    for _ in range(data.draw(st.integers(1, 2))):
        node = within[data.draw(st.integers(0, len(within) - 1))]
        data.draw(st.sampled_from(CHANGES))(node, data.draw)
    if schemas.incompatibilities(released, changed):
        return
    old, new = Draft202012Validator(released), Draft202012Validator(changed)
    by_old, by_new = data.draw(instances(released, released)), data.draw(instances(changed, changed))
    if old.is_valid(by_old):
        new.validate(by_old)
    if new.is_valid(by_new):
        old.validate(by_new)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_the_messages_that_are_made_up_are_valid(data: st.DataObject) -> None:
    document = schema(data.draw(st.sampled_from(["claim", "stance-record", "raw-article"])))
    Draft202012Validator(document).validate(data.draw(instances(document, document)))
