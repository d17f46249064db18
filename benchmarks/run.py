"""All benchmarks, one after the other, into benchmarks/RESULTS.md."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from benchmarks import articles, machine
from benchmarks.options import DataOption, QuickOption, err, run

PROGRAMS: Final = (
    *("engine", "ceiling", "operators", "batches", "reference"),
    *("worker", "scale", "claims_gate"),
)
ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = Path(__file__).with_name("RESULTS.md")


def main(
    data: DataOption = None,
    quick: QuickOption = False,
    out: Annotated[Path, typer.Option(help="Markdown file to write.", show_default=False)] = RESULTS,
) -> None:
    """Run every benchmark and write their tables to one file, with the machine, its features, versions and commands.

    On an idle machine with two cores it takes a little over an hour, with --quick some 6 minutes. Leave the machine
    alone meanwhile: what else runs there is in the figures. A program that fails is named in the file, and the exit
    code is 1.

    Example: `python -m benchmarks.run --data DIR`
    """
    began = time.monotonic()
    about = machine.description()
    sections, failed = [], []
    for name in PROGRAMS:
        err.print(f"benchmarks.{name}", style="bold")
        given = [*(["--data", str(data.resolve())] if data else []), *(["--quick"] if quick else [])]
        status, table = _run(name, given)
        shown = [*(["--data DIR"] if data else []), *(["--quick"] if quick else [])]
        command = f"`{' '.join(('python -m', f'benchmarks.{name}', *shown))}`"
        if status:
            failed.append(name)
            sections.append(f"## {name}\n\nfailed with exit code {status}: {command}")
        else:
            sections.append(f"{table.strip()}\n\n{command}")
        err.print(f"{time.monotonic() - began:.0f} s so far", style="dim")
    head = [
        "# Measured",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {(time.monotonic() - began) / 60:.0f} minutes, articles of "
        f"{articles.origin(data)}" + (", --quick: too few to quote" if quick else "") + ".",
        "",
        *(f"- {line}" for line in about),
        "",
        "Rates depend on the machine; compare the ratios.",
    ]
    out.write_text("\n".join(head) + "\n\n" + "\n\n".join(sections) + "\n", encoding="utf-8")
    err.print(f"{out} written", markup=False)
    if failed:
        raise typer.Exit(1)


def _run(name: str, arguments: list[str]) -> tuple[int, str]:
    """Exit status and standard output of a program; where this one is told to end, that one ends in its own time."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            table, _ = process.communicate()
        except BaseException:
            process.terminate()
            raise
        return process.returncode, table


if __name__ == "__main__":
    run(main)
