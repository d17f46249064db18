from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rasad.enrich.entities import resolve
from rasad.enrich.entity_stances import LEAST_LIKELY, MOST_EVIDENCE, entity_stances, shipped_weights
from rasad.enrich.ner import Name
from rasad.enrich.quotes import named_spans
from rasad.enrich.reading import FieldText, paragraphs
from rasad.inference.tokenization import TokenizedText
from rasad.messages import EntityType, Quote, Stance
from rasad.text.clitics import strip_proclitics
from rasad.text.normalise import normalise
from rasad.text.sentences import split_sentences
from rasad.text.words import word_spans
from tests.unit.test_entities import name

HUDA: tuple[str, EntityType] = ("هدى سالم", "PER")
MINISTRY: tuple[str, EntityType] = ("وزارة الصحة", "ORG")
TRUSTING = {"any": 9.0}
"""Weights that take every frame for right, so that tests see how each is read."""


def field_text(text: str) -> FieldText:
    normalised = normalise(text)
    sentences = np.array(split_sentences(text), np.int32).reshape(-1, 2)
    words = word_spans(normalised.text)
    starts = np.searchsorted(normalised.offsets[:-1], sentences[:, 0])
    none = np.zeros(0, np.int64)
    tokenized = TokenizedText(
        text=text,
        normalised=normalised,
        sentences=sentences,
        words=words,
        ids=none,
        pieces=np.zeros((0, 2), np.int32),
        word_of_piece=none,
        sentence_of_word=np.maximum(np.searchsorted(starts, words[:, 0], side="right") - 1, 0),
        sentence_of_piece=none,
    )
    return FieldText("body", tokenized, paragraphs(tokenized), 0)


def named_at(text: str, surface: str, kind: EntityType) -> Name:
    core = strip_proclitics(surface, seen=frozenset())
    start = text.index(surface)
    made = name(surface, kind, start=start)
    return replace(made, core_start=start + core.start, canonical=core.canonical)


def read(
    text: str,
    *named: tuple[str, EntityType],
    quotes: tuple[Quote, ...] = (),
    weights: Mapping[str, float] | None = TRUSTING,
) -> list[Stance]:
    """The stances of a text in which each name stands once."""
    names = sorted((named_at(text, words, kind) for words, kind in named), key=lambda each: each.start)
    resolution = resolve(names, {"title": "", "body": text})
    spans = named_spans(names, resolution, "body")
    return entity_stances(field_text(text), spans, resolution.entities, quotes, weights)


def triples(stances: list[Stance]) -> list[tuple[str, str, str]]:
    return [(each.holder.text, each.label, each.target.text) for each in stances if each.holder is not None]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("رفضت وزارة الصحة مطالب النقابة.", ("وزارة الصحة", "oppose", "مطالب النقابة")),
        ("وزارة الصحة ترفض مطالب النقابة.", ("وزارة الصحة", "oppose", "مطالب النقابة")),
        ("نددت وزارة الصحة أمس بالهجوم الأخير.", ("وزارة الصحة", "oppose", "الهجوم الأخير")),
        ("وأشادت وزارة الصحة بجهود النقابة.", ("وزارة الصحة", "support", "جهود النقابة")),
        ("وافقت وزارة الصحة على مطالب النقابة.", ("وزارة الصحة", "support", "مطالب النقابة")),
        ("وطالبت وزارة الصحة بإقالة مدير المستشفى.", ("وزارة الصحة", "oppose", "مدير المستشفى")),
        ("قالت وزارة الصحة في بيان إنها ترفض مطالب النقابة.", ("وزارة الصحة", "oppose", "مطالب النقابة")),
        ("واجتمعت وزارة الصحة بالنقابة رافضة مطالب الأطباء.", ("وزارة الصحة", "oppose", "مطالب الأطباء")),
        ("وأعلنت وزارة الصحة دعمها للقرار الجديد.", ("وزارة الصحة", "support", "القرار الجديد")),
        ("بعد انتقادات حادة وجهتها وزارة الصحة للنقابة.", ("وزارة الصحة", "oppose", "النقابة")),
        ("وتواصل النقابة إضرابها بدعم من وزارة الصحة.", ("وزارة الصحة", "support", "النقابة")),
        ("من جهة أخرى نظمت وزارة الصحة وقفة للتنديد بالهجوم.", ("وزارة الصحة", "oppose", "الهجوم")),
        ("وشددت وزارة الصحة على رفضها القاطع للقرار.", ("وزارة الصحة", "oppose", "القرار")),
    ],
)
def test_a_clause_tells_holder_side_and_target(text: str, expected: tuple[str, str, str]) -> None:
    assert triples(read(text, ("وزارة الصحة", "ORG"))) == [expected]


def test_names_are_linked_and_evidence_runs_from_the_verb() -> None:
    text = "رحبت هدى سالم بقرار وزارة الصحة الأخير."
    (stance,) = read(text, HUDA, MINISTRY)
    assert (stance.kind, stance.label) == ("entity", "support")
    assert stance.holder is not None
    assert (stance.holder.text, stance.target.text) == ("هدى سالم", "قرار وزارة الصحة الأخير")
    assert stance.holder.entity_id
    assert stance.target.entity_id is None
    assert stance.probs == {"support": 0.9999, "oppose": 0.0001}
    assert [text[span.start : span.end] for span in stance.evidence] == ["رحبت هدى سالم بقرار وزارة الصحة الأخير"]


def test_a_target_that_is_a_name_is_linked() -> None:
    (stance,) = read("اتهمت هدى سالم وزارة الصحة بالإهمال.", HUDA, MINISTRY)
    assert stance.target.text == "وزارة الصحة"
    assert stance.target.entity_id


