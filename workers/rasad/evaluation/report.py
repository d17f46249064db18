"""Every figure of the shipped bundles, measured on a folder of corpora, as rows.

The folder has the corpora as published for this project: `news/`, `ner/NAME/` and `stance/NAME/`. What is not there
is left out and said so.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from rasad.enrich.enricher import Enricher
from rasad.enrich.entity_stances import STANCES_HEAD
from rasad.enrich.stance import StanceModel, claim_model, headline_model
from rasad.evaluation.attribution import EntityStanceResult, QuoteResult, entity_stance_result, quote_result
from rasad.evaluation.claims import GateResult, gate_results, gated_claims
from rasad.evaluation.corpora import (
    ClaimArticle,
    MentionArticle,
    QuoteArticle,
    TaggedSentence,
    contiguous_blocks,
    read_checked,
    read_conll,
)
from rasad.evaluation.ner import (
    FOLDED,
    Found,
    NerResult,
    find_in_articles,
    find_in_sentences,
    mention_surfaces,
    ner_result,
    sentence_surfaces,
)
from rasad.evaluation.spans import Score, SpanScorer
from rasad.evaluation.stance import (
    Example,
    StanceResult,
    claim_classifier,
    classify,
    majority,
    news_claims,
    own_and_other_headlines,
    stance_records,
    stance_result,
    without_text,
)
from rasad.inference.backend import OnnxBackend
from rasad.inference.bundle import Bundle, load_bundle
from rasad.inference.engine import Engine
from rasad.messages import EnrichedEvent, RawArticle

Task = Literal["ner", "stance", "quotes"]
Graph = Literal["int8", "fp32"]
Progress = Callable[[str, int, int], None]
"""Told what is being measured, how much of it is done, and how much there is."""

ANERCORP_DEV: Final[Mapping[str, int]] = {"blocks": 10, "size": 40}
"""The dev set carved out of ANERcorp's train set (see corpora.contiguous_blocks)."""

ANERCORP_DEV_NAME: Final = "ANERcorp dev"
AQMAR_DEV_NAME: Final = "AQMAR dev"

TOGETHER: Final = 40
"""Sentences of a CoNLL corpus that are read as one text for the second of its tables."""

_ARTICLES: Final = 8


class EvaluationError(Exception):
    """Nothing can be measured as asked; the message says why and what to change."""


def no_progress(what: str, done: int, total: int) -> None:
    """Tells nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanRow:
    """A strict score: of a corpus under a head, over mentions or their words, for a type or a group of mentions."""

    corpus: str
    head: str
    types: str
    level: Literal["mentions", "words"]
    group: str
    graph: Graph
    score: Score


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRow:
    """Expected calibration error, in percent, of the probabilities of a corpus's mentions."""

    corpus: str
    head: str
    types: str
    graph: Graph
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StanceRow:
    """Stance scores of a corpus. `by` is what labelled it: "int8", "fp32" or a baseline.

    `left_out` counts examples with a label that the head does not have.
    """

    corpus: str
    head: str
    by: str
    left_out: int
    result: StanceResult


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteRow:
    """Quotes of a corpus."""

    corpus: str
    graph: Graph
    result: QuoteResult


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityStanceRow:
    """Stances of kind "entity" of a corpus."""

    corpus: str
    graph: Graph
    result: EntityStanceResult


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimGateRow:
    """What the gate of watched claims lets through; no model has a part in it."""

    corpus: str
    result: GateResult


Row = SpanRow | CalibrationRow | StanceRow | QuoteRow | EntityStanceRow | ClaimGateRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything measured, in a fixed order, and the corpora that were not, each with the reason."""

    rows: tuple[Row, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What one evaluation has at hand. `limit` keeps that many articles, sentences or pairs of each corpus."""

    data: Path
    dev_only: bool
    limit: int | None
    threads: int
    progress: Progress
    left_out: list[str] = field(default_factory=list)

    def path(self, corpus: str, relative: str) -> Path | None:
        path = self.data / relative
        if path.is_file():
            return path
        self.left_out.append(f"{corpus}: no {relative}")
        return None

    def counter(self, what: str, total: int) -> Callable[[int], None]:
        done = 0

        def more(count: int) -> None:
            nonlocal done
            done += count
            self.progress(what, done, total)

        self.progress(what, 0, total)
        return more


