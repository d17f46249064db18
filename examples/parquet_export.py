"""Export the events of a time range to Parquet, a folder a day, for DuckDB, pandas or Spark.

    python examples/parquet_export.py news --from 2026-11-01 --to 2026-12-01
    duckdb -c "SELECT e.name, count(*) FROM (SELECT unnest(entities) e FROM 'news/*/*.parquet') GROUP BY 1"

The range is of the times at which events were published to the topic, in UTC. It needs no group: the range says what
is read, and exporting it again writes the same files.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.dataset as ds

from rasad import subscribe
from rasad.messages import EnrichedEvent
from rasad.streams.subscriber import Received

SCHEMA: Final = pa.schema(
    [
        ("day", pa.string()),
        ("event_id", pa.string()),
        ("article_id", pa.string()),
        ("source", pa.string()),
        ("published_at", pa.string()),
        ("title", pa.string()),
        ("body", pa.string()),
        ("entities", pa.list_(pa.struct([("name", pa.string()), ("type", pa.string()), ("mentions", pa.int32())]))),
        ("stances", pa.list_(pa.struct([("kind", pa.string()), ("target", pa.string()), ("label", pa.string())]))),
        ("pipeline_version", pa.string()),
    ]
)
BATCH: Final = 1_000


def row(received: Received[EnrichedEvent]) -> dict[str, Any]:
    """One event as a row of the table."""
    event, article = received.message, received.message.article
    return {
        "day": datetime.fromtimestamp((received.record.timestamp or 0) / 1000, UTC).date().isoformat(),
        "event_id": event.event_id,
        "article_id": article.id,
        "source": article.source,
        "published_at": article.published_at,
        "title": article.title,
        "body": article.body,
        "entities": [
            {"name": entity.canonical, "type": entity.type, "mentions": entity.mention_count}
            for entity in event.entities
        ],
        "stances": [
            {"kind": stance.kind, "target": stance.target.text, "label": stance.label} for stance in event.stances
        ],
        "pipeline_version": event.pipeline.version,
    }


def batches(rows: Iterator[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    """Rows as Arrow batches, so that memory holds one at a time."""
    while batch := list(islice(rows, BATCH)):
        yield pa.RecordBatch.from_pylist(batch, schema=SCHEMA)


def moment(text: str) -> datetime:
    """An ISO 8601 time, UTC where it names no zone."""
    when = datetime.fromisoformat(text)
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def main() -> None:
    """Read the arguments and export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the folders of the days go")
    parser.add_argument("--from", dest="begin", type=moment, required=True, metavar="TIME", help="the first moment")
    parser.add_argument("--to", dest="end", type=moment, required=True, metavar="TIME", help="the first one after")
    given = parser.parse_args()
    name = f"{given.begin:%Y%m%dT%H%M%S}-{given.end:%Y%m%dT%H%M%S}-{{i}}.parquet"
    with subscribe(start=given.begin, until=given.end) as events:
        ds.write_dataset(
            batches(map(row, events.received())),
            given.folder,
            schema=SCHEMA,
            format="parquet",
            partitioning=ds.partitioning(pa.schema([("day", pa.string())]), flavor="hive"),
            basename_template=name,
            existing_data_behavior="overwrite_or_ignore",
        )


if __name__ == "__main__":
    main()
