"""How well a tagger reads newspapers that it was not trained on, beside the dev set's.

Train it with `training.finetune_ner --hold-out SOURCES`, then name the same sources here. Their articles of
`news/train.jsonl` are scored, strictly and over mentions, as `rasad models eval` scores those of `news/dev.jsonl`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rasad.evaluation.corpora import read_jsonl
from rasad.evaluation.ner import FOLDED, Found, find_in_articles, ner_result
from rasad.inference.bundle import load_bundle
from rasad.inference.engine import Engine

HEAD = "news"


def figures(found: Sequence[Found]) -> dict[str, float]:
    """Micro-F1 over four types, over ORG alone and over eight types, 0 to 100."""
    four = ner_result([each.retyped(FOLDED) for each in found], frozenset())
    return {
        "F1": four.score().f1,
        "ORG": four.score("ORG").f1,
        "8 types": ner_result(found, frozenset()).score().f1,
    }


def scored(engine: Engine, name: str, articles: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of some articles, with how many they are."""
    threshold = engine.bundle.manifest.thresholds.get("mention", 0.0)
    with tqdm(total=len(articles), desc=name, unit=" articles", mininterval=5) as bar:
        found = find_in_articles(engine, articles, head=HEAD, threshold=threshold, progress=bar.update)
    rounded = {key: round(value, 1) for key, value in figures(found).items()}
    return {"articles": name, "count": len(articles), **rounded}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path, help="bundle of a tagger trained without those sources")
    parser.add_argument("data", type=Path, help="folder of the corpora")
    parser.add_argument("sources", help="the sources left out of training, comma-separated")
    arguments = parser.parse_args()
    sources = set(arguments.sources.split(","))
    articles = list(read_jsonl(arguments.data / "news/train.jsonl"))
    unknown = sources - {article["source"] for article in articles}
    if unknown:
        parser.error(f"no article of {', '.join(sorted(unknown))} in news/train.jsonl")
    engine = Engine.open(load_bundle(arguments.bundle, task="ner"))
    dev = list(read_jsonl(arguments.data / "news/dev.jsonl"))
    rows = [scored(engine, source, [a for a in articles if a["source"] == source]) for source in sorted(sources)]
    rows.append(scored(engine, "all held out", [article for article in articles if article["source"] in sources]))
    rows.append(scored(engine, "dev", dev))
    rows.append(scored(engine, "dev, other sources", [article for article in dev if article["source"] not in sources]))
    for row in rows:
        print(json.dumps(row, ensure_ascii=False))


if __name__ == "__main__":
    main()
