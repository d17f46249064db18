"""Both drivers under each kind of fault: no record lost, none twice where delivery is exactly once, keys in order."""

from __future__ import annotations

import signal
import time
from dataclasses import replace

import pytest
from kafka import KafkaAdminClient

from rasad.streams.topics import output_topics
from tests.faults.lanes import VERSIONS, Lane, assert_sound, lanes
from tests.faults.site import Site

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.faults,
    pytest.mark.timeout(600),
    # kafka-python 3.0.12 leaves the socket of a refused connection to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]

RECORDS = 90
SECONDS_EACH = 0.02
"""So that the records are not done with before the fault is over."""


def at_work(both: tuple[Lane, Lane]) -> None:
    """Feed every lane and wait until a worker of it is in the middle of that."""
    for lane in both:
        lane.feed(RECORDS)
        lane.start()
    for lane in both:
        lane.workers[0].wait_for_line("batch done", timeout_s=120)


def feed(both: tuple[Lane, Lane]) -> None:
    for lane in both:
        lane.feed(RECORDS)


def test_nodes_are_killed_and_come_back(site: Site) -> None:
    with lanes(site.plain, site.plain, seconds_each=SECONDS_EACH) as both:
        at_work(both)
        # It coordinates the transactions of one lane, and leads partitions of both.
        node = site.transaction_coordinator(both[1].group)
        node.kill()
        feed(both)
        node.start()
        feed(both)
        for node in site.cluster.nodes:
            node.kill()
        site.heal()
        assert_sound(*both)


def test_leaders_move_and_outputs_are_refused(site: Site) -> None:
    with lanes(site.plain, site.plain, seconds_each=SECONDS_EACH) as both:
        outputs = [name for lane in both for name in output_topics(lane.topics)]
        at_work(both)
        for _ in range(3):
            before = site.leader(both[0].topics.raw)
            site.move_leaders([*outputs, *(lane.topics.raw for lane in both)])
            assert site.leader(both[0].topics.raw) != before
        feed(both)
        # More replicas must be in step than there are: NOT_ENOUGH_REPLICAS.
        site.require_replicas(outputs, 4)
        time.sleep(1)
        site.require_replicas(outputs, 2)
        assert_sound(*both)


def test_the_network_is_cut_and_stalls(site: Site) -> None:
    with lanes(site.plain, site.through, seconds_each=SECONDS_EACH) as both:
        at_work(both)
        for proxy in site.proxies:
            proxy.cut()
        time.sleep(1)
        for proxy in site.proxies:
            proxy.mend()
        feed(both)
        site.proxies[0].stall()
        time.sleep(2)
        site.proxies[0].mend()
        assert_sound(*both)


def test_a_worker_is_frozen_past_its_session_while_others_come_and_go(site: Site) -> None:
    with lanes(site.plain, site.plain, seconds_each=SECONDS_EACH) as both:
        at_work(both)
        frozen = [lane.workers[0] for lane in both]
        for process in frozen:
            process.process.send_signal(signal.SIGSTOP)
        for lane in both:
            lane.start()
        for lane in both:
            lane.workers[-1].wait_for_line("batch done", timeout_s=120)
        for process in frozen:
            process.process.send_signal(signal.SIGCONT)
        feed(both)
        for number in (signal.SIGTERM, signal.SIGKILL):
            for lane in both:
                lane.start()
            for lane in both:
                lane.workers[-1].wait_for_line("worker ready", timeout_s=120)
                lane.end(lane.workers[-2], number)
        feed(both)
        assert_sound(*both)


def test_records_of_other_times_and_an_output_topic_that_is_missing_for_a_while(site: Site) -> None:
    hour_ms, now_ms = 3_600_000, round(time.time() * 1000)
    with lanes(site.plain, site.plain, seconds_each=SECONDS_EACH) as both:
        for lane in both:
            for timestamp_ms in (0, 1, now_ms - 24 * 365 * hour_ms, now_ms + hour_ms // 2):
                lane.feed(VERSIONS, timestamp_ms)
        at_work(both)
        with KafkaAdminClient(**site.plain.kafka_python()) as admin:
            admin.delete_topics([lane.topics.stances for lane in both])
        time.sleep(1)
        for lane in both:
            lane.declare()
            lane.settle()
            # The stances that were written before went with their topic.
            verdict = replace(lane.judge(), parts_lost=0)
            assert verdict.problems(exactly_once=lane.exactly_once) == []
