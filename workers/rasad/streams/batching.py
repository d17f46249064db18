"""Micro-batches: which of the waiting records go to work together, and whether it pays to wait for more.

Nothing of a batch is published before all of it is done, and the models gain little from large ones. So a batch takes a
share of the backlog: a few articles go one by one, each out as soon as it is done, while what a batch costs in itself
(a flush, a commit, a transaction) is spread over more of them the further the worker falls behind.

There is no timer that every batch waits for. While one batch is in work the next one gathers, and a lone article goes
at once; a batch waits for more only where the broker is known to hold more, and then for a few milliseconds.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from rasad import metrics
from rasad.settings import WorkerSettings

Item = TypeVar("Item")

BYTES_A_TOKEN: Final = 6
"""Bytes of raw Arabic in UTF-8 for a piece of the bundled tokenizer: 3.2 code points, most of them two bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one batch: the most `articles`, the most estimated `tokens`, the longest wait in seconds, and one in how many
    of the backlog it takes, as its `share` (all integers are 1 or more).
    """

    articles: int
    tokens: int
    wait_s: float
    share: int

    @classmethod
    def of(cls, worker: WorkerSettings) -> Limits:
        """From the settings."""
        return cls(
            articles=worker.batch_max,
            tokens=worker.batch_tokens,
            wait_s=worker.batch_wait_ms / 1000,
            share=worker.batch_share,
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """The next batch: the first `count` of the waiting records, `tokens` in all, once `wait_s` more have passed."""

    count: int
    tokens: int
    wait_s: float


def plan(waiting: Sequence[int], limits: Limits, *, behind: int, waited_s: float) -> Plan:
    """The next batch out of records that wait in order, given by their tokens.

    `behind` is how many records the group has still to finish, those that wait included; a batch has one in
    `limits.share` of them, rounded up. A record that alone passes the token limit gets a batch of its own. `waited_s`
    is how long the first has waited: there is no use in waiting where the batch is full or the broker holds nothing
    more.
    """
    most = min(limits.articles, math.ceil(max(behind, len(waiting)) / limits.share))
    count = tokens = 0
    for size in waiting:
        if count == most or (count and tokens + size > limits.tokens):
            return Plan(count, tokens, 0.0)
        count += 1
        tokens += size
    may_grow = 0 < count < min(most, behind) and tokens < limits.tokens
    return Plan(count, tokens, max(limits.wait_s - waited_s, 0.0) if may_grow else 0.0)


class Waiting(Generic[Item]):
    """Records that wait for a batch, in order."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._items: deque[tuple[Item, int]] = deque()
        self._since = 0.0
        metrics.BUFFERED.set(0)

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: Item, size: int) -> None:
        """Append a record whose value has `size` bytes."""
        if not self._items:
            self._since = time.monotonic()
        self._items.append((item, size // BYTES_A_TOKEN + 1))
        metrics.BUFFERED.inc()

    def wait_s(self, behind: int) -> float:
        """For how long the next batch should wait for more; see `plan`."""
        return self._plan(behind).wait_s

    def take(self, behind: int) -> list[Item]:
        """The next batch, empty where nothing waits; see `plan`. What does not fit stays at the front."""
        batch = self._plan(behind)
        taken = [self._items.popleft()[0] for _ in range(batch.count)]
        metrics.BUFFERED.dec(batch.count)
        if taken:
            metrics.BATCH_ARTICLES.observe(batch.count)
            metrics.BATCH_TOKENS.observe(batch.tokens)
        return taken

    def _plan(self, behind: int) -> Plan:
        waited_s = time.monotonic() - self._since
        first = [tokens for _, tokens in itertools.islice(self._items, self._limits.articles + 1)]
        return plan(first, self._limits, behind=max(behind, len(self._items)), waited_s=waited_s)
