from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rasad.enrich.claims import ClaimIndex
from rasad.enrich.enricher import Enricher, check_surfaces
from rasad.enrich.stance import StanceModel
from rasad.inference.backend import Logits, OnnxBackend
from rasad.inference.bundle import Bundle, BundleError
from rasad.inference.engine import Engine
from rasad.messages import (
    EVENT_TYPE,
    DeadLetter,
    EnrichedEvent,
    Outcome,
    RawArticle,
    Record,
    content_sha256,
    derived_id,
    from_bytes,
    to_bytes,
)
from tests.unit.articles import REPORT, long_body

TITLE, BODY = REPORT

TEXTS = st.text(
    st.one_of(
        st.sampled_from('ابتدرسعلمنوية ءأـَُِّّ\u200f\u200e\u202b\u202c\u061c\ufeff.،؟!"«»()#_@\n 0٣٫aZﷺ😀\ud800'),
        st.characters(),
    ),
    max_size=160,
)


def record(title: str, body: str, **fields: Any) -> Record:
    return Record(value=orjson.dumps({"title": title, "body": body} | fields))


def event(outcome: Outcome) -> EnrichedEvent:
    assert isinstance(outcome, EnrichedEvent), outcome
    return outcome


def stable(outcome: Outcome) -> bytes:
    """The bytes of an outcome without what may differ between two runs."""
    return to_bytes(replace(event(outcome), run={}))


def assert_sound(made: EnrichedEvent) -> None:
    check_surfaces(made)
    article = made.article
    texts = {"title": article.title, "body": article.body}
    entities = {entity.entity_id: entity for entity in made.entities}
    assert len(entities) == len(made.entities)
    assert article.truncated is False
    for mention in made.mentions:
        assert mention.surface == texts[mention.field][mention.start : mention.end]
        assert mention.surface.strip()
        assert mention.entity_id in entities
        sentence = article.sentences[mention.sentence]
        assert sentence.field == mention.field
        assert sentence.start <= mention.start < mention.end
    for field in texts:
        spans = [(mention.start, mention.end) for mention in made.mentions if mention.field == field]
        assert spans == sorted(spans)
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    for span in (span for stance in made.stances for span in stance.evidence):
        assert 0 <= span.start < span.end <= len(texts[span.field])
    for quote in made.quotes:
        assert texts[quote.field][quote.start : quote.end].strip()
        assert quote.speaker_entity_id is None or quote.speaker_entity_id in entities


def test_an_article_becomes_an_event(enricher: Enricher) -> None:
    made = event(enricher.enrich([record(TITLE, BODY, id="a1", source="test", url="http://example.org/1")])[0])
    assert_sound(made)
    assert (made.article.id, made.article.source, made.article.language) == ("a1", "test", "ar")
    assert (made.article.title, made.article.body) == (TITLE, BODY)
    assert made.event_type == EVENT_TYPE
    assert made.event_id == derived_id("a1", content_sha256(TITLE, BODY), enricher.pipeline.version)
    assert made.article.offset_unit == "codepoint"
    assert made.article.windows == 1
    assert made.article.tokens_total > 40
    assert made.stances[0].kind == "headline"
    assert list(made.stances[0].probs) == ["agree", "disagree", "discuss", "unrelated"]
    assert from_bytes(EnrichedEvent, to_bytes(made)) == made


def test_the_names_of_a_plain_report_are_found(enricher: Enricher) -> None:
    made = event(enricher.enrich([record(TITLE, BODY)])[0])
    kinds = {entity.canonical: entity.type for entity in made.entities}
    assert kinds.get("فراس الهواري") == "PER"
    assert kinds.get("منظمة الصحة العالمية") == "ORG"
    assert "LOC" in kinds.values()
    minister = next(entity for entity in made.entities if entity.canonical == "فراس الهواري")
    assert "الهواري" in minister.aliases
    assert "عمّان" in {mention.surface for mention in made.mentions}


def test_the_same_article_gives_the_same_bytes(enricher: Enricher) -> None:
    records = [record(TITLE, BODY, id="a1"), record(TITLE, long_body(300), id="a2")]
    first, second = (list(map(stable, enricher.enrich(records))) for _ in range(2))
    assert first == second


