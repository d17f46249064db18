from __future__ import annotations

from kafka import TopicPartition
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from rasad.streams.retention import first_left

ONE, OTHER, FRESH = (TopicPartition("raw", number) for number in range(3))


def removed() -> float:
    return REGISTRY.get_sample_value("rasad_removed_records_total") or 0.0


def test_only_what_was_removed_unread_is_told_and_counted() -> None:
    before = removed()
    with capture_logs() as lines:
        assert first_left({ONE: 5, OTHER: 12, FRESH: None}, {ONE: 9, OTHER: 12, FRESH: 3}) == {ONE: 9}
    assert [(line["partition"], line["offset"], line["next"]) for line in lines] == [(0, 5, 9)]
    assert removed() - before == 4


def test_a_partition_that_cannot_say_where_it_begins_is_left_as_it_is() -> None:
    assert first_left({ONE: 5, OTHER: 7}, {OTHER: 7}) == {}
