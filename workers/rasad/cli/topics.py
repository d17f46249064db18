"""`rasad topics`: what the cluster has and what it must have."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from rasad.cli.options import BootstrapOption, ConfigOption, clear_errors, connection_of, err, fail, out, settings_of

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
        from rasad.streams.connection import wait_for_broker
        from rasad.streams.tailing import lag

        wait_for_broker(connection, loaded.settings.worker.broker_wait_s)
        rows = lag(connection, loaded.settings.worker.group_id, loaded.settings.topics.raw)
    table = Table(box=None, pad_edge=False)
    for column in ("partition", "committed", "end", "behind"):
        table.add_column(column, justify="right")
    for row in rows:
        committed = "-" if row.committed is None else str(row.committed)
        table.add_row(str(row.partition), committed, str(row.end), str(row.behind))
    out.print(table)


def _principals(role: str, does: str) -> Any:  # noqa: ANN401
    return typer.Option(f"--principal-{role}", metavar="User:NAME", help=does, show_default=False)


@app.command("acls")
def show_acls(
    worker: Annotated[list[str] | None, _principals("worker", "Who runs workers.")] = None,
    subscriber: Annotated[list[str] | None, _principals("subscriber", "Who reads the outputs.")] = None,
    producer: Annotated[list[str] | None, _principals("producer", "Who writes raw articles.")] = None,
    operator: Annotated[list[str] | None, _principals("operator", "Who declares topics, redrives, replays.")] = None,
    group: Annotated[str | None, typer.Option("--group", help="The workers' group.", show_default=False)] = None,
    exactly_once: Annotated[
        bool | None, typer.Option("--exactly-once/--at-least-once", help="How the workers deliver.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line in place of commands.")] = False,
    config: ConfigOption = None,
) -> None:
    """Print the least that each role must be allowed on a cluster that allows nothing by itself.

    Nothing is connected or changed: the lines are commands of Kafka's own `kafka-acls.sh`, to which
    `--command-config FILE` is to be added where administrators sign in. A subscriber's consumer groups must begin with
    the name of its principal.

    Example: `rasad topics acls --principal-worker User:rasad --principal-subscriber User:desk`
    """
    settings = settings_of(config, worker__group_id=group, worker__exactly_once=exactly_once).settings
    given = {"worker": worker, "subscriber": subscriber, "producer": producer, "operator": operator}
    wanted = [(role, principal) for role, principals in given.items() for principal in principals or ()]
    if not wanted:
        fail("name a principal, such as --principal-worker User:rasad", 2)
    for _, principal in wanted:
        if not re.fullmatch(r"[A-Za-z]+:[^*].*", principal):
            fail(f"{principal!r} is no principal: give its type and name, such as User:rasad", 2)
    from rasad.streams.acls import acls

    servers = ",".join(settings.kafka.bootstrap_servers or ()) or '"$KAFKA_BOOTSTRAP_SERVERS"'
    found = [
        acl
        for role, principal in wanted
        for acl in acls(
            role,  # type: ignore[arg-type]
            principal,
            settings.topics,
            group=settings.worker.group_id,
            exactly_once=settings.worker.exactly_once,
        )
    ]
    with clear_errors():
        for acl in found:
            typer.echo(json.dumps(asdict(acl), ensure_ascii=False) if as_json else acl.command(servers))
