"""One secure broker for all tests of signing in and of rights."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.security.secure_broker import SecureBroker, secure_broker


@pytest.fixture(scope="session")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    with secure_broker(tmp_path_factory.mktemp("certificates")) as running:
        yield running