def evaluate(
    data: Path,
    *,
    task: Task | Literal["all"] = "all",
    bundle: str | Path | None = None,
    fp32: Path | None = None,
    dev_only: bool = False,
    limit: int | None = None,
    threads: int = 0,
    progress: Progress = no_progress,
) -> Report:
    """Measure a bundle, or the shipped ones, on the corpora under `data`.

    With `bundle`, "all" means all that this bundle does. `fp32` is another graph of the same bundle to measure beside
    it. `dev_only` leaves the test sets alone. Raises BundleError, CorpusError, and EvaluationError if there is nothing
    to measure.
    """
    given = None if bundle is None else load_bundle(bundle, task=_bundle_task(task))
    tasks = _tasks(task, given)
    if fp32 is not None and {"ner", "stance"} <= tasks:
        raise EvaluationError(f"{fp32} is a graph of one bundle: name the bundle or the task that it belongs to")
    run = _Run(data=data, dev_only=dev_only, limit=limit, threads=threads, progress=progress)
    rows: list[Row] = []
    graphs: list[tuple[Graph, Path | None]] = [("int8", None)] if fp32 is None else [("int8", None), ("fp32", fp32)]
    if tasks & {"ner", "quotes"}:
        ner = given or load_bundle(None, task="ner")
        for name, graph in graphs:
            engine = _engine(run, ner, graph)
            rows += _ner_rows(run, engine, name) if "ner" in tasks else []
            rows += _event_rows(run, engine, name) if "quotes" in tasks else []
    if "stance" in tasks:
        stance = given or load_bundle(None, task="stance")
        rows += _stance_rows(run, [(name, _engine(run, stance, graph)) for name, graph in graphs])
    if not rows:
        missing = "; ".join(dict.fromkeys(run.left_out))
        raise EvaluationError(f"{data}: nothing there to measure ({missing}); --data is the folder that holds news/")
    return Report(rows=tuple(rows), left_out=tuple(dict.fromkeys(run.left_out)))


def _bundle_task(task: Task | Literal["all"]) -> Literal["ner", "stance"] | None:
    if task == "all":
        return None
    return "stance" if task == "stance" else "ner"


def _tasks(task: Task | Literal["all"], given: Bundle | None) -> set[Task]:
    if task != "all":
        return {task}
    if given is None:
        return {"ner", "stance", "quotes"}
    return {"stance"} if given.manifest.task == "stance" else {"ner", "quotes"}


def _engine(run: _Run, bundle: Bundle, graph: Path | None) -> Engine:
    if graph is not None and not graph.is_file():
        raise EvaluationError(f"{graph}: no such file")
    return Engine(bundle, OnnxBackend(bundle, threads=run.threads, graph=graph))


def _head(bundle: Bundle, wanted: str) -> str:
    """The corpus's own head, or the default one of a bundle without it."""
    return wanted if wanted in bundle.manifest.heads else bundle.manifest.default_head


def _ner_rows(run: _Run, engine: Engine, graph: Graph) -> list[Row]:
    rows: list[Row] = []
    dev = run.path("news dev", "news/dev.jsonl")
    if dev is not None:
        head = _head(engine.bundle, "news")
        articles = list(read_checked(dev, MentionArticle))[: run.limit]
        train = run.path("news train, for names seen", "news/train.jsonl")
        known = mention_surfaces(read_checked(train, MentionArticle)) if train else frozenset()
        found = find_in_articles(
            engine,
            articles,
            head=head,
            threshold=engine.bundle.manifest.thresholds.get("mention", 0.0),
            progress=run.counter(f"news dev, {graph}", len(articles)),
        )
        folded = ner_result([each.retyped(FOLDED) for each in found], known)
        rows += _span_rows("news dev", head, "4 types", graph, folded)
        if "B-GPE" in engine.bundle.head(head)[1].labels:
            rows += _span_rows("news dev", head, "8 types", graph, ner_result(found, known))
    trained_on = engine.bundle.manifest.trained_on
    for corpus, head, sentences, train_sentences in _conll_corpora(run, trained_on):
        if corpus in trained_on:
            run.left_out.append(f"{corpus}: the bundle was trained on it")
            continue
        chosen = _head(engine.bundle, head)
        known = sentence_surfaces(train_sentences)
        for together in (1, TOGETHER):
            name = corpus if together == 1 else f"{corpus}, {together} sentences a text"
            kept = sentences[: run.limit]
            progress = run.counter(f"{name}, {graph}", len(kept))
            found = find_in_sentences(engine, kept, head=chosen, together=together, progress=progress)
            rows += _span_rows(name, chosen, "4 types", graph, ner_result(found, known))
            if head == "aqmar":
                rows += _span_rows(name, chosen, "PER LOC ORG", graph, ner_result(map(_without_misc, found), known))
    return rows


