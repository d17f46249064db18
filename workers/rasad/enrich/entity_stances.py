"""Who stands where towards whom, as the text states it outright: support or opposition, with the words that show it.

A lexicon opens a frame at a verb, its verbal noun or its participle; the order of an Arabic clause, the article's names
and its quotes tell the holder and the target. A logistic regression over how the frame was read
(`training/entity_stances.py`) says how likely holder, side and target are all as a reader would mark them; what is not
likely enough is left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Final

from rasad.enrich.entities import ROUNDED
from rasad.enrich.quotes import NamedSpan
from rasad.enrich.reading import FieldText
from rasad.enrich.span_index import SpanIndex
from rasad.enrich.stance_frames import Frame, StanceReader
from rasad.enrich.stance_lexicon import Side
from rasad.enrich.stance_phrases import (
    COMMAS,
    OPENINGS,
    PREPOSITIONS,
    RELATIVES,
    THAT,
    THAT_HE,
    Known,
    Phrase,
    Words,
    sentences,
)
from rasad.enrich.stance_subjects import Scene
from rasad.messages import Entity, Quote, Span, Stance, StanceHolder, StanceTarget

MOST_EVIDENCE: Final = 8
"""Words of evidence at most."""

LEAST_LIKELY: Final = 0.4
"""The probability from which a stance is stated: six in ten are right then on news dev."""

_WEIGHTS: Final = "entity_stances.json"
_BESIDE: Final = frozenset(
    (
        "verb subject",
        "subject verb",
        "relative",
        "pronoun",
        "adverbial",
        "attribute",
        "directed",
        "plural verb",
        "demand",
    )
)
"""Constructions that show both sides by themselves, where somebody is named."""


def entity_stances(
    text: FieldText,
    names: SpanIndex[NamedSpan],
    entities: Sequence[Entity],
    quotes: Sequence[Quote],
    weights: Mapping[str, float] | None = None,
) -> list[Stance]:
    """The stances of one field, in order; what a paragraph states twice once. `names` and `quotes` are the field's.

    The label's probability is that of holder, side and target all being right; the rest of 1 stands under the other
    label. `weights` are those of features, the shipped ones for None.
    """
    weights = shipped_weights() if weights is None else weights
    found: dict[tuple[str, str, str, int], Stance] = {}
    for frame, reader in read_frames(text, names, entities, quotes):
        prob = probability(features(frame, reader), weights)
        if prob < LEAST_LIKELY:
            continue
        paragraph = text.paragraph_of_word(reader.words.number(frame.at))
        for stance in stances(frame, reader, prob):
            assert stance.holder is not None
            known = (stance.holder.text, stance.label, stance.target.text, paragraph)
            if known not in found or found[known].probs[stance.label] < stance.probs[stance.label]:
                found[known] = stance
    return sorted(found.values(), key=lambda stance: stance.evidence[0].start)


def read_frames(
    text: FieldText, names: SpanIndex[NamedSpan], entities: Sequence[Entity], quotes: Sequence[Quote]
) -> Iterator[tuple[Frame, StanceReader]]:
    """The frames of one field and the sentence of each, likely right or not."""
    said = SpanIndex([quote for quote in quotes if quote.speaker is not None])
    types = {entity.entity_id: entity.type for entity in entities}
    earlier: Known | None = None
    for first, words in sentences(text, names):
        sentence = Words(text, first, words, names, entities)
        reader = StanceReader(sentence, Scene(said, types, earlier))
        for frame in reader.frames():
            if _faces(frame, reader):
                yield frame, reader
        earlier = sentence.first_actor() or earlier


def _faces(frame: Frame, reader: StanceReader) -> bool:
    """Whether holder and target have words, and are not the same."""
    held_by, aimed_at = _held_by(frame, reader), _aimed_at(frame, reader)
    same = held_by.entity_id is not None and held_by.entity_id == aimed_at.entity_id
    return not same and bool(held_by.text) and bool(aimed_at.text) and held_by.text != aimed_at.text


def _held_by(frame: Frame, reader: StanceReader) -> Known:
    who = frame.holder.who
    return who if isinstance(who, Known) else reader.words.described(who)


def _aimed_at(frame: Frame, reader: StanceReader) -> Known:
    return reader.words.described(frame.target.phrase, frame.target.glued)


def features(frame: Frame, reader: StanceReader) -> list[str]:
    """How a frame was read, as names of weights."""
    words, sense, target = reader.words, frame.sense, frame.target
    shape = f"{sense.shape}{' with pronoun' * bool(sense.pronoun)}"
    holder_kind, target_kind = _kind(frame.holder.who, reader), _kind(target.phrase, reader)
    named = _is_named(frame.holder.who, reader) or words.names_someone(target.phrase)
    found = [
        "any",
        frame.side,
        shape,
        f"construction: {frame.construction}",
        f"found: {frame.holder.found}",
        f"target: {target.stands}",
        f"target: {target.stands}, {sense.shape}",
        f"holder is {holder_kind}",
        f"target is {target_kind}",
        f"after {_before(frame.at, words)}",
        f"target {_distance(frame.at, target.phrase)}",
    ]
    if sense.definite or sense.ambiguous:
        found.append("definite" if sense.definite else "verb or noun")
    if words.field == "title":
        found.append("title")
    if named and frame.construction in _BESIDE:
        found += ["beside", f"beside, {sense.shape}"]
    return found


def _is_named(who: Phrase | Known, reader: StanceReader) -> bool:
    return who.entity_id is not None if isinstance(who, Known) else reader.words.names_someone(who)


def _kind(who: Phrase | Known, reader: StanceReader) -> str:
    """A name's type, alone or in a phrase, or how a phrase without one begins."""
    words = reader.words
    if isinstance(who, Known):
        return f"speaker {'none' if who.entity_id is None else reader.scene.types.get(who.entity_id, 'none')}"
    name = next((word.name for word in words.words[who.first : who.end] if word.name is not None), None)
    if name is not None:
        return name.name.type if words.name(who.first) is name else f"phrase with {name.name.type}"
    if words.words[who.first].definite:
        return "definite"
    return "in construct" if words.words[who.end - 1].definite else "indefinite"


