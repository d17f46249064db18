"""A program's result: one table, printed as Markdown that also reads well on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


@dataclass(slots=True)
class Report:
    """`numeric` columns, those from that number on, are set to the right. `notes` say how to read the figures."""

    title: str
    columns: Sequence[str]
    numeric: int
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """One row."""
        assert len(cells) == len(self.columns)
        self.rows.append(cells)

    def print(self) -> None:
        """To standard output, never broken to the terminal's width: a broken row is no Markdown."""
        table = Table(box=box.MARKDOWN)
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if number >= self.numeric else "left", no_wrap=True)
        for row in self.rows:
            table.add_row(*(Text(cell) for cell in row))
        measured = Console(file=sys.stdout, width=10_000, color_system=None)
        width = max(measured.measure(table).maximum, 1)
        console = Console(file=sys.stdout, width=width, color_system=None, highlight=False)
        print(f"## {self.title}\n")
        with console.capture() as capture:
            console.print(table)
        print("\n".join(line.rstrip() for line in capture.get().splitlines() if line.strip()))
        if self.notes:
            print("\n" + "\n".join(f"- {note}" for note in self.notes))


def whole(value: float) -> str:
    """A count with commas between its thousands."""
    return f"{value:,.0f}"


def figure(value: float) -> str:
    """Three figures or so."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def times(value: float) -> str:
    """A ratio."""
    return f"{figure(value)}x"


def percent(share: float) -> str:
    """A share of 1."""
    return f"{100 * share:.0f} %"
