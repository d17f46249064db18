"""`rasad claims`: the sentences that every article is held against."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from rasad.cli.options import BootstrapOption, ConfigOption, clear_errors, connection_of, err, fail, out, settings_of
from rasad.presentation import isolated, visible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rasad.messages import Claim
    from rasad.streams.connection import Connection

app = typer.Typer(
    help="Watched claims: where articles stand towards them goes out on the stances topic, under the claim's id. "
    "Running workers take changes up with their next batch.",
    no_args_is_help=True,
)

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line in place of a table.")]


@app.command("add")
def add(
    text: Annotated[
        list[str] | None, typer.Argument(help="Arabic sentences, each a claim.", show_default=False)
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file", metavar="FILE.jsonl|-", help="Lines of {id, text}; an id is optional.", show_default=False
        ),
    ] = None,
    id_: Annotated[
        str | None, typer.Option("--id", help="Id of a single claim; made of its text by default.", show_default=False)
    ] = None,
    bootstrap_servers: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """Watch claims from now on. The same id with another text is the next version of that claim.

    Example: `rasad claims add "ألغى المنظمون مهرجان الفوانيس في الأقصر" --id lanterns`

    Articles of the past are held against new claims by a replay: `rasad replay run new-claims --from 7d`
    """
    if bool(text) == bool(file) or (id_ is not None and (file is not None or len(text or ()) != 1)):
        fail("say either claims or --file; --id goes with a single claim", 2)
    with clear_errors():
        from rasad.streams import claims

        wanted = [claims.claim_of(each, id_) for each in text] if text else claims.read_claims(file or "-")
        connection, topic = _cluster(bootstrap_servers, config)
        added = claims.add(connection, topic, wanted)
    for each in added:
        line = Text(f"{each.outcome:<9} {visible(each.claim.id)}")
        line.append(f"  version {each.claim.version}", style="dim")
        out.print(line, soft_wrap=True)
    written = sum(each.outcome != "unchanged" for each in added)
    err.print(f"{written} of {len(added)} written to {topic}", markup=False)


@app.command("list")
def list_(json: JsonOption = False, bootstrap_servers: BootstrapOption = None, config: ConfigOption = None) -> None:
    """The claims that are watched now, by id.

    Example: `rasad claims list --json > claims.jsonl`, which `rasad claims add --file claims.jsonl` takes back.
    """
    with clear_errors():
        from rasad.messages import to_bytes
        from rasad.streams import claims

        connection, topic = _cluster(bootstrap_servers, config)
        held = claims.watched(connection, topic).values()
        if json:
            for claim in held:
                sys.stdout.buffer.write(to_bytes(claim) + b"\n")
            sys.stdout.flush()
        elif held:
            out.print(_table(held))
        else:
            out.print('no claims are watched; add one with `rasad claims add "…"`', markup=False)


@app.command("remove")
def remove(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="As `rasad claims list` says.")],
    bootstrap_servers: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """Watch claims no more. What was published about them stays.

    Example: `rasad claims remove lanterns`
    """
    with clear_errors():
        from rasad.streams import claims

        connection, topic = _cluster(bootstrap_servers, config)
        claims.remove(connection, topic, ids)
    out.print(f"{len(set(ids))} removed from {topic}", markup=False)


def _cluster(bootstrap_servers: str | None, config: Path | None) -> tuple[Connection, str]:
    """A cluster that answers, and the name of its claims topic."""
    from rasad.streams.connection import wait_for_broker

    loaded = settings_of(config, kafka__bootstrap_servers=bootstrap_servers)
    connection = connection_of(loaded)
    wait_for_broker(connection, loaded.settings.worker.broker_wait_s)
    return connection, loaded.settings.topics.claims


def _table(held: Iterable[Claim]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("id", overflow="fold")
    table.add_column("version", justify="right")
    table.add_column("since", no_wrap=True)
    table.add_column("claim", justify="right", overflow="fold")
    for claim in held:
        text = Text(isolated(claim.text))
        table.add_row(Text(visible(claim.id)), str(claim.version), (claim.created_at or "-")[:10], text)
    return table
