"""`rasad topics`: what the cluster has and what it must have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from rasad.cli.options import BootstrapOption, ConfigOption, clear_errors, connection_of, err, out, settings_of

app = typer.Typer(help="Rasad's topics: declare them, compare them with what they must be.", no_args_is_help=True)


@app.command("declare")
def declare(bootstrap_servers: BootstrapOption = None, config: ConfigOption = None) -> None:
    """Create the topics that are missing, then compare all of them; exit code 1 if one differs."""
    _topics(bootstrap_servers, config, declare=True)


@app.command("check")
def check(bootstrap_servers: BootstrapOption = None, config: ConfigOption = None) -> None:
    """Compare the cluster's topics with what they must be; exit code 1 if one differs."""
    _topics(bootstrap_servers, config, declare=False)


def _topics(bootstrap_servers: str | None, config: Path | None, *, declare: bool) -> None:
    loaded = settings_of(config, kafka__bootstrap_servers=bootstrap_servers)
    connection = connection_of(loaded)
    with clear_errors():
        from rasad.streams import topics
        from rasad.streams.connection import wait_for_broker

        wait_for_broker(connection, loaded.settings.worker.broker_wait_s)
        wanted = topics.specs(loaded.settings.topics)
        for name in topics.declare(connection, wanted) if declare else ():
            out.print(f"created {name}", markup=False)
        differences = topics.drift(connection, wanted)
    for difference in differences:
        err.print(str(difference), style="red", markup=False, soft_wrap=True)
    if differences:
        raise typer.Exit(1)
    out.print(f"{len(wanted)} topics are as they must be")


@app.command("lag")
def show_lag(
    group: Annotated[str | None, typer.Option("--group", help="Consumer group.", show_default=False)] = None,
    bootstrap_servers: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """How far the consumer group is behind in each partition of the raw topic."""
    loaded = settings_of(config, kafka__bootstrap_servers=bootstrap_servers, worker__group_id=group)
    connection = connection_of(loaded)
    with clear_errors():
        from rasad.streams.tailing import lag

        rows = lag(connection, loaded.settings.worker.group_id, loaded.settings.topics.raw)
    table = Table(box=None, pad_edge=False)
    for column in ("partition", "committed", "end", "behind"):
        table.add_column(column, justify="right")
    for row in rows:
        committed = "-" if row.committed is None else str(row.committed)
        table.add_row(str(row.partition), committed, str(row.end), str(row.behind))
    out.print(table)
