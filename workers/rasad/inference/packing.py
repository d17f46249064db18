"""Batches under a token budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

RUN_TOKENS: Final = 32
"""What a run of a model costs beyond its tokens, in tokens: to start some hundreds of operators, and to wake threads.

Measured with one thread it is 8 for the bundled models; where several share the work, each operator also waits for the
last of them.
"""


def pack(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices of `lengths` in batches: every index exactly once, longest batches first.

    Lengths are in tokens. A batch is padded to its longest member, so it costs `max(length) * count`, at most `budget`,
    and RUN_TOKENS; a sequence longer than the budget gets a batch of its own. Sorted by length, the sequences are
    parted where that makes the whole cheapest.
    """
    order = sorted(range(len(lengths)), key=lambda position: (-lengths[position], position))
    descending = [lengths[position] for position in order]
    # Of the first `end` sequences: what they cost at least, and where their last batch then begins.
    cheapest = [(0, 0)]
    for end in range(1, len(order) + 1):
        cheapest.append(
            min((cheapest[start][0] + padded + RUN_TOKENS, start) for start, padded in _ending(descending, end, budget))
        )
    batches: list[list[int]] = []
    end = len(order)
    while end:
        start = cheapest[end][1]
        batches.append(order[start:end])
        end = start
    return batches[::-1]


def _ending(descending: Sequence[int], end: int, budget: int) -> Iterator[tuple[int, int]]:
    """Start and padded tokens of each batch that may end before `end`; one sequence alone always may."""
    yield end - 1, descending[end - 1]
    for start in range(end - 2, -1, -1):
        padded = descending[start] * (end - start)
        if padded > budget:
            return
        yield start, padded
