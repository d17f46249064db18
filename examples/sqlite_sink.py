"""Keep events and their mentions in an SQLite file, ready to be asked.

    sqlite3 news.db "SELECT name, count(*) FROM mention GROUP BY name ORDER BY 2 DESC LIMIT 10"

Each event is one transaction, and what is written twice under the same ids is there once: stopped at any point and
started again, or read again from the beginning by another group, the file holds the same.
"""

from __future__ import annotations

import argparse
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from rasad import subscribe
from rasad.messages import EnrichedEvent, to_bytes

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS event (
    event_id TEXT PRIMARY KEY, article_id TEXT NOT NULL, source TEXT, published_at TEXT, title TEXT NOT NULL,
    json TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS mention (
    mention_id TEXT PRIMARY KEY, event_id TEXT NOT NULL REFERENCES event, entity_id TEXT NOT NULL, name TEXT NOT NULL,
    type TEXT NOT NULL, surface TEXT NOT NULL, field TEXT NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS mention_by_name ON mention (name);
"""


def store(database: sqlite3.Connection, event: EnrichedEvent) -> None:
    """Write one event and its mentions, in place of what has their ids, all or nothing."""
    article = event.article
    names = {entity.entity_id: entity.canonical for entity in event.entities}
    with database:
        database.execute(
            "INSERT OR REPLACE INTO event VALUES (?, ?, ?, ?, ?, ?)",
            (event.event_id, article.id, article.source, article.published_at, article.title, to_bytes(event).decode()),
        )
        database.executemany(
            "INSERT OR REPLACE INTO mention VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    mention.mention_id,
                    event.event_id,
                    mention.entity_id,
                    names[mention.entity_id],
                    mention.type,
                    mention.surface,
                    mention.field,
                    mention.start,
                    mention.end,
                )
                for mention in event.mentions
            ],
        )


def main() -> None:
    """Read the arguments and store until stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="SQLite database; made where it is missing")
    parser.add_argument("--group", default="sqlite", help="consumer group (default: %(default)s)")
    parser.add_argument("--once", action="store_true", help="store what is there now, then stop")
    given = parser.parse_args()
    with (
        closing(sqlite3.connect(given.file)) as database,
        subscribe(group=given.group, auto_commit=True, until="end" if given.once else None) as events,
    ):
        database.executescript(SCHEMA)
        for event in events:
            store(database, event)


if __name__ == "__main__":
    main()
