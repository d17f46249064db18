"""The last events of each article from two places, side by side, in the order of article ids.

They may be more than memory holds, so they wait in a temporary SQLite file, packed, until all are read.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import zstandard
from pydantic import ValidationError

from rasad.messages import EnrichedEvent, from_bytes
from rasad.streams.connection import Connection
from rasad.streams.driver import DriverError
from rasad.streams.files import records
from rasad.streams.tailing import Tail

_SCHEMA: Final = """
CREATE TABLE events (
    article_id TEXT NOT NULL, side INTEGER NOT NULL, value BLOB NOT NULL, PRIMARY KEY (article_id, side)
) WITHOUT ROWID
"""
_PAIRS: Final = """
SELECT ids.article_id, a.value, b.value FROM (SELECT DISTINCT article_id FROM events ORDER BY article_id) AS ids
LEFT JOIN events AS a ON a.article_id = ids.article_id AND a.side = 0
LEFT JOIN events AS b ON b.article_id = ids.article_id AND b.side = 1
ORDER BY ids.article_id
"""
_TOLD_EVERY: Final = 100
_SAVED_EVERY: Final = 1_000


@dataclass(frozen=True, slots=True)
class Side:
    """A place that events are read from: a file of JSON lines, or else a topic."""

    name: str
    path: Path | None

    @classmethod
    def of(cls, name: str) -> Side:
        """The file of that name where there is one, else the topic."""
        return cls(name, Path(name) if Path(name).exists() else None)


class EventPairs:
    """Pairs of events, `len(self)` of them; lives in a file that goes with the block.

    `no_events` counts the values of each side that are no enriched events, such as dead letters among JSON lines.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="rasad-compare-")
        self._store = sqlite3.connect(Path(self._folder.name, "events.sqlite"))
        # A crash leaves nothing that anyone would want back.
        self._store.execute("PRAGMA journal_mode = OFF")
        self._store.execute("PRAGMA synchronous = OFF")
        self._store.execute(_SCHEMA)
        self._pack = zstandard.ZstdCompressor(level=1)
        self._unpack = zstandard.ZstdDecompressor()
        self.no_events = [0, 0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the file."""
        self._store.close()
        self._folder.cleanup()

    def __len__(self) -> int:
        (count,) = self._store.execute("SELECT COUNT(DISTINCT article_id) FROM events").fetchone()
        return int(count)

    def read(
        self, number: int, side: Side, connection: Connection | None, told: Callable[[int], None] = lambda _count: None
    ) -> int:
        """Take in side 0 or 1; how many events it has. Of one article the last event stays.

        Raises DriverError where the topic is not there or the store has no room, FileError where the file cannot be
        read.
        """
        try:
            return self._read(number, side, connection, told)
        except sqlite3.OperationalError as error:
            raise DriverError(
                f"events cannot be put aside in {self._folder.name} ({error}); make room there, or set TMPDIR"
            ) from error

    def _read(self, number: int, side: Side, connection: Connection | None, told: Callable[[int], None]) -> int:
        count = 0
        for position, value in enumerate(_values(side, connection), 1):
            try:
                event = from_bytes(EnrichedEvent, value)
            except ValidationError:
                self.no_events[number] += 1
                continue
            count += 1
            self._store.execute(
                "INSERT OR REPLACE INTO events VALUES (?, ?, ?)", (event.article.id, number, self._pack.compress(value))
            )
            if position % _SAVED_EVERY == 0:
                self._store.commit()
            if position % _TOLD_EVERY == 0:
                told(position)
        self._store.commit()
        return count

    def pairs(self) -> Iterator[tuple[EnrichedEvent | None, EnrichedEvent | None]]:
        """For each article its event on both sides, None where a side has none."""
        with closing(self._store.execute(_PAIRS)) as rows:
            for _, a, b in rows:
                yield self._event(a), self._event(b)

    def _event(self, packed: bytes | None) -> EnrichedEvent | None:
        return None if packed is None else from_bytes(EnrichedEvent, self._unpack.decompress(packed))


def _values(side: Side, connection: Connection | None) -> Iterator[bytes]:
    if side.path is not None:
        yield from (record.value for record in records([str(side.path)]))
        return
    if connection is None:
        raise DriverError(f"{side.name} is no file, and there is no Kafka to look for a topic of that name")
    with Tail(connection, side.name, "beginning") as tail:
        yield from (record.value for record in tail.records(follow=False))
