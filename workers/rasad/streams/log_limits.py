"""Limits on what a client library repeats in the log."""

from __future__ import annotations

import logging
import time
from typing import Final

EVERY_S: Final = 10.0
"""How often one message of one logger is let through."""


class RepeatLimit(logging.Filter):
    """Lets a message, by its text before the values are filled in, through once every `every_s` seconds."""

    def __init__(self, every_s: float = EVERY_S) -> None:
        super().__init__()
        self._every_s = every_s
        self._next: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether `record` is let through."""
        now = time.monotonic()
        if now < self._next.get(record.msg, 0.0):
            return False
        self._next[record.msg] = now + self._every_s
        return True


def limit_repeats(package: str, every_s: float = EVERY_S) -> None:
    """Limit every logger of `package` that exists now. While a broker is away, aiokafka says so ten times a second."""
    for name in list(logging.root.manager.loggerDict):
        if name == package or name.startswith(f"{package}."):
            logger = logging.getLogger(name)
            if not any(isinstance(each, RepeatLimit) for each in logger.filters):
                logger.addFilter(RepeatLimit(every_s))
