"""The `rasad` command: a file a verb, each thin; what takes long to import is imported where it is used."""

from __future__ import annotations

import signal
import sys
from typing import Annotated, NoReturn

import typer

from rasad import __version__
from rasad.cli import broker, claims, dlq, models, replay, topics
from rasad.cli.config import config
from rasad.cli.demo import demo
from rasad.cli.enrich import enrich
from rasad.cli.produce import produce
from rasad.cli.schemas import schemas
from rasad.cli.stance import stance
from rasad.cli.tail import tail
from rasad.cli.worker import worker

app = typer.Typer(
    help="Rasad (رصد): raw Arabic news articles in, enriched events out, on Kafka.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (enrich, stance, worker, produce, tail, config, schemas, demo):
    app.command()(verb)
for noun, group in (
    ("broker", broker.app),
    ("topics", topics.app),
    ("claims", claims.app),
    ("dlq", dlq.app),
    ("replay", replay.app),
    ("models", models.app),
):
    app.add_typer(group, name=noun)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rasad {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Rasad (رصد): raw Arabic news articles in, enriched events out, on Kafka."""


def _terminated(_number: int, _frame: object) -> NoReturn:
    """End on SIGTERM as on an error, so that what was started is stopped on the way out."""
    sys.exit(128 + signal.SIGTERM)


def main() -> None:
    """The console script."""
    signal.signal(signal.SIGTERM, _terminated)
    app()
