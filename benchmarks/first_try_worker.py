"""The worker that people write first: a plain Faust agent, one pipeline call an article, whatever comes.

It stands for what Rasad is compared with, and is no part of it: the pipeline cuts an article at 512 tokens, the event
loop stands still while it runs, and an exception ends the agent. It finds names, and with a second model says how the
body stands to the headline; no quotes, no stances of persons.
`python -m benchmarks.first_try_worker BOOTSTRAP_SERVERS RAW_TOPIC ENRICHED_TOPIC NER_DIRECTORY [STANCE_DIRECTORY]`
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable
from typing import Any

import faust
import torch
from transformers import pipeline

from rasad.inference.backend import available_cores


def main(servers: str, raw: str, enriched: str, ner: str, stance: str = "") -> None:
    torch.set_num_threads(available_cores())
    app = faust.App(
        "first-try",
        broker=[f"kafka://{server}" for server in servers.split(",")],
        value_serializer="json",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )
    articles, events = app.topic(raw), app.topic(enriched, key_serializer="raw")
    find_names = pipeline("token-classification", model=ner, aggregation_strategy="simple")
    judge = pipeline("text-classification", model=stance) if stance else None

    @app.agent(articles)  # type: ignore[untyped-decorator]
    async def enrich(stream: AsyncIterable[dict[str, Any]]) -> None:
        async for article in stream:
            names = find_names(f"{article['title']}\n{article['body']}")
            found = [{**name, "score": float(name["score"])} for name in names]
            pair = {"text": article["title"], "text_pair": article["body"]}
            judged = judge(pair, truncation=True) if judge else None
            await events.send(key=article["id"].encode(), value={"article": article, "names": found, "stance": judged})

    @app.on_rebalance_complete.connect  # type: ignore[untyped-decorator]
    async def ready(*_: object, **__: object) -> None:
        print("worker ready", flush=True)

    faust.Worker(app, loglevel="warning").execute_from_commandline()


if __name__ == "__main__":
    main(*sys.argv[1:])
