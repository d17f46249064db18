"""Batches under a token budget."""

from __future__ import annotations

from collections.abc import Sequence


def pack(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices of `lengths` in batches: every index exactly once, longest batches first.

    Lengths are in tokens. A batch is padded to its longest member, so `max(length) * count <= budget` is what it
    costs; a sequence longer than the budget gets a batch of its own. Sorting by length keeps the padding small.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda position: (-lengths[position], position)):
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= budget:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
