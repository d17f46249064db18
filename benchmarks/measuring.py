"""Times of several ways to do the same work, taken in turns, so that what else a machine does falls on all of them."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.options import progress


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds of each way, one figure a round."""

    seconds: Mapping[str, Sequence[float]]

    def median(self, way: str) -> float:
        """Seconds."""
        return statistics.median(self.seconds[way])

    def times_as_fast(self, way: str, other: str) -> float:
        """How many times `way` went into `other`: the median over the rounds, each of which is one comparison."""
        pairs = zip(self.seconds[way], self.seconds[other], strict=True)
        return statistics.median(second / first for first, second in pairs)

    def spread(self, way: str) -> float:
        """How far apart the rounds are: (slowest - fastest) / median."""
        return (max(self.seconds[way]) - min(self.seconds[way])) / self.median(way)


def interleaved(ways: Mapping[str, Callable[[], object]], rounds: int, *, name: str, warm_up: bool = True) -> Timings:
    """Time each way once a round; every round begins with another one. `warm_up` calls each once before that."""
    order = list(ways)
    seconds: dict[str, list[float]] = {way: [] for way in order}
    with progress(name, (rounds + warm_up) * len(order)) as done:
        if warm_up:
            for number, way in enumerate(order, 1):
                ways[way]()
                done(number)
        for number in range(rounds):
            first = number % len(order)
            for position, way in enumerate(order[first:] + order[:first], 1):
                begun = time.perf_counter()
                ways[way]()
                seconds[way].append(time.perf_counter() - begun)
                done((number + warm_up) * len(order) + position)
    return Timings(seconds)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that at least `share` (0 to 1) of them do not pass: the nearest rank."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1]
