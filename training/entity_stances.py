"""How far to trust each frame of an entity stance: a logistic regression over how it was read.

A frame is right where the labels, those of the news corpus and our own, have a stance in its paragraph with its side,
whose holder and target share a content word with its own, as `rasad models eval` scores it. Whole articles are left out
in cross-validation, whose figures are printed; the weights then come from all of them.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from rasad.enrich.enricher import QUOTES_HEAD
from rasad.enrich.entities import Resolution, resolve
from rasad.enrich.entity_stances import entity_stances, features, read_frames, stances
from rasad.enrich.ner import Name, names
from rasad.enrich.quotes import named_spans, parts, quotes
from rasad.enrich.reading import FieldScores, FieldText, documents, score_words, spans_of
from rasad.evaluation.attribution import is_labelled, stance_result
from rasad.evaluation.corpora import read_jsonl
from rasad.inference.bundle import load_bundle
from rasad.inference.engine import Engine
from rasad.messages import Field, Quote, Stance
from training.labels import LABELS, labelled_articles

FOLDS = 10
SEED = 0
LEAST_SEEN = 8
"""Features of fewer frames are left out."""
PENALTY = 8.0
"""Of the squared weights, the bias among them."""
STEPS = 50
BATCH = 8
DECIMALS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """An article as the NER bundle reads it, with its labels."""

    article: dict[str, Any]
    fields: tuple[FieldText, ...]
    names: Sequence[Name]
    resolution: Resolution
    quotes: Sequence[Quote]


@dataclass(frozen=True, slots=True)
class Seen:
    """A frame's features, and whether the labels have its stance."""

    features: list[str]
    right: bool


def read_articles(engine: Engine, articles: Sequence[dict[str, Any]]) -> Iterator[Read]:
    """Names, entities and quotes of labelled articles, as the `Enricher` finds them."""
    head, thresholds = engine.bundle.manifest.default_head, engine.bundle.manifest.thresholds
    for first in range(0, len(articles), BATCH):
        batch = articles[first : first + BATCH]
        read = documents(engine, [(article["title"], article["body"]) for article in batch])
        for article, scored in zip(batch, score_words(engine, read, [head, QUOTES_HEAD]), strict=True):
            texts: dict[Field, str] = {"title": article["title"], "body": article["body"]}
            found = names(engine, scored, head, threshold=thresholds.get("mention", 0.0))
            resolution = resolve(found, texts)
            said = quotes(_quote_parts(engine, scored, thresholds.get("quote", 0.0)), found, resolution, texts)
            yield Read(article, tuple(each.text for each in scored), found, resolution, said)


def _quote_parts(engine: Engine, scored: Sequence[FieldScores], threshold: float) -> list[Any]:
    return [
        part
        for each in scored
        for part in parts(each.text, spans_of(engine, each, QUOTES_HEAD, within="paragraph"))
        if part.prob >= threshold or part.kind in ("cue", "speaker")
    ]


def _arguments(read: Read, text: FieldText) -> tuple[Any, ...]:
    said = [quote for quote in read.quotes if quote.field == text.field]
    return text, named_spans(read.names, read.resolution, text.field), read.resolution.entities, said


def frames_of(read: Read) -> list[Seen]:
    """Every frame of an article that states something."""
    seen = []
    for text in read.fields:
        for frame, reader in read_frames(*_arguments(read, text)):
            stated = next(stances(frame, reader, 1.0), None)
            if stated is not None:
                seen.append(Seen(features(frame, reader), is_labelled(read.article, stated)))
    return seen


def stances_of(read: Read, weights: Mapping[str, float]) -> list[Stance]:
    """The stances of an article under some weights."""
    return [stance for text in read.fields for stance in entity_stances(*_arguments(read, text), weights)]


def fitted(seen: Sequence[Seen]) -> dict[str, float]:
    """Weights by Newton's method: the loss is convex and there are some eighty of them."""
    counts = Counter(name for each in seen for name in each.features)
    vocabulary = sorted(name for name, count in counts.items() if count >= LEAST_SEEN)
    index = {name: number for number, name in enumerate(vocabulary)}
    inputs = np.zeros((len(seen), len(vocabulary)))
    for row, each in enumerate(seen):
        inputs[row, [index[name] for name in each.features if name in index]] = 1.0
    weights = _newton(inputs, np.array([each.right for each in seen], dtype=float))
    return {name: round(float(weights[number]), DECIMALS) for name, number in index.items()}


def _newton(inputs: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    weights = np.zeros(inputs.shape[1])
    ridge = PENALTY * np.eye(inputs.shape[1])
    for _ in range(STEPS):
        likely = 1 / (1 + np.exp(-inputs @ weights))
        slope = inputs.T @ (likely - right) + PENALTY * weights
        curvature = (inputs * (likely * (1 - likely))[:, None]).T @ inputs + ridge
        step = np.linalg.solve(curvature, slope)
        weights -= step
        if np.abs(step).max() < 1e-9:
            break
    return weights


def cross_validated(read: Sequence[Read], seen: Sequence[Sequence[Seen]]) -> list[list[Stance]]:
    """The stances of each article under weights that have not seen it."""
    order = list(range(len(read)))
    random.Random(SEED).shuffle(order)
    found: list[list[Stance]] = [[] for _ in read]
    for fold in (order[number::FOLDS] for number in range(FOLDS)):
        held_out = set(fold)
        weights = fitted([each for number in order if number not in held_out for each in seen[number]])
        for number in fold:
            found[number] = stances_of(read[number], weights)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the corpora")
    parser.add_argument("out", type=Path, help="JSON file of the weights to write")
    parser.add_argument("--bundle", type=Path, help="NER bundle; the shipped one by default")
    arguments = parser.parse_args()
    engine = Engine.open(load_bundle(arguments.bundle, task="ner"))
    labelled = labelled_articles(LABELS, arguments.data / "raw")
    articles = [*read_jsonl(arguments.data / "news/train.jsonl"), *(a for a in labelled if "stances" in a["labelled"])]
    read = list(tqdm(read_articles(engine, articles), total=len(articles), unit=" articles", mininterval=5))
    seen = [frames_of(each) for each in read]
    score = stance_result([each.article for each in read], cross_validated(read, seen)).whole
    weights = fitted([each for mine in seen for each in mine])
    arguments.out.write_text(json.dumps(weights, ensure_ascii=False, indent=1) + "\n", "utf-8")
    right = sum(each.right for mine in seen for each in mine)
    print(f"{sum(map(len, seen))} frames, {right} of them right; {len(weights)} weights")
    counts = f"{score.correct} of {score.predicted} stated and {score.gold} labelled"
    print(f"by cross-validation: precision {score.precision:.1f}, recall {score.recall:.1f} ({counts})")


if __name__ == "__main__":
    main()
