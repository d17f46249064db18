"""`rasad broker`: a Kafka for development."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rasad.cli.options import clear_errors, err, out

if TYPE_CHECKING:
    from rasad.broker import RunningBroker

app = typer.Typer(help="A real Kafka on this machine for development and tests.", no_args_is_help=True)


@app.command("start")
def start(
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help="Port, further nodes taking the next; a free one by default.", show_default=False
        ),
    ] = None,
    nodes: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=9,
            help="Three replicate to each other, as in production (350 MB of memory each).",
            show_default="1",
        ),
    ] = None,
) -> None:
    """Fetch Apache Kafka with Maven (once, 54 MB) and start it on loopback; it runs until `stop`.

    Example: `rasad broker start --nodes 3`
    """
    with clear_errors():
        from rasad import broker

        running = broker.start(port=port, nodes=nodes, progress=lambda line: err.print(line, style="dim", markup=False))
        out.print(f"Kafka {broker.KAFKA_VERSION} on {running.bootstrap} ({_processes(running)})", markup=False)
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
    logs = ", ".join(str(node.log_file) for node in running.nodes)
    out.print(f"Kafka {broker.KAFKA_VERSION} on {running.bootstrap} ({_processes(running)}), log {logs}", markup=False)


def _processes(running: RunningBroker) -> str:
    return ", ".join(f"pid {node.pid}" if node.pid else f"{node.bootstrap} is down" for node in running.nodes)
