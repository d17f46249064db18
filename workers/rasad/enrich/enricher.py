"""Records in, outcomes out: one event or one dead letter for each, in order, whatever a record holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, get_args

import structlog

from rasad import __version__, metrics
from rasad.enrich.claim_stances import JudgedClaim, judged
from rasad.enrich.claims import ClaimIndex, Gate, no_claims
from rasad.enrich.decode import MAX_BYTES, decode
from rasad.enrich.entities import ROUNDED, Resolution, resolve
from rasad.enrich.entity_stances import LEAST_LIKELY, SIDES, STANCES_HEAD, entity_stances
from rasad.enrich.ner import Name, names
from rasad.enrich.quotes import Part, named_spans, parts, quotes
from rasad.enrich.reading import Document, FieldScores, documents, score_words, spans_of
from rasad.enrich.stance import StanceModel, StanceResult, claim_model, headline_model
from rasad.inference.backend import BUNDLED_GRAPH, BackendKind
from rasad.inference.bundle import BundleError, load_bundle
from rasad.inference.engine import TOKEN_BUDGET, Engine
from rasad.messages import (
    EVENT_TYPE,
    Article,
    ClaimLabel,
    DeadLetter,
    EnrichedEvent,
    Field,
    Mention,
    ModelVersion,
    Outcome,
    Pipeline,
    RawArticle,
    Record,
    Stance,
    StanceTarget,
    content_sha256,
    derived_id,
)
from rasad.text.normalise import NORMALISER

QUOTES_HEAD: Final = "quotes"
_CLAIM_LABELS: Final[Mapping[str, ClaimLabel]] = {
    "agree": "agree",
    "disagree": "disagree",
    "discuss": "discuss",
    "unrelated": "unrelated",
    "other": "discuss",
}
"""What a head's label is in an event; ANS calls "other" what neither agrees nor disagrees."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Annotated:
    """What the models found in one article."""

    document: Document
    scored: tuple[FieldScores, FieldScores]
    headline: StanceResult | None
    claims: tuple[JudgedClaim, ...]


def pipeline_of(ner: Engine, stance: StanceModel) -> Pipeline:
    """The identity of a pipeline: its version is a hash over code, normaliser, bundles and unusual backends."""
    models = tuple(
        ModelVersion(task=bundle.manifest.task, name=bundle.manifest.name, sha256=bundle.sha256)
        for bundle in (ner.bundle, stance.engine.bundle)
    )
    hashes = (f"{each.task} {each.sha256}" for each in models)
    backends = (name for engine in (ner, stance.engine) if (name := engine.backend.name) != BUNDLED_GRAPH)
    version = derived_id("pipeline", __version__, NORMALISER, *hashes, *backends)
    return Pipeline(version=version, code=__version__, normaliser=NORMALISER, models=models)


