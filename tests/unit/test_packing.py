from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rasad.inference.packing import pack

LENGTHS = st.lists(st.integers(min_value=1, max_value=300), max_size=80)


@given(LENGTHS, st.integers(min_value=1, max_value=2000))
def test_every_sequence_is_in_exactly_one_batch(lengths: list[int], budget: int) -> None:
    packed = [index for batch in pack(lengths, budget) for index in batch]
    assert sorted(packed) == list(range(len(lengths)))


@given(LENGTHS, st.integers(min_value=1, max_value=2000))
def test_padded_batches_stay_within_the_budget(lengths: list[int], budget: int) -> None:
    for batch in pack(lengths, budget):
        assert batch
        assert len(batch) == 1 or max(lengths[index] for index in batch) * len(batch) <= budget


@given(LENGTHS, st.integers(min_value=1, max_value=2000))
def test_no_batch_could_have_been_part_of_the_one_before(lengths: list[int], budget: int) -> None:
    batches = pack(lengths, budget)
    for one, following in pairwise(batches):
        assert lengths[one[0]] * (len(one) + 1) > budget
        assert min(lengths[index] for index in one) >= max(lengths[index] for index in following)


def test_equal_lengths_keep_their_order() -> None:
    assert pack([5, 5, 9, 5], 10) == [[2], [0, 1], [3]]
    assert pack([], 10) == []
