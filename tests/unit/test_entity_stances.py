from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import pytest

from rasad.enrich.entities import resolve
from rasad.enrich.entity_stances import MOST_EVIDENCE, SIDES, STANCES_HEAD, entity_stances
from rasad.enrich.ner import Name
from rasad.enrich.quotes import named_spans
from rasad.enrich.reading import FieldScores, FieldText, paragraphs
from rasad.inference.bundle import StanceOdds
from rasad.inference.tokenization import TokenizedText
from rasad.messages import EntityType, Stance
from rasad.text.clitics import strip_proclitics
from rasad.text.normalise import normalise
from rasad.text.sentences import split_sentences
from rasad.text.words import word_spans
from tests.unit.test_entities import name

MINISTRY: tuple[str, EntityType] = ("وزارة الصحة", "ORG")
HUDA: tuple[str, EntityType] = ("هدى سالم", "PER")
LIKELY, UNLIKELY = 6.0, -6.0
"""Scores of pairs that stand in a stance, and of all others."""


@dataclass(frozen=True)
class Marked:
    """A stance as a relation head would score it: words of holder and target, its side, and the words that show it."""

    holder: str
    target: str
    side: str
    evident: str
    score: float = LIKELY
    nth: int = 0


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


def covered(text: FieldText, phrase: str, nth: int) -> slice:
    """The words of the field that a phrase stands on, the first time or a later one."""
    start = [found.start() for found in re.finditer(re.escape(phrase), text.tokenized.text)][nth]
    inside = [
        number
        for number, (first, end) in enumerate(text.word_spans.tolist())
        if first < start + len(phrase) and end > start
    ]
    return slice(inside[0], inside[-1] + 1)


def vectors(text: FieldText, marked: tuple[Marked, ...]) -> np.ndarray:
    """What a head would give: each stance has a value of its own in the vectors of its words."""
    count, rank = len(text.tokenized.words), max(1, len(marked))
    holders, targets = np.zeros((2, count, len(SIDES), rank + 1), np.float32)
    holders[:, :, -1] = UNLIKELY
    evident = np.full((count, len(SIDES)), UNLIKELY, np.float32)
    for number, each in enumerate(marked):
        side = SIDES.index(each.side)  # type: ignore[arg-type]
        holders[covered(text, each.holder, each.nth), side, number] = 1
        targets[covered(text, each.target, each.nth), side, number] = each.score - UNLIKELY
        evident[covered(text, each.evident, each.nth), side] = LIKELY
    width = len(SIDES) * (rank + 1)
    return np.concatenate([holders.reshape(count, width), targets.reshape(count, width), evident], axis=1)


def named_at(text: str, surface: str, kind: EntityType) -> Name:
    core = strip_proclitics(surface, seen=frozenset())
    start = text.index(surface)
    made = name(surface, kind, start=start)
    return replace(made, core_start=start + core.start, canonical=core.canonical)


def read(
    text: str, named: tuple[tuple[str, EntityType], ...], *marked: Marked, odds: StanceOdds | None = None
) -> list[Stance]:
    field = field_text(text)
    names = sorted((named_at(text, *each) for each in named), key=lambda each: each.start)
    resolution = resolve(names, {"title": "", "body": text})
    scored = FieldScores(field, {STANCES_HEAD: vectors(field, marked)})
    return entity_stances(scored, named_spans(names, resolution, "body"), resolution.entities, odds=odds)


REFUSED = "رفضت وزارة الصحة أمس مطالب النقابة برفع الأجور."


def test_holder_side_target_and_the_words_that_show_it() -> None:
    (stance,) = read(REFUSED, (MINISTRY,), Marked("وزارة الصحة", "مطالب النقابة", "oppose", "رفضت"))
    assert stance.kind == "entity"
    assert stance.label == "oppose"
    assert stance.probs["oppose"] == pytest.approx(0.9975, abs=1e-3)
    assert stance.probs["support"] == pytest.approx(1 - stance.probs["oppose"], abs=1e-3)
    assert stance.holder is not None
    assert stance.holder.text == "وزارة الصحة"
    assert stance.holder.entity_id is not None
    assert (stance.target.text, stance.target.entity_id) == ("مطالب النقابة", None)
    (evidence,) = stance.evidence
    assert REFUSED[evidence.start : evidence.end] == "رفضت"


def test_a_name_is_taken_whole() -> None:
    (stance,) = read(REFUSED, (MINISTRY,), Marked("الصحة", "مطالب", "oppose", "رفضت"))
    assert stance.holder is not None
    assert stance.holder.text == "وزارة الصحة"
    assert stance.target.text == "مطالب"


def test_marks_around_a_phrase_are_left_off() -> None:
    text = "أيدت الوزيرة هدى سالم «المشروع الجديد» بشدة."
    (stance,) = read(text, (HUDA,), Marked("الوزيرة هدى سالم", "«المشروع الجديد»", "support", "أيدت"))
    assert stance.target.text == "المشروع الجديد"
    assert stance.holder is not None
    assert stance.holder.text == "الوزيرة هدى سالم"
    assert stance.holder.entity_id is not None, "a person's name at the end of a description says who it is"


def test_a_name_inside_a_phrase_is_not_what_the_phrase_is() -> None:
    text = "انتقد الحزب قرار وزارة الصحة الأخير."
    (stance,) = read(text, (MINISTRY,), Marked("الحزب", "قرار وزارة الصحة الأخير", "oppose", "انتقد"))
    assert stance.target.text == "قرار وزارة الصحة الأخير"
    assert stance.target.entity_id is None


