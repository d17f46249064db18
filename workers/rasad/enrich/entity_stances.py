"""Who stands where towards whom, as the text states it: support or opposition, with the words that show it.

A bundle's relation head scores every pair of words of a paragraph as holder and target (`rasad.enrich.relations`).
What is likely enough is stated: names are taken whole, and a phrase is the entity whose name fills it; a holder's also
where a person's name ends it, as behind a title.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from rasad.enrich.entities import ROUNDED
from rasad.enrich.quotes import NamedSpan, begins, belongs
from rasad.enrich.reading import FieldScores, FieldText
from rasad.enrich.relations import Rectangle, Scores, products, rectangles, runs, shown
from rasad.enrich.rivalry import LEAST_RIVAL, weighed
from rasad.enrich.span_index import SpanIndex
from rasad.inference.bundle import StanceOdds
from rasad.messages import Entity, Span, Stance, StanceHolder, StanceTarget
from rasad.text.clitics import strip_proclitics

STANCES_HEAD: Final = "stances"
Side = Literal["support", "oppose"]
SIDES: Final[tuple[Side, Side]] = ("support", "oppose")
"""The labels of a relation head that events know."""

LEAST_LIKELY: Final = 0.5
"""The probability from which a stance is stated, where the bundle's `thresholds` have no "stance"."""

MOST_EVIDENCE: Final = 8
"""Words of evidence at most."""


@dataclass(frozen=True, slots=True)
class _Party:
    """Holder or target: what it is called, its entity where there is one, and where it stands in the field."""

    text: str
    entity_id: str | None
    characters: tuple[int, int]


def entity_stances(
    scored: FieldScores,
    names: SpanIndex[NamedSpan],
    entities: Sequence[Entity],
    *,
    least: float = LEAST_LIKELY,
    odds: StanceOdds | None = None,
) -> list[Stance]:
    """The stances of one field, in order; what a paragraph states twice once. `names` are the field's.

    The label's probability is that of holder, side and target all being right, beside the other stances of the
    paragraph where `odds` (`rasad.enrich.rivalry`) are given; the other label's is that of the other side. What they
    leave of 1 is that nobody states either. A field without a sentence (stray control characters) has none.
    """
    text, vectors = scored.text, scored.scores[STANCES_HEAD]
    if not len(text.tokenized.sentences):
        return []
    found: dict[tuple[str, str, str, int], Stance] = {}
    for first, end in runs(text.opens_paragraph, text.opens_sentence):
        mine = vectors[first:end]
        likely = _sigmoid(products(mine, len(SIDES)))
        evident = shown(mine, len(SIDES))
        read: dict[tuple[str, str, str], Stance] = {}
        for each in rectangles(likely, min(least, LEAST_RIVAL) if odds else least):
            stance = _stance(each, evident, first, text, names, entities)
            if stance is not None:
                read.setdefault(_stated(stance), stance)
        for stance in weighed([*read.values()], odds) if odds else read.values():
            known = (*_stated(stance), text.paragraph_of_word(first))
            if stance.probs[stance.label] >= least:
                found[known] = max(found.get(known, stance), stance, key=lambda each: each.probs[each.label])
    return sorted(found.values(), key=lambda stance: (stance.evidence[0].start, stance.evidence[0].end))


def _stated(stance: Stance) -> tuple[str, str, str]:
    return stance.holder.text if stance.holder else "", stance.label, stance.target.text


def _sigmoid(scores: Scores) -> Scores:
    return np.asarray(1 / (1 + np.exp(-np.clip(scores, -30, 30))), np.float32)


def _stance(
    found: Rectangle,
    evident: Scores,
    first: int,
    text: FieldText,
    names: SpanIndex[NamedSpan],
    entities: Sequence[Entity],
) -> Stance | None:
    """What a rectangle over the words from `first` on states; None where a side has no words or both are the same."""
    holder = _party(text, names, entities, first + found.holder[0], first + found.holder[1], titled=True)
    target = None
    if holder is not None:
        words = (first + found.target[0], first + found.target[1])
        target = _party(text, names, entities, *words, titled=False, but=holder.characters)
    same = holder and target and (holder.text == target.text or holder.entity_id == target.entity_id is not None)
    if holder is None or target is None or same:
        return None
    start, end = _evidence(found, evident[:, found.side])
    characters = text.input_span(first + start, first + end)
    label, other = SIDES[found.side], SIDES[1 - found.side]
    return Stance(
        kind="entity",
        holder=StanceHolder(text=holder.text, entity_id=holder.entity_id),
        target=StanceTarget(text=target.text, entity_id=target.entity_id),
        label=label,
        probs={label: round(found.prob, ROUNDED), other: round(found.other, ROUNDED)},
        evidence=(Span(field=text.field, start=characters[0], end=characters[1]),),
    )


def _evidence(found: Rectangle, evident: Scores) -> tuple[int, int]:
    """The words around the one that shows the stance best, between holder and target or just beside them."""
    low = max(0, min(found.holder[0], found.target[0]) - MOST_EVIDENCE // 2)
    high = min(len(evident), max(found.holder[1], found.target[1]) + MOST_EVIDENCE // 2)
    start = low + int(evident[low:high].argmax())
    end = start + 1
    while end - start < MOST_EVIDENCE:
        before = evident[start - 1] if start > low else -np.inf
        behind = evident[end] if end < high else -np.inf
        if max(before, behind) <= 0:
            break
        start, end = (start - 1, end) if before > behind else (start, end + 1)
    return start, end


def _party(
    text: FieldText,
    names: SpanIndex[NamedSpan],
    entities: Sequence[Entity],
    first: int,
    end: int,
    *,
    titled: bool,
    but: tuple[int, int] = (0, 0),
) -> _Party | None:
    """What words `[first, end)` of a field call somebody, marks around them left off and names in them whole.

    `titled`: they may be a title and whom it belongs to. `but`: characters of the field that are no part of it.
    """
    arrived, normalised = text.tokenized.text, text.tokenized.normalised.text
    words = text.tokenized.words
    spans = text.word_spans
    while end > first and but[0] < spans[end - 1, 1] and spans[end - 1, 0] < but[1]:
        end -= 1
    while end > first and but[0] < spans[first, 1] and spans[first, 0] < but[1]:
        first += 1
    while end > first and not normalised[words[end - 1, 0]].isalnum():
        end -= 1
    while end > first and not normalised[words[first, 0]].isalnum():
        first += 1
    if end == first:
        return None
    start, stop = text.input_span(first, end)
    within = [
        each
        for each in names.touching(start, stop)
        if each.start < stop and start < each.end and not (each.start < but[1] and but[0] < each.end)
    ]
    if within:
        start, stop = min(start, within[0].start), max(stop, within[-1].end)
    called = strip_proclitics(arrived[start:stop], seen=frozenset()).canonical
    for each in within:
        fills = begins(arrived, start, each) and stop <= each.end
        ends = titled and each.name.type == "PER" and each.end == stop and each.start == each.name.core_start
        if fills or (ends and not belongs(arrived, start, each, names)):
            return _Party(called, entities[each.entity].entity_id, (start, stop))
    return _Party(called, None, (start, stop)) if called else None
