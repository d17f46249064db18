"""A library's repeated lines are thinned, its different ones are not."""

from __future__ import annotations

import logging

import pytest

from rasad.streams.log_limits import limit_repeats


def test_a_message_comes_once_a_period_whatever_its_values(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("some_library.net")
    limit_repeats("some_library", every_s=60)
    limit_repeats("some_library", every_s=60)
    for number in range(5):
        logger.error("cannot connect to node %s", number)
    logger.error("gave up")
    logging.getLogger("some_librarian").error("gave up")
    assert [record.getMessage() for record in caplog.records] == ["cannot connect to node 0", "gave up", "gave up"]


def test_it_comes_again_after_the_period(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("other_library.net")
    limit_repeats("other_library", every_s=0.0)
    logger.error("cannot connect")
    logger.error("cannot connect")
    assert len(caplog.records) == 2
