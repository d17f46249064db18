"""NER on labelled corpora: whole articles by the news convention, and sentences of CoNLL files.

Scores are strict (boundaries and type) and micro-averaged, over mentions as spans of words and over single words.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from rasad.enrich.ner import Name, entity_type, name_spans, names
from rasad.enrich.reading import FieldScores, documents, score_words
from rasad.evaluation.corpora import TaggedSentence
from rasad.evaluation.spans import LabelledSpan, Score, SpanScorer, spans_of
from rasad.inference.engine import Engine
from rasad.messages import Field
from rasad.text.normalise import normalise
from rasad.text.words import word_spans

Progress = Callable[[int], None]
"""Told how many more articles, sentences or pairs are done."""

FOLDED: Final[Mapping[str, str]] = {"GPE": "LOC", "FAC": "LOC", "NORP": "MISC", "EVENT": "MISC"}
"""The eight types of the news labels in four."""

_CORPUS_NAMES: Final[Mapping[str, str]] = {"PERS": "PER", "MIS": "MISC"}
_CHUNK: Final = 32
_BINS: Final = 10


def no_progress(_: int) -> None:
    """Tells nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One text's spans of words: what is right, what a model found, and what is debatable and counts neither way.

    `probs[i]` belongs to `predicted[i]`; `surfaces` has the normalised text of every span in `gold` and `predicted`.
    """

    gold: tuple[LabelledSpan, ...]
    predicted: tuple[LabelledSpan, ...]
    probs: tuple[float, ...]
    surfaces: Mapping[tuple[int, int], str]
    debatable: tuple[LabelledSpan, ...] = ()

    def retyped(self, types: Mapping[str, str]) -> Found:
        """The same with types renamed by `types`, those it does not name as they are."""

        def renamed(spans: Iterable[LabelledSpan]) -> tuple[LabelledSpan, ...]:
            return tuple((start, end, types.get(kind, kind)) for start, end, kind in spans)

        return replace(self, gold=renamed(self.gold), predicted=renamed(self.predicted))


@dataclass(frozen=True, slots=True, kw_only=True)
class NerResult:
    """Scores of one corpus. `spans` and `words` count mentions and their single words, by type.

    `seen` and `unseen` count the mentions whose surface is, or is not, one of a mention of the training data;
    `calibration_error` is the expected calibration error of mention probabilities in percent.
    """

    spans: SpanScorer
    words: SpanScorer
    seen: SpanScorer
    unseen: SpanScorer
    calibration_error: float

    def score(self, *types: str) -> Score:
        """Strict span score over `types`, or over all."""
        return self.spans.score(*types)


def ner_result(texts: Iterable[Found], known: Collection[str]) -> NerResult:
    """Score texts; `known` are the normalised surfaces of the training data's mentions."""
    spans, words, seen, unseen = SpanScorer(), SpanScorer(), SpanScorer(), SpanScorer()
    probs: list[float] = []
    right: list[bool] = []
    for each in texts:
        spans.add(each.gold, each.predicted, each.debatable)
        words.add(_single(each.gold), _single(each.predicted), _single(each.debatable))
        for scorer, wanted in ((seen, True), (unseen, False)):
            gold_of, found_of = (
                [span for span in group if (each.surfaces[span[:2]] in known) == wanted]
                for group in (each.gold, each.predicted)
            )
            scorer.add(gold_of, found_of, each.debatable)
        gold = set(each.gold)
        for span, prob in zip(each.predicted, each.probs, strict=True):
            if span in gold or not _overlaps(span, each.debatable):
                probs.append(prob)
                right.append(span in gold)
    return NerResult(
        spans=spans, words=words, seen=seen, unseen=unseen, calibration_error=expected_calibration_error(probs, right)
    )


def expected_calibration_error(probs: Sequence[float], right: Sequence[bool], *, bins: int = _BINS) -> float:
    """How far probabilities are from the share that is right, in percent (Naeini, Cooper and Hauskrecht, 2015).

    Probabilities fall into `bins` of equal width; each bin's gap counts by its size. 0 where there is nothing.
    """
    if not probs:
        return 0.0
    values, hits = np.array(probs), np.array(right, dtype=float)
    of_bin = np.minimum((values * bins).astype(int), bins - 1)
    gaps = np.bincount(of_bin, weights=values - hits, minlength=bins)
    return float(100 * np.abs(gaps).sum() / len(values))


def _single(spans: Iterable[LabelledSpan]) -> list[LabelledSpan]:
    return [(word, word + 1, kind) for start, end, kind in spans for word in range(start, end)]


def _overlaps(span: LabelledSpan, others: Iterable[LabelledSpan]) -> bool:
    return any(span[0] < end and start < span[1] for start, end, _ in others)


@dataclass(frozen=True, slots=True, eq=False)
class _Words:
    """Words of one text as it arrived: `starts` and `ends`, both `[words]`, in its code points."""

    starts: Any
    ends: Any

    @classmethod
    def of(cls, text: str) -> _Words:
        normalised = normalise(text)
        words = word_spans(normalised.text)
        return cls(normalised.offsets[words[:, 0]], normalised.offsets[words[:, 1]])

    def covered(self, start: int, end: int) -> tuple[int, int]:
        """The words that share a character with `[start, end)`; an empty span where none does."""
        first = int(np.searchsorted(self.ends, start, side="right"))
        last = int(np.searchsorted(self.starts, end, side="left"))
        return first, max(first, last)


