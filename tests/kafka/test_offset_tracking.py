"""The two ways in which stock Faust commits past work in flight, on a real broker, and that Rasad's transport does not.

If a test of the stock transport fails after an upgrade, Faust has mended that fault.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faust
import pytest
from faust.transport.drivers import aiokafka as faust_aiokafka
from hypothesis import given
from hypothesis import strategies as st
from kafka import KafkaProducer

from rasad.settings import TopicSettings
from rasad.streams import offset_tracking
from rasad.streams.connection import BrokerUnavailable, Connection
from rasad.streams.offset_tracking import InFlight
from rasad.streams.tailing import lag
from tests.kafka.outcomes import article, produce

STOCK = faust_aiokafka.Transport
OURS = offset_tracking.Transport


def app_on(
    transport: Any, connection: Connection, topic: str, group: str, datadir: Path, consume: Any, commit_every_s: float
) -> Any:
    """A Faust app with one agent, `consume`, on a topic; for the loop that runs."""
    app = faust.App(
        group,
        loop=asyncio.get_running_loop(),
        broker=connection.faust_urls(),
        broker_session_timeout=6,
        broker_commit_interval=commit_every_s,
        topic_allow_declare=False,
        topic_disable_leader=True,
        stream_wait_empty=False,
        web_enabled=False,
        autodiscover=False,
        store="memory://",
        datadir=datadir,
    )
    app.transport = transport(app.conf.broker_consumer, app)
    raw = app.topic(topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
    app.agent(raw, name="consume", concurrency=1)(consume)
    return app


def committed_with(
    transport: Any, connection: Connection, topic: str, group: str, held_back: set[int], last: int, datadir: Path
) -> tuple[list[int], int | None]:
    """Read a one-partition topic up to offset `last`, finish all but `held_back`; the offsets read and the commit."""
    read: list[int] = []
    all_read = asyncio.Event()

    async def consume(stream: Any) -> None:
        stream.enable_acks = False
        async for events in stream.noack_take(10, within=0.05):
            for event in events:
                read.append(event.message.offset)
                if event.message.offset not in held_back:
                    await stream.ack(event)
            if last in read:
                all_read.set()

    async def work() -> None:
        app = app_on(transport, connection, topic, group, datadir, consume, commit_every_s=0.2)
        await app.start()
        async with asyncio.timeout(20):
            await all_read.wait()
        await asyncio.sleep(0.6)  # several commit intervals
        await app.stop()

    asyncio.run(work())
    (partition,) = lag(connection, group, topic)
    return read, partition.committed


def stopped_after_crash(connection: Connection, topic: str, group: str, datadir: Path) -> float:
    """Finish one record and crash before it is committed; once the consumer's thread is gone, how long a stop takes."""
    finished = asyncio.Event()

    async def consume(stream: Any) -> None:
        stream.enable_acks = False
        async for event in stream.events():
            await stream.ack(event)
            finished.set()

    async def work() -> float:
        app = app_on(OURS, connection, topic, group, datadir, consume, commit_every_s=60)
        await app.start()
        async with asyncio.timeout(20):
            await finished.wait()
        await app.consumer.crash(OSError("the disk is on fire"))
        async with asyncio.timeout(20):
            await asyncio.to_thread(app.consumer._thread._thread.stop)
        begun = time.monotonic()
        async with asyncio.timeout(20):
            await app.stop()
        return time.monotonic() - begun

    return asyncio.run(work())


@pytest.fixture
def one_record_a_transaction(connection: Connection, ordered_topics: TopicSettings) -> Iterator[str]:
    """Records at offsets 0, 2, 6 and 8; markers after each one, and an aborted record at 4."""
    with KafkaProducer(**connection.kafka_python(), transactional_id=f"{ordered_topics.raw}-gaps") as producer:
        producer.init_transactions()
        for number in range(5):
            producer.begin_transaction()
            producer.send(ordered_topics.raw, value=article(number), key=b"k").get()
            if number == 2:
                producer.abort_transaction()
            else:
                producer.commit_transaction()
    return ordered_topics.raw


