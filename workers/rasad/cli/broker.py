"""`rasad broker`: a Kafka for development."""

from __future__ import annotations

from typing import Annotated

import typer

from rasad.cli.options import clear_errors, err, out

app = typer.Typer(help="A real single-node Kafka for development and tests.", no_args_is_help=True)


@app.command("start")
def start(
    port: Annotated[int | None, typer.Option(help="Port; a free one by default.", show_default=False)] = None,
) -> None:
    """Fetch Apache Kafka with Maven (once, 54 MB) and start one node on loopback; it runs until `stop`."""
    with clear_errors():
        from rasad import broker

        running = broker.start(port=port, progress=lambda line: err.print(line, style="dim", markup=False))
        out.print(f"Kafka {broker.KAFKA_VERSION} on {running.bootstrap} (pid {running.pid})")
        err.print(f"export KAFKA_BOOTSTRAP_SERVERS={running.bootstrap}   # for other tools; rasad finds it by itself")


@app.command("stop")
def stop() -> None:
    """Stop the broker and remove all that it wrote."""
    with clear_errors():
        from rasad import broker

        out.print("stopped" if broker.stop() else "no broker was running")


@app.command("status")
def status() -> None:
    """Say whether the broker runs and where; exit code 1 if it does not."""
    from rasad import broker

    running = broker.status()
    if running is None:
        out.print("no broker is running; start one with `rasad broker start`", markup=False)
        raise typer.Exit(1)
    out.print(f"Kafka {broker.KAFKA_VERSION} on {running.bootstrap} (pid {running.pid}), log {running.log_file}")
