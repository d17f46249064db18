"""What is published for an outcome."""

from __future__ import annotations

from dataclasses import replace

import jsonschema
import orjson
import pytest

from rasad.messages import DeadLetter, EnrichedEvent, EntityRecord, Record, Stance, StanceRecord, from_bytes
from rasad.schemas import documents
from rasad.settings import TopicSettings
from rasad.streams.publication import (
    REPEATED_BYTES,
    Publication,
    dead_letter_publication,
    publications,
    publishable,
    too_large,
    turns,
    verified,
)
from rasad.streams.transactions import fitting
from tests.contract.contract import good
from tests.kafka.plain_enrichment import enrich

TOPICS = TopicSettings()
TRACE = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
RECORD = Record(
    value=good(0),
    key=b"article-0",
    headers=(("origin", b"crawler"), TRACE),
    topic="news.raw.ar",
    partition=2,
    offset=17,
    timestamp=1_795_000_000_123,
)


def event_of(record: Record = RECORD) -> EnrichedEvent:
    (outcome,) = enrich([record])
    assert isinstance(outcome, EnrichedEvent)
    return outcome


def by_topic(wanted: tuple[Publication, ...], topic: str) -> list[Publication]:
    return [each for each in wanted if each.topic == topic]


def test_an_event_comes_first_under_its_articles_id_and_says_where_it_was_read() -> None:
    own = publications(event_of(), RECORD, TOPICS)[0]
    assert (own.topic, own.key) == ("news.enriched.v1", b"article-0")
    assert own.value
    run = from_bytes(EnrichedEvent, own.value).run
    assert (run["topic"], run["partition"], run["offset"], run["timestamp"]) == ("news.raw.ar", 2, 17, RECORD.timestamp)
    assert "enriched_at" in run


def test_each_entity_is_a_record_under_its_canonical_name_with_its_own_mentions() -> None:
    event = event_of()
    found = by_topic(publications(event, RECORD, TOPICS), TOPICS.entities)
    messages = [from_bytes(EntityRecord, each.value or b"") for each in found]
    assert [each.key for each in found] == [entity.canonical.encode() for entity in event.entities]
    assert [message.entity for message in messages] == list(event.entities)
    assert sum(len(message.mentions) for message in messages) == len(event.mentions)
    for message in messages:
        assert {mention.entity_id for mention in message.mentions} == {message.entity.entity_id}


def test_each_stance_is_a_record_under_its_claim_or_its_article() -> None:
    event = event_of()
    (headline,) = event.stances
    claim = replace(headline, kind="claim", target=replace(headline.target, claim_id="claim-7"))
    found = by_topic(publications(replace(event, stances=(headline, claim)), RECORD, TOPICS), TOPICS.stances)
    assert [each.key for each in found] == [b"article-0", b"claim-7"]
    stances: list[Stance] = [from_bytes(StanceRecord, each.value or b"").stance for each in found]
    assert [stance.kind for stance in stances] == ["headline", "claim"]


def test_cloud_events_headers_are_the_same_each_time_and_the_trace_goes_on() -> None:
    wanted = publications(event_of(), RECORD, TOPICS)
    assert [each.headers for each in wanted] == [each.headers for each in publications(event_of(), RECORD, TOPICS)]
    for each in wanted:
        headers = dict(each.headers)
        assert headers["ce_specversion"] == b"1.0"
        assert headers["ce_time"] == b"2026-11-18T11:06:40.123Z"
        assert headers["content-type"] == b"application/json"
        assert headers["traceparent"] == TRACE[1]
        assert "origin" not in headers
    identities = {(dict(each.headers)["ce_source"], dict(each.headers)["ce_id"]) for each in wanted}
    assert len(identities) == len(wanted)


@pytest.mark.parametrize(
    ("timestamp", "told"),
    [
        (0, b"1970-01-01T00:00:00.000Z"),
        (253_402_300_799_999, b"9999-12-31T23:59:59.999Z"),
        (253_402_300_800_000, None),
        (1_764_450_000_000_000, None),
        (2**62, None),
        (-1, None),
        (None, None),
    ],
)
def test_a_time_that_no_calendar_has_is_left_out(timestamp: int | None, told: bytes | None) -> None:
    record = replace(RECORD, timestamp=timestamp)
    for each in publications(event_of(record), record, TOPICS):
        assert dict(each.headers).get("ce_time") == told
        assert dict(each.headers)["ce_id"]


def test_values_are_what_their_schemas_say() -> None:
    by_id = {schema["$id"]: schema for schema in documents().values() if "$id" in schema}
    for each in publications(event_of(), RECORD, TOPICS):
        schema = by_id[dict(each.headers)["ce_dataschema"].decode()]
        jsonschema.validate(orjson.loads(each.value or b""), schema)


