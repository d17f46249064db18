"""Scores of pairs of words, the rectangles they show, and the runs of words that are paired."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rasad.enrich.relations import MOST_RECTANGLES, MOST_WORDS, Rectangle, products, rectangles, runs, shown


def test_a_pair_scores_the_product_of_its_vectors_and_what_each_adds() -> None:
    rng = np.random.default_rng(0)
    words, sides, rank = 5, 2, 3
    holders, targets = rng.normal(size=(2, words, sides, rank + 1)).astype(np.float32)
    evident = rng.normal(size=(words, sides)).astype(np.float32)
    vectors = np.concatenate([holders.reshape(words, -1), targets.reshape(words, -1), evident], axis=1)
    made = products(vectors, sides)
    assert made.shape == (sides, words, words)
    for side, holder, target in np.ndindex(made.shape):
        one, other = holders[holder, side], targets[target, side]
        assert made[side, holder, target] == pytest.approx(one[:-1] @ other[:-1] + one[-1] + other[-1], abs=1e-5)
    assert np.array_equal(shown(vectors, sides), evident)


def test_no_words_make_no_pairs() -> None:
    assert products(np.zeros((0, 18), np.float32), 2).shape == (2, 0, 0)
    assert not list(rectangles(np.zeros((2, 0, 0)), 0.5))
    assert not list(runs(np.zeros(0, bool), np.zeros(0, bool)))


def test_rectangles_come_the_likeliest_first_with_their_neighbours() -> None:
    probs = np.full((2, 8, 8), 0.01)
    probs[0, 0:2, 3:6] = [[0.7, 0.9, 0.6], [0.6, 0.8, 0.5]]
    probs[1, 6, 7] = 0.95
    probs[1, 7, 7] = 0.05
    probs[1, 1, 5] = 0.03
    probs[0, 6, 7] = 0.2
    assert list(rectangles(probs, 0.5)) == [
        Rectangle(holder=(6, 7), target=(7, 8), side=1, prob=0.95, other=pytest.approx(0.05)),
        Rectangle(holder=(0, 2), target=(3, 6), side=0, prob=0.9, other=0.03),
    ]
    assert [each.side for each in rectangles(probs, 0.92)] == [1]


def test_a_stance_is_not_stated_for_both_sides() -> None:
    probs = np.zeros((2, 4, 4))
    probs[0, 0, 2] = 0.8
    probs[1, 0, 2] = 0.7
    assert [each.side for each in rectangles(probs, 0.5)] == [0]


@given(arrays.arrays(np.float64, (2, 6, 6), elements=st.floats(0, 1)), st.floats(0.01, 1))
def test_any_scores_end_in_rectangles_that_are_likely_enough(probs: np.ndarray, least: float) -> None:
    found = list(rectangles(probs, least))
    assert len(found) <= MOST_RECTANGLES
    assert all(each.prob >= least for each in found)
    assert all(0 <= each.other <= 1 - each.prob for each in found)
    assert [each.prob for each in found] == sorted((each.prob for each in found), reverse=True)
    assert bool(found) == bool(probs.max() >= least)


@given(st.lists(st.sampled_from(["paragraph", "sentence", "word"]), max_size=700))
def test_runs_hold_every_word_once_and_no_two_paragraphs(kinds: list[str]) -> None:
    openings = np.array([kind != "word" for kind in kinds], bool)
    starts = np.array([kind == "paragraph" for kind in kinds], bool)
    made = list(runs(starts, openings))
    assert [word for first, end in made for word in range(first, end)] == list(range(len(kinds)))
    for first, end in made:
        assert 0 < end - first <= MOST_WORDS
        assert not starts[first + 1 : end].any()


def test_a_long_paragraph_is_cut_before_a_sentence() -> None:
    openings = np.zeros(MOST_WORDS + 50, bool)
    openings[[0, 90, 130]] = True
    starts = np.zeros(MOST_WORDS + 50, bool)
    starts[0] = True
    assert list(runs(starts, openings)) == [(0, 130), (130, MOST_WORDS + 50)]
