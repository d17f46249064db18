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

    def each_round(self) -> list[dict[str, float]]:
        """Seconds by way, round by round: what was timed within a minute or two."""
        return [dict(zip(self.seconds, times, strict=True)) for times in zip(*self.seconds.values(), strict=True)]

    def times_as_fast(self, way: str, other: str) -> float:
        """How many times `way` went into `other`: the median over the rounds, each of which is one comparison."""
        return statistics.median(times[other] / times[way] for times in self.each_round())

    def spread(self, way: str) -> float:
        """How far apart the rounds are: (slowest - fastest) / median."""
        return (max(self.seconds[way]) - min(self.seconds[way])) / self.median(way)


def interleaved(ways: Mapping[str, Callable[[], object]], rounds: int, *, name: str, seconds: float = 0.0) -> Timings:
    """Time each way once a round; every round begins with another one. Each way runs once before that.

    There are `rounds` of them, or more where as many as the first runs foretell fit into `seconds`: what takes no time
    needs many rounds, or one slow moment of the machine falls on all of them.
    """
    order = list(ways)
    begun = time.perf_counter()
    with progress(f"{name}, once before", len(order)) as done:
        for number, way in enumerate(order, 1):
            ways[way]()
            done(number)
    rounds = max(rounds, round(seconds / (time.perf_counter() - begun)))
    taken: dict[str, list[float]] = {way: [] for way in order}
    with progress(name, rounds * len(order)) as done:
        for number in range(rounds):
            first = number % len(order)
            for position, way in enumerate(order[first:] + order[:first], 1):
                begun = time.perf_counter()
                ways[way]()
                taken[way].append(time.perf_counter() - begun)
                done(number * len(order) + position)
    return Timings(taken)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that at least `share` (0 to 1) of them do not pass: the nearest rank."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1]
