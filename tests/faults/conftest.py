"""One cluster of three nodes for all tests of faults: each one leaves it whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rasad import broker
from rasad.broker import RunningBroker


@pytest.fixture(scope="session")
def cluster() -> Iterator[RunningBroker]:
    """Three nodes that keep every record three times and confirm it while two are in step."""
    with broker.embedded(nodes=3) as running:
        yield running


@pytest.fixture(autouse=True)
def _whole(request: pytest.FixtureRequest) -> Iterator[None]:
    """Bring back every node that a test ended or froze."""
    yield
    if "cluster" in request.fixturenames:
        for node in request.getfixturevalue("cluster").nodes:
            node.resume()
            node.start()