def _without_misc(found: Found) -> Found:
    kept = [index for index, span in enumerate(found.predicted) if span[2] != "MISC"]
    return Found(
        gold=tuple(span for span in found.gold if span[2] != "MISC"),
        predicted=tuple(found.predicted[index] for index in kept),
        probs=tuple(found.probs[index] for index in kept),
        surfaces=found.surfaces,
    )


def _conll_corpora(
    run: _Run, trained_on: Collection[str]
) -> Iterable[tuple[str, str, list[TaggedSentence], list[TaggedSentence]]]:
    """Name, head, sentences to score, and the sentences that the head was trained on, also those of `trained_on`."""
    train = run.path(ANERCORP_DEV_NAME, "ner/anercorp_camel/train.conll")
    kept: list[TaggedSentence] = []
    if train is not None:
        whole = read_conll(train)
        kept, held_out = contiguous_blocks(whole, **ANERCORP_DEV)
        yield ANERCORP_DEV_NAME, "anercorp", held_out, kept
        if ANERCORP_DEV_NAME in trained_on:
            kept = whole
    test = None if run.dev_only else run.path("ANERcorp test", "ner/anercorp_camel/test.conll")
    if test is not None:
        yield "ANERcorp test", "anercorp", read_conll(test), kept
    dev = run.path(AQMAR_DEV_NAME, "ner/aqmar/dev.conll")
    if dev is not None:
        train = run.path("AQMAR train, for names seen", "ner/aqmar/train.conll")
        yield AQMAR_DEV_NAME, "aqmar", read_conll(dev), read_conll(train) if train else []


def _span_rows(corpus: str, head: str, types: str, graph: Graph, result: NerResult) -> list[Row]:
    def row(level: Literal["mentions", "words"], group: str, score: Score) -> SpanRow:
        return SpanRow(corpus=corpus, head=head, types=types, level=level, group=group, graph=graph, score=score)

    def by_type(level: Literal["mentions", "words"], scorer: SpanScorer) -> list[SpanRow]:
        return [row(level, "all", scorer.score()), *(row(level, kind, scorer.score(kind)) for kind in scorer.types())]

    return [
        *by_type("mentions", result.spans),
        row("mentions", "names of its train set", result.seen.score()),
        row("mentions", "names not in its train set", result.unseen.score()),
        *by_type("words", result.words),
        CalibrationRow(corpus=corpus, head=head, types=types, graph=graph, error=result.calibration_error),
    ]


def _event_rows(run: _Run, engine: Engine, graph: Graph) -> list[Row]:
    path = run.path("news dev", "news/dev.jsonl")
    if path is None:
        return []
    articles = list(read_checked(path, QuoteArticle))[: run.limit]
    stance = StanceModel(Engine.open(load_bundle(None, task="stance"), threads=run.threads))
    events = _events(Enricher(engine, stance), articles, run.counter(f"news dev events, {graph}", len(articles)))
    rows: list[Row] = []
    heads = engine.bundle.manifest.heads
    if "quotes" in heads:
        rows.append(QuoteRow(corpus="news dev", graph=graph, result=quote_result(articles, events)))
    if STANCES_HEAD in heads:
        rows.append(EntityStanceRow(corpus="news dev", graph=graph, result=entity_stance_result(articles, events)))
    return rows


def _events(
    enricher: Enricher, articles: Sequence[Mapping[str, Any]], progress: Callable[[int], None]
) -> list[EnrichedEvent]:
    events: list[EnrichedEvent] = []
    for start in range(0, len(articles), _ARTICLES):
        chunk = articles[start : start + _ARTICLES]
        raw = [RawArticle(id=each["id"], title=each["title"], body=each["body"]) for each in chunk]
        events += enricher.annotate(raw)
        progress(len(chunk))
    return events