def letter_of(value: bytes) -> DeadLetter:
    (outcome,) = enrich([replace(RECORD, value=value)])
    assert isinstance(outcome, DeadLetter)
    return outcome


def test_a_dead_letter_is_the_original_and_reasons_after_it() -> None:
    letter = letter_of(b"\xff\xfe")
    (wanted,) = publications(letter, letter.record, TOPICS)
    assert (wanted.topic, wanted.key, wanted.value) == ("news.raw.ar.dlq", b"article-0", b"\xff\xfe")
    assert wanted.headers[:2] == RECORD.headers
    added = {key: value.decode() for key, value in wanted.headers[2:]}
    jsonschema.validate(added, documents()["dead-letter.schema.json"])
    assert added["rasad_reason"] == "invalid_utf8"
    assert (added["__connect.errors.topic"], added["__connect.errors.partition"]) == ("news.raw.ar", "2")
    assert added["__connect.errors.offset"] == "17"
    assert added["__connect.errors.exception.message"] == added["rasad_detail"] == letter.detail


def test_a_dead_letter_without_its_value_says_where_it_is() -> None:
    wanted = dead_letter_publication(letter_of(b"\xff\xfe"), TOPICS, with_value=False)
    assert (wanted.key, wanted.value) == (b"article-0", None)
    assert "stays at the topic, partition and offset" in dict(wanted.headers)["rasad_detail"].decode()


def test_an_output_too_large_names_the_topic() -> None:
    letter = too_large(event_of(), RECORD, "news.enriched.v1")
    assert (letter.reason, letter.stage, letter.record) == ("output_too_large", "publish", RECORD)
    assert "news.enriched.v1" in letter.detail


class TestPublishable:
    def test_what_takes_little_passes(self) -> None:
        event, letter = event_of(), letter_of(b"\xff")
        assert publishable(event, RECORD) is event
        assert publishable(letter, letter.record) is letter

    @pytest.mark.parametrize("repeated", ["title", "source", "traceparent"])
    def test_a_huge_field_that_many_records_repeat_gives_one_dead_letter(self, repeated: str) -> None:
        text = "م" * 400_000
        value = orjson.dumps({**orjson.loads(good(0)), repeated: text})
        record = replace(RECORD, value=value, headers=((repeated, text.encode()),))
        event = event_of(record)
        assert publishable(event, record) is event
        many = replace(event, entities=event.entities * (REPEATED_BYTES // 2_000_000))
        letter = publishable(many, record)
        assert isinstance(letter, DeadLetter)
        assert (letter.reason, letter.stage, letter.record) == ("output_too_large", "publish", record)
        assert "keep the body out of the title" in letter.detail
        (only,) = fitting(many, record, TOPICS, dict.fromkeys((TOPICS.enriched, TOPICS.dead_letters), 2**24))
        assert (only.topic, only.value) == (TOPICS.dead_letters, value)


class TestVerified:
    def test_right_events_and_dead_letters_pass(self) -> None:
        event, letter = event_of(), letter_of(b"\xff")
        assert verified(event, RECORD) is event
        assert verified(letter, letter.record) is letter

    @pytest.mark.parametrize(
        ("changed", "told"),
        [
            ({"surface": "جنيفا"}, "does not hold its surface"),
            ({"core_start": 10_000}, "the core of mention"),
        ],
    )
    def test_a_mention_that_is_wrong_gives_a_dead_letter(self, changed: dict[str, object], told: str) -> None:
        event = event_of()
        wrong = replace(event, mentions=(*event.mentions[:-1], replace(event.mentions[-1], **changed)))
        letter = verified(wrong, RECORD)
        assert isinstance(letter, DeadLetter)
        assert (letter.reason, letter.stage, letter.record) == ("enrichment_failed", "publish", RECORD)
        assert told in letter.detail

    def test_a_sentence_beyond_its_field_gives_a_dead_letter(self) -> None:
        event = event_of()
        sentences = (replace(event.article.sentences[0], end=10_000),)
        letter = verified(replace(event, article=replace(event.article, sentences=sentences)), RECORD)
        assert isinstance(letter, DeadLetter)
        assert "is outside the title" in letter.detail


def test_records_of_one_key_take_turns() -> None:
    keys = [b"a", None, b"b", b"a", None, b"a", b"b"]
    records = [Publication(topic="events", key=key, value=b"", headers=()) for key in keys]
    assert turns(records) == [[0, 1, 2, 4], [3, 6], [5]]
    assert turns([records[0], replace(records[0], topic="letters")]) == [[0, 1]]
    assert turns([]) == []