def _before(at: int, words: Words) -> str:
    """What stands in front of a word."""
    key = words.key(at - 1)
    classes = (
        ("relative", RELATIVES),
        ("that", THAT | THAT_HE),
        ("preposition", PREPOSITIONS),
        ("opening", OPENINGS),
        ("comma", COMMAS),
    )
    if at == 0:
        return "start"
    known = next((name for name, members in classes if key in members), None)
    if known is not None:
        return known
    if not key[0].isalnum():
        return "mark"
    return "word" if words.name(at - 1) is None else "name"


def _distance(at: int, phrase: Phrase) -> str:
    """On which side of a word a phrase stands, and how far: beside it, near or far."""
    side, words = ("before", at - phrase.end) if phrase.end <= at else ("behind", phrase.first - at - 1)
    far = next(name for name, most in (("beside", 0), ("near", 2), ("off", 6), ("far", math.inf)) if words <= most)
    return f"{side}, {far}"


@cache
def shipped_weights() -> Mapping[str, float]:
    """The weight of each feature that training kept."""
    found: dict[str, float] = json.loads(resources.files("rasad.enrich").joinpath(_WEIGHTS).read_text("utf-8"))
    return found


def probability(found: Sequence[str], weights: Mapping[str, float]) -> float:
    """How likely a frame is right, by its features; one without a weight says nothing."""
    return 1 / (1 + math.exp(-sum(weights.get(name, 0.0) for name in found)))


def stances(frame: Frame, reader: StanceReader, prob: float) -> Iterator[Stance]:
    """What a frame states with a probability: a stance for each of the holders that و joins."""
    words, target = reader.words, _aimed_at(frame, reader)
    end = max(frame.at + 1, min(frame.target.phrase.end, frame.at + MOST_EVIDENCE))
    evidence = Span(field=words.field, start=words.words[frame.at].start, end=words.words[end - 1].end)
    other: Side = "oppose" if frame.side == "support" else "support"
    for holder in _holders(frame, reader):
        if holder.text and holder.text != target.text:
            yield Stance(
                kind="entity",
                holder=StanceHolder(text=holder.text, entity_id=holder.entity_id),
                target=StanceTarget(text=target.text, entity_id=target.entity_id),
                label=frame.side,
                probs={frame.side: round(prob, ROUNDED), other: round(1 - prob, ROUNDED)},
                evidence=(evidence,),
            )


def _holders(frame: Frame, reader: StanceReader) -> Iterator[Known]:
    yield _held_by(frame, reader)
    who = frame.holder.who
    if isinstance(who, Phrase):
        words = reader.words
        at, end = who.end, words.coordinated(who.end)
        while at < end and words.name(at) is not None:
            yield words.described(Phrase(at, words.name_end(at)))
            at = words.name_end(at)
