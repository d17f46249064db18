"""Finding the spans near a place without looking at all of them: an article may hold many thousands."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar


class Spanned(Protocol):
    """Anything that stands at `[start, end)` of a text."""

    @property
    def start(self) -> int:
        """Where it begins."""
        ...

    @property
    def end(self) -> int:
        """One past where it ends."""
        ...


Item = TypeVar("Item", bound=Spanned)


class SpanIndex(Generic[Item]):
    """Spans of one text. `items` must be in order and not overlap."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self._starts = [item.start for item in items]
        self._ends = [item.end for item in items]

    def touching(self, start: int, end: int) -> Sequence[Item]:
        """The spans that overlap `[start, end]` or touch it, in order."""
        return self.items[bisect_left(self._ends, start) : bisect_right(self._starts, end)]