def test_an_apposition_is_not_the_target() -> None:
    found = read("انتقدت هدى سالم، رئيسة النقابة السابقة، وزارة الصحة.", HUDA, MINISTRY)
    assert triples(found) == [("هدى سالم", "oppose", "وزارة الصحة")]


def test_a_relative_clause_speaks_of_the_name_before_it() -> None:
    found = read("وصلت هدى سالم، التي اتهمتها وزارة الصحة بالإهمال، أمس.", HUDA, MINISTRY)
    assert triples(found) == [("وزارة الصحة", "oppose", "هدى سالم")]


def test_an_attribute_describes_the_noun_before_it() -> None:
    found = read("وانسحبت القوى الموالية لوزارة الصحة.", ("لوزارة الصحة", "ORG"))
    assert triples(found) == [("القوى", "support", "وزارة الصحة")]


def test_a_verbal_noun_between_two_names() -> None:
    found = read("بعد اتهام هدى سالم لوزارة الصحة.", HUDA, ("لوزارة الصحة", "ORG"))
    assert triples(found) == [("هدى سالم", "oppose", "وزارة الصحة")]


def test_each_of_several_holders_has_a_stance() -> None:
    found = read("دانت وزارة الصحة واتحاد الأطباء الهجوم.", MINISTRY, ("واتحاد الأطباء", "ORG"))
    assert [(holder, target) for holder, _, target in triples(found)] == [
        ("وزارة الصحة", "الهجوم"),
        ("اتحاد الأطباء", "الهجوم"),
    ]


def test_a_pronoun_in_a_quote_is_its_speaker() -> None:
    text = "وأضافت أنها ترفض مطالب النقابة."
    quote = Quote(
        field="body",
        start=text.index("أنها"),
        end=len(text) - 1,
        kind="indirect",
        cue="وأضافت",
        speaker="هدى سالم",
        speaker_entity_id="e1",
        prob=0.9,
    )
    (stance,) = read(text, quotes=(quote,))
    assert stance.holder is not None
    assert (stance.holder.text, stance.holder.entity_id) == ("هدى سالم", "e1")


@pytest.mark.parametrize(
    "text",
    [
        "لم ترفض وزارة الصحة مطالب النقابة.",
        "رفضت وزارة الصحة التعليق على الأمر.",
        "اتهمت وزارة الصحة بالإهمال.",
        "رفضت وزارة الصحة ذلك.",
        "تقع وزارة الصحة في مدينة قريبة.",
        "بعد اتهام وزارة الصحة بالإهمال.",
        "أدخلت وزارة الصحة ثلاثة متهمين في قضية قديمة.",
        "تراجعت نسبة الدعم المادي لوزارة الصحة.",
        "رفض.",
        "",
    ],
)
def test_what_states_no_stance_makes_none(text: str) -> None:
    assert read(text, *([MINISTRY] if "وزارة الصحة" in text else [])) == []


def test_a_holder_may_be_a_description() -> None:
    assert triples(read("رفض بعض السكان قرار الحكم.")) == [("بعض السكان", "oppose", "قرار الحكم")]


def test_shipped_weights_tell_a_plain_clause_from_a_doubtful_one() -> None:
    (stance,) = read("اتهمت هدى سالم وزارة الصحة بالإهمال.", HUDA, MINISTRY, weights=None)
    assert stance.probs["oppose"] >= LEAST_LIKELY
    assert sum(stance.probs.values()) == pytest.approx(1)
    assert read("وجرى نقاش حول رفض القرار.", weights=None) == []


def test_the_probability_is_that_of_the_features() -> None:
    assert len(shipped_weights()) < 200
    assert read("اتهمت هدى سالم وزارة الصحة بالإهمال.", HUDA, MINISTRY, weights={"oppose": -1.0}) == []
    (stance,) = read("اتهمت هدى سالم وزارة الصحة بالإهمال.", HUDA, MINISTRY, weights={"verb": 1.0, "oppose": 1.0})
    assert stance.probs["oppose"] == pytest.approx(1 / (1 + np.exp(-2.0)), abs=1e-4)


def test_what_a_paragraph_states_twice_is_stated_once() -> None:
    text = "رفضت هدى سالم القرار. وزادت هدى سالم رفضها القرار.\nورفضت هدى سالم القرار."
    names = [name("هدى سالم", "PER", start=match.start()) for match in re.finditer("هدى سالم", text)]
    resolution = resolve(names, {"title": "", "body": text})
    spans = named_spans(names, resolution, "body")
    found = entity_stances(field_text(text), spans, resolution.entities, (), TRUSTING)
    assert [text[: stance.evidence[0].start].count("\n") for stance in found] == [0, 1]


WORDS = """رفض يرفض رفضه رفضها رافضين نددت بقرار على ل ب ، . التي أنه وزير الصحة هدى سالم وزارة الموالية طالب بإقالة
عن ما في"""


@given(st.lists(st.sampled_from(WORDS.split()), max_size=25))
def test_any_words_give_whole_stances(words: list[str]) -> None:
    text = " ".join(words)
    named = [(each, kind) for each, kind in (HUDA, MINISTRY) if each in text]
    for stance in read(text, *named):
        (shown,) = stance.evidence
        assert 0 <= shown.start < shown.end <= len(text)
        assert len(text[shown.start : shown.end].split()) <= MOST_EVIDENCE
        assert stance.target.text
        assert stance.holder is not None
        assert stance.holder.text
