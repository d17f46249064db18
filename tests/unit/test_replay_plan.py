"""What a replay is asked for: times, words, names, speed; and what may not change once it is begun."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from rasad.cli import app
from rasad.messages import Record, from_bytes, to_bytes
from rasad.settings import TopicSettings
from rasad.streams.replay import Throttle
from rasad.streams.replay_jobs import Job, Outputs, Request, Standing, Tally, differences, remaining
from rasad.streams.replay_plan import Filters, Instant, PartitionBounds, instant

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)


def ms(when: datetime) -> int:
    return round(when.timestamp() * 1000)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("now", NOW),
        ("2h", NOW - timedelta(hours=2)),
        ("7d", NOW - timedelta(days=7)),
        ("1w2d3h4m5s", NOW - timedelta(weeks=1, days=2, hours=3, minutes=4, seconds=5)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:00:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T15:00:00+03:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("beginning", datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_times(text: str, when: datetime) -> None:
    assert instant(text, NOW) == Instant(text, ms(when))


@pytest.mark.parametrize("text", ["", "yesterday", "7", "2x", "h2", "2026-13-01", "1900-01-01", "3000w", "999999w"])
def test_what_is_no_time_is_told_with_what_is_one(text: str) -> None:
    with pytest.raises(ValueError, match="say"):
        instant(text, NOW)


@given(st.text(max_size=12))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    try:
        found = instant(text, NOW)
    except ValueError:
        return
    assert found.ms >= 0


def article(**fields: str) -> Record:
    return Record(value=orjson.dumps({"title": "مجلس الأمن يجتمع", "body": "في نيويورك مساءً", **fields}))


def test_filters_fold_spellings() -> None:
    assert Filters(contains="الامن").match(article())
    assert Filters(contains="نيويورك  مساء").match(article())
    assert not Filters(contains="جنيف").match(article())
    assert Filters(source="صحيفه الانباء").match(article(source="صحيفة الأنباء"))
    assert not Filters(source="صحيفة").match(article(source="صحيفة الأنباء"))
    assert not Filters(source="صحيفة", contains="الأمن").match(article())


def test_a_filter_leaves_out_what_is_no_article() -> None:
    broken = Record(value=b"\xff\xfe")
    assert Filters().match(broken)
    assert not Filters(contains="الأمن").match(broken)


def test_a_filter_that_holds_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no letter"):
        Filters(contains=" \u064b ")


def test_output_topics() -> None:
    outputs = Outputs.beside(TopicSettings(), "replay-x")
    assert (outputs.enriched, outputs.dead_letters) == ("news.enriched.v1.replay-x", "news.raw.ar.dlq.replay-x")
    assert Outputs.under("trial").stances == "trial.stances"
    assert outputs.settings(TopicSettings()).raw == "news.raw.ar"
    for bad in ("أ", "a b", "x" * 250):
        with pytest.raises(ValueError, match="cannot be a topic"):
            Outputs.under(bad)


JOB = Job(
    name="x",
    topic="news.raw.ar",
    begin=instant("7d", NOW),
    end=instant("2026-11-28", NOW),
    filters=Filters(source="أ"),
    bounds=(PartitionBounds(partition=0, start=5, end=9), PartitionBounds(partition=1, start=0, end=3, cut=True)),
    outputs=Outputs.under("trial"),
    pipeline_version="v1",
    started_at="2026-11-29T12:00:00+00:00",
    tally=Tally(events=1),
)


def test_a_job_is_the_same_after_its_bytes() -> None:
    assert from_bytes(Job, to_bytes(JOB)) == JOB


def test_a_request_that_says_nothing_new_fits() -> None:
    same = Request(name="x", pipeline_version="v1", begin=JOB.begin, end=JOB.end, source="أ", outputs=JOB.outputs)
    later = instant("7d", NOW + timedelta(hours=5))
    assert differences(JOB, Request(name="x", pipeline_version="v1")) == []
    assert differences(JOB, same) == []
    assert differences(JOB, replace(same, begin=later)) == []
    assert differences(JOB, replace(same, end=instant("2026-11-28T03:00+03:00", NOW))) == []


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"begin": instant("6d", NOW)}, "--from was 7d, not 6d"),
        ({"begin": Instant("2026-11-22T12:00Z", JOB.begin.ms)}, "--from was 7d, not 2026-11-22T12:00Z"),
        ({"end": instant("now", NOW)}, "--to was 2026-11-28, not now"),
        ({"source": "ب"}, "--source was أ, not ب"),
        ({"contains": "ب"}, "--contains was not given, not ب"),
        ({"outputs": Outputs.under("other")}, "the output topic was trial.enriched, not other.enriched"),
        ({"pipeline_version": "v2"}, "the pipeline was v1, not v2"),
    ],
)
def test_a_job_does_not_change_its_mind(asked: dict[str, object], said: str) -> None:
    assert differences(JOB, Request(**{"name": "x", "pipeline_version": "v1", **asked})) == [said]


def test_progress_is_what_lies_between_positions_and_bounds() -> None:
    standing = {0: Standing(7, Tally(events=2)), 1: Standing(4, Tally())}
    assert JOB.count == 7
    assert remaining(JOB, standing) == 2
    assert from_bytes(Tally, standing[0].committed().metadata.encode()) == Tally(events=2)


def test_a_throttle_spreads_what_it_is_told_of() -> None:
    none, slow, narrow = Throttle(None, None), Throttle(2.0, None), Throttle(None, 1000.0)
    assert none.pause_s(10.0, 10.5, 8, 9000) == 0.0
    assert slow.pause_s(10.0, 10.5, 8, 0) == 3.5
    assert slow.pause_s(14.0, 14.5, 8, 0) == 3.5
    assert narrow.pause_s(10.0, 10.0, 1, 500) == 0.5
    # Time that went by without work is not saved up.
    assert slow.pause_s(100.0, 100.5, 2, 0) == 0.5


@pytest.mark.parametrize(
    "arguments",
    [
        ("plan",),
        ("plan", "--from", "yesterday"),
        ("plan", "--from", "7d", "--contains", " "),
        ("plan", "--from", "7d", "--topic-suffix", "a", "--to-topics", "b"),
        ("plan", "--from", "7d", "--to-topics", "a b"),
        ("cutover",),
        ("cutover", "x", "--revert"),
        ("rewind", "rasad", "--to", "yesterday"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, ["replay", *arguments, "--bootstrap-servers", "127.0.0.1:1"])
    assert shown.exit_code == 2
    assert "Traceback" not in shown.output
    assert shown.output.startswith("rasad: ")
