from __future__ import annotations

import tracemalloc
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rasad.inference.decoding import best_path, bio_scheme, labelled_spans, path_probabilities, softmax

LABELS = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG")
SCHEME = bio_scheme(LABELS)

SCORES = st.integers(min_value=1, max_value=5).flatmap(
    lambda words: arrays(np.float32, (words, len(LABELS)), elements=st.integers(-8, 8).map(float))
)


def is_legal(path: tuple[int, ...], starts: np.ndarray) -> bool:
    for word, label in enumerate(path):
        name = LABELS[label]
        if name.startswith("I-"):
            before = "O" if word == 0 or starts[word] else LABELS[path[word - 1]]
            if before not in (f"B-{name[2:]}", name):
                return False
    return True


@settings(max_examples=60, deadline=None)
@given(SCORES, st.data())
def test_the_best_legal_path_is_the_one_that_brute_force_finds(scores: np.ndarray, data: st.DataObject) -> None:
    starts = np.array(data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores))))
    legal = [path for path in product(range(len(LABELS)), repeat=len(scores)) if is_legal(path, starts)]
    total = {path: sum(scores[word, label] for word, label in enumerate(path)) for path in legal}
    found = tuple(best_path(scores, SCHEME, starts).tolist())
    assert is_legal(found, starts)
    assert total[found] == max(total.values())


def broken_lines(lengths: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Scores and starts of lines that each begin with an I-PER, which none may."""
    scores = np.random.default_rng(1).normal(size=(sum(lengths), len(LABELS))).astype(np.float32)
    begins = np.cumsum([0, *lengths[:-1]])
    scores[begins, LABELS.index("I-PER")] += 9
    return scores, np.isin(np.arange(len(scores)), begins)


def test_a_line_has_the_path_that_it_has_alone() -> None:
    lengths = [2, 700, 1, 30, *[2, 3] * 300, 5000, 4]
    scores, starts = broken_lines(lengths)
    alone = [
        best_path(line, SCHEME, np.zeros(len(line), bool)) for line in np.split(scores, np.flatnonzero(starts)[1:])
    ]
    assert best_path(scores, SCHEME, starts).tolist() == np.concatenate(alone).tolist()


def test_one_long_line_does_not_widen_the_short_ones() -> None:
    scores, starts = broken_lines([600, *[2] * 2000])
    tracemalloc.start()
    best_path(scores, SCHEME, starts)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000


@settings(max_examples=60, deadline=None)
@given(SCORES, st.floats(min_value=0.2, max_value=5))
def test_spans_have_probabilities_and_do_not_overlap(scores: np.ndarray, temperature: float) -> None:
    starts = np.zeros(len(scores), bool)
    spans = labelled_spans(scores, LABELS, starts, temperature)
    assert all(0 <= span.start < span.end <= len(scores) and 0 < span.prob <= 1 for span in spans)
    assert all(span.end <= following.start for span, following in pairwise(spans))
    path = best_path(scores, SCHEME, starts)
    covered = {word for span in spans for word in range(span.start, span.end)}
    assert covered == set(np.flatnonzero(path != SCHEME.outside).tolist())


def test_a_span_never_crosses_a_start() -> None:
    scores = np.array([[0, 9, 0, 0, 0], [0, 0, 9, 0, 0], [0, 0, 9, 0, 0]], np.float32)
    whole = labelled_spans(scores, LABELS, np.array([True, False, False]), 1.0)
    parted = labelled_spans(scores, LABELS, np.array([True, False, True]), 1.0)
    assert [(span.start, span.end) for span in whole] == [(0, 3)]
    assert (parted[0].start, parted[0].end) == (0, 2)
    assert all(span.start == 2 for span in parted[1:])


def test_labels_that_cannot_stand_there_take_no_probability() -> None:
    scores = np.array([[0, 0, 50, 0, 0]], np.float32)
    path = best_path(scores, SCHEME, np.array([True]))
    assert path_probabilities(scores, path, SCHEME, np.array([True]), 1.0).tolist() == pytest.approx([1 / 3])


def test_no_words_have_no_spans() -> None:
    assert labelled_spans(np.zeros((0, len(LABELS)), np.float32), LABELS, np.zeros(0, bool), 1.0) == []


def test_a_higher_temperature_is_less_sure() -> None:
    logits = np.array([2.0, 0.0], np.float32)
    assert softmax(logits, 2.0)[0] < softmax(logits, 1.0)[0]
    assert softmax(np.array([1e4, -1e4], np.float32), 1.0).tolist() == [1.0, 0.0]
