"""Who stands where towards whom, as the text states it outright: support or opposition, with the words that show it.

Evidence, holder and target are labelled by heads of the NER bundle. Precision comes before recall: a stance without
both a holder and a target in reach of its evidence is left out, and so is one below the bundle's threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from rasad.enrich.entities import ROUNDED
from rasad.enrich.quotes import PROCLITIC, NamedSpan
from rasad.enrich.reading import FieldScores, FieldText
from rasad.enrich.span_index import SpanIndex
from rasad.inference.decoding import LabelledSpan, softmax
from rasad.messages import Entity, Field, Span, Stance, StanceHolder, StanceTarget
from rasad.text.clitics import strip_proclitics

EVIDENCE_HEAD: Final = "stance_evidence"
ROLES_HEAD: Final = "stance_roles"

ROLE_REACH: Final = 150
"""How many characters a holder or target may stand from the evidence: what the head was trained on."""

DEFAULT_THRESHOLD: Final = 0.5

Side = Literal["support", "oppose"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A labelled holder or target: `[start, end)` of its field."""

    kind: Literal["holder", "target"]
    start: int
    end: int
    paragraph: int
    prob: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StanceEvidence:
    """The words that show a stance; `support` is the probability of support, given that it is one of the two."""

    start: int
    end: int
    paragraph: int
    support: float
    prob: float


def roles(text: FieldText, spans: Sequence[LabelledSpan]) -> list[Role]:
    """The decoded spans of the roles head."""
    return [
        Role(
            kind="holder" if span.type == "HOLDER" else "target",
            start=text.input_span(span.start, span.end)[0],
            end=text.input_span(span.start, span.end)[1],
            paragraph=text.paragraph_of_word(span.start),
            prob=span.prob,
        )
        for span in spans
    ]


def evidence(
    scored: FieldScores, spans: Sequence[LabelledSpan], labels: Sequence[str], temperature: float
) -> list[StanceEvidence]:
    """The decoded spans of the evidence head, each with how far its words speak for support."""
    probabilities = softmax(scored.scores[EVIDENCE_HEAD], temperature)
    supports = np.array([label.endswith("-SUPPORT") for label in labels])
    opposes = np.array([label.endswith("-OPPOSE") for label in labels])
    found = []
    for span in spans:
        words = probabilities[span.start : span.end]
        support, oppose = float(words[:, supports].sum()), float(words[:, opposes].sum())
        start, end = scored.text.input_span(span.start, span.end)
        found.append(
            StanceEvidence(
                start=start,
                end=end,
                paragraph=scored.text.paragraph_of_word(span.start),
                support=support / (support + oppose),
                prob=span.prob,
            )
        )
    return found


def entity_stances(
    field: Field,
    text: str,
    shown: Sequence[StanceEvidence],
    known: Sequence[Role],
    names: SpanIndex[NamedSpan],
    entities: Sequence[Entity],
    *,
    threshold: float = DEFAULT_THRESHOLD,
) -> list[Stance]:
    """The stances of one field, in order.

    The holder is the nearest one in the paragraph, before the evidence rather than behind it, the target the nearest
    behind its beginning rather than before. A stance is as probable as the least probable of its three parts.
    """
    made = []
    holders, targets = (SpanIndex([role for role in known if role.kind == kind]) for kind in ("holder", "target"))
    for each in shown:
        holder = _nearest(holders, each, before=True)
        target = _nearest(targets, each, before=False)
        if holder is None or target is None or min(each.prob, holder.prob, target.prob) < threshold:
            continue
        side: Side = "support" if each.support >= 0.5 else "oppose"
        held_by, holder_entity = _words(holder, text, names, entities)
        aimed_at, target_entity = _words(target, text, names, entities)
        if holder_entity is not None and holder_entity == target_entity:
            continue
        support = round(each.support, ROUNDED)
        made.append(
            Stance(
                kind="entity",
                holder=StanceHolder(text=held_by, entity_id=holder_entity),
                target=StanceTarget(text=aimed_at, entity_id=target_entity),
                label=side,
                probs={"support": support, "oppose": round(1 - support, ROUNDED)},
                evidence=(Span(field=field, start=each.start, end=each.end),),
            )
        )
    return made


def _nearest(known: SpanIndex[Role], shown: StanceEvidence, *, before: bool) -> Role | None:
    def distance(role: Role) -> tuple[bool, int]:
        wrong_side = role.start > shown.start if before else role.end <= shown.start
        return wrong_side, max(role.start - shown.end, shown.start - role.end, 0)

    reached = known.touching(shown.start - ROLE_REACH, shown.end + ROLE_REACH)
    return min((role for role in reached if role.paragraph == shown.paragraph), key=distance, default=None)


def _words(role: Role, text: str, names: SpanIndex[NamedSpan], entities: Sequence[Entity]) -> tuple[str, str | None]:
    """A role's words without a glued proclitic, and the entity where a name fills them or a person's ends them."""
    words = strip_proclitics(text[role.start : role.end], seen=frozenset()).canonical
    for each in names.touching(role.start, role.end):
        fills = each.name.core_start <= role.start + PROCLITIC and role.start < each.end and role.end <= each.end
        if fills or (each.name.type == "PER" and role.start <= each.start and each.end == role.end):
            return words, entities[each.entity].entity_id
    return words, None
