from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rasad.enrich.evidence import content_words
from rasad.evaluation.attribution import (
    entity_stance_result,
    overlap,
    quote_result,
    same_speaker,
    stances_right,
)
from rasad.messages import (
    EVENT_TYPE,
    Article,
    EnrichedEvent,
    Entity,
    Pipeline,
    Quote,
    Span,
    Stance,
    StanceHolder,
    StanceTarget,
)

BODY = "قال فايز السراج إن الحوار مستمر وإن الهدنة قائمة.\nورفض حزب التقدم الموازنة."


def event(*, quotes: tuple[Quote, ...] = (), stances: tuple[Stance, ...] = ()) -> EnrichedEvent:
    entity = Entity(
        entity_id="e1",
        type="PER",
        canonical="فايز السراج",
        aliases=("السراج",),
        mention_count=1,
        in_title=False,
        salience=0.5,
        confidence=0.9,
    )
    article = Article(
        id="a",
        url=None,
        source=None,
        language="ar",
        published_at=None,
        fetched_at=None,
        title="",
        body=BODY,
        content_sha256="",
        offset_unit="codepoint",
        sentences=(),
        tokens_total=0,
        windows=0,
        truncated=False,
    )
    return EnrichedEvent(
        event_id="e",
        event_type=EVENT_TYPE,
        article=article,
        mentions=(),
        entities=(entity,),
        stances=stances,
        pipeline=Pipeline(version="", code="", normaliser="", models=()),
        quotes=quotes,
    )


def quote(start: int, end: int, *, speaker: str | None = "السراج", entity: str | None = "e1") -> Quote:
    return Quote(
        field="body",
        start=start,
        end=end,
        kind="indirect",
        cue="قال",
        speaker=speaker,
        speaker_entity_id=entity,
        prob=0.9,
    )


def record(
    *, quotes: list[dict[str, Any]] | None = None, stances: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    cut = BODY.index("\n")
    return {"paragraphs": [[0, cut], [cut + 1, len(BODY)]], "quotes": quotes or [], "stances": stances or []}


def gold_quote(start: int, end: int, **changes: Any) -> dict[str, Any]:
    return {"field": "body", "start": start, "end": end, "kind": "indirect", "speaker": "فايز السراج"} | changes


def test_overlap_is_a_share_of_the_longer_span() -> None:
    assert overlap((0, 10), (0, 10)) == 1
    assert overlap((0, 10), (5, 15)) == 0.5
    assert overlap((0, 4), (0, 10)) == 0.4
    assert overlap((0, 4), (4, 8)) == 0
    assert overlap((3, 3), (3, 3)) == 0


def test_each_quote_is_matched_once_and_the_closest_wins() -> None:
    result = quote_result(
        [record(quotes=[gold_quote(16, 31), gold_quote(32, 48, kind="direct")])],
        [event(quotes=(quote(16, 31), quote(18, 31), quote(36, 48)))],
    )
    assert (result.spans.correct, result.spans.predicted, result.spans.gold) == (2, 3, 2)
    assert (result.speaker_accuracy, result.kind_accuracy) == (100, 50)


@pytest.mark.parametrize(
    ("gold", "speaker", "entity", "right"),
    [
        ("فايز السراج", "السراج", None, True),
        ("السراج", "فايز السراج", None, True),
        ("رئيس المجلس فايز السراج", "السراج", "e1", True),
        ("فايز السراج", "رئيس الحكومة", "e1", True),
        ("وزير الخارجية المصري", "وزير الخارجية الروسي", None, False),
        ("فايز السراج", None, None, False),
        ("-", None, None, True),
        (None, None, None, True),
        ("-", "السراج", "e1", False),
    ],
)
def test_speakers_are_the_same_by_words_or_by_entity(
    gold: str | None, speaker: str | None, entity: str | None, right: bool
) -> None:
    assert same_speaker(gold, event(), quote(0, 1, speaker=speaker, entity=entity)) is right


def stance(label: Any, holder: str, target: str, start: int) -> Stance:
    return Stance(
        kind="entity",
        holder=StanceHolder(text=holder),
        target=StanceTarget(text=target),
        label=label,
        probs={},
        evidence=(Span(field="body", start=start, end=start + 4),),
    )


def labelled_stance(target: str, start: int) -> dict[str, Any]:
    return {
        "holder": "حزب التقدم",
        "target": target,
        "stance": "oppose",
        "evidence": {"field": "body", "start": start, "end": start + 4},
    }


def test_a_stance_is_right_with_its_paragraph_label_holder_and_target() -> None:
    second = BODY.index("ورفض")
    gold = labelled_stance("مشروع الموازنة", second)
    for made, whole, polarity in (
        (stance("oppose", "التقدم", "الموازنة", second), 1, 1),
        (stance("oppose", "السراج", "الموازنة", second), 0, 1),
        (stance("support", "التقدم", "الموازنة", second), 0, 0),
        (stance("oppose", "التقدم", "الموازنة", 0), 0, 0),
    ):
        result = entity_stance_result([record(stances=[gold])], [event(stances=(made, made))])
        assert (result.whole.correct, result.whole.predicted, result.whole.gold) == (whole, 2, 1)
        assert result.polarity.correct == polarity
        assert result.support.gold == 0


def test_of_two_that_agree_with_one_label_the_likelier_is_right() -> None:
    start = BODY.index("ورفض")
    gold = labelled_stance("الموازنة", start)
    made = [
        replace(stance("oppose", "التقدم", "الموازنة", start), probs={"oppose": prob, "support": 1 - prob})
        for prob in (0.4, 0.7, 0.2)
    ]
    assert stances_right(record(stances=[gold]), made) == [False, True, False]
    assert stances_right(record(), made) == [False] * 3


def test_function_words_are_no_content() -> None:
    assert content_words("من على في") == frozenset()
    assert content_words("حزب من التقدم") == content_words("حزب التقدم")
