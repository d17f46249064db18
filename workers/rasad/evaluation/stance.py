"""Stance on labelled pairs: claim against article, headline against headline, and text towards a named target."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from rasad.enrich.evidence import stems
from rasad.enrich.stance import UNRELATED, Pair, StanceModel
from rasad.evaluation.corpora import StanceRecord, read_checked
from rasad.evaluation.ner import Progress, no_progress

Matrix = npt.NDArray[np.float64]

_CHUNK: Final = 64
_RESAMPLES: Final = 1000
_RIDGE: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A labelled pair."""

    pair: Pair
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StanceResult:
    """Scores of one way of labelling one corpus, in percent.

    `macro_f1` is the mean F1 of the classes that occur in the corpus; intervals are 95 % bootstrap intervals over
    the examples.
    """

    examples: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    macro_f1: float
    macro_f1_interval: tuple[float, float]
    f1_by_class: Mapping[str, float]


def news_claims(articles: Iterable[Mapping[str, Any]], rng: random.Random, unrelated: int) -> Iterator[Example]:
    """Each article of a `news/*.jsonl` file with its claims, and with `unrelated` ones of others.

    Those others are of its category where that has enough of them.

    With equal `rng` and `unrelated` the pairs are always the same.
    """
    articles = list(articles)
    for article in articles:
        title, body = article["title"], article["body"]
        for claim in article["claims"]:
            yield Example(pair=Pair(claim=claim["text"], title=title, body=body), label=claim["label"])
        others = [each for each in articles if each["id"] != article["id"] and each["claims"]]
        near = [each for each in others if each["category"] == article["category"]]
        drawn = near if len(near) >= unrelated else others
        for other in rng.sample(drawn, min(unrelated, len(drawn))):
            claim = rng.choice(other["claims"])["text"]
            yield Example(pair=Pair(claim=claim, title=title, body=body), label="unrelated")


def own_and_other_headlines(articles: Sequence[Mapping[str, Any]]) -> Iterator[Example]:
    """Each body under its own headline, and under that of the next article, which is about other things."""
    for article, other in zip(articles, [*articles[1:], *articles[:1]], strict=True):
        yield Example(pair=Pair(claim=article["title"], body=article["body"]), label="agree")
        if other is not article:
            yield Example(pair=Pair(claim=other["title"], body=article["body"]), label=UNRELATED)


def stance_records(path: Path) -> Iterator[Example]:
    """The pairs of a stance corpus: `{target_or_claim, text, title?, label}` a line. Raises CorpusError."""
    for record in read_checked(path, StanceRecord):
        pair = Pair(claim=record["target_or_claim"], title=record.get("title") or "", body=record["text"])
        yield Example(pair=pair, label=record["label"])


def classify(model: StanceModel, pairs: Sequence[Pair], *, progress: Progress = no_progress) -> list[str]:
    """The label of each pair."""
    found: list[str] = []
    for start in range(0, len(pairs), _CHUNK):
        chunk = pairs[start : start + _CHUNK]
        found += [result.label for result in model.classify(chunk)]
        progress(len(chunk))
    return found


def without_text(pairs: Sequence[Pair]) -> list[Pair]:
    """The claims alone: what a model makes of them shows how much it reads the article."""
    return [Pair(claim=pair.claim, title="", body="") for pair in pairs]


def stance_result(gold: Sequence[str], predicted: Sequence[str], *, resamples: int = _RESAMPLES) -> StanceResult:
    """Score labels; `gold` is not empty. Resamples are drawn with a fixed seed."""
    classes = sorted({*gold, *predicted})
    number = {label: index for index, label in enumerate(classes)}
    cells = np.array([number[g] * len(classes) + number[p] for g, p in zip(gold, predicted, strict=True)])
    confusion = _confusion(cells, len(classes))
    rng = np.random.default_rng(0)
    samples = [_confusion(rng.choice(cells, len(cells)), len(classes)) for _ in range(resamples)]
    f1 = _f1_by_class(confusion)
    return StanceResult(
        examples=len(gold),
        accuracy=_accuracy(confusion),
        accuracy_interval=_interval([_accuracy(each) for each in samples]),
        macro_f1=_macro_f1(confusion),
        macro_f1_interval=_interval([_macro_f1(each) for each in samples]),
        f1_by_class={label: float(f1[number[label]]) for label in classes if label in set(gold)},
    )


def _confusion(cells: npt.NDArray[np.int64], classes: int) -> Matrix:
    """Counts `[gold, predicted]`."""
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes).astype(float)


def _accuracy(confusion: Matrix) -> float:
    return float(100 * np.trace(confusion) / confusion.sum())


def _f1_by_class(confusion: Matrix) -> Matrix:
    total = confusion.sum(axis=0) + confusion.sum(axis=1)
    return np.asarray(200 * np.diag(confusion) / np.maximum(total, 1))


def _macro_f1(confusion: Matrix) -> float:
    return float(_f1_by_class(confusion)[confusion.sum(axis=1) > 0].mean())


def _interval(values: Sequence[float]) -> tuple[float, float]:
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def majority(gold: Sequence[str]) -> list[str]:
    """The most frequent label for every example, the first in the alphabet among equals."""
    return [min(set(gold), key=lambda label: (-gold.count(label), label))] * len(gold)


def claim_classifier(train: Sequence[Example], claims: Sequence[str]) -> list[str]:
    """Labels of `claims` by a linear model of their words, trained on the claims of `train` without their texts.

    Ridge regression of the labels on light stems and pairs of them, weighted by how rare they are: the figure that a
    model which reads the text has to beat.
    """
    labels = sorted({example.label for example in train})
    bags = [_features(example.pair.claim) for example in train]
    counts = Counter(feature for bag in bags for feature in bag)
    vocabulary = sorted(feature for feature, count in counts.items() if count > 1)
    weights = {feature: (index, np.log(len(bags) / counts[feature])) for index, feature in enumerate(vocabulary)}
    x = _matrix(bags, weights)
    y = np.eye(len(labels))[[labels.index(example.label) for example in train]]
    ridge = _RIDGE * np.eye(min(x.shape))
    # The same solution twice; the smaller of the two systems is solved.
    solved = (
        np.linalg.solve(x.T @ x + ridge, x.T @ y) if x.shape[1] < len(x) else x.T @ np.linalg.solve(x @ x.T + ridge, y)
    )
    scores = _matrix([_features(claim) for claim in claims], weights) @ solved
    return [labels[index] for index in scores.argmax(axis=1)]


def _features(claim: str) -> set[str]:
    words = stems(claim)
    return {*words, *(" ".join(pair) for pair in pairwise(words))}


def _matrix(bags: Sequence[Collection[str]], weights: Mapping[str, tuple[int, float]]) -> Matrix:
    """A row of unit length for each bag, then a column of ones."""
    x = np.zeros((len(bags), len(weights) + 1))
    for row, bag in enumerate(bags):
        known = [weights[feature] for feature in bag if feature in weights]
        x[row, [index for index, _ in known]] = [weight for _, weight in known]
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1)
    x[:, -1] = 1
    return x
