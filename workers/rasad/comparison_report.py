"""A comparison of two sets of events for the eye: in a terminal, as one HTML page, as data."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import jinja2
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from rasad.presentation import RightToLeft, isolated, visible, without_marks
from rasad.streams.comparison import HOWS, Change, Comparison, Example, How, Part

_STYLES: Final[dict[How, str]] = {
    "added": "green",
    "lost": "red",
    "retyped": "yellow",
    "boundary": "cyan",
    "speaker": "yellow",
    "flipped": "magenta",
}
_NAMES: Final[dict[How, str]] = {
    "added": "added",
    "lost": "lost",
    "retyped": "retyped",
    "boundary": "boundary changed",
    "speaker": "speaker changed",
    "flipped": "flipped",
}
_PLURALS: Final[dict[Part, str]] = {
    "mention": "mentions",
    "entity": "entities",
    "quote": "quotes",
    "stance": "stances",
}
_SOURCES_SHOWN: Final = 20


def data(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain values, for JSON and for the page."""
    return {
        "a": comparison.a,
        "b": comparison.b,
        "articles": {
            "compared": comparison.compared,
            "same": comparison.same,
            "changed": comparison.changed,
            "texts_differ": comparison.texts_differ,
            "only_a": comparison.only_a,
            "only_b": comparison.only_b,
        },
        "ids": {
            "texts_differ": comparison.texts_differ_ids,
            "only_a": comparison.only_a_ids,
            "only_b": comparison.only_b_ids,
        },
        "parts": [_part(comparison, part) for part in HOWS],
        "retyped": [
            {"before": before, "after": after, "count": count} for (before, after), count in _ranked(comparison.retyped)
        ],
        "sources": [_source(comparison, source, count) for source, count in _ranked(comparison.articles_by_source)],
    }


def _part(comparison: Comparison, part: Part) -> dict[str, Any]:
    hows = HOWS[part]
    types = sorted({type_ for each, type_, _ in comparison.by_type if each == part})
    rows: list[dict[str, Any]] = [
        {"type": type_, "counts": {how: comparison.by_type[part, type_, how] for how in hows}} for type_ in types
    ]
    return {
        "part": part,
        "name": _PLURALS[part],
        "hows": {how: _NAMES[how] for how in hows},
        "rows": rows,
        "total": {how: sum(row["counts"][how] for row in rows) for how in hows},
        "examples": [_example(each) for how in hows for each in comparison.examples.get((part, how), ())],
    }


def _example(example: Example) -> dict[str, Any]:
    change = example.change
    return {
        "how": change.how,
        "what": _NAMES[change.how],
        "type": change.type,
        "before": change.before,
        "after": change.after,
        "article_id": example.article_id,
        "source": example.source,
        "title": example.title,
        "field": change.field,
        "start": change.start,
        "end": change.end,
        "left": example.left,
        "marked": example.marked,
        "right": example.right,
    }


def _source(comparison: Comparison, source: str, count: int) -> dict[str, Any]:
    return {
        "source": source,
        "articles": count,
        "counts": {part: {how: comparison.by_source[source, part, how] for how in hows} for part, hows in HOWS.items()},
    }


def _ranked(counter: Counter[Any]) -> list[tuple[Any, int]]:
    """Most frequent first, equal counts in the order of the keys."""
    return sorted(counter.items(), key=lambda item: (-item[1], item[0]))


def page(comparison: Comparison) -> str:
    """One HTML page that needs nothing else: Arabic from right to left, light or dark as the reader's system is."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("rasad", "."), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    return environment.get_template("comparison_report.html.jinja").render(**data(comparison))


def show(console: Console, comparison: Comparison) -> None:
    """Print counts by part, type and source, then examples in their context."""
    console.print(f"A  {comparison.a}\nB  {comparison.b}", markup=False)
    console.print(
        f"{comparison.compared:,} articles in both: {comparison.same:,} the same, {comparison.changed:,} changed"
    )
    for count, ids, what in (
        (comparison.only_a, comparison.only_a_ids, "only in A"),
        (comparison.only_b, comparison.only_b_ids, "only in B"),
        (comparison.texts_differ, comparison.texts_differ_ids, "with another text, not compared"),
    ):
        if count:
            more = ", ..." if count > len(ids) else ""
            console.print(f"{count:,} {what}: {', '.join(map(visible, ids))}{more}", markup=False, soft_wrap=True)
    found = data(comparison)
    for part in found["parts"]:
        if part["rows"]:
            console.print(_part_table(part))
    if found["retyped"]:
        listed = "   ".join(f"{each['before']} → {each['after']}: {each['count']:,}" for each in found["retyped"])
        console.print(f"\nretyped  {listed}", markup=False)
    if len(found["sources"]) > 1 and comparison.changed:
        console.print(_source_table(found["sources"]))
    for part in HOWS:
        for how in HOWS[part]:
            examples = comparison.examples.get((part, how), [])
            if examples:
                console.print(f"\n{_PLURALS[part]} {_NAMES[how]}", style=_STYLES[how])
                console.print(Group(*(_shown(each) for each in examples)))


def _part_table(part: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, title=f"\n{part['name']}", title_justify="left", title_style="bold")
    table.add_column("type")
    for how, name in part["hows"].items():
        table.add_column(name, justify="right", style=_STYLES[how])
    for row in [*part["rows"], {"type": "all", "counts": part["total"]}]:
        table.add_row(row["type"], *(f"{count:,}" for count in row["counts"].values()))
    return table


def _source_table(sources: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, title="\nby source", title_justify="left", title_style="bold")
    table.add_column("source")
    for name in ("articles", *_PLURALS.values()):
        table.add_column(name, justify="right")
    for each in sources[:_SOURCES_SHOWN]:
        changed = (f"{sum(counts.values()):,}" for counts in each["counts"].values())
        table.add_row(Text(isolated(each["source"])), f"{each['articles']:,}", *changed)
    if len(sources) > _SOURCES_SHOWN:
        table.add_row(f"... {len(sources) - _SOURCES_SHOWN} more", "")
    return table


def _shown(example: Example) -> RenderableType:
    """A change, and the words around it with those that it is about marked."""
    change = example.change
    line = Text("  ")
    line.append(f"{change.type}  ", style="dim")
    line.append(_from_to(change))
    line.append(f"  {visible(example.article_id)}", style="dim")
    around = Text()
    if example.marked:
        left, marked, right = (
            visible(without_marks(" ".join(each.splitlines())))
            for each in (example.left, example.marked, example.right)
        )
        around.append("…" + left)
        around.append(marked, style=f"reverse {_STYLES[change.how]}")
        around.append(right + "…")
    else:
        around.append(visible(without_marks(example.title)), style="dim")
    return Group(line, RightToLeft(around))


def _from_to(change: Change) -> str:
    before, after = (None if each is None else isolated(each) for each in (change.before, change.after))
    if before is None or after is None:
        return before or after or ""
    return f"{before} → {after}"
