"""Micro-batches: what fits together, and when waiting pays."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from rasad.streams.batching import BYTES_A_TOKEN, Limits, Waiting, plan

TOKENS = st.lists(st.integers(1, 2_000), max_size=60)
LIMITS = st.builds(
    Limits,
    articles=st.integers(1, 40),
    tokens=st.integers(1, 5_000),
    wait_s=st.floats(0, 1, allow_nan=False),
    share=st.integers(1, 50),
)
BEHIND = st.integers(0, 2_000)
WAITED = st.floats(0, 2, allow_nan=False)


def most(limits: Limits, backlog: int) -> int:
    """The most articles of a batch, where so many are to be done."""
    return min(limits.articles, -(-backlog // limits.share))


@given(TOKENS, LIMITS, BEHIND, WAITED)
def test_a_batch_keeps_its_limits_and_is_as_large_as_they_allow(
    tokens: list[int], limits: Limits, behind: int, waited_s: float
) -> None:
    batch = plan(tokens, limits, behind=behind, waited_s=waited_s)
    assert batch.tokens == sum(tokens[: batch.count])
    assert batch.count <= most(limits, max(behind, len(tokens)))
    assert batch.tokens <= limits.tokens or batch.count == 1
    assert (batch.count > 0) == bool(tokens)
    if batch.count < len(tokens):
        full = batch.count == most(limits, max(behind, len(tokens)))
        assert full or batch.tokens + tokens[batch.count] > limits.tokens


@given(TOKENS, LIMITS, BEHIND, WAITED)
def test_waiting_is_bounded_and_only_for_what_the_broker_holds(
    tokens: list[int], limits: Limits, behind: int, waited_s: float
) -> None:
    batch = plan(tokens, limits, behind=behind, waited_s=waited_s)
    assert 0 <= batch.wait_s <= max(limits.wait_s - waited_s, 0)
    full = batch.count < len(tokens) or batch.count == most(limits, behind) or batch.tokens >= limits.tokens
    if full or behind <= len(tokens):
        assert batch.wait_s == 0


@given(TOKENS, st.integers(1, 2_000), LIMITS, BEHIND, BEHIND)
def test_what_comes_later_never_makes_a_batch_smaller(
    tokens: list[int], another: int, limits: Limits, behind: int, more: int
) -> None:
    before = plan(tokens, limits, behind=behind, waited_s=0)
    assert plan([*tokens, another], limits, behind=behind, waited_s=0).count >= before.count
    assert plan(tokens, limits, behind=behind + more, waited_s=0).count >= before.count


def test_a_lone_article_goes_at_once_and_one_of_many_waits_for_the_others() -> None:
    limits = Limits(articles=32, tokens=16_384, wait_s=0.005, share=4)
    assert plan([300], limits, behind=1, waited_s=0).wait_s == 0
    assert plan([300], limits, behind=500, waited_s=0).wait_s == 0.005
    assert plan([300], limits, behind=500, waited_s=0.005).wait_s == 0
    assert plan([300] * 32, limits, behind=500, waited_s=0).wait_s == 0
    assert plan([20_000], limits, behind=500, waited_s=0).wait_s == 0


def test_a_few_articles_go_one_by_one_and_a_backlog_in_full_batches() -> None:
    limits = Limits(articles=32, tokens=16_384, wait_s=0.005, share=4)
    sizes = {behind: plan([300] * min(behind, 33), limits, behind=behind, waited_s=0).count for behind in range(200)}
    assert [sizes[behind] for behind in (0, 1, 4, 5, 8, 9, 64, 127, 128, 199)] == [0, 1, 1, 2, 2, 3, 16, 32, 32, 32]
    everything = Limits(articles=32, tokens=16_384, wait_s=0.005, share=1)
    assert plan([300] * 3, everything, behind=3, waited_s=0).count == 3


@dataclass(frozen=True)
class Item:
    number: int
    size: int


@given(st.lists(st.integers(0, 30_000), max_size=60), LIMITS, BEHIND)
def test_every_record_is_taken_once_and_in_order(sizes: list[int], limits: Limits, behind: int) -> None:
    waiting: Waiting[Item] = Waiting(limits)
    items = [Item(number, size) for number, size in enumerate(sizes)]
    taken: list[Item] = []
    for item in items:
        waiting.add(item, item.size)
        if item.number % 7 == 3:
            taken += waiting.take(behind)
    while batch := waiting.take(behind):
        assert len(batch) == 1 or sum(item.size // BYTES_A_TOKEN for item in batch) <= limits.tokens
        taken += batch
    assert taken == items
    assert len(waiting) == 0
    assert waiting.wait_s(behind=100) == 0
