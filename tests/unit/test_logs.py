"""Logs: one parseable line an event, from our loggers and the libraries' alike, with the record's place in it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from kafka.errors import Cancelled, KafkaConnectionError

from rasad.logs import configure, get_logger, record_context
from rasad.streams.log_limits import RepeatLimit


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in (None, "faust", "mode", "kafka", "aiokafka", "asyncio")]
    before = [(logger, list(logger.handlers), logger.level) for logger in loggers]
    yield
    for logger, handlers, level in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_both_kinds_of_logger_write_json_with_the_place_of_the_record():
    stream = io.StringIO()
    configure("info", "auto", stream)
    with record_context(topic="news.raw.ar", partition=0, offset=5, article_id="a-1"):
        get_logger("rasad.test").info("خبر وصل", path=Path("x"))
        logging.getLogger("faust.app").warning("rebalanced %d times", 2, extra={"generation": 7})
    get_logger("rasad.test").info("outside")
    ours, theirs, outside = lines(stream)
    place = {"topic": "news.raw.ar", "partition": 0, "offset": 5, "article_id": "a-1"}
    assert ours.items() >= {"level": "info", "logger": "rasad.test", "event": "خبر وصل", "path": "x", **place}.items()
    assert (
        theirs.items()
        >= {"level": "warning", "logger": "faust.app", "event": "rebalanced 2 times", "generation": 7, **place}.items()
    )
    assert list(ours)[:4] == list(theirs)[:4] == ["timestamp", "level", "logger", "event"]
    assert not outside.keys() & place.keys()
    assert "خبر" in stream.getvalue()


def test_an_unknown_place_is_left_out_and_contexts_nest():
    stream = io.StringIO()
    configure("info", "json", stream)
    with record_context(topic="t", partition=1, offset=2), record_context(article_id="a"):
        get_logger("rasad.test").info("x")
    (line,) = lines(stream)
    assert (line["topic"], line["offset"], line["article_id"]) == ("t", 2, "a")


def test_an_exception_is_one_line_of_json():
    stream = io.StringIO()
    configure("info", "json", stream)
    try:
        int("خطأ\nفي سطرين")
    except ValueError:
        get_logger("rasad.test").exception("failed")
        logging.getLogger("kafka").exception("failed too")
    first, second = lines(stream)
    assert "ValueError: invalid literal" in str(first["exception"])
    assert "ValueError" in str(second["exception"])


@pytest.mark.parametrize(("level", "heard"), [("debug", ["debug", "info"]), ("info", ["info"]), ("error", [])])
def test_levels_and_quiet_libraries(level, heard):
    stream = io.StringIO()
    configure(level, "json", stream)
    get_logger("rasad.test").debug("x")
    get_logger("rasad.test").info("x")
    assert [line["level"] for line in lines(stream)] == heard
    logging.getLogger("aiokafka.consumer").info("chatter")
    assert len(lines(stream)) == len(heard) + (level == "debug")


def test_a_terminal_gets_readable_lines():
    stream = Terminal()
    configure("info", "auto", stream)
    get_logger("rasad.test").info("started", port=1)
    assert "started" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_colours_are_for_terminals_that_want_them(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    for stream, format_ in ((Terminal(), "auto"), (io.StringIO(), "console")):
        configure("info", format_, stream)
        get_logger("rasad.test").info("started", port=1)
        assert "port=1" in stream.getvalue()
        assert "\x1b" not in stream.getvalue()


def test_the_last_configuration_holds():
    first, second = io.StringIO(), io.StringIO()
    configure("info", "json", first)
    configure("info", "json", second)
    get_logger("rasad.test").info("x")
    assert first.getvalue() == ""
    assert len(lines(second)) == 1


def test_a_refresh_that_a_close_cancelled_is_no_error() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    cluster = logging.getLogger("kafka.cluster")
    for limit in [each for each in cluster.filters if isinstance(each, RepeatLimit)]:
        cluster.removeFilter(limit)
    cluster.error("Metadata refresh: failed %s", Cancelled())
    cluster.error("Metadata refresh: failed %s", KafkaConnectionError("away"))
    (line,) = stream.getvalue().splitlines()
    assert "away" in line
