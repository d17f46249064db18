from __future__ import annotations

import pytest

from rasad.enrich.entities import resolve
from rasad.enrich.entity_stances import Role, StanceEvidence, entity_stances
from rasad.enrich.quotes import named_spans
from rasad.messages import EntityType, Stance
from tests.unit.test_entities import name

TEXT = "رحبت هدى سالم بقرار وزارة الصحة الأخير.\nفقرة أخرى عن النقابة."


def evidence(words: str, *, support: float = 0.9, prob: float = 0.9) -> StanceEvidence:
    start = TEXT.index(words)
    return StanceEvidence(
        start=start, end=start + len(words), paragraph=TEXT[:start].count("\n"), support=support, prob=prob
    )


def role(kind: str, words: str, *, prob: float = 0.9) -> Role:
    start = TEXT.index(words)
    return Role(
        kind="holder" if kind == "holder" else "target",
        start=start,
        end=start + len(words),
        paragraph=TEXT[:start].count("\n"),
        prob=prob,
    )


def read(shown: list[StanceEvidence], known: list[Role], *named: tuple[str, EntityType]) -> list[Stance]:
    names = [name(words, kind, start=TEXT.index(words)) for words, kind in named]
    resolution = resolve(names, {"title": "", "body": TEXT})
    spans = named_spans(names, resolution, "body")
    return entity_stances("body", TEXT, shown, known, spans, resolution.entities)


def test_evidence_with_a_holder_and_a_target_makes_a_stance() -> None:
    (stance,) = read(
        [evidence("رحبت")],
        [role("holder", "هدى سالم"), role("target", "وزارة الصحة")],
        ("هدى سالم", "PER"),
        ("وزارة الصحة", "ORG"),
    )
    assert (stance.kind, stance.label) == ("entity", "support")
    assert stance.holder is not None
    assert (stance.holder.text, stance.target.text) == ("هدى سالم", "وزارة الصحة")
    assert stance.holder.entity_id
    assert stance.target.entity_id
    assert stance.holder.entity_id != stance.target.entity_id
    assert stance.probs == {"support": 0.9, "oppose": pytest.approx(0.1)}
    assert [TEXT[span.start : span.end] for span in stance.evidence] == ["رحبت"]


def test_the_side_is_that_of_the_words() -> None:
    (stance,) = read([evidence("رحبت", support=0.2)], [role("holder", "هدى سالم"), role("target", "وزارة الصحة")])
    assert stance.label == "oppose"
    assert stance.target.entity_id is None


@pytest.mark.parametrize(
    "known",
    [
        [],
        [role("holder", "هدى سالم")],
        [role("target", "وزارة الصحة")],
        [role("holder", "هدى سالم"), role("target", "النقابة")],
        [role("holder", "هدى سالم", prob=0.4), role("target", "وزارة الصحة")],
    ],
)
def test_a_part_that_is_missing_far_or_unsure_makes_no_stance(known: list[Role]) -> None:
    assert read([evidence("رحبت")], known) == []


def test_unsure_evidence_makes_no_stance() -> None:
    assert read([evidence("رحبت", prob=0.3)], [role("holder", "هدى سالم"), role("target", "وزارة الصحة")]) == []


def test_nobody_stands_towards_themselves() -> None:
    same = [role("holder", "هدى سالم"), role("target", "هدى سالم")]
    assert read([evidence("رحبت")], same, ("هدى سالم", "PER")) == []
