"""Ids in bounded memory, against a plain list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rasad.streams.recent_ids import RecentIds


@given(st.lists(st.sampled_from("abcdef")), st.integers(0, 4))
def test_the_last_ids_are_known_and_no_others(ids: list[str], limit: int) -> None:
    recent, kept = RecentIds(limit), []
    for id_ in ids:
        assert recent.add(id_) is (id_ not in kept)
        if id_ not in kept:
            kept = [*kept, id_][-limit:] if limit else []
        assert len(recent) == len(kept)
