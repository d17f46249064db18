"""A replay as a process of its own, enriching without models: `python -m tests.kafka.replay_process JSON`.

Each transaction is a JSON line on standard output, so that a test knows when to kill it.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime

from rasad import logs
from rasad.settings import TopicSettings
from rasad.streams.connection import Connection
from rasad.streams.replay import Progress, Replay
from rasad.streams.replay_jobs import Request
from rasad.streams.replay_plan import BEGINNING, instant
from tests.kafka.plain_enrichment import PIPELINE, slow_enrich


def main(argument: str) -> None:
    options = json.loads(argument)
    logs.configure("info", "json")

    def told(progress: Progress) -> None:
        print(json.dumps({"done": progress.done, "articles": progress.tally.articles}), flush=True)

    Replay(
        connection=Connection(bootstrap_servers=(options["bootstrap"],)),
        topics=TopicSettings(**options["topics"]),
        request=Request(
            name=options["name"],
            pipeline_version=PIPELINE.version,
            begin=instant(BEGINNING, datetime.now(UTC)),
        ),
        batch_max=options["batch_max"],
        told=told,
    ).run(slow_enrich(options["seconds_each"]))


if __name__ == "__main__":
    main(sys.argv[1])
