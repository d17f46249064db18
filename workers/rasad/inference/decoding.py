"""From label scores of words to labelled spans: the best legal BIO path, and a calibrated probability a span."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int64]

_GROUP_WORDS: Final = 4096
"""How many words, padding included, dynamic programming takes at once: with 17 labels some 200 bytes each."""


@dataclass(frozen=True, slots=True)
class LabelledSpan:
    """Words `[start, end)` of one type; `prob` is between 0 and 1."""

    start: int
    end: int
    type: str
    prob: float


@dataclass(frozen=True, slots=True, eq=False)
class BioScheme:
    """What may follow what in a BIO label set.

    `follows[i, j]`: label `j` may stand after label `i`; `opens[j]`: label `j` may stand first.
    """

    labels: tuple[str, ...]
    follows: Bools
    opens: Bools
    begins: Bools
    outside: int


@cache
def bio_scheme(labels: tuple[str, ...]) -> BioScheme:
    """The scheme of a head's labels: I-X stands after B-X and I-X alone."""
    inside = np.array([label.startswith("I-") for label in labels])
    same = np.array([[a[2:] == b[2:] and a != "O" for b in labels] for a in labels])
    begins = np.array([label.startswith("B-") for label in labels])
    return BioScheme(labels, ~inside | same, ~inside, begins, labels.index("O"))


def best_path(scores: Scores, scheme: BioScheme, starts: Bools) -> Labels:
    """The legal label sequence with the highest sum of scores.

    `scores` is `[words, labels]`; a True in `starts` `[words]` begins a sequence of its own, which no span crosses
    into. Most sequences are legal as they stand; dynamic programming is left for those that are not.
    """
    path: Labels = scores.argmax(axis=1)
    if not len(path):
        return path
    first = starts.copy()
    first[0] = True
    legal = np.where(first, scheme.opens[path], scheme.follows[np.roll(path, 1), path])
    sequence = np.cumsum(first) - 1
    bounds = np.append(np.flatnonzero(first), len(path))
    broken = np.unique(sequence[~legal])
    lengths = bounds[broken + 1] - bounds[broken]
    for group in _groups(lengths):
        columns = np.arange(lengths[group[0]])
        mask = columns < lengths[group, None]
        words = (bounds[broken[group], None] + columns)[mask]
        # Padding scores lowest on all but O, which may follow anything: the real words' best path is unchanged.
        padded = np.full((*mask.shape, scores.shape[1]), -np.inf, np.float32)
        padded[:, :, scheme.outside] = 0
        padded[mask] = scores[words]
        path[words] = viterbi(padded, scheme)[mask]
    return path


def _groups(lengths: Labels) -> Iterator[Labels]:
    """Indices of `lengths` from the longest on, as many at once as fit _GROUP_WORDS when padded; one always does."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        end = start + max(1, _GROUP_WORDS // int(lengths[order[start]]))
        yield order[start:end]
        start = end


def viterbi(scores: Scores, scheme: BioScheme) -> Labels:
    """The best legal path of each row, `[rows, words, labels]` to `[rows, words]` (Viterbi 1967)."""
    rows, words, _ = scores.shape
    penalty = np.where(scheme.follows, 0, -np.inf).astype(np.float32)
    best = np.where(scheme.opens, scores[:, 0], -np.inf)
    came_from = np.zeros(scores.shape, np.int64)
    for word in range(1, words):
        candidates = best[:, :, None] + penalty
        came_from[:, word] = candidates.argmax(axis=1)
        best = candidates.max(axis=1) + scores[:, word]
    path: Labels = np.zeros((rows, words), np.int64)
    path[:, -1] = best.argmax(axis=1)
    for word in range(words - 1, 0, -1):
        path[:, word - 1] = came_from[np.arange(rows), word, path[:, word]]
    return path


def path_probabilities(
    scores: Scores, path: Labels, scheme: BioScheme, starts: Bools, temperature: float
) -> npt.NDArray[np.float64]:
    """The probability of each word's label among those that are legal after the label before it; shape `[words]`."""
    if not len(path):
        return np.zeros(0)
    first = starts.copy()
    first[0] = True
    allowed = np.where(first[:, None], scheme.opens, scheme.follows[np.roll(path, 1)])
    scaled = np.where(allowed, scores.astype(np.float64) / temperature, -np.inf)
    weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    chosen: npt.NDArray[np.float64] = weights[np.arange(len(path)), path] / weights.sum(axis=1)
    return chosen


def labelled_spans(scores: Scores, labels: Sequence[str], starts: Bools, temperature: float) -> list[LabelledSpan]:
    """Spans of the best path, in order.

    A span's probability is the lowest of its words': one wrong word makes a span wrong, and the errors of
    neighbouring words go together, so that their product would be far too low for long names.
    """
    scheme = bio_scheme(tuple(labels))
    path = best_path(scores, scheme, starts)
    begins = np.flatnonzero(scheme.begins[path])
    if not len(begins):
        return []
    probabilities = path_probabilities(scores, path, scheme, starts, temperature)
    # A span ends at the next word that begins another, or is outside.
    breaks = np.append(np.flatnonzero(scheme.begins[path] | (path == scheme.outside)), len(path))
    ends = breaks[np.searchsorted(breaks, begins, side="right")]
    return [
        LabelledSpan(int(start), int(end), scheme.labels[path[start]][2:], float(probabilities[start:end].min()))
        for start, end in zip(begins, ends, strict=True)
    ]


def softmax(logits: Scores, temperature: float) -> npt.NDArray[np.float64]:
    """Calibrated probabilities over the last axis."""
    scaled = logits.astype(np.float64) / temperature
    weights = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    normalised: npt.NDArray[np.float64] = weights / weights.sum(axis=-1, keepdims=True)
    return normalised