def test_what_belongs_to_a_person_is_not_the_person() -> None:
    text = "انتقد الحزب سياسات هدى سالم بشدة."
    (stance,) = read(text, (HUDA,), Marked("الحزب", "سياسات هدى سالم", "oppose", "انتقد"))
    assert (stance.target.text, stance.target.entity_id) == ("سياسات هدى سالم", None)


def test_nobody_stands_towards_himself() -> None:
    assert not read(REFUSED, (MINISTRY,), Marked("وزارة", "الصحة", "oppose", "رفضت"))


def test_marks_alone_are_nobody() -> None:
    assert not read("رفض «..» مطالب النقابة.", (), Marked("«..»", "مطالب النقابة", "oppose", "رفض"))


def test_what_is_not_likely_is_not_stated() -> None:
    assert not read(REFUSED, (MINISTRY,), Marked("وزارة الصحة", "مطالب النقابة", "oppose", "رفضت", score=-0.1))
    assert read(REFUSED, (MINISTRY,), Marked("وزارة الصحة", "مطالب النقابة", "oppose", "رفضت", score=0.1))


def test_what_a_rival_makes_unlikely_is_not_stated() -> None:
    text = "رحبت جمانة غنيمات باسم الأردن بخطة الهدنة."
    spokeswoman = Marked("جمانة غنيمات", "بخطة الهدنة", "support", "رحبت", score=2.0)
    country = Marked("الأردن", "بخطة الهدنة", "support", "رحبت", score=3.0)
    held = StanceOdds(scale=1, support=0, oppose=0, rival=0.5)
    alone = read(text, (), spokeswoman, odds=held)
    assert [each.probs["support"] for each in alone] == [pytest.approx(1 / (1 + np.exp(-2)), abs=1e-3)]
    assert len(read(text, (), spokeswoman, country)) == 2
    (left,) = read(text, (), spokeswoman, country, odds=held)
    assert left.holder is not None
    assert left.holder.text == "الأردن"


def test_odds_also_bring_up_what_the_head_alone_holds_unlikely() -> None:
    unlikely = Marked("وزارة الصحة", "مطالب النقابة", "oppose", "رفضت", score=-1.0)
    assert not read(REFUSED, (MINISTRY,), unlikely)
    (stance,) = read(REFUSED, (MINISTRY,), unlikely, odds=StanceOdds(scale=1, support=0, oppose=1.5, rival=0.5))
    assert stance.probs["oppose"] > 0.5


def test_a_paragraph_states_a_stance_once() -> None:
    text = "رفضت وزارة الصحة مطالب النقابة. ثم رفضت وزارة الصحة مطالب النقابة علنا."
    once = Marked("وزارة الصحة", "مطالب النقابة", "oppose", "رفضت")
    again = replace(once, nth=1, score=9.0)
    (stance,) = read(text, (MINISTRY,), once, again)
    assert stance.evidence[0].start > text.index("ثم"), "the likelier of the two"
    assert len(read(text.replace(". ثم", ".\nثم"), (MINISTRY,), once, again)) == 2


def test_stances_of_several_paragraphs_come_in_order() -> None:
    text = f"{REFUSED}\nوأيدت هدى سالم خطة الحكومة."
    found = read(
        text,
        (MINISTRY, HUDA),
        Marked("هدى سالم", "خطة الحكومة", "support", "وأيدت", score=9.0),
        Marked("وزارة الصحة", "مطالب النقابة", "oppose", "رفضت"),
    )
    assert [stance.label for stance in found] == ["oppose", "support"]


def test_evidence_is_short() -> None:
    text = "قالت وزارة الصحة إنها لا ترى في ما قيل عن نقص الدواء في المدن والقرى كلها أي مبرر لغضب النقابة منها."
    marked = Marked(
        "وزارة الصحة", "لغضب النقابة", "oppose", "لا ترى في ما قيل عن نقص الدواء في المدن والقرى كلها أي مبرر"
    )
    (stance,) = read(text, (MINISTRY,), marked)
    (evidence,) = stance.evidence
    assert len(text[evidence.start : evidence.end].split()) == MOST_EVIDENCE


def test_an_empty_field_has_none() -> None:
    field = field_text("")
    scored = FieldScores(field, {STANCES_HEAD: vectors(field, ())})
    assert entity_stances(scored, named_spans([], resolve([], {}), "body"), ()) == []


def test_a_target_takes_no_words_of_the_holder() -> None:
    text = "وندد الرئيس دونالد ترامب بالغرامة الجديدة."
    marked = Marked("الرئيس دونالد ترامب", "دونالد ترامب بالغرامة الجديدة", "oppose", "وندد")
    (stance,) = read(text, (("دونالد ترامب", "PER"),), marked)
    assert stance.holder is not None
    assert (stance.holder.text, stance.holder.entity_id is None) == ("الرئيس دونالد ترامب", False)
    assert (stance.target.text, stance.target.entity_id) == ("الغرامة الجديدة", None)


@pytest.mark.parametrize(
    ("holder", "name"), [("جيمي كارتر وفيدل كاسترو", "وفيدل كاسترو"), ("محامي فيدل كاسترو", "فيدل كاسترو")]
)
def test_two_persons_and_somebodys_own_are_not_the_last_one_named(holder: str, name: str) -> None:
    text = f"وانتقد {holder} القرار الجديد."
    (stance,) = read(text, ((name, "PER"),), Marked(holder, "القرار الجديد", "oppose", "وانتقد"))
    assert stance.holder is not None
    assert (stance.holder.text, stance.holder.entity_id) == (holder, None)
