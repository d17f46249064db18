"""Strict entity scores over labelled spans: the CoNLL-2003 measure (Tjong Kim Sang and De Meulder, 2003)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

LabelledSpan = tuple[int, int, str]
"""`(first word, one past the last word, type)`."""


def spans_of(labels: Sequence[str]) -> list[LabelledSpan]:
    """Spans of a BIO label sequence; an I- that continues nothing opens a span, as conlleval counts it."""
    spans: list[LabelledSpan] = []
    start, kind = 0, ""
    for index, label in enumerate([*labels, "O"]):
        prefix, _, name = label.partition("-")
        if kind and (prefix != "I" or name != kind):
            spans.append((start, index, kind))
            kind = ""
        if prefix in ("B", "I") and not kind:
            start, kind = index, name
    return spans


@dataclass(frozen=True, slots=True)
class Score:
    """Precision, recall and F1 from counts, each 0 to 100."""

    correct: int
    predicted: int
    gold: int

    @property
    def precision(self) -> float:
        """Share of predictions that are right."""
        return 100 * self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """Share of gold spans that were found."""
        return 100 * self.correct / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.predicted + self.gold
        return 200 * self.correct / total if total else 0.0


@dataclass(slots=True)
class SpanScorer:
    """Counts matches of exact boundaries and type over a corpus."""

    correct: Counter[str] = field(default_factory=Counter)
    predicted: Counter[str] = field(default_factory=Counter)
    gold: Counter[str] = field(default_factory=Counter)

    def add(
        self,
        gold: Iterable[LabelledSpan],
        predicted: Iterable[LabelledSpan],
        ignored: Iterable[LabelledSpan] = (),
    ) -> None:
        """Count one text. A prediction that overlaps an `ignored` span and matches no gold is left out."""
        gold_set, left_out = set(gold), list(ignored)
        for span in set(predicted):
            hit = span in gold_set
            debatable = any(span[0] < end and start < span[1] for start, end, _ in left_out)
            if hit or not debatable:
                self.predicted[span[2]] += 1
                self.correct[span[2]] += hit
        self.gold.update(kind for _, _, kind in gold_set)

    def types(self) -> list[str]:
        """Types seen in gold or predictions, sorted."""
        return sorted(set(self.gold) | set(self.predicted))

    def score(self, *types: str) -> Score:
        """Micro-averaged score over `types`, or over all."""
        chosen = types or tuple(self.types())
        return Score(
            sum(self.correct[kind] for kind in chosen),
            sum(self.predicted[kind] for kind in chosen),
            sum(self.gold[kind] for kind in chosen),
        )
