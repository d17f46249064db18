"""Putting articles into a topic and reading topics back."""

from __future__ import annotations

import pytest
from kafka import KafkaProducer

from rasad.messages import Record
from rasad.settings import TopicSettings
from rasad.streams.connection import Connection
from rasad.streams.driver import DriverError
from rasad.streams.producing import Refused, produce
from rasad.streams.tailing import Tail, lag
from rasad.streams.topics import RAW_BYTES
from tests.contract.contract import BAD, good
from tests.kafka.outcomes import article

pytestmark = pytest.mark.kafka


def tailed(connection: Connection, topic: str, **how: int) -> list[bytes]:
    with Tail(connection, topic, "beginning") as tail:
        return [record.value for record in tail.records(follow=False, **how)]


def test_articles_arrive_in_order_under_their_ids(connection: Connection, ordered_topics: TopicSettings) -> None:
    values = [good(7), article(1), BAD["invalid_utf8"]]
    told: list[int] = []
    produced = produce(connection, ordered_topics.raw, (Record(value=value) for value in values), told.append)
    assert (produced.taken, produced.refused, told) == (3, (), [1, 2, 3])
    with Tail(connection, ordered_topics.raw, "beginning") as tail:
        arrived = list(tail.records(follow=False))
    assert [record.value for record in arrived] == values
    assert [record.offset for record in arrived] == [0, 1, 2]
    assert arrived[0].key == b"article-7"
    assert len(arrived[1].key or b"") == 32
    assert arrived[2].key is None
    assert all(record.timestamp for record in arrived)


def test_a_record_too_large_for_the_topic_is_handed_back(connection: Connection, ordered_topics: TopicSettings) -> None:
    huge = Record(value=b"a" * (RAW_BYTES + 1), topic="huge.txt")
    produced = produce(connection, ordered_topics.raw, [Record(value=good(0)), huge, Record(value=good(1))])
    assert (produced.taken, produced.refused) == (2, (Refused("huge.txt", 0, RAW_BYTES + 1),))
    assert tailed(connection, ordered_topics.raw) == [good(0), good(1)]


def test_where_a_tail_starts_is_settled_at_once(connection: Connection, ordered_topics: TopicSettings) -> None:
    topic = ordered_topics.raw
    produce(connection, topic, (Record(value=good(number)) for number in range(3)))
    with Tail(connection, topic, "end") as end, Tail(connection, topic, 2) as last_two:
        produce(connection, topic, [Record(value=good(3))])
        assert [record.value for record in end.records(count=1)] == [good(3)]
        assert [record.value for record in last_two.records(count=3)] == [good(1), good(2), good(3)]
        assert list(end.records(idle_s=0.5)) == []
    assert tailed(connection, topic, count=2) == [good(0), good(1)]
    with Tail(connection, topic, 100) as more_than_there_are:
        assert len(list(more_than_there_are.records(follow=False))) == 4


def test_aborted_records_are_not_shown_and_markers_do_not_hold_a_tail_up(
    connection: Connection, ordered_topics: TopicSettings
) -> None:
    topic = ordered_topics.raw
    with KafkaProducer(**connection.kafka_python(), transactional_id=f"{topic}-tail") as producer:
        producer.init_transactions()
        for number in range(3):
            producer.begin_transaction()
            producer.send(topic, value=good(number)).get()
            if number == 0:
                producer.commit_transaction()
            else:
                producer.abort_transaction()
    assert tailed(connection, topic) == [good(0)]


def test_a_topic_that_is_not_there(connection: Connection) -> None:
    with pytest.raises(DriverError, match=r"no topic nowhere; declare Rasad's with `rasad topics declare`"):
        Tail(connection, "nowhere")
    with pytest.raises(DriverError, match="no topic nowhere"):
        lag(connection, "some group", "nowhere")


def test_lag_of_a_group_that_has_read_nothing(connection: Connection, topics: TopicSettings, group: str) -> None:
    produce(connection, topics.raw, (Record(value=good(number)) for number in range(10)))
    found = lag(connection, group, topics.raw)
    assert [each.partition for each in found] == [0, 1, 2, 3]
    assert {each.committed for each in found} == {None}
    assert sum(each.behind for each in found) == 10
