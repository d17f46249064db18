"""The contract for drivers that are members of a consumer group, on a real broker. A driver's class gives `worker`."""

from __future__ import annotations

import os
import signal
import threading
import uuid
from collections.abc import Sequence

import pytest
from kafka import KafkaProducer

from rasad.messages import Outcome, Record
from rasad.settings import TopicSettings, WorkerSettings
from rasad.streams.connection import Connection
from rasad.streams.driver import Driver, DriverError, Enrich
from rasad.streams.tailing import lag
from tests.contract.contract import BAD, Delivery, DriverContract, good
from tests.kafka.outcomes import Delivered, produce, read
from tests.kafka.plain_enrichment import enrich


class GroupWorkerContract(DriverContract):
    """Inherited by the tests of each such driver."""

    @pytest.fixture(autouse=True)
    def _cluster(self, connection: Connection, ordered_topics: TopicSettings) -> None:
        self.connection = connection
        self.topics = ordered_topics

    def worker(self, settings: WorkerSettings) -> Driver:
        """The driver over `self.connection` and `self.topics`."""
        raise AssertionError("each driver's test class says how it is made")

    def run(self, group: str, enrichment: Enrich) -> None:
        self.worker(WorkerSettings(group_id=group, batch_max=16, batch_wait_ms=20)).run(enrichment)

    def deliver(self, values: Sequence[bytes], enrichment: Enrich = enrich) -> list[Delivery]:
        places = produce(self.connection, self.topics.raw, values)
        group = f"contract-{uuid.uuid4().hex[:12]}"
        ended = threading.Event()

        def stop_when_done() -> None:
            while not ended.wait(0.2):
                if set(places) <= {outcome.place for outcome in read(self.connection, self.topics)}:
                    os.kill(os.getpid(), signal.SIGTERM)
                    return

        watcher = threading.Thread(target=stop_when_done)
        watcher.start()
        try:
            self.run(group, enrichment)
        finally:
            ended.set()
            watcher.join()
        first = places[0][1]
        assert [each.committed for each in lag(self.connection, group, self.topics.raw)] == [places[-1][1] + 1]
        return [
            _delivery(outcome, first) for outcome in read(self.connection, self.topics) if outcome.place[1] >= first
        ]

    def test_a_failure_ends_the_run_and_nothing_of_its_batch_is_committed(self, group: str) -> None:
        def failing(records: Sequence[Record]) -> list[Outcome]:
            raise MemoryError("no room for the model")

        produce(self.connection, self.topics.raw, [good(0), good(1)])
        with pytest.raises(DriverError, match=r"no room for the model.*will be read again"):
            self.run(group, failing)
        assert [each.committed for each in lag(self.connection, group, self.topics.raw)] == [0]
        assert read(self.connection, self.topics) == []

    def test_headers_key_and_trace_of_the_original_travel_with_its_outcome(self) -> None:
        trace = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        headers = [("x", b"1"), trace, ("x", b"2")]
        with KafkaProducer(**self.connection.kafka_python()) as producer:
            producer.send(self.topics.raw, value=BAD["not_arabic"], key=b"bad key", headers=headers)
            producer.send(self.topics.raw, value=None, key=b"tombstone", headers=[])
        deliveries = self.deliver([good(0)])
        assert deliveries[0].event
        letter, tombstone = (outcome.record for outcome in read(self.connection, self.topics) if outcome.reason)
        assert (letter.key, letter.value, list(letter.headers[:3])) == (b"bad key", BAD["not_arabic"], headers)
        assert (tombstone.key, dict(tombstone.headers)["rasad_reason"]) == (b"tombstone", b"empty")


def _delivery(outcome: Delivered, first: int) -> Delivery:
    index = outcome.place[1] - first
    if outcome.event:
        return Delivery(index, event=outcome.event)
    detail = dict(outcome.record.headers)["rasad_detail"].decode()
    return Delivery(index, reason=outcome.reason, detail=detail, value=outcome.record.value)
