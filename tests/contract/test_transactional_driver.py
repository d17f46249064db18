"""The contract over the transactional worker."""

from __future__ import annotations

import pytest

from rasad.settings import WorkerSettings
from rasad.streams.driver import Driver
from rasad.streams.transactional_worker import TransactionalWorker
from tests.contract.group_worker import GroupWorkerContract

pytestmark = pytest.mark.kafka


class TestTransactionalDriver(GroupWorkerContract):
    def worker(self, settings: WorkerSettings) -> Driver:
        return TransactionalWorker(connection=self.connection, topics=self.topics, worker=settings)
