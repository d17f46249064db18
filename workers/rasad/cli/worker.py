"""`rasad worker`: a member of a consumer group."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from rasad.cli.options import (
    STARTED,
    BackendOption,
    BootstrapOption,
    ConfigOption,
    NerOption,
    StanceOption,
    clear_errors,
    connection_of,
    settings_of,
    watching_enricher_of,
)

if TYPE_CHECKING:
    from rasad.streams.faust_worker import FaustWorker
    from rasad.streams.transactional_worker import TransactionalWorker


def worker(
    group: Annotated[str | None, typer.Option("--group", help="Consumer group.", show_default=False)] = None,
    bootstrap_servers: BootstrapOption = None,
    batch_max: Annotated[int | None, typer.Option(help="Most articles enriched at a time.", show_default=False)] = None,
    exactly_once: Annotated[
        bool | None,
        typer.Option(
            "--exactly-once/--at-least-once",
            help="Write outputs and offsets in one transaction, or repeat after a crash what was not acknowledged.",
            show_default="at least once",
        ),
    ] = None,
    instance_id: Annotated[
        str | None,
        typer.Option(
            "--instance-id",
            help="Static member of the group: a restart within the session moves no partitions. One id a process.",
            show_default=False,
        ),
    ] = None,
    http_port: Annotated[
        int | None,
        typer.Option(help="Serve /metrics, /livez and /readyz on this port; 0 for none.", show_default=False),
    ] = None,
    ner: NerOption = None,
    stance: StanceOption = None,
    backend: BackendOption = None,
    config: ConfigOption = None,
) -> None:
    """Work as a member of a consumer group: raw articles in, enriched events and dead letters out.

    Stops on SIGTERM or Ctrl-C after the batch in hand, at once before the first; run more of them to share the
    partitions. With --exactly-once, readers of committed records see one outcome of each article whatever crashes; all
    workers of a group must have it.

    `rasad worker --group newsroom --exactly-once --instance-id newsroom-1`
    """
    loaded = settings_of(
        config,
        kafka__bootstrap_servers=bootstrap_servers,
        worker__group_id=group,
        worker__batch_max=batch_max,
        worker__exactly_once=exactly_once,
        worker__instance_id=instance_id,
        worker__http_port=http_port,
        models__ner=ner,
        models__stance=stance,
        models__backend=backend,
    )
    connection = connection_of(loaded)
    with _ended_by_sigterm(), clear_errors():
        from rasad.streams.connection import wait_for_broker

        wait_for_broker(connection, loaded.settings.worker.broker_wait_s)
        driver = _driver(exactly_once=loaded.settings.worker.exactly_once)
        with watching_enricher_of(loaded, connection) as enricher:
            driver(
                connection=connection,
                topics=loaded.settings.topics,
                worker=loaded.settings.worker,
                started=STARTED,
            ).run(enricher.enrich)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Within, SIGTERM ends the process at once with exit code 0, until a driver that has work to finish takes it."""
    before = signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _driver(*, exactly_once: bool) -> type[FaustWorker | TransactionalWorker]:
    """The driver's class; the other one's client library is not imported."""
    if exactly_once:
        from rasad.streams.transactional_worker import TransactionalWorker

        return TransactionalWorker
    from rasad.streams.faust_worker import FaustWorker

    return FaustWorker
