"""`rasad produce`: files into the raw topic."""

from __future__ import annotations

from typing import Annotated

import typer

from rasad.cli.options import BootstrapOption, ConfigOption, clear_errors, connection_of, counted, err, settings_of


def produce(
    inputs: Annotated[
        list[str], typer.Argument(metavar="FILE|DIR|-", help="Articles: .txt, .json or .jsonl, also gzip or zstd.")
    ],
    topic: Annotated[str | None, typer.Option(help="Topic; the raw topic by default.", show_default=False)] = None,
    bootstrap_servers: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """Publish files to the raw topic, keyed by article id. A folder gives its files, also those in folders below.

    Example: `rasad produce seeds/[0-9]*`
    """
    loaded = settings_of(config, kafka__bootstrap_servers=bootstrap_servers)
    connection = connection_of(loaded)
    with clear_errors():
        from rasad.streams.connection import wait_for_broker
        from rasad.streams.files import records
        from rasad.streams.log_limits import limit_repeats
        from rasad.streams.producing import produce as publish
        from rasad.streams.topics import require

        limit_repeats("kafka")  # while no broker answers, it says so ten times a second
        name = topic or loaded.settings.topics.raw
        wait_for_broker(connection, loaded.settings.worker.broker_wait_s)
        require(connection, [name])
        with counted(f"to {name}", results=False) as told:
            done = publish(connection, name, records(inputs), told)
        for record in done.refused:
            place = f"{record.source} record {record.offset}"
            err.print(f"rasad: {place}: {record.size:,} bytes are too many for {name}", style="red", markup=False)
        err.print(f"{done.taken} records to {name}")
    if done.refused:
        raise typer.Exit(1)