@pytest.mark.kafka
class TestFreshGroup:
    """Six records, none committed yet; the first three are still in flight when the others are done."""

    held_back = frozenset({0, 1, 2})

    def test_stock_faust_commits_past_records_in_flight(
        self, connection: Connection, ordered_topics: TopicSettings, group: str, tmp_path: Path
    ) -> None:
        produce(connection, ordered_topics.raw, map(article, range(6)))
        _, commit = committed_with(
            STOCK, connection, ordered_topics.raw, group, set(self.held_back), last=5, datadir=tmp_path
        )
        assert commit == 6

    def test_ours_stays_before_them(
        self, connection: Connection, ordered_topics: TopicSettings, group: str, tmp_path: Path
    ) -> None:
        produce(connection, ordered_topics.raw, map(article, range(6)))
        read, commit = committed_with(
            OURS, connection, ordered_topics.raw, group, set(self.held_back), last=5, datadir=tmp_path
        )
        assert commit == 0
        assert read == [0, 1, 2, 3, 4, 5]


@pytest.mark.kafka
class TestGaps:
    """The record at offset 6, right after a gap, is still in flight when all others are done."""

    def test_stock_faust_commits_past_the_record_after_a_gap(
        self, connection: Connection, one_record_a_transaction: str, group: str, tmp_path: Path
    ) -> None:
        _, commit = committed_with(
            STOCK, connection, one_record_a_transaction, group, held_back={6}, last=8, datadir=tmp_path
        )
        assert commit is not None
        assert commit > 6

    def test_ours_stays_before_it_and_reads_no_aborted_record(
        self, connection: Connection, one_record_a_transaction: str, group: str, tmp_path: Path
    ) -> None:
        read, commit = committed_with(
            OURS, connection, one_record_a_transaction, group, held_back={6}, last=8, datadir=tmp_path
        )
        assert commit == 6
        assert read == [0, 2, 6, 8]

    def test_ours_reaches_the_end_once_all_is_done(
        self, connection: Connection, one_record_a_transaction: str, group: str, tmp_path: Path
    ) -> None:
        _, commit = committed_with(
            OURS, connection, one_record_a_transaction, group, held_back=set(), last=8, datadir=tmp_path
        )
        assert commit == 9


@pytest.mark.kafka
def test_a_consumer_that_crashed_stops_at_once_and_without_an_error(
    connection: Connection, ordered_topics: TopicSettings, group: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    produce(connection, ordered_topics.raw, [article(0)])
    assert stopped_after_crash(connection, ordered_topics.raw, group, tmp_path) < 10
    told = [entry.getMessage() for entry in caplog.records if entry.levelno >= logging.ERROR]
    assert told
    assert all("the disk is on fire" in line for line in told)
    (partition,) = lag(connection, group, ordered_topics.raw)
    assert partition.committed == 0


class NeverToldWhereToGoOn(offset_tracking.Transport):
    class Consumer(offset_tracking.Consumer):
        def _new_consumer_thread(self) -> offset_tracking.ConsumerThread:
            class Thread(offset_tracking.ConsumerThread):
                async def _seek_to_committed(self) -> Any:
                    await asyncio.Event().wait()

            return Thread(self, loop=self.loop, beacon=self.beacon)


@pytest.mark.kafka
def test_a_worker_that_is_not_told_where_to_go_on_does_not_live_on_in_silence(
    connection: Connection, ordered_topics: TopicSettings, group: str, tmp_path: Path
) -> None:
    async def consume(stream: Any) -> None:
        async for _ in stream.events():
            raise AssertionError

    async def reason() -> BaseException:
        topic = ordered_topics.raw
        app = app_on(NeverToldWhereToGoOn, connection, topic, group, tmp_path, consume, commit_every_s=1)
        app.conf.broker_request_timeout = 6
        await app.start()
        async with asyncio.timeout(60):
            await app.wait_until_stopped()
        crash: BaseException = app.crash_reason
        await app.stop()
        return crash

    crash = asyncio.run(reason())
    assert isinstance(crash, BrokerUnavailable)
    assert "have a leader" in str(crash)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_what_is_committable_is_never_past_a_record_in_flight(steps: list[int], random: Any) -> None:
    offsets = [sum(steps[: index + 1]) for index in range(len(steps))]
    in_flight = InFlight()
    assert in_flight.committable() is None
    for offset in offsets:
        in_flight.hand_out(offset)
    unfinished = set(offsets)
    for offset in random.sample(offsets, len(offsets)):
        assert in_flight.committable() == min(unfinished)
        assert in_flight.finish(offset)
        assert not in_flight.finish(offset)
        unfinished.remove(offset)
    assert in_flight.committable() == offsets[-1] + 1
