"""`rasad worker`: a member of a consumer group."""

from __future__ import annotations

from typing import Annotated

import typer

from rasad.cli.options import (
    STARTED,
    BootstrapOption,
    ConfigOption,
    NerOption,
    StanceOption,
    clear_errors,
    connection_of,
    enricher_of,
    settings_of,
)


def worker(
    group: Annotated[str | None, typer.Option("--group", help="Consumer group.", show_default=False)] = None,
    bootstrap_servers: BootstrapOption = None,
    batch_max: Annotated[int | None, typer.Option(help="Most articles enriched at a time.", show_default=False)] = None,
    ner: NerOption = None,
    stance: StanceOption = None,
    config: ConfigOption = None,
) -> None:
    """Work as a member of a consumer group: raw articles in, enriched events and dead letters out, at least once.

    Stops on SIGTERM or Ctrl-C after the batch in hand; run more of them to share the partitions.
    """
    loaded = settings_of(
        config,
        kafka__bootstrap_servers=bootstrap_servers,
        worker__group_id=group,
        worker__batch_max=batch_max,
        models__ner=ner,
        models__stance=stance,
    )
    connection = connection_of(loaded)
    with clear_errors():
        from rasad.streams.faust_worker import FaustWorker

        enricher = enricher_of(loaded)
        driver = FaustWorker(
            connection=connection,
            topics=loaded.settings.topics,
            worker=loaded.settings.worker,
            started=STARTED,
        )
        driver.run(enricher.enrich)
