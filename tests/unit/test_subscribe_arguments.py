"""Where a subscription may start and end; what cannot be meant is refused before anything is connected."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rasad import subscribe

NOWHERE = "127.0.0.1:1"


@pytest.mark.parametrize("start", ["begining", "2h", -1, 1.5, None, [(0, 1)]])
def test_a_start_that_cannot_be_meant_is_refused(start: Any) -> None:
    with pytest.raises(ValueError, match=r'^start=.*: say "beginning", "end", a number of records'):
        subscribe(bootstrap_servers=NOWHERE, start=start)


@pytest.mark.parametrize("until", ["now", "beginning", 3, timedelta(hours=1)])
def test_an_end_that_cannot_be_meant_is_refused(until: Any) -> None:
    with pytest.raises(ValueError, match=r'^until=.*: say "end", a datetime'):
        subscribe(bootstrap_servers=NOWHERE, until=until)


@pytest.mark.parametrize("start", ["beginning", "end", 0, 7, datetime.now(UTC), timedelta(hours=2), {0: 5}])
@pytest.mark.parametrize("until", [None, "end", datetime.now(UTC), {0: 9}])
def test_what_can_be_meant_is_kept(start: Any, until: Any) -> None:
    plan = subscribe(bootstrap_servers=NOWHERE, start=start, until=until).plan
    assert (plan.start, plan.until) == (start, until)
