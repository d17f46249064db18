"""What became of every record that was fed to a driver: the invariants that no fault may break."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rasad.messages import EnrichedEvent, EntityRecord, StanceRecord, from_bytes
from rasad.settings import TopicSettings
from rasad.streams.connection import Connection
from tests.kafka.outcomes import Delivered, Place, read, written


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How many records have no outcome, more than one, different ones; and how many come before an older version.

    `parts_lost` and `parts_repeated` are of the entity and stance records that belong to the events.
    """

    records: int
    lost: int
    repeated: int
    differing: int
    out_of_order: int
    parts_lost: int
    parts_repeated: int

    def problems(self, *, exactly_once: bool) -> list[str]:
        """What must not be; repetitions with the same bytes may be, unless delivery is exactly once."""
        never = {"lost", "differing", "out_of_order", "parts_lost"}
        if exactly_once:
            never |= {"repeated", "parts_repeated"}
        return [f"{count} {name}" for name in sorted(never) if (count := getattr(self, name))]


def judge(connection: Connection, topics: TopicSettings, places: Sequence[Place]) -> Verdict:
    """Read all outputs back as a reader of committed records does; `places` are those of the records that were fed."""
    outcomes = read(connection, topics)
    by_place: defaultdict[Place, list[Delivered]] = defaultdict(list)
    for outcome in outcomes:
        by_place[outcome.place].append(outcome)
    assert by_place.keys() <= set(places), "an outcome of a record that was never fed"
    first_events = {place: found[0].event for place, found in by_place.items()}
    wanted = Counter(part for event in first_events.values() if event for part in _parts(event))
    found = _written_parts(connection, topics)
    return Verdict(
        records=len(places),
        lost=len(set(places) - by_place.keys()),
        repeated=sum(len(each) - 1 for each in by_place.values()),
        differing=sum(len({outcome.comparable for outcome in each}) > 1 for each in by_place.values()),
        out_of_order=_out_of_order(outcomes),
        parts_lost=len(wanted - found),
        parts_repeated=(found - wanted).total(),
    )


Part = tuple[str, str]
"""The event, and which of its entities or stances."""


def _parts(event: EnrichedEvent) -> list[Part]:
    entities = [(event.event_id, entity.entity_id) for entity in event.entities]
    return entities + [(event.event_id, stance.kind) for stance in event.stances]


def _written_parts(connection: Connection, topics: TopicSettings) -> Counter[Part]:
    entities = (from_bytes(EntityRecord, record.value) for record in written(connection, topics.entities))
    stances = (from_bytes(StanceRecord, record.value) for record in written(connection, topics.stances))
    return Counter((each.event_id, each.entity.entity_id) for each in entities) + Counter(
        (each.event_id, each.stance.kind) for each in stances
    )


def _out_of_order(outcomes: Iterable[Delivered]) -> int:
    """Outcomes that are first seen after one of a later record with the same key; events and dead letters apart."""
    offsets: defaultdict[tuple[bool, bytes | None, int], list[int]] = defaultdict(list)
    for outcome in outcomes:
        partition, offset = outcome.place
        seen = offsets[outcome.event is None, outcome.record.key, partition]
        if offset not in seen:
            seen.append(offset)
    return sum(later < earlier for seen in offsets.values() for earlier, later in pairwise(seen))
