"""Temperatures and thresholds of a bundle, chosen on dev sets with the int8 graph as it ships.

A head's temperature minimises the negative log-likelihood of its dev labels (Guo et al., "On Calibration of Modern
Neural Networks", 2017). What an entity stance's side and its rivals change in its probability is fitted on the articles
that `training.relations` holds out; stances are stated from the least one at which PRECISION in a hundred are right.
What is added to `O` in the heads of ANERcorp and AQMAR is the least with which they score about best.
`unrelated` has the least weight with which watched claims behind the gate score about best, `agree` the least one with
which at most BLAMED in a hundred raw headlines do not agree with their own articles.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rasad.enrich.enricher import Enricher
from rasad.enrich.entity_stances import STANCES_HEAD
from rasad.enrich.reading import documents, score_words
from rasad.enrich.rivalry import LEAST_RIVAL, log_odds, rivalry
from rasad.enrich.stance import UNRELATED, Pair, StanceModel
from rasad.evaluation.attribution import place, stance_result, stances_right
from rasad.evaluation.claims import gated_claims
from rasad.evaluation.corpora import read_jsonl
from rasad.evaluation.ner import find_in_sentences, ner_result
from rasad.evaluation.report import ANERCORP_DEV_NAME, AQMAR_DEV_NAME, TOGETHER
from rasad.evaluation.stance import news_claims, stance_records
from rasad.evaluation.stance import stance_result as stance_scores
from rasad.inference.bundle import StanceOdds, load_bundle
from rasad.inference.engine import Engine
from rasad.messages import RawArticle, Stance
from training.finetune_ner import dev_sentences
from training.finetune_stance import HEADS
from training.relations import logistic, stance_articles
from training.tagging import news_document

Logits = npt.NDArray[np.float32]
PROBABILITIES = np.round(np.arange(0.2, 0.96, 0.01), 2)
PRECISION = 60.0
ENOUGH_RIGHT = 30
"""Entity stances of held-out articles that must be right for their odds to be fitted."""
BLAMED = 1.0
ALIKE = 0.5
HEADLINES = 500
HEADLINES_OF = Path("raw/ant_multisource.jsonl.zst")
"""Raw headlines that are held against their own articles."""
WEIGHTS = np.round(np.arange(1.0, 10.01, 0.25), 2)
GRID = np.round(np.arange(0.5, 4.01, 0.05), 2)
SENTENCES: dict[str, tuple[str, tuple[str, ...]]] = {
    "anercorp": (ANERCORP_DEV_NAME, ()),
    "aqmar": (AQMAR_DEV_NAME, ("PER", "LOC", "ORG")),
}
"""The dev set of a head, by head, and the types that count there; all where none is named."""
OUTSIDE = np.round(np.arange(0.0, 2.01, 0.25), 2)


def best_temperature(logits: Logits, labels: npt.NDArray[np.int64]) -> float:
    """The grid's temperature with the lowest mean negative log-likelihood; `[items, labels]` and `[items]`."""

    def loss(temperature: float) -> float:
        scaled = logits.astype(np.float64) / temperature
        scaled -= scaled.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(scaled).sum(axis=1))
        return float((log_sum - scaled[np.arange(len(labels)), labels]).mean())

    return float(min(GRID, key=loss))


def ner_temperatures(engine: Engine, articles: Sequence[dict[str, Any]]) -> dict[str, float]:
    """A temperature for each head that the news labels speak of."""
    heads = [name for name in ("news", "quotes") if name in engine.bundle.manifest.heads]
    read = documents(engine, [(article["title"], article["body"]) for article in articles])
    scored = score_words(engine, read, heads)
    logits: dict[str, list[Logits]] = {name: [] for name in heads}
    labels: dict[str, list[int]] = {name: [] for name in heads}
    for article, fields in zip(articles, scored, strict=True):
        units = news_document(article).units
        for name in heads:
            values = np.concatenate([field.scores[name] for field in fields])
            gold = [label for unit in units for label in unit.labels[name]]
            if len(gold) == len(values):
                logits[name].append(values)
                labels[name].extend(gold)
    found = {}
    for name in heads:
        gold_array = np.array(labels[name])
        kept = gold_array >= 0
        found[name] = best_temperature(np.concatenate(logits[name])[kept], gold_array[kept])
    return found


