"""A group's coordinator that is not there yet is waited for, and nothing else is."""

from __future__ import annotations

import pytest
from kafka.errors import CoordinatorNotAvailableError, GroupAuthorizationFailedError, NotCoordinatorError

from rasad.streams.connection import BrokerUnavailable
from rasad.streams.group_coordinator import coordinated


def test_a_coordinator_that_comes_is_waited_for() -> None:
    answers = iter([CoordinatorNotAvailableError(), NotCoordinatorError(), "stable"])

    def ask() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert coordinated(ask, limit_s=30) == "stable"


@pytest.mark.parametrize(
    ("error", "raised", "again"),
    [
        (CoordinatorNotAvailableError, BrokerUnavailable, True),
        (GroupAuthorizationFailedError, GroupAuthorizationFailedError, False),
    ],
)
def test_one_that_does_not_come_and_a_refusal_are_told(
    error: type[Exception], raised: type[Exception], again: bool
) -> None:
    asked = []

    def ask() -> None:
        asked.append(error)
        raise error

    with pytest.raises(raised):
        coordinated(ask, limit_s=0.3)
    assert (len(asked) > 1) == again
