"""The contract over the Faust worker."""

from __future__ import annotations

import pytest

from rasad.settings import WorkerSettings
from rasad.streams.driver import Driver
from rasad.streams.faust_worker import FaustWorker
from tests.contract.group_worker import GroupWorkerContract

pytestmark = pytest.mark.kafka


class TestFaustDriver(GroupWorkerContract):
    def worker(self, settings: WorkerSettings) -> Driver:
        return FaustWorker(connection=self.connection, topics=self.topics, worker=settings)
