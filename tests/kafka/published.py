"""Outputs as the worker writes them: real articles, enriched without models, published with their keys and headers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kafka import KafkaProducer

from rasad.messages import EnrichedEvent, Record
from rasad.settings import TopicSettings
from rasad.streams.connection import Connection
from rasad.streams.publication import publications
from tests.kafka.plain_enrichment import enrich


def send(
    producer: KafkaProducer, topics: TopicSettings, records: Sequence[Record], *, timestamp_ms: int | None = None
) -> None:
    """Write every output of the records, without waiting for the cluster."""
    for outcome, record in zip(enrich(records), records, strict=True):
        for each in publications(outcome, record, topics):
            producer.send(
                each.topic, key=each.key, value=each.value, headers=list(each.headers), timestamp_ms=timestamp_ms
            )


def publish(connection: Connection, topics: TopicSettings, values: Iterable[bytes]) -> list[str]:
    """Write every output of the raw values; ids of the articles among them, in order."""
    records = [Record(value=value, topic=topics.raw, offset=offset) for offset, value in enumerate(values)]
    with KafkaProducer(**connection.kafka_python()) as producer:
        send(producer, topics, records)
        producer.flush()
    return [outcome.article.id for outcome in enrich(records) if isinstance(outcome, EnrichedEvent)]
