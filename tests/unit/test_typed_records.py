"""Records as the messages that they hold: what is published is read back, and what is not one is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rasad.messages import DeadLetter, EnrichedEvent, EntityRecord, Record, StanceRecord
from rasad.settings import TopicSettings
from rasad.streams.publication import dead_letter_publication, publications
from rasad.streams.typed_records import InvalidMessage, identity, read, type_of_topic
from tests.contract.contract import BAD, good
from tests.kafka.plain_enrichment import enrich

TOPICS = TopicSettings()
RAW = Record(value=good(1), key=b"k", headers=(("x", b"1"),), topic=TOPICS.raw, partition=2, offset=9, timestamp=3)


def outputs(record: Record) -> list[Record]:
    """What is published for a record, as it is read again."""
    (outcome,) = enrich([record])
    return [
        Record(value=each.value or b"", key=each.key, headers=each.headers, topic=each.topic, partition=1, offset=5)
        for each in publications(outcome, record, TOPICS)
    ]


def test_every_output_is_read_back_by_its_topic() -> None:
    event, *others = outputs(RAW)
    read_back = read(EnrichedEvent, event)
    assert replace(read_back, run={}) == replace(enrich([RAW])[0], run={})
    for record in others:
        type_ = type_of_topic(record.topic, TOPICS)
        assert type_ in (EntityRecord, StanceRecord)
        assert read(type_, record).event_id == read_back.event_id  # type: ignore[attr-defined, type-var]
    assert type_of_topic(TOPICS.raw, TOPICS) is None
    assert read(Record, event) is event


def test_a_dead_letter_is_read_back_also_when_it_was_given_up_twice() -> None:
    first = replace(RAW, value=BAD["not_arabic"])
    (letter,) = enrich([first])
    assert isinstance(letter, DeadLetter)
    (record,) = outputs(first)
    # A dead letter does not say when its record was written.
    assert read(DeadLetter, record) == replace(letter, record=replace(first, timestamp=None))
    again = replace(letter, record=record, stage="enrich", reason="enrichment_failed")
    publication = dead_letter_publication(again, TOPICS)
    twice = Record(value=publication.value or b"", key=publication.key, headers=publication.headers, offset=6)
    assert read(DeadLetter, twice) == again


def test_copies_have_one_identity_and_others_have_others() -> None:
    records = [*outputs(RAW), *outputs(replace(RAW, value=good(2))), *outputs(replace(RAW, value=b"{", offset=10))]
    types = [type_of_topic(record.topic, TOPICS) or Record for record in records]
    ids = [identity(read(type_, record), record) for type_, record in zip(types, records, strict=True)]
    assert None not in ids
    assert len(set(ids)) == len(records)
    moved = [replace(record, partition=3, offset=77) for record in records]
    assert ids == [identity(read(type_, record), record) for type_, record in zip(types, moved, strict=True)]


def test_a_letter_from_a_topic_made_anew_is_not_a_copy_of_the_one_at_its_place_before() -> None:
    letters = [*outputs(replace(RAW, value=b"{")), *outputs(replace(RAW, value=b"["))]
    ids = [identity(read(DeadLetter, letter), letter) for letter in letters]
    assert len(set(ids)) == len(letters) == 2


def test_without_headers_an_event_still_says_which_it_is() -> None:
    event, entity, *_ = (replace(record, headers=()) for record in outputs(RAW))
    message = read(EnrichedEvent, event)
    assert identity(message, event) == message.event_id
    assert identity(read(EntityRecord, entity), entity) is None


def test_another_schema_is_refused_even_where_the_value_fits() -> None:
    event, *_ = outputs(RAW)
    headers = tuple((key, b"urn:rasad:schema:enriched-event:v2" if "schema" in key else v) for key, v in event.headers)
    with pytest.raises(InvalidMessage, match=r"news\.enriched\.v1\[1\]@5: its schema is .*v2.*upgrade rasad"):
        read(EnrichedEvent, replace(event, headers=headers))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b"", "no value where EnrichedEvent is wanted"),
        (b"{", "holds no EnrichedEvent: the value: Invalid JSON"),
        (b'{"event_id": 1}', "event_id: Input should be a valid string; event_type: Field required"),
    ],
)
def test_a_value_that_is_no_event_is_told_with_its_place(value: bytes, told: str) -> None:
    record = replace(outputs(RAW)[0], value=value)
    with pytest.raises(InvalidMessage) as raised:
        read(EnrichedEvent, record)
    assert told in str(raised.value)
    assert raised.value.record is record


@pytest.mark.parametrize("missing", ["rasad_reason", "rasad_partition", "rasad_stage"])
def test_a_dead_letter_without_its_reasons_is_none(missing: str) -> None:
    (record,) = outputs(replace(RAW, value=b"{"))
    headers = tuple(each for each in record.headers if each[0] != missing)
    with pytest.raises(InvalidMessage, match="holds no DeadLetter"):
        read(DeadLetter, replace(record, headers=headers))


def test_a_dead_letter_from_no_number_is_none() -> None:
    (record,) = outputs(replace(RAW, value=b"{"))
    headers = tuple((key, b"x" if key == "rasad_offset" else value) for key, value in record.headers)
    with pytest.raises(InvalidMessage, match="holds no DeadLetter"):
        read(DeadLetter, replace(record, headers=headers))