def outside_biases(engine: Engine, data: Path) -> dict[str, float]:
    """What is added to `O` in each head with a dev set of sentences: the least of OUTSIDE that is about as good as any.

    Sentences are read as many together as `rasad models eval` reads, and scored over the types that it names. A head
    whose dev set the bundle was trained on keeps what the bundle has.
    """
    manifest = engine.bundle.manifest
    read = dev_sentences(data)
    found = {name: manifest.heads[name].outside for name in SENTENCES if name in manifest.heads}
    for head in found.keys() & read.keys():
        dev_set, types = SENTENCES[head]
        if dev_set in manifest.trained_on:
            continue
        scores = []
        for bias in OUTSIDE:
            shifted = with_head(engine, head, outside=float(bias))
            texts = find_in_sentences(shifted, read[head], head=head, together=TOGETHER)
            scores.append(ner_result(texts, frozenset()).score(*types).f1)
        found[head] = least_about_best(OUTSIDE, scores)
    return {head: bias for head, bias in found.items() if bias}


def least_about_best(values: Sequence[float] | npt.NDArray[np.float64], scores: Sequence[float]) -> float:
    """The first of `values` whose score is within ALIKE points of the highest."""
    return next(float(value) for value, score in zip(values, scores, strict=True) if score >= max(scores) - ALIKE)


def stance_temperatures(engine: Engine, articles: Sequence[Mapping[str, Any]], data: Path) -> dict[str, float]:
    """A temperature for each head that has a dev set; `articles` are that of the news."""
    sets = {"news": list(news_claims(articles, random.Random(0), 1))}
    for head, folder in (("ans", "ans"), ("unifiedfc", "unifiedfc"), ("nli", "nli_arbteds")):
        path = data / "stance" / folder / "dev.jsonl.zst"
        if path.exists():
            sets[head] = list(stance_records(path))
    found = {}
    for head, records in sets.items():
        model = StanceModel(engine, head)
        results = model.classify([each.pair for each in records])
        probabilities = np.array([[max(result.probs[label], 1e-4) for label in HEADS[head]] for result in results])
        gold = np.array([HEADS[head].index(each.label) for each in records])
        found[head] = best_temperature(np.log(probabilities).astype(np.float32), gold)
    return found


def with_head(engine: Engine, name: str, **changes: float) -> Engine:
    """The same engine with one head changed."""
    manifest = engine.bundle.manifest
    heads = {**manifest.heads, name: replace(manifest.heads[name], **changes)}
    return Engine(replace(engine.bundle, manifest=replace(manifest, heads=heads)), engine.backend)


def calibrated(engine: Engine, temperatures: Mapping[str, float]) -> Engine:
    """The same engine with other temperatures."""
    for name, temperature in temperatures.items():
        engine = with_head(engine, name, temperature=temperature)
    return engine


def agreement_weight(engine: Engine, raw: Iterable[Mapping[str, Any]]) -> float:
    """The least of WEIGHTS with which few enough of some raw headlines do not agree with their own articles."""
    long_enough = [a for a in raw if len(a["title"].split()) >= 4 and len(a["text"].split()) >= 60]
    chosen = random.Random(0).sample(long_enough, min(HEADLINES, len(long_enough)))
    model = StanceModel(engine, engine.bundle.manifest.headline_head)
    results = model.classify([Pair(claim=a["title"], body=a["text"]) for a in chosen])
    # How many times likelier the likeliest other label is than `agree`.
    odds = [
        max(prob for label, prob in result.probs.items() if label != "agree") / max(result.probs["agree"], 1e-4)
        for result in results
    ]
    fitting = (float(weight) for weight in WEIGHTS if 100 * np.mean([each > weight for each in odds]) <= BLAMED)
    return next(fitting, float(WEIGHTS[-1]))


