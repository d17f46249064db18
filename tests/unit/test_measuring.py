"""What the benchmarks make of their times: turns, ratios, percentiles, tables."""

from __future__ import annotations

import time

import pytest

from benchmarks import articles
from benchmarks.batches import Sequences, in_batches, padding
from benchmarks.measuring import Timings, interleaved, percentile
from benchmarks.operators import Profile
from benchmarks.tables import Report, figure, percent, times


def test_every_round_has_each_way_once_and_begins_with_another() -> None:
    calls: list[str] = []
    ways = {name: lambda name=name: calls.append(name) for name in "abc"}
    timings = interleaved(ways, 3, name="test")
    assert "".join(calls) == "abc" + "abc" + "bca" + "cab"
    assert {name: len(seconds) for name, seconds in timings.seconds.items()} == {"a": 3, "b": 3, "c": 3}


def test_what_takes_no_time_has_more_rounds() -> None:
    timings = interleaved({"a": lambda: time.sleep(0.05), "b": lambda: None}, 2, name="test", seconds=0.5)
    assert 3 <= len(timings.each_round()) <= 10


def test_rounds_keep_together_what_was_timed_together() -> None:
    timings = Timings({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    assert timings.each_round() == [{"a": 1.0, "b": 3.0}, {"a": 2.0, "b": 4.0}]


def test_a_ratio_is_the_median_of_the_rounds_and_not_of_their_extremes() -> None:
    timings = Timings({"fast": [1.0, 2.0, 40.0], "slow": [3.0, 6.0, 80.0]})
    assert timings.times_as_fast("fast", "slow") == 3.0
    assert timings.median("fast") == 2.0
    assert timings.spread("slow") == pytest.approx(77 / 6)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100)])
def test_percentiles_are_values_that_occurred(share: float, expected: int) -> None:
    assert percentile(range(100, 0, -1), share) == expected
    assert percentile([7.0], share) == 7.0


def test_a_report_is_a_markdown_table(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report("Title", ("way", "rate"), numeric=1, notes=["a note"])
    report.add("one", figure(1234.5))
    report.add("[other]" + "x" * 200, times(2.35))
    report.print()
    title, _, head, rule, first, second, _, note = capsys.readouterr().out.splitlines()
    assert title == "## Title"
    assert [len(line) for line in (head, rule, first)] == [len(second)] * 3
    assert all(line.count("|") == 3 for line in (head, rule, first, second))
    assert [cell.strip() for cell in first.split("|")[1:3]] == ["one", "1,234"]
    assert "[other]" in second
    assert second.endswith(" 2.35x |")
    assert note == "- a note"
    assert percent(0.126) == "13 %"


def test_articles_are_the_same_each_time_and_repeat_under_ids_of_their_own() -> None:
    drawn = articles.load(None, 40)
    assert drawn == articles.load(None, 40)
    assert drawn[0] in drawn[1:]
    assert all(len(each.title) + len(each.body) <= 500 for each in articles.load(None, 3, longest=500))
    records = list(articles.as_records(drawn, "run-1"))
    assert len({record.key for record in records}) == 40


def test_padding_is_reckoned_over_both_models_and_all_batches() -> None:
    read = [Sequences([100, 100], [50]), Sequences([90], [40])]
    assert padding(read, [[0], [1]], 1024) == (0.0, 4)
    share, runs = padding(read, [[0, 1]], 1024)
    assert (share, runs) == (1 - 380 / 400, 2)


def test_batches_are_planned_as_a_worker_takes_them() -> None:
    records = list(articles.as_records(articles.load(None, 10), "planned"))
    assert [len(batch) for batch in in_batches(records, 4)] == [4, 4, 2]
    assert [index for batch in in_batches(records, 4) for index in batch] == list(range(10))


def test_a_profile_adds_up_kernels_by_operator() -> None:
    def event(name: str, category: str, duration: int, **arguments: str) -> dict[str, object]:
        return {"name": name, "cat": category, "dur": duration, "args": arguments}

    found = Profile.of(
        [
            event("model_run", "Session", 900),
            event("a_fence_before", "Node", 1, op_name="MatMul"),
            event("a_kernel_time", "Node", 300, op_name="MatMul"),
            event("b_kernel_time", "Node", 200, op_name="MatMul"),
            event("c_kernel_time", "Node", 100, op_name="Add"),
        ]
    )
    assert found.seconds == pytest.approx({"MatMul": 500e-6, "Add": 100e-6})
    assert found.calls == {"MatMul": 2, "Add": 1}
