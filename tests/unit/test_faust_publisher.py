"""How the Faust worker writes outcomes, on a producer that refuses what aiokafka's refuses."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import MessageSizeTooLargeError

from rasad.messages import DeadLetter, EnrichedEvent, Outcome, Record
from rasad.streams.connection import Connection
from rasad.streams.faust_worker import FaustWorker, _Publisher
from tests.contract.contract import good
from tests.kafka.plain_enrichment import enrich

SETTINGS = FaustWorker(connection=Connection(bootstrap_servers=("unused:9092",)))
RECORD = Record(value=good(0), topic=SETTINGS.topics.raw, partition=1, offset=7)


@dataclass
class Producer:
    """Takes messages whose value has no more than `largest` bytes."""

    largest: int = 1_000_000
    written: list[tuple[str, bytes | None, bytes | None]] = field(default_factory=list)

    async def send(self, topic: str, key: bytes | None, value: bytes | None, *_: Any) -> asyncio.Future[None]:
        assert not (value is None and key is None), "Need at least one: key or value"
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if len(value or b"") > self.largest:
            answer.set_exception(MessageSizeTooLargeError())
        else:
            answer.set_result(None)
            self.written.append((topic, key, value))
        return answer


def publish(outcome: Outcome, record: Record, producer: Producer) -> Outcome:
    publisher = _Publisher(SimpleNamespace(producer=producer), SETTINGS)
    (published,) = asyncio.run(publisher.publish([outcome], [record]))
    return published


def test_an_article_of_too_many_bytes_in_all_is_one_dead_letter() -> None:
    (event,) = enrich([RECORD])
    assert isinstance(event, EnrichedEvent)
    title = "م" * 400_000
    wide = replace(event, article=replace(event.article, title=title), entities=event.entities * 20)
    producer = Producer()
    published = publish(wide, RECORD, producer)
    assert isinstance(published, DeadLetter)
    assert published.reason == "output_too_large"
    assert producer.written == [(SETTINGS.topics.dead_letters, None, RECORD.value)]


@pytest.mark.parametrize(("key", "value"), [(None, b""), (b"k", None)])
def test_a_dead_letter_that_is_too_large_goes_without_its_value(key: bytes | None, value: bytes | None) -> None:
    record = replace(RECORD, key=key, value=b"\xff" * 200)
    (letter,) = enrich([record])
    producer = Producer(largest=100)
    assert publish(letter, record, producer) is letter
    assert producer.written == [(SETTINGS.topics.dead_letters, key, value)]
