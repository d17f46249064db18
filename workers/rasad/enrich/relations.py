"""Who stands where, from vectors of words: every pair of a holder's and a target's words has a score for each side.

A word's vectors, one as holder and one as target for each side, are what a relation head gives (biaffine attention:
Dozat and Manning, arXiv:1611.01734). A stance shows as a rectangle of likely pairs: the words of its holder by those of
its target.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float32]

MOST_WORDS: Final = 160
"""Words of a paragraph that are paired with one another: longer paragraphs are read in runs of as many."""

BESIDE: Final = 0.1
"""The share of the best pair's probability from which a neighbouring word belongs to the same phrase."""

MOST_RECTANGLES: Final = 32
"""Stances of a run of words: more than any text has, and few enough that no text costs much."""

_LEAST_BESIDE: Final = 0.02


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A stance of side `side`: words `[start, end)` of its holder and its target, and its best pair's probability.

    `other` is that of the best of these pairs for another side; with `prob` no more than 1.
    """

    holder: tuple[int, int]
    target: tuple[int, int]
    side: int
    prob: float
    other: float


def products(vectors: Scores, sides: int) -> Scores:
    """Scores `[sides, holders, targets]` of every pair; `vectors` are `[words, 2 * sides * (rank + 1) + sides]`.

    The last value of each vector is added to the product of all others; the values behind them are `shown`.
    """
    count, width = vectors.shape
    shaped = vectors[:, : width - sides].reshape(count, 2, sides, width // (2 * sides)).transpose(1, 2, 0, 3)
    holders, targets = shaped[0], shaped[1]
    product = holders[..., :-1] @ targets[..., :-1].transpose(0, 2, 1)
    made: Scores = product + holders[..., -1:] + targets[..., -1:].transpose(0, 2, 1)
    return made


def shown(vectors: Scores, sides: int) -> Scores:
    """How likely each word is among those that show a stance of each side, `[words, sides]`, before the sigmoid."""
    return vectors[:, vectors.shape[1] - sides :]


def runs(starts: npt.NDArray[np.bool_], openings: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Runs of at most MOST_WORDS words of one paragraph, cut before a sentence where one begins in their second half.

    `starts` and `openings`, both `[words]`, say which words open a paragraph and which a sentence.
    """
    edges = sorted({0, *np.flatnonzero(starts).tolist(), len(starts)})
    for first, last in itertools.pairwise(edges):
        at = first
        while at < last:
            end = min(at + MOST_WORDS, last)
            if end < last:
                cuts = np.flatnonzero(openings[at + MOST_WORDS // 2 : end + 1])
                end = at + MOST_WORDS // 2 + int(cuts[-1]) if len(cuts) else end
            yield at, end
            at = end


def rectangles(probs: npt.NDArray[Any], least: float) -> Iterator[Rectangle]:
    """Rectangles of `[sides, holders, targets]`, the likeliest first, down to a best pair of probability `least`.

    No two of them share a pair of neighbouring words, whatever their sides. There are at most MOST_RECTANGLES.
    """
    left = np.array(probs)
    for _ in range(MOST_RECTANGLES if left.size else 0):
        side, holder, target = (int(at) for at in np.unravel_index(left.argmax(), left.shape))
        best = float(left[side, holder, target])
        if best < least:
            return
        enough = max(BESIDE * best, _LEAST_BESIDE)
        holders = _around(left[side, :, target], holder, enough)
        targets = _around(left[side, holder], target, enough)
        others = np.delete(probs[:, slice(*holders), slice(*targets)], side, axis=0)
        yield Rectangle(holders, targets, side, best, min(float(others.max(initial=0)), 1 - best))
        left[:, max(0, holders[0] - 1) : holders[1] + 1, max(0, targets[0] - 1) : targets[1] + 1] = 0


def _around(values: npt.NDArray[Any], at: int, enough: float) -> tuple[int, int]:
    """The run of values above `enough` that `at` stands in."""
    below = np.flatnonzero(values <= enough)
    before, behind = below[below < at], below[below > at]
    return (int(before[-1]) + 1 if len(before) else 0), (int(behind[0]) if len(behind) else len(values))