def test_what_shares_a_batch_changes_nothing(enricher: Enricher) -> None:
    records = [
        record(TITLE, BODY, id="a1"),
        record("خبر قصير", "أعلنت بلدية الرباط افتتاح حديقة جديدة.", id="a2"),
        record(TITLE, long_body(900), id="a3"),
        record("ـــَُِ", "قال الوزير.", id="a4"),
        record(TITLE, long_body(250), id="a5"),
    ]
    alone = [stable(enricher.enrich([each])[0]) for each in records]
    assert list(map(stable, enricher.enrich(records))) == alone
    assert list(map(stable, enricher.enrich(records[::-1]))) == alone[::-1]


def test_a_long_article_is_read_to_its_end(enricher: Enricher) -> None:
    body = long_body(1500)
    made = event(enricher.enrich([record(TITLE, body)])[0])
    assert_sound(made)
    assert made.article.windows > 3
    assert made.article.sentences[-1].end == len(body)
    assert max(mention.end for mention in made.mentions) > len(body) * 0.9


def test_run_alone_may_differ(enricher: Enricher) -> None:
    made = event(enricher.enrich([record(TITLE, BODY)])[0])
    assert made.run.keys() == {"enriched_at", "elapsed_ms", "batch_articles"}
    assert made.run["elapsed_ms"] > 0


def test_a_sound_headline_has_its_bodys_consent_and_all_four_probabilities(enricher: Enricher) -> None:
    made = event(enricher.enrich([record(TITLE, BODY)])[0])
    (stance,) = [each for each in made.stances if each.kind == "headline"]
    assert stance.label == "agree"
    assert list(stance.probs) == ["agree", "disagree", "discuss", "unrelated"]
    assert sum(stance.probs.values()) == pytest.approx(1, abs=0.001)


def test_an_article_without_a_title_has_no_headline_stance(enricher: Enricher) -> None:
    (made,) = enricher.annotate([RawArticle(id="a1", title="", body=BODY)])
    assert [stance for stance in made.stances if stance.kind == "headline"] == []
    assert_sound(made)


@settings(max_examples=25, deadline=None)
@given(title=TEXTS, body=TEXTS)
def test_any_text_at_all_is_annotated_soundly(enricher: Enricher, title: str, body: str) -> None:
    (made,) = enricher.annotate([RawArticle(id="a1", title=title, body=body)])
    assert_sound(made)
    assert (made.article.title, made.article.body) == (title, body)


@pytest.mark.parametrize(
    "body",
    ["ـًٌٍَُِّْ", "\u200f\u200e\u202b\u202c", "", "\ud800\udfff", "\x80", "س" * 20_000, "كلمة " * 2_000, '"' * 500, "\n" * 99],
)
def test_odd_texts_do_not_fail(enricher: Enricher, body: str) -> None:
    (made,) = enricher.annotate([RawArticle(id="a1", title="عنوان", body=body)])
    assert_sound(made)


def test_bad_records_leave_the_good_ones_in_order(enricher: Enricher) -> None:
    good = record(TITLE, BODY, id="good")
    bad = [b"", b"\xff\xfe\xfa", b'{"title": 1', b'{"title": "x"', b"English only, nothing else at all."]
    outcomes = enricher.enrich([each for value in bad for each in (Record(value=value), good)])
    assert [type(outcome) for outcome in outcomes] == [DeadLetter, EnrichedEvent] * len(bad)
    for value, outcome in zip(bad, outcomes[::2], strict=True):
        assert isinstance(outcome, DeadLetter)
        assert outcome.record.value == value
        assert outcome.pipeline_version == enricher.pipeline.version
        assert outcome.detail
    assert enricher.enrich([]) == []


class BrokenOnPiece:
    """A backend that fails on any batch that holds a certain piece, as a broken kernel would."""

    def __init__(self, backend: OnnxBackend, piece: int) -> None:
        self.backend = backend
        self.piece = piece
        self.name = backend.name
        self.batch_invariant = backend.batch_invariant

    def run(
        self, input_ids: npt.NDArray[np.int64], attention_mask: npt.NDArray[np.int64], heads: Sequence[str]
    ) -> Mapping[str, Logits]:
        if np.any(input_ids == self.piece):
            raise RuntimeError("kernel failed")
        return self.backend.run(input_ids, attention_mask, heads)


