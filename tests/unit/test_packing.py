from __future__ import annotations

import itertools
from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rasad.inference.packing import RUN_TOKENS, pack

LENGTHS = st.lists(st.integers(min_value=1, max_value=300), max_size=80)
BUDGETS = st.integers(min_value=1, max_value=2000)


def cost(batches: Sequence[Sequence[int]]) -> int:
    """Of batches of lengths: padded tokens, and what each run costs."""
    return sum(max(batch) * len(batch) + RUN_TOKENS for batch in batches)


@given(LENGTHS, BUDGETS)
def test_every_sequence_is_in_exactly_one_batch(lengths: list[int], budget: int) -> None:
    packed = [index for batch in pack(lengths, budget) for index in batch]
    assert sorted(packed) == list(range(len(lengths)))


@given(LENGTHS, BUDGETS)
def test_padded_batches_stay_within_the_budget(lengths: list[int], budget: int) -> None:
    for batch in pack(lengths, budget):
        assert batch
        assert len(batch) == 1 or max(lengths[index] for index in batch) * len(batch) <= budget


@given(LENGTHS, BUDGETS)
def test_batches_come_longest_first(lengths: list[int], budget: int) -> None:
    for one, following in pairwise(pack(lengths, budget)):
        assert min(lengths[index] for index in one) >= max(lengths[index] for index in following)


@given(st.lists(st.integers(min_value=1, max_value=300), min_size=1, max_size=9), BUDGETS)
def test_no_other_cut_costs_less(lengths: list[int], budget: int) -> None:
    order = sorted(lengths, reverse=True)
    found = cost([[lengths[index] for index in batch] for batch in pack(lengths, budget)])
    for count in range(len(order)):
        for cuts in itertools.combinations(range(1, len(order)), count):
            batches = [order[start:end] for start, end in pairwise((0, *cuts, len(order)))]
            if all(len(batch) == 1 or batch[0] * len(batch) <= budget for batch in batches):
                assert found <= cost(batches)


def test_equal_lengths_keep_their_order() -> None:
    assert pack([5, 5, 9, 5], 15) == [[2], [0, 1, 3]]
    assert pack([], 10) == []


def test_a_short_sequence_is_not_padded_to_a_long_one() -> None:
    assert pack([250, 250, 60], 1024) == [[0, 1], [2]]
    assert pack([250, 250, 230], 1024) == [[0, 1, 2]]
