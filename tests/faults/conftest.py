"""One cluster for all tests of faults: each one leaves it whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.site import Site, running_site


@pytest.fixture(scope="session")
def shared_site() -> Iterator[Site]:
    with running_site() as running:
        yield running


@pytest.fixture
def site(shared_site: Site) -> Iterator[Site]:
    """Three nodes that keep every record three times and confirm it while two are in step."""
    yield shared_site
    shared_site.heal()