def test_one_article_that_fails_becomes_a_dead_letter_alone(ner_bundle: Bundle, stance_model: StanceModel) -> None:
    backend = OnnxBackend(ner_bundle, threads=1)
    engine = Engine(ner_bundle, backend)
    (poison,) = engine.tokenizer.tokenize(["@"])
    broken = Enricher(Engine(ner_bundle, BrokenOnPiece(backend, int(poison.ids[-1]))), stance_model)
    records = [record(TITLE, f"{BODY} {'@' if index == 2 else ''}", id=str(index)) for index in range(5)]
    outcomes = broken.enrich(records)
    assert [type(outcome) for outcome in outcomes] == [EnrichedEvent] * 2 + [DeadLetter] + [EnrichedEvent] * 2
    letter = outcomes[2]
    assert isinstance(letter, DeadLetter)
    assert (letter.reason, letter.stage, letter.record) == ("enrichment_failed", "enrich", records[2])
    assert "RuntimeError: kernel failed" in letter.detail


def panicking(bundle: Bundle, directory: Path) -> Engine:
    """An engine whose tokenizer panics on an emoji: the table of its normaliser ends before their first byte, 0xF0."""
    tokenizer = orjson.loads(bundle.tokenizer.read_bytes())
    table = struct.pack("<I", 4 * 0xF0) + bytes(4 * 0xF0)
    tokenizer["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}
    (directory / "tokenizer.json").write_bytes(orjson.dumps(tokenizer))
    return Engine(replace(bundle, directory=directory), OnnxBackend(bundle, threads=1))


def test_an_article_on_which_the_tokenizer_panics_becomes_a_dead_letter_alone(
    ner_bundle: Bundle, stance_model: StanceModel, tmp_path: Path
) -> None:
    enricher = Enricher(panicking(ner_bundle, tmp_path), stance_model)
    records = [record(TITLE, BODY + end, id=end or "plain") for end in ("", " 😀", " نعم")]
    outcomes = enricher.enrich(records)
    assert [type(outcome) for outcome in outcomes] == [EnrichedEvent, DeadLetter, EnrichedEvent]
    letter = outcomes[1]
    assert isinstance(letter, DeadLetter)
    assert "the tokenizer panicked: index out of bounds" in letter.detail


def test_claims_that_cannot_be_had_do_not_end_a_worker(ner_engine: Engine, stance_model: StanceModel) -> None:
    def broken() -> ClaimIndex:
        raise LookupError("no claims")

    records = [record(TITLE, BODY, id="a1"), Record(value=b"")]
    letters = Enricher(ner_engine, stance_model, claims=broken).enrich(records)
    assert [letter.reason for letter in letters if isinstance(letter, DeadLetter)] == ["enrichment_failed", "empty"]


def test_an_interrupt_is_no_outcome(ner_engine: Engine, stance_model: StanceModel) -> None:
    def interrupted() -> ClaimIndex:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Enricher(ner_engine, stance_model, claims=interrupted).enrich([record(TITLE, BODY)])


def test_the_pipelines_version_follows_its_parts(
    enricher: Enricher, ner_bundle: Bundle, stance_model: StanceModel
) -> None:
    assert [model.task for model in enricher.pipeline.models] == ["ner", "stance"]
    assert enricher.pipeline.models[0].sha256 == ner_bundle.sha256
    other = Enricher(Engine.open(replace(ner_bundle, sha256="0" * 64), threads=1), stance_model)
    assert other.pipeline.version != enricher.pipeline.version


def test_a_stance_head_with_other_labels_is_refused(ner_engine: Engine, stance_model: StanceModel) -> None:
    foreign = [name for name, head in stance_model.engine.bundle.manifest.heads.items() if "favor" in head.labels]
    for name in foreign:
        with pytest.raises(BundleError, match="labels that events do not know: favor"):
            Enricher(ner_engine, StanceModel(stance_model.engine, name))


def test_a_mention_that_is_not_its_slice_is_refused(enricher: Enricher) -> None:
    made = event(enricher.enrich([record(TITLE, BODY)])[0])
    mention = replace(made.mentions[0], surface="x")
    with pytest.raises(ValueError, match="not the slice"):
        check_surfaces(replace(made, mentions=(mention,)))