def gold_mentions(article: Mapping[str, Any], field: Field) -> Iterator[tuple[int, int, str, bool]]:
    """`(start, end, type, debatable)` of one field's mentions in a record of the news corpus."""
    for mention in article["mentions"]:
        if mention["field"] == field:
            yield mention["start"], mention["end"], mention["type"], bool(mention.get("debatable"))


def mention_surfaces(articles: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Normalised surfaces of all mentions of news articles that are not debatable."""
    return frozenset(
        normalise(article[field][start:end]).text
        for article in articles
        for field in ("title", "body")
        for start, end, _, debatable in gold_mentions(article, field)
        if not debatable
    )


def find_in_articles(
    engine: Engine,
    articles: Sequence[Mapping[str, Any]],
    *,
    head: str,
    threshold: float = 0.0,
    progress: Progress = no_progress,
) -> list[Found]:
    """Title and body of each news article, read in the pipeline's own windows.

    Types are the head's finest: GPE, FAC and so on where it tells them apart.
    """
    found = []
    for start in range(0, len(articles), _CHUNK):
        chunk = articles[start : start + _CHUNK]
        read = documents(engine, [(article["title"], article["body"]) for article in chunk])
        for article, scored in zip(chunk, score_words(engine, read, [head]), strict=True):
            known = names(engine, scored, head, threshold=threshold)
            found += [_found(article, name, known) for name in ("title", "body")]
        progress(len(chunk))
    return found


def _found(article: Mapping[str, Any], field: Field, known: Sequence[Name]) -> Found:
    text = article[field]
    words = _Words.of(text)
    gold: list[LabelledSpan] = []
    debatable: list[LabelledSpan] = []
    surfaces: dict[tuple[int, int], str] = {}
    for start, end, kind, doubtful in gold_mentions(article, field):
        span = words.covered(start, end)
        (debatable if doubtful else gold).append((*span, kind))
        surfaces[span] = normalise(text[start:end]).text
    mine = [name for name in known if name.field == field]
    spans = [words.covered(name.start, name.end) for name in mine]
    for name, span in zip(mine, spans, strict=True):
        surfaces.setdefault(span, normalise(name.surface).text)
    return Found(
        gold=tuple(gold),
        predicted=tuple((*span, name.subtype or name.type) for name, span in zip(mine, spans, strict=True)),
        probs=tuple(name.prob for name in mine),
        surfaces=surfaces,
        debatable=tuple(debatable),
    )


def corpus_labels(sentence: TaggedSentence) -> tuple[str, ...]:
    """The labels of a sentence with PERS and MIS named as elsewhere."""
    parted = [label.partition("-") for label in sentence.labels]
    return tuple(prefix + dash + _CORPUS_NAMES.get(kind, kind) for prefix, dash, kind in parted)


def sentence_surfaces(sentences: Iterable[TaggedSentence]) -> frozenset[str]:
    """Normalised surfaces of all mentions of sentences, their words joined by spaces."""
    return frozenset(
        _surface(sentence, start, end) for sentence in sentences for start, end, _ in spans_of(corpus_labels(sentence))
    )


def _surface(sentence: TaggedSentence, start: int, end: int) -> str:
    return normalise(" ".join(sentence.words[start:end])).text


def find_in_sentences(
    engine: Engine,
    sentences: Sequence[TaggedSentence],
    *,
    head: str,
    together: int = 1,
    progress: Progress = no_progress,
) -> list[Found]:
    """Each sentence read alone, its words joined by spaces, as results on these corpora are published.

    With `together`, so many neighbours are lines of one text, as they are in the articles that the corpora cut up; no
    span leaves its sentence either way, and one `Found` is one text. Spans are of the corpus's own words: one is found
    where a span of the model touches it. Types are the four.
    """
    found = []
    texts = [sentences[start : start + together] for start in range(0, len(sentences), together)]
    for start in range(0, len(texts), _CHUNK):
        chunk = texts[start : start + _CHUNK]
        read = documents(engine, [("", "\n".join(" ".join(each.words) for each in text)) for text in chunk])
        scored = score_words(engine, read, [head])
        found += [_in_sentences(engine, text, body, head) for text, (_, body) in zip(chunk, scored, strict=True)]
        progress(sum(map(len, chunk)))
    return found


def _in_sentences(engine: Engine, sentences: Sequence[TaggedSentence], scored: FieldScores, head: str) -> Found:
    _, layer = engine.bundle.head(head)
    sentence = TaggedSentence(
        words=tuple(word for each in sentences for word in each.words),
        labels=tuple(label for each in sentences for label in each.labels),
    )
    ends = np.cumsum([len(word) + 1 for word in sentence.words]) - 1
    words = _Words(ends - [len(word) for word in sentence.words], ends)
    # The corpus has cut its sentences already, so no boundary that Rasad would see inside one counts.
    lengths = [len(each.words) for each in sentences]
    opening = words.starts[np.cumsum([0, *lengths[:-1]])]
    number = np.searchsorted(opening, scored.text.word_spans[:, 0], side="right")
    opens = np.asarray(np.diff(number, prepend=-1) != 0)
    predicted: dict[LabelledSpan, float] = {}
    ((_, spans),) = name_spans(layer, [(scored.text, scored.scores[head], opens)])
    for span in spans:
        kind = entity_type(span.type, layer.labels)
        if kind is not None:
            where = words.covered(*scored.text.input_span(span.start, span.end))
            predicted.setdefault((*where, kind[0]), span.prob)
    gold = spans_of(corpus_labels(sentence))
    return Found(
        gold=tuple(gold),
        predicted=tuple(predicted),
        probs=tuple(predicted.values()),
        surfaces={(start, end): _surface(sentence, start, end) for start, end, _ in [*gold, *predicted]},
    )
