"""The seam between carrying records and enriching them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from rasad.messages import Outcome, Record

Enrich = Callable[[Sequence[Record]], list[Outcome]]
"""One outcome for each record, in the same order. It never raises for what a record holds."""


Ready = Callable[[float], None]
"""Told the milliseconds from a worker's start until partitions were assigned to it."""


def no_one(_milliseconds: float) -> None:
    """Nobody waits for the worker to be ready."""


class DriverError(Exception):
    """A driver had to stop. The message says why and what to do; what was not finished will be read again."""


class Driver(Protocol):
    """Reads records from somewhere, has them enriched, and writes each one's outcome: one a record, in order."""

    def run(self, enrich: Enrich) -> None:
        """Work until the input ends, or until the process is told to stop. Raises DriverError."""
