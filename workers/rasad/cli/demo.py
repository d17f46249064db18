"""`rasad demo`: the main job on a real Kafka."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rasad.cli.options import clear_errors, out


def demo(
    article: Annotated[Path | None, typer.Option(help="Play this file in place of the seeds.")] = None,
    seeds: Annotated[Path, typer.Option(help="Folder of the seed articles.")] = Path("seeds"),
) -> None:
    """The main job on a real Kafka: broker, topics, a worker, articles published, events shown as they arrive.

    The broker is the demonstration's own, also where the settings name a cluster: the seeds are invented news. So all
    settings are left aside.
    """
    from rasad.logs import configure

    configure("error", "auto")
    with clear_errors():
        from rasad.demo import run

        run(out, article, seeds)
