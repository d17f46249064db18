"""`rasad schemas`: the contracts as JSON Schema and AsyncAPI."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rasad.cli.options import clear_errors, err, fail


def schemas(
    folder: Annotated[Path, typer.Argument(help="Folder of the schemas.")] = Path("schemas"),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if the files are not current.")] = False,
) -> None:
    """Write JSON Schemas of every message and the AsyncAPI document of every topic."""
    from rasad import schemas as generated

    if not check:
        with clear_errors():
            generated.write(folder)
        err.print(f"schemas written to {folder}")
        return
    problems = [*generated.drift(folder), *generated.breaks(folder)]
    for problem in problems:
        err.print(problem, markup=False, soft_wrap=True)
    if problems:
        fail("the schemas differ from the messages: run `rasad schemas`, and keep released fields as they are")
