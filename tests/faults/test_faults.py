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

RECORDS = 120
SECONDS_EACH = 0.03
"""So that the records are not done with before the fault is over."""


def at_work(both: tuple[Lane, Lane]) -> None:
    """Feed every lane and wait until a worker of it is in the middle of that."""
    for lane in both:
        lane.feed(RECORDS)
        lane.start()
    for lane in both:
        lane.workers[0].wait_for_line("batch done", timeout_s=120)


def test_a_node_is_killed_and_comes_back(site: Site) -> None:
    with lanes(site.plain, site.plain, seconds_each=SECONDS_EACH) as both:
        at_work(both)
        node = site.leader(both[0].topics.raw)
        node.kill()
        for lane in both:
            lane.feed(RECORDS)
        node.start()
        assert_sound(*both)


def test_all_nodes_are_killed_and_come_back(site: Site) -> None:
    with lanes(site.plain, site.plain, seconds_each=SECONDS_EACH) as both:
        at_work(both)
        for node in site.cluster.nodes:
            node.kill()
        site.heal()
        assert_sound(*both)


def test_leaders_move(site: Site) -> None:
    with lanes(site.plain, site.plain, seconds_each=SECONDS_EACH) as both:
        at_work(both)
        for _ in range(3):
            before = site.leader(both[0].topics.raw)
            site.move_leaders([name for lane in both for name in (lane.topics.raw, *output_topics(lane.topics))])
            assert site.leader(both[0].topics.raw) != before
        assert_sound(*both)


def test_the_network_is_cut_and_stalls(site: Site) -> None:
    with lanes(site.plain, site.through, seconds_each=SECONDS_EACH) as both:
        at_work(both)
        for proxy in site.proxies:
            proxy.cut()
        time.sleep(1)
        for proxy in site.proxies:
            proxy.mend()
        for lane in both:
            lane.feed(RECORDS)
        site.proxies[0].stall()
        time.sleep(2)
        site.proxies[0].mend()
        assert_sound(*both)


def test_too_few_replicas_are_in_step(site: Site) -> None:
    with lanes(site.plain, site.plain, seconds_each=SECONDS_EACH) as both:
        outputs = [name for lane in both for name in output_topics(lane.topics)]
        at_work(both)
        site.require_replicas(outputs, 4)
        time.sleep(2)
        site.require_replicas(outputs, 2)
        assert_sound(*both)


def test_a_worker_is_frozen_past_its_session(site: Site) -> None:
    with lanes(site.plain, site.plain, seconds_each=SECONDS_EACH) as both:
        at_work(both)
        for lane in both:
            lane.workers[0].process.send_signal(signal.SIGSTOP)
        for lane in both:
            lane.start().wait_for_line("batch done", timeout_s=120)
        for lane in both:
            lane.workers[0].process.send_signal(signal.SIGCONT)
            lane.feed(RECORDS)
        assert_sound(*both)


def test_workers_come_and_go(site: Site) -> None:
    with lanes(site.plain, site.plain, seconds_each=SECONDS_EACH) as both:
        at_work(both)
        for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
            for lane in both:
                lane.start()
            for lane in both:
                lane.workers[-1].wait_for_line("worker ready", timeout_s=120)
                lane.end(lane.workers[0], number)
                lane.feed(RECORDS // 3)
        assert_sound(*both)


def test_an_output_topic_is_missing_for_a_while(site: Site) -> None:
    with lanes(site.plain, site.plain, seconds_each=SECONDS_EACH) as both:
        at_work(both)
        with KafkaAdminClient(**site.plain.kafka_python()) as admin:
            admin.delete_topics([lane.topics.stances for lane in both])
        time.sleep(1)
        for lane in both:
            lane.declare()
            lane.settle()
            verdict = lane.judge()
            # The stances that were written before went with their topic.
            assert replace(verdict, parts_lost=0).problems(exactly_once=lane.exactly_once) == []


def test_records_of_other_times(site: Site) -> None:
    hour_ms, now_ms = 3_600_000, round(time.time() * 1000)
    with lanes(site.plain, site.plain) as both:
        for lane in both:
            for timestamp_ms in (0, 1, now_ms - 24 * 365 * hour_ms, now_ms + hour_ms // 2):
                lane.feed(VERSIONS, timestamp_ms)
        at_work(both)
        assert_sound(*both)
