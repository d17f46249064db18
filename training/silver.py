"""Label raw news with a NER bundle, in the format of `news/*.jsonl`: self-training of the next model on this one.

What the model is unsure of (a mention below `--sure`, or a word outside all mentions that may well be a name) is
written as `debatable`, which training leaves out. Quotes, stances and claims stay empty: `training.finetune_ner` takes
the mentions alone from such a file.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from rasad.enrich.reading import Document, FieldScores, documents, score_words, spans_of
from rasad.evaluation.corpora import read_jsonl
from rasad.inference.bundle import load_bundle
from rasad.inference.decoding import softmax
from rasad.inference.engine import Engine
from training.labels import paragraphs

HEAD = "news"
BATCH = 32


def mentions(engine: Engine, scored: FieldScores, sure: float) -> Iterator[dict[str, Any]]:
    """The mentions of a field and, as debatable ones, what may be a mention."""
    _, layer = engine.bundle.head(HEAD)
    taken = np.zeros(len(scored.scores[HEAD]), dtype=bool)
    spans: list[tuple[int, int, str, bool]] = []
    for span in spans_of(engine, scored, HEAD):
        taken[span.start : span.end] = True
        spans.append((span.start, span.end, span.type, span.prob < sure))
    outside = softmax(scored.scores[HEAD], layer.temperature)[:, layer.labels.index("O")] if len(taken) else taken
    spans += [(word, word + 1, "MISC", True) for word in np.flatnonzero(~taken & (outside < sure)).tolist()]
    for first, end, kind, debatable in sorted(spans):
        start, stop = scored.text.input_span(first, end)
        found = {"field": scored.text.field, "start": start, "end": stop, "type": kind}
        yield {**found, "debatable": True} if debatable else found


def labelled(engine: Engine, articles: Sequence[dict[str, Any]], sure: float) -> Iterator[dict[str, Any]]:
    """Articles with mentions."""
    read: list[Document] = documents(engine, [(each.get("title") or "", each["text"]) for each in articles])
    for article, scored in zip(articles, score_words(engine, read, [HEAD]), strict=True):
        body = article["text"]
        yield {
            "id": article["id"],
            "source": article.get("source") or "",
            "title": article.get("title") or "",
            "body": body,
            "paragraphs": paragraphs(body),
            "mentions": [found for each in scored for found in mentions(engine, each, sure)],
            "quotes": [],
            "stances": [],
            "claims": [],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", help="NER bundle that labels")
    parser.add_argument("out", type=Path, help="JSON-lines file to write")
    parser.add_argument("corpora", type=Path, nargs="+", help="raw JSON-lines corpora")
    parser.add_argument("--articles", type=int, default=300, help="articles of each corpus (default: %(default)s)")
    parser.add_argument("--sure", type=float, default=0.75, help="probability that settles it (default: %(default)s)")
    parser.add_argument("--without", type=Path, nargs="*", default=[], help="labelled files of articles to skip")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    known = {article["id"] for path in arguments.without for article in read_jsonl(path)}
    engine = Engine.open(load_bundle(arguments.bundle, task="ner"))
    chosen: list[dict[str, Any]] = []
    for path in arguments.corpora:
        fitting = [
            article
            for article in tqdm(read_jsonl(path), desc=path.name, unit=" articles", mininterval=5)
            if article["id"] not in known and 90 <= len(article["text"].split()) <= 620
        ]
        chosen += random.Random(arguments.seed).sample(fitting, min(arguments.articles, len(fitting)))
    with arguments.out.open("w", encoding="utf-8") as out:
        for start in tqdm(range(0, len(chosen), BATCH), desc="labelling", unit=" batches"):
            for article in labelled(engine, chosen[start : start + BATCH], arguments.sure):
                out.write(json.dumps(article, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
