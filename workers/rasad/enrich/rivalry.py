"""How likely entity stances are beside one another.

Two of a paragraph that differ in their holder alone, or in their target alone, are mostly one that was read twice: a
spokeswoman and her government, a plan and a part of it. So the likelier each is, the less likely is the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from rasad.enrich.entities import ROUNDED
from rasad.enrich.evidence import content_words
from rasad.inference.bundle import StanceOdds
from rasad.messages import Stance, StanceHolder, StanceTarget

LEAST_RIVAL: Final = 0.03
"""The probability, as the head has it, from which a stance is a rival of others."""


@dataclass(frozen=True, slots=True)
class _Parties:
    """A stance as it is held beside others: its side, and the ids and content words of holder and target."""

    side: str
    holder: frozenset[str]
    target: frozenset[str]

    def rivals(self, other: _Parties) -> bool:
        """Same side, and either the holder or the target is the same, but not both."""
        if self.side != other.side:
            return False
        return bool(self.holder & other.holder) != bool(self.target & other.target)


def rivalry(stances: Sequence[Stance]) -> list[float]:
    """By how much the log-odds of each stance's likeliest rival exceed those of LEAST_RIVAL; 0 without one.

    `stances` are those of one paragraph, or of one run of its words where it is long.
    """
    parties = [_Parties(each.label, _names(each.holder), _names(each.target)) for each in stances]
    above = [max(0.0, log_odds(each) - _logit(LEAST_RIVAL)) for each in stances]
    return [
        max((above[j] for j, other in enumerate(parties) if j != i and mine.rivals(other)), default=0.0)
        for i, mine in enumerate(parties)
    ]


def weighed(stances: Sequence[Stance], odds: StanceOdds) -> list[Stance]:
    """The stances of a paragraph with the probabilities that they have beside one another, by `odds` and `rivalry`.

    That of the other side stays, but where both would be more than 1.
    """
    sides = {"support": odds.support, "oppose": odds.oppose}
    made = []
    for stance, rival in zip(stances, rivalry(stances), strict=True):
        score = odds.scale * log_odds(stance) + sides[stance.label] - odds.rival * rival
        prob = round((1 + math.tanh(score / 2)) / 2, ROUNDED)
        others = {label: min(each, round(1 - prob, ROUNDED)) for label, each in stance.probs.items()}
        made.append(replace(stance, probs=others | {stance.label: prob}))
    return made


def log_odds(stance: Stance) -> float:
    """Those of a stance's label, as its rounded probability gives them."""
    most = 1 - 10**-ROUNDED
    return _logit(min(max(stance.probs[stance.label], 1 - most), most))


def _logit(prob: float) -> float:
    return math.log(prob / (1 - prob))


def _names(party: StanceHolder | StanceTarget | None) -> frozenset[str]:
    """The content words of a holder or a target, and its entity's id."""
    if party is None:
        return frozenset()
    return content_words(party.text) | ({party.entity_id} if party.entity_id else set())
