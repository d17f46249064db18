"""What a subscriber's criteria select, and what they refuse to mean."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rasad.messages import (
    DeadLetter,
    EnrichedEvent,
    Entity,
    EntityRecord,
    Record,
    Stance,
    StanceRecord,
    StanceTarget,
)
from rasad.streams.selection import KINDS, LABELS, TYPES, Selection, StanceFilter
from tests.contract.contract import good
from tests.kafka.plain_enrichment import enrich

NAMES = ("الأمم المتحدة", "جنيف", "فايز السراج", "وزارة الصحة")
SOURCES = ("صحيفة", "وكالة")
CLAIMS = ("c1", "c2")

entities = st.builds(
    Entity,
    entity_id=st.just("e"),
    type=st.sampled_from(["PER", "LOC", "ORG", "MISC"]),
    subtype=st.sampled_from([None, "GPE", "FAC", "EVENT"]),
    canonical=st.sampled_from(NAMES),
    aliases=st.lists(st.sampled_from(NAMES), max_size=2).map(tuple),
    mention_count=st.just(1),
    in_title=st.booleans(),
    salience=st.just(1.0),
    confidence=st.just(1.0),
)
stances = st.builds(
    Stance,
    kind=st.sampled_from(KINDS),
    target=st.builds(StanceTarget, text=st.just("نص"), claim_id=st.sampled_from([None, *CLAIMS])),
    label=st.sampled_from(LABELS),
    probs=st.just({}),
    evidence=st.just(()),
)
(PLAIN,) = (outcome for outcome in enrich([Record(value=good(0))]) if isinstance(outcome, EnrichedEvent))
events = st.builds(
    lambda source, entities, stances: replace(
        PLAIN, article=replace(PLAIN.article, source=source), entities=tuple(entities), stances=tuple(stances)
    ),
    st.sampled_from([None, *SOURCES]),
    st.lists(entities, max_size=3),
    st.lists(stances, max_size=3),
)
criteria = st.fixed_dictionaries(
    {
        "types": st.sets(st.sampled_from(sorted(TYPES)), max_size=2),
        "entities": st.sets(st.sampled_from(NAMES), max_size=2),
        "sources": st.sets(st.sampled_from(SOURCES), max_size=1),
        "stances": st.sets(
            st.builds(StanceFilter, st.sampled_from([None, *KINDS]), st.sampled_from([None, *LABELS])), max_size=2
        ),
        "claims": st.sets(st.sampled_from(CLAIMS), max_size=1),
    }
)


def selection(**chosen: object) -> Selection:
    return Selection.of(**chosen)  # type: ignore[arg-type]


@given(events, criteria)
def test_every_criterion_must_be_met_by_one_of_its_values(event: EnrichedEvent, chosen: dict[str, set]) -> None:
    named = [
        entity
        for entity in event.entities
        if (not chosen["types"] or {entity.type, entity.subtype} & chosen["types"])
        and (not chosen["entities"] or {entity.canonical, *entity.aliases} & chosen["entities"])
    ]
    taken = [
        stance
        for stance in event.stances
        if (not chosen["claims"] or stance.target.claim_id in chosen["claims"])
        and (
            not chosen["stances"]
            or any(
                each.kind in (None, stance.kind) and each.label in (None, stance.label) for each in chosen["stances"]
            )
        )
    ]
    wanted = (
        (not chosen["sources"] or event.article.source in chosen["sources"])
        and (bool(named) or not (chosen["types"] or chosen["entities"]))
        and (bool(taken) or not (chosen["stances"] or chosen["claims"]))
    )
    assert selection(**chosen).matches(event) is wanted


@given(events, criteria, criteria)
def test_more_values_never_select_less_and_more_criteria_never_more(
    event: EnrichedEvent, one: dict[str, set], other: dict[str, set]
) -> None:
    narrow = selection(**one).matches(event)
    wider = {name: values | other[name] if values else values for name, values in one.items()}
    assert selection(**wider).matches(event) >= narrow
    stricter = {name: values or other[name] for name, values in one.items()}
    assert selection(**stricter).matches(event) <= narrow


@given(events)
def test_without_criteria_everything_is_wanted(event: EnrichedEvent) -> None:
    assert selection().matches(event)
    assert not selection()


@given(events, criteria)
def test_an_event_is_wanted_exactly_if_one_of_its_entity_records_is(event: EnrichedEvent, chosen: dict) -> None:
    by_entity = selection(types=chosen["types"], entities=chosen["entities"], sources=chosen["sources"])
    by_entity.check(EntityRecord)
    common = {
        "event_id": event.event_id,
        "article_id": event.article.id,
        "source": event.article.source,
        "published_at": None,
        "title": event.article.title,
        "pipeline_version": "p",
    }
    records = [EntityRecord(entity=entity, mentions=(), **common) for entity in event.entities]
    if chosen["types"] or chosen["entities"]:
        assert by_entity.matches(event) is any(map(by_entity.matches, records))
    by_stance = selection(stances=chosen["stances"], claims=chosen["claims"], sources=chosen["sources"])
    by_stance.check(StanceRecord)
    if chosen["stances"] or chosen["claims"]:
        stance_records = [StanceRecord(stance=stance, **common) for stance in event.stances]
        assert by_stance.matches(event) is any(map(by_stance.matches, stance_records))


@pytest.mark.parametrize("spelling", ["الامم المتحده", "الأُمَم المتّحدة", "الأمم  المتحـــدة", "ٱلأمم المتحدة"])
def test_spellings_of_a_name_meet(spelling: str) -> None:
    assert selection(entities=spelling).matches(PLAIN)
    assert not selection(entities=spelling, types="PER").matches(PLAIN)
    assert selection(entities=spelling, types=["PER", "ORG"]).matches(PLAIN)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("claim:agree", StanceFilter("claim", "agree")),
        ("claim", StanceFilter("claim", None)),
        ("claim:", StanceFilter("claim", None)),
        ("agree", StanceFilter(None, "agree")),
        (":agree", StanceFilter(None, "agree")),
    ],
)
def test_stances_are_written_in_a_word_or_two(text: str, meant: StanceFilter) -> None:
    assert StanceFilter.parse(text) == meant
    assert selection(stances=text) == selection(stances=[meant])


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"types": "PERSON"}, "no entity is of type 'PERSON': the types are EVENT, FAC"),
        ({"entities": " ـ"}, "holds no letter"),
        ({"stances": "sides"}, "no stance is labelled 'sides'"),
        ({"stances": "rumour:agree"}, "no stance is of kind 'rumour'"),
    ],
)
def test_what_cannot_be_meant_is_refused(chosen: dict[str, str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        selection(**chosen)


def test_criteria_that_can_hold_for_no_message_of_a_type_are_refused() -> None:
    selection(types="PER", stances="agree").check(EnrichedEvent)
    selection(stances="claim:agree", claims="lanterns").check(StanceRecord)
    for of_claims in (selection(claims="lanterns"), selection(stances=["headline", "claim:agree"])):
        with pytest.raises(ValueError, match="watched claims are records of the stances topic"):
            of_claims.check(EnrichedEvent)
    with pytest.raises(ValueError, match="EntityRecord cannot be selected by stances, only by entities, sources"):
        selection(stances="agree").check(EntityRecord)
    with pytest.raises(ValueError, match="StanceRecord cannot be selected by types"):
        selection(types="PER").check(StanceRecord)
    with pytest.raises(ValueError, match="DeadLetter cannot be selected by sources, only by nothing"):
        selection(sources="x").check(DeadLetter)
    selection().check(DeadLetter)