class Enricher:
    """Turns records into outcomes; holds the models and no other state.

    `stance` judges watched claims, and headlines by its bundle's head for them, unless it was opened with another than
    the default one. `claims` gives the claims watched now and is asked once a pass; `gate` says which of them an
    article is held against. Their stances are of kind "claim" and stand last in an event: nothing else of it depends
    on them, and a driver that publishes leaves them out of it (see `rasad.streams.publication`).
    Raises BundleError if a head's labels are not those of events.
    """

    def __init__(
        self,
        ner: Engine,
        stance: StanceModel,
        *,
        max_bytes: int = MAX_BYTES,
        claims: Callable[[], ClaimIndex] = no_claims,
        gate: Gate = Gate(),  # noqa: B008  frozen
    ) -> None:
        headlines = headline_model(stance)
        for model in (stance, headlines):
            foreign = [label for label in model.labels if label not in _CLAIM_LABELS]
            if foreign:
                raise BundleError(
                    f"{model.engine.bundle.directory}: head {model.head!r} has labels that events do not know: "
                    f"{', '.join(foreign)}; choose a bundle whose default head has {', '.join(_CLAIM_LABELS)}"
                )
        self._ner = ner
        self._stance = claim_model(stance)
        self._headlines = headlines
        self._claims = claims
        self._gate = gate
        self._max_bytes = max_bytes
        self._head = ner.bundle.manifest.default_head
        known = ner.bundle.manifest.heads
        self._heads = [self._head, *(head for head in (QUOTES_HEAD, STANCES_HEAD) if head in known)]
        if STANCES_HEAD in known and known[STANCES_HEAD].labels != SIDES:
            raise BundleError(f"{ner.bundle.directory}: head {STANCES_HEAD!r} must have the labels {', '.join(SIDES)}")
        self.pipeline = pipeline_of(ner, stance)

    @classmethod
    def open(
        cls,
        *,
        ner: str | Path | None = None,
        stance: str | Path | None = None,
        threads: int = 0,
        token_budget: int = TOKEN_BUDGET,
        max_bytes: int = MAX_BYTES,
        backend: BackendKind = "onnx",
        claims: Callable[[], ClaimIndex] = no_claims,
        gate: Gate = Gate(),  # noqa: B008  frozen
    ) -> Enricher:
        """Load both bundles, the shipped ones for None. Raises BundleError."""
        ner_bundle, stance_bundle = load_bundle(ner, task="ner"), load_bundle(stance, task="stance")
        return cls(
            Engine.open(ner_bundle, threads=threads, token_budget=token_budget, backend=backend),
            StanceModel(Engine.open(stance_bundle, threads=threads, token_budget=token_budget, backend=backend)),
            max_bytes=max_bytes,
            claims=claims,
            gate=gate,
        )

    def enrich(self, records: Sequence[Record]) -> list[Outcome]:
        """One outcome a record, in order; never raises.

        A batch that fails is halved until the record that fails it stands alone and becomes a dead letter, so the
        articles beside it go on.
        """
        outcomes: list[Outcome | None] = [None] * len(records)
        articles: list[tuple[int, RawArticle]] = []
        with metrics.stage("decode"):
            for index, record in enumerate(records):
                decoded = decode(record, max_bytes=self._max_bytes, pipeline_version=self.pipeline.version)
                if isinstance(decoded, DeadLetter):
                    outcomes[index] = decoded
                else:
                    articles.append((index, decoded))
        survived = self._surviving(articles, records)
        for (index, _), outcome in zip(articles, survived, strict=True):
            outcomes[index] = outcome
        return [outcome for outcome in outcomes if outcome is not None]

    def _surviving(self, articles: Sequence[tuple[int, RawArticle]], records: Sequence[Record]) -> list[Outcome]:
        """The outermost boundary of the core, and the only place where any exception at all is caught."""
        if not articles:
            return []
        try:
            return list(self.annotate([article for _, article in articles]))
        except Exception as error:  # noqa: BLE001  whatever it is, it belongs to one article and must not stop the rest
            if len(articles) > 1:
                middle = len(articles) // 2
                first, second = articles[:middle], articles[middle:]
                return self._surviving(first, records) + self._surviving(second, records)
            index, article = articles[0]
            _log.exception("enrichment failed", article_id=article.id)
            detail = f"article {article.id!r} could not be enriched: {type(error).__name__}: {error}"
            return [
                DeadLetter(
                    record=records[index],
                    reason="enrichment_failed",
                    detail=detail,
                    stage="enrich",
                    pipeline_version=self.pipeline.version,
                )
            ]

    def annotate(self, articles: Sequence[RawArticle]) -> list[EnrichedEvent]:
        """Events of decoded articles: one pass of each model over the windows of all of them. May raise."""
        started = time.perf_counter()
        texts = [(article.title, article.body) for article in articles]
        read = documents(self._ner, texts)
        scored = score_words(self._ner, read, self._heads)
        for_stance = self._tokenised_for_stance(texts, read)
        headlines = self._headline_stances(for_stance)
        watched = judged(self._stance, self._claims(), self._gate, for_stance)
        found = [_Annotated(*each) for each in zip(read, scored, headlines, watched, strict=True)]
        with metrics.stage("annotate"):
            events = [self._event(article, each) for article, each in zip(articles, found, strict=True)]
        elapsed_ms = (time.perf_counter() - started) * 1000
        tokens = sum(document.tokens for document in read) or 1
        enriched_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        return [
            _stamped(event, enriched_at, elapsed_ms * each.document.tokens / tokens, len(articles))
            for each, event in zip(found, events, strict=True)
        ]

    def _tokenised_for_stance(self, texts: Sequence[tuple[str, str]], read: Sequence[Document]) -> Sequence[Document]:
        """The articles in the stance model's pieces: those that were read already, where the tokenizers are equal."""
        engine = self._stance.engine
        return read if engine.tokenizer.identity == self._ner.tokenizer.identity else documents(engine, texts)

    def _headline_stances(self, read: Sequence[Document]) -> list[StanceResult | None]:
        """The stance of each body towards its title; None where either is missing."""
        whole = [index for index, each in enumerate(read) if all(len(part.tokenized.sentences) for part in each.fields)]
        results: list[StanceResult | None] = [None] * len(read)
        for index, result in zip(whole, self._headlines.classify_headlines([read[i] for i in whole]), strict=True):
            results[index] = result
        return results

    def _event(self, article: RawArticle, found: _Annotated) -> EnrichedEvent:
        texts: dict[Field, str] = {"title": article.title, "body": article.body}
        digest = content_sha256(article.title, article.body)
        event_id = derived_id(article.id, digest, self.pipeline.version)
        threshold = self._ner.bundle.manifest.thresholds.get("mention", 0.0)
        known = names(self._ner, found.scored, self._head, threshold=threshold)
        resolution = resolve(known, texts)
        said = quotes(self._quote_parts(found), known, resolution, texts)
        held = self._entity_stances(found, known, resolution)
        event = EnrichedEvent(
            event_id=event_id,
            event_type=EVENT_TYPE,
            article=_article(article, found.document, digest),
            mentions=_mentions(known, resolution, event_id),
            entities=resolution.entities,
            stances=(*_headline(article, found.headline), *held, *_towards_claims(found.claims)),
            pipeline=self.pipeline,
            quotes=said,
        )
        check_surfaces(event)
        return event

    def _entity_stances(self, found: _Annotated, known: Sequence[Name], resolution: Resolution) -> list[Stance]:
        if STANCES_HEAD not in self._heads:
            return []
        manifest = self._ner.bundle.manifest
        least = manifest.thresholds.get("stance", LEAST_LIKELY)
        made: list[Stance] = []
        for each in found.scored:
            spans = named_spans(known, resolution, each.text.field)
            made += entity_stances(each, spans, resolution.entities, least=least, odds=manifest.stance_odds)
        return made

    def _quote_parts(self, found: _Annotated) -> list[Part]:
        if QUOTES_HEAD not in self._heads:
            return []
        threshold = self._ner.bundle.manifest.thresholds.get("quote", 0.0)
        return [
            part
            for each in found.scored
            for part in parts(each.text, spans_of(self._ner, each, QUOTES_HEAD, within="paragraph"))
            if part.prob >= threshold or part.kind in ("cue", "speaker")
        ]


