"""Telling what was seen a while ago, in bounded memory."""

from __future__ import annotations

from collections import deque


class RecentIds:
    """The last `limit` different ids, oldest forgotten first. An id takes some 150 bytes; a limit of 0 keeps none."""

    __slots__ = ("_known", "_limit", "_order")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._order: deque[str] = deque()
        self._known: set[str] = set()

    def __len__(self) -> int:
        return len(self._order)

    def add(self, id_: str) -> bool:
        """Note an id; False where it is among those kept, whose order does not change."""
        if id_ in self._known:
            return False
        if self._limit > 0:
            self._known.add(id_)
            self._order.append(id_)
            if len(self._order) > self._limit:
                self._known.remove(self._order.popleft())
        return True
