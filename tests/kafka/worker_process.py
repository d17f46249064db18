"""A worker as a process of its own, enriching without models: `python -m tests.kafka.worker_process JSON`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

from rasad import logs
from rasad.settings import TopicSettings, WorkerSettings, load
from rasad.streams.connection import BrokerUnavailable, Connection
from rasad.streams.driver import Driver, DriverError
from tests.kafka.plain_enrichment import slow_enrich


def driver_of(settings: WorkerSettings) -> Callable[..., Driver]:
    # One takes a second to import that the other does not need.
    if settings.exactly_once:
        from rasad.streams.transactional_worker import TransactionalWorker

        return TransactionalWorker
    from rasad.streams.faust_worker import FaustWorker

    return FaustWorker


def main(argument: str) -> int:
    started = time.monotonic()
    options = json.loads(argument)
    logs.configure("info", "json")
    settings = WorkerSettings(**options["worker"])
    worker = driver_of(settings)(
        connection=Connection.of(load(overrides={"kafka.bootstrap_servers": options["bootstrap"]}).settings.kafka),
        topics=TopicSettings(**options["topics"]),
        worker=settings,
        started=started,
    )
    try:
        worker.run(slow_enrich(options["seconds_each"]))
    except (BrokerUnavailable, DriverError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
