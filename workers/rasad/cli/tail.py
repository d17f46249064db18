"""`rasad tail`: a topic as it comes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from rasad.cli.options import BootstrapOption, ConfigOption, clear_errors, connection_of, fail, out, settings_of


def tail(
    topic: Annotated[str | None, typer.Argument(help="Topic; the enriched one by default.", show_default=False)] = None,
    from_: Annotated[
        str, typer.Option("--from", help="`beginning`, `end`, or a number: so many before each partition's end.")
    ] = "end",
    count: Annotated[int | None, typer.Option(min=1, help="Stop after so many records.", show_default=False)] = None,
    follow: Annotated[bool, typer.Option(help="Wait for records to come.")] = True,
    pretty: Annotated[bool, typer.Option("--pretty", help="Show enriched events readably.")] = False,
    bootstrap_servers: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """Print a topic's values, one a line, as they come.

    Example: `rasad tail news.enriched.v1 --from beginning --count 3 --pretty`
    """
    loaded = settings_of(config, kafka__bootstrap_servers=bootstrap_servers)
    connection = connection_of(loaded)
    start: str | int = int(from_) if from_.isdecimal() else from_
    if start not in ("beginning", "end") and not isinstance(start, int):
        fail(f"--from {from_!r}: say beginning, end or a number", 2)
    with clear_errors():
        from pydantic import ValidationError

        from rasad.messages import EnrichedEvent, from_bytes
        from rasad.presentation import show
        from rasad.streams.connection import wait_for_broker
        from rasad.streams.tailing import Tail

        wait_for_broker(connection, loaded.settings.worker.broker_wait_s)
        with Tail(connection, topic or loaded.settings.topics.enriched, start) as reading:  # type: ignore[arg-type]
            for record in reading.records(count=count, follow=follow):
                if pretty:
                    try:
                        show(out, from_bytes(EnrichedEvent, record.value))
                        continue
                    except ValidationError:
                        pass  # not an enriched event: shown as it is
                sys.stdout.buffer.write(record.value + b"\n")
                sys.stdout.flush()
