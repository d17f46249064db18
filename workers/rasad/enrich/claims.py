"""Watched claims: which of them an article is worth holding against, found without a model.

A claim scores by how much of it an article has: BM25 over light stems, each weighted by how rare it is in news, over
the length of the claim's own vector, so that short claims and long ones compare. The score of a claim in an article
depends on nothing else, whatever other claims are watched. Names weigh no more than other rare words here: given more,
they found no claim that was missed (measured on the news corpus with its labelled names).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from rasad.enrich.evidence import saturation, stems
from rasad.enrich.stem_rarity import rarity
from rasad.messages import Claim

THRESHOLD: Final = 0.65
"""The least score of a claim that the model reads; what it costs and finds is a row of `rasad models eval`."""
MOST: Final = 8
"""Claims that the model reads for one article: each costs as much as its headline's stance."""
TYPICAL_LENGTH: Final = 250
"""Stems of an average article of the news corpus; fixed, so that a score does not depend on what is read beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What lets a claim through to the model: a score of at least `threshold`, and the best `most` of an article."""

    threshold: float = THRESHOLD
    most: int = MOST


@dataclass(frozen=True, slots=True)
class Match:
    """A claim that an article may speak of, and its score there."""

    claim: Claim
    score: float


@dataclass(frozen=True, slots=True)
class _Entry:
    """A claim made ready: the weight of each of its stems, all of them together a vector of length 1."""

    claim: Claim
    weights: Mapping[str, float]

    @classmethod
    def of(cls, claim: Claim) -> _Entry:
        rarities = {stem: rarity(stem) for stem in sorted(set(stems(claim.text)))}
        length = math.sqrt(sum(each * each for each in rarities.values()))
        return cls(claim, {stem: each / length for stem, each in rarities.items() if each})


@dataclass(frozen=True, slots=True, eq=False)
class _Postings:
    """The claims that have a stem, by number, and its weight in each."""

    numbers: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]


class ClaimIndex:
    """An immutable set of claims, one an id."""

    def __init__(self, claims: Iterable[Claim] = ()) -> None:
        self._hold(_Entry.of(claim) for claim in {claim.id: claim for claim in claims}.values())

    def _hold(self, entries: Iterable[_Entry]) -> None:
        self._entries = sorted(entries, key=lambda entry: entry.claim.id)
        holders: dict[str, list[int]] = {}
        for number, entry in enumerate(self._entries):
            for stem in entry.weights:
                holders.setdefault(stem, []).append(number)
        self._postings = {
            stem: _Postings(np.array(numbers), np.array([self._entries[each].weights[stem] for each in numbers]))
            for stem, numbers in holders.items()
        }

    def changed(self, changes: Mapping[str, Claim | None]) -> ClaimIndex:
        """Another index in which the claims of `changes` stand in place of those of their ids; None takes one away."""
        kept = [entry for entry in self._entries if entry.claim.id not in changes]
        index = ClaimIndex()
        index._hold([*kept, *(_Entry.of(claim) for claim in changes.values() if claim is not None)])
        return index

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The claims in the order of their ids."""
        return tuple(entry.claim for entry in self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def scores(self, article: Mapping[str, int]) -> npt.NDArray[np.float64]:
        """What each claim scores in an article, `[claims]`, from 0. `article` counts its stems, title included."""
        length = sum(article.values())
        shared = [(self._postings[stem], count) for stem, count in article.items() if stem in self._postings]
        if not shared:
            return np.zeros(len(self))
        numbers = np.concatenate([postings.numbers for postings, _ in shared])
        values = [postings.weights * saturation(count, length, TYPICAL_LENGTH) for postings, count in shared]
        return np.bincount(numbers, np.concatenate(values), minlength=len(self)).astype(np.float64)

    def matches(self, article: Mapping[str, int], gate: Gate) -> list[Match]:
        """The claims that `gate` lets through, the best first, equal ones by id. `article` is as in `scores`."""
        scores = self.scores(article)
        passing = np.flatnonzero(scores >= gate.threshold)
        # Ids are in order, and a stable sort leaves equal scores so.
        best = passing[np.argsort(-scores[passing], kind="stable")][: gate.most]
        return [Match(self._entries[number].claim, float(scores[number])) for number in best.tolist()]


_EMPTY: Final = ClaimIndex()


def no_claims() -> ClaimIndex:
    """The index of no claim at all."""
    return _EMPTY
