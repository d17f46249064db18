"""The worker that people write first: a plain Faust agent, one pipeline call an article, whatever comes.

It stands for what Rasad is compared with, and is no part of it: the pipeline cuts an article at 512 tokens, the event
loop stands still while it runs, and an exception ends the agent. It finds names alone, no quotes and no stances.
`python -m benchmarks.first_try_worker BOOTSTRAP_SERVERS RAW_TOPIC ENRICHED_TOPIC MODEL_DIRECTORY`
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable
from typing import Any

import faust
from transformers import pipeline


def main(servers: str, raw: str, enriched: str, model: str) -> None:
    app = faust.App(
        "first-try",
        broker=[f"kafka://{server}" for server in servers.split(",")],
        value_serializer="json",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )
    articles, events = app.topic(raw), app.topic(enriched, key_serializer="raw")
    find_names = pipeline("token-classification", model=model, aggregation_strategy="simple")

    @app.agent(articles)  # type: ignore[untyped-decorator]
    async def enrich(stream: AsyncIterable[dict[str, Any]]) -> None:
        async for article in stream:
            names = find_names(f"{article['title']}\n{article['body']}")
            found = [{**name, "score": float(name["score"])} for name in names]
            await events.send(key=article["id"].encode(), value={"article": article, "names": found})

    @app.on_rebalance_complete.connect  # type: ignore[untyped-decorator]
    async def ready(*_: object, **__: object) -> None:
        print("worker ready", flush=True)

    faust.Worker(app, loglevel="warning").execute_from_commandline()


if __name__ == "__main__":
    main(*sys.argv[1:])