_STANCE_CORPORA: Final = (
    ("ANS dev", "ans", "ans", "dev"),
    ("ANS test", "ans", "ans", "test"),
    ("ANS article dev", "ans", "ans_article_DERIVED", "dev"),
    ("ANS article test", "ans", "ans_article_DERIVED", "test"),
    ("UnifiedFC dev", "unifiedfc", "unifiedfc", "dev"),
    ("ArabicStanceX test", "target", "arabicstancex", "test"),
)
"""Name, head, folder under `stance/`, split."""


def _seeded() -> random.Random:
    return random.Random(0)  # noqa: S311  the same pairs every time


def _stance_rows(run: _Run, engines: Sequence[tuple[Graph, Engine]]) -> list[Row]:
    rows: list[Row] = []
    news = run.path("news dev claims", "news/dev.jsonl")
    if news is not None:
        train = run.data / "news/train.jsonl"
        learnt = list(news_claims(read_checked(train, ClaimArticle), _seeded(), 1)) if train.is_file() else []
        articles = list(read_checked(news, ClaimArticle))
        examples = list(news_claims(articles, _seeded(), 1))
        rows += _stance_corpus(run, engines, "news dev claims", "news", examples, learnt)
        watched = articles[: run.limit]
        headlines = list(own_and_other_headlines(watched))
        rows += _judged_rows(run, engines, "news dev headlines", headlines, headline_model)
        if len(watched) > 1:
            rows += [ClaimGateRow(corpus="news dev claims", result=each) for each in gate_results(watched)]
            rows += _judged_rows(run, engines, "news dev claims behind the gate", gated_claims(watched), claim_model)
    for corpus, head, folder, split in _STANCE_CORPORA:
        if split == "test" and run.dev_only:
            continue
        path = run.path(corpus, f"stance/{folder}/{split}.jsonl.zst")
        if path is None:
            continue
        train = path.with_name("train.jsonl.zst")
        learnt = list(stance_records(train)) if train.is_file() else []
        rows += _stance_corpus(run, engines, corpus, head, list(stance_records(path)), learnt)
    return rows


def _judged_rows(
    run: _Run,
    engines: Sequence[tuple[Graph, Engine]],
    corpus: str,
    examples: Sequence[Example],
    judging: Callable[[StanceModel], StanceModel],
) -> list[Row]:
    """How the model that `judging` makes of the default head does; no rows where it lacks a label or has no pair."""
    rows: list[Row] = []
    for graph, engine in engines:
        model = judging(StanceModel(engine))
        if not examples or not {each.label for each in examples} <= set(model.labels):
            return []
        counter = run.counter(f"{corpus}, {graph}", len(examples))
        found = classify(model, [each.pair for each in examples], progress=counter)
        result = stance_result([each.label for each in examples], found)
        rows.append(StanceRow(corpus=corpus, head=model.head, by=graph, left_out=0, result=result))
    return rows


def _stance_corpus(
    run: _Run,
    engines: Sequence[tuple[Graph, Engine]],
    corpus: str,
    head: str,
    examples: Sequence[Example],
    train: Sequence[Example],
) -> list[Row]:
    chosen = _head(engines[0][1].bundle, head)
    labels = engines[0][1].bundle.head(chosen)[1].labels
    known = [each for each in examples if each.label in labels][: run.limit]
    if not known:
        run.left_out.append(f"{corpus}: none of its labels is one of head {chosen!r}")
        return []
    gold = [each.label for each in known]
    pairs = [each.pair for each in known]
    found: dict[str, list[str]] = {}
    for graph, engine in engines:
        counter = run.counter(f"{corpus}, {graph}", len(pairs))
        found[graph] = classify(StanceModel(engine, chosen), pairs, progress=counter)
    found["claim alone: the model without the text"] = classify(
        StanceModel(engines[0][1], chosen),
        without_text(pairs),
        progress=run.counter(f"{corpus}, claim alone", len(pairs)),
    )
    if train:
        found["claim alone: linear"] = claim_classifier(
            [each for each in train if each.label in labels], [pair.claim for pair in pairs]
        )
    found["majority"] = majority(gold)
    left_out = sum(each.label not in labels for each in examples)
    return [
        StanceRow(corpus=corpus, head=chosen, by=by, left_out=left_out, result=stance_result(gold, predicted))
        for by, predicted in found.items()
    ]