def unrelated_weight(engine: Engine, articles: Sequence[Mapping[str, Any]]) -> float:
    """The least of WEIGHTS that is about as good as any for the claims that the gate lets through; 1 without claims.

    As good: within ALIKE points of the highest macro-F1, which hardly changes over many weights.
    """
    examples = gated_claims(articles)
    if not examples:
        return 1.0
    results = StanceModel(engine).classify([each.pair for each in examples])
    gold = [each.label for each in examples]

    def macro_f1(weight: float) -> float:
        weighted = [each.probs | {UNRELATED: weight * each.probs[UNRELATED]} for each in results]
        found = [max(probs, key=lambda label: probs[label]) for probs in weighted]
        return stance_scores(gold, found, resamples=1).macro_f1

    return least_about_best(WEIGHTS, [macro_f1(float(weight)) for weight in WEIGHTS])


def entity_stances_of(
    engine: Engine, articles: Sequence[dict[str, Any]], least: float, odds: StanceOdds | None
) -> list[list[Stance]]:
    """Those of each article from a probability on, with other odds than the bundle's."""
    manifest = replace(engine.bundle.manifest, thresholds={"stance": least}, stance_odds=odds)
    bundle = replace(engine.bundle, manifest=manifest)
    enricher = Enricher(Engine(bundle, engine.backend), StanceModel(Engine.open(load_bundle(None, task="stance"))))
    return [
        [stance for stance in event.stances if stance.kind == "entity"]
        for article in articles
        for event in enricher.annotate([RawArticle(id=article["id"], title=article["title"], body=article["body"])])
    ]


def stance_odds(engine: Engine, articles: Sequence[dict[str, Any]]) -> StanceOdds | None:
    """What makes the probabilities of entity stances the share that is right; None where too few are."""
    inputs: list[tuple[float, bool, bool, float]] = []
    right: list[bool] = []
    found = entity_stances_of(engine, articles, LEAST_RIVAL, None)
    for article, stances in zip(articles, found, strict=True):
        where = [place(article, each.evidence[0].field, each.evidence[0].start) for each in stances]
        order = sorted(range(len(stances)), key=where.__getitem__)
        right += stances_right(article, [stances[index] for index in order])
        for _, indices in groupby(order, key=where.__getitem__):
            beside = [stances[index] for index in indices]
            for each, rival in zip(beside, rivalry(beside), strict=True):
                inputs.append((log_odds(each), each.label == "support", each.label == "oppose", -rival))
    if sum(right) < ENOUGH_RIGHT:
        return None
    weights = logistic(np.array(inputs, dtype=float), right)
    return StanceOdds(**dict(zip(("scale", "support", "oppose", "rival"), np.round(weights, 2).tolist(), strict=True)))


def stance_threshold(engine: Engine, articles: Sequence[dict[str, Any]], odds: StanceOdds | None) -> float | None:
    """The least of PROBABILITIES from which entity stances are right often enough; None for none."""
    found = entity_stances_of(engine, articles, float(PROBABILITIES[0]), odds)
    for least in PROBABILITIES:
        kept = [[each for each in mine if each.probs[each.label] >= least] for mine in found]
        if stance_result(articles, kept).whole.precision >= PRECISION:
            return float(least)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("task", choices=("ner", "stance"))
    parser.add_argument("bundle", type=Path, help="bundle directory, with temperatures of 1")
    parser.add_argument("data", type=Path, help="folder of the corpora")
    parser.add_argument("out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    engine = Engine.open(load_bundle(arguments.bundle, task=arguments.task))
    articles = list(read_jsonl(arguments.data / "news/dev.jsonl"))
    found: dict[str, Any] = {}
    if arguments.task == "ner":
        found["temperatures"] = ner_temperatures(engine, articles)
        found["outside"] = outside_biases(engine, arguments.data)
        if STANCES_HEAD in engine.bundle.manifest.heads:
            odds = stance_odds(engine, stance_articles(arguments.data).held_out)
            found["stance_odds"] = odds and asdict(odds)
            least = stance_threshold(engine, articles, odds)
            found["thresholds"] = {} if least is None else {"stance": least}
    else:
        found["temperatures"] = stance_temperatures(engine, articles, arguments.data)
        tempered = calibrated(engine, found["temperatures"])
        found["claim_weights"] = {UNRELATED: unrelated_weight(tempered, articles)}
        if (raw := arguments.data / HEADLINES_OF).exists():
            weight = agreement_weight(tempered, read_jsonl(raw))
            found["headline_weights"] = {"agree": weight}
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