def _article(article: RawArticle, document: Document, digest: str) -> Article:
    return Article(
        id=article.id,
        url=article.url,
        source=article.source,
        language="ar",
        published_at=article.published_at,
        fetched_at=article.fetched_at,
        title=article.title,
        body=article.body,
        content_sha256=digest,
        offset_unit="codepoint",
        sentences=document.sentences,
        tokens_total=document.tokens,
        windows=len(document.windows),
        truncated=False,
    )


def _mentions(known: Sequence[Name], resolution: Resolution, event_id: str) -> tuple[Mention, ...]:
    return tuple(
        Mention(
            mention_id=derived_id("mention", event_id, name.field, str(name.start), str(name.end)),
            entity_id=resolution.entities[entity].entity_id,
            field=name.field,
            start=name.start,
            end=name.end,
            surface=name.surface,
            core_start=name.core_start,
            core_end=name.end,
            type=name.type,
            subtype=name.subtype,
            prob=round(name.prob, ROUNDED),
            sentence=name.sentence,
        )
        for name, entity in zip(known, resolution.entity_of_name, strict=True)
    )


def _headline(article: RawArticle, result: StanceResult | None) -> list[Stance]:
    if result is None:
        return []
    return [
        Stance(
            kind="headline",
            target=StanceTarget(text=article.title),
            label=_CLAIM_LABELS[result.label],
            probs=_claim_probs(result),
            evidence=result.evidence,
        )
    ]


def _towards_claims(claims: Sequence[JudgedClaim]) -> list[Stance]:
    return [
        Stance(
            kind="claim",
            target=StanceTarget(text=each.claim.text, claim_id=each.claim.id, claim_version=each.claim.version),
            label=_CLAIM_LABELS[each.result.label],
            probs=_claim_probs(each.result),
            evidence=each.result.evidence,
        )
        for each in claims
    ]


def _claim_probs(result: StanceResult) -> dict[str, float]:
    """The probability of every label of an event's claim stance; 0 for those that the head does not have."""
    known = {_CLAIM_LABELS[label]: value for label, value in result.probs.items()}
    return {label: known.get(label, 0.0) for label in get_args(ClaimLabel)}


def check_surfaces(event: EnrichedEvent) -> None:
    """Every mention is its field's slice, and its core a part of it. Raises ValueError otherwise."""
    texts = {"title": event.article.title, "body": event.article.body}
    for mention in event.mentions:
        whole = texts[mention.field][mention.start : mention.end] == mention.surface
        if not (whole and mention.start <= mention.core_start < mention.core_end <= mention.end):
            raise ValueError(f"mention {mention.mention_id} is not the slice of {mention.field} that it names")


def _stamped(event: EnrichedEvent, enriched_at: str, elapsed_ms: float, batch: int) -> EnrichedEvent:
    """The event with `run`: when, the article's share of the batch's milliseconds by tokens, and the batch's size."""
    run = {"enriched_at": enriched_at, "elapsed_ms": round(elapsed_ms, 3), "batch_articles": batch}
    return replace(event, run=run)
