"""Structured logs on standard error, for Rasad and for the libraries under it: one line an event.

JSON lines, or readable ones on a terminal. `record_context` puts a record's place into every line logged under it.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "console"]

_LIBRARIES: Final = ("faust", "mode", "kafka", "aiokafka", "asyncio")
"""Loggers that narrate every rebalance at level info: they are heard from warning up, or all at debug."""

_NOTES: Final = ("kafka.net.selector", "kafka.admin._groups")
"""kafka-python's notes on its own event loop when the machine is busy, and on members of Faust's, whose metadata it
cannot read: nothing that an operator can act on."""

_WIRES: Final = ("kafka.protocol.parser", "kafka.net.connection", "aiokafka.conn")
"""Loggers that write down every request at level debug, passwords and tokens among them: never heard below info."""

_METADATA: Final = "kafka.cluster"

_FIRST: Final = ("timestamp", "level", "logger", "event", "article_id", "topic", "partition", "offset")


def _not_cancelled(record: logging.LogRecord) -> bool:
    """False for what kafka-python calls an error: a metadata refresh that its own close cancelled."""
    arguments = record.args if isinstance(record.args, tuple) else ()
    return not any(type(each).__name__ == "Cancelled" for each in arguments)


def configure(level: Level = "info", format_: Format = "auto", stream: TextIO | None = None) -> None:
    """Send every logger's lines to `stream` (standard error by default). May be called again: the last call holds.

    Format `auto` is `console` where the stream is a terminal and `json` elsewhere.
    """
    stream = sys.stderr if stream is None else stream
    threshold = logging.getLevelNamesMapping()[level.upper()]
    handler = logging.StreamHandler(stream)
    console = stream.isatty() if format_ == "auto" else format_ == "console"
    handler.setFormatter(_formatter(console=console, colours=stream.isatty() and not os.environ.get("NO_COLOR")))
    root = logging.getLogger()
    for other in list(root.handlers):
        root.removeHandler(other)
    root.addHandler(handler)
    root.setLevel(threshold)
    for name in _LIBRARIES:
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(threshold if threshold <= logging.DEBUG else max(threshold, logging.WARNING))
    for name in _WIRES:
        logging.getLogger(name).setLevel(
            logging.INFO if threshold <= logging.DEBUG else max(threshold, logging.WARNING)
        )
    for name in _NOTES:
        logging.getLogger(name).setLevel(threshold if threshold <= logging.DEBUG else logging.ERROR)
    metadata = logging.getLogger(_METADATA)
    if _not_cancelled not in metadata.filters:
        # First, so that a limit on repeats does not count what is never heard.
        metadata.filters.insert(0, _not_cancelled)
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared_processors(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        # A cached logger would keep an earlier configuration.
        cache_logger_on_first_use=False,
    )


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of a module: `get_logger(__name__).info("what happened", key=value)`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


@contextmanager
def record_context(
    *, topic: str | None = None, partition: int | None = None, offset: int | None = None, article_id: str | None = None
) -> Iterator[None]:
    """Add a record's place, as far as it is known, to every line logged within, also from the libraries.

    It holds for the current task; a thread sees it where it was started with a copy of the context.
    """
    place = {"topic": topic, "partition": partition, "offset": offset, "article_id": article_id}
    with structlog.contextvars.bound_contextvars(**{key: value for key, value in place.items() if value is not None}):
        yield


def _shared_processors() -> list[Processor]:
    """What a line gets, whether structlog or the standard library logged it."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def _formatter(*, console: bool, colours: bool) -> structlog.stdlib.ProcessorFormatter:
    ending: list[Processor]
    if console:
        ending = [structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback)]
    else:
        ending = [
            structlog.processors.format_exc_info,
            _in_reading_order,
            structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
        ]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_shared_processors(), structlog.stdlib.ExtraAdder()],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
    )


def _in_reading_order(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Time, level, logger, event and the record's place first: the same order in every line."""
    first = {key: event[key] for key in _FIRST if key in event}
    return first | {key: value for key, value in event.items() if key not in first}
