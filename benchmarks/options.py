"""What the programs' command lines share."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from rasad.cli.options import clear_errors

err = Console(stderr=True, highlight=False)

DataOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the corpora: articles are then drawn from raw/saudinewsnet.jsonl.zst in it, else from seeds/.",
        file_okay=False,
        exists=True,
        show_default=False,
    ),
]
QuickOption = Annotated[
    bool, typer.Option("--quick", help="About a minute: fewer articles and rounds. Too few to quote figures from.")
]


def run(main: Callable[..., None]) -> None:
    """A program's command line. What a user can act on ends it with one line and an exit code, as in `rasad`."""

    @functools.wraps(main)
    def program(**arguments: object) -> None:
        with clear_errors():
            main(**arguments)

    # What was started is stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    app = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)
    app.command()(program)
    app()


@contextmanager
def progress(description: str, total: float) -> Iterator[Callable[[float], None]]:
    """A bar on standard error while the block lasts; gives what to tell it: how much is done by now."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(description, total=total)
        yield lambda done: bar.update(task, completed=done)
