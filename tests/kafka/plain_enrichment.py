"""Enrichment without models, for tests of delivery: real decoding, real sentences, names from a short list.

It is deterministic and takes well under a millisecond an article, so that what a test waits for is the broker.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence

import structlog

from rasad.enrich.decode import decode
from rasad.messages import (
    EVENT_TYPE,
    Article,
    DeadLetter,
    EnrichedEvent,
    Entity,
    EntityType,
    Field,
    Mention,
    Outcome,
    Pipeline,
    RawArticle,
    Record,
    Span,
    Stance,
    StanceTarget,
    content_sha256,
    derived_id,
)
from rasad.streams.driver import Enrich
from rasad.text.sentences import split_sentences

log = structlog.get_logger(__name__)

PIPELINE = Pipeline(version="plain-1", code="test", normaliser="none", models=())
NAMES: dict[str, EntityType] = {"جنيف": "LOC", "ليبيا": "LOC", "الأمم المتحدة": "ORG"}
_NAME = re.compile("|".join(NAMES))


def enrich(records: Sequence[Record]) -> list[Outcome]:
    return [_outcome(record) for record in records]


def slow_enrich(seconds_each: float) -> Enrich:
    """The same, taking some time over each record, so that a process can be caught in the middle of a batch."""

    def slowly(records: Sequence[Record]) -> list[Outcome]:
        log.info("batch begun", records=len(records))
        time.sleep(seconds_each * len(records))
        return enrich(records)

    return slowly


def _outcome(record: Record) -> Outcome:
    decoded = decode(record, pipeline_version=PIPELINE.version)
    return decoded if isinstance(decoded, DeadLetter) else _event(decoded)


def _event(raw: RawArticle) -> EnrichedEvent:
    mentions = (*_mentions(raw.id, "title", raw.title), *_mentions(raw.id, "body", raw.body))
    sha256 = content_sha256(raw.title, raw.body)
    return EnrichedEvent(
        event_id=derived_id(raw.id, sha256, PIPELINE.version),
        event_type=EVENT_TYPE,
        article=Article(
            id=raw.id,
            url=raw.url,
            source=raw.source,
            language="ar",
            published_at=raw.published_at,
            fetched_at=raw.fetched_at,
            title=raw.title,
            body=raw.body,
            content_sha256=sha256,
            offset_unit="codepoint",
            sentences=(*_sentences("title", raw.title), *_sentences("body", raw.body)),
            tokens_total=len(raw.body.split()),
            windows=1,
            truncated=False,
        ),
        mentions=mentions,
        entities=tuple(_entity(name, [m for m in mentions if m.surface == name]) for name in _names(mentions)),
        stances=(
            Stance(
                kind="headline",
                target=StanceTarget(text=raw.title),
                label="discuss",
                probs={"agree": 0.0, "disagree": 0.0, "discuss": 1.0, "unrelated": 0.0},
                evidence=(),
            ),
        ),
        pipeline=PIPELINE,
        run={"enriched_at": time.time()},
    )


def _sentences(field: Field, text: str) -> Iterator[Span]:
    return (Span(field=field, start=start, end=end) for start, end in split_sentences(text))


def _mentions(article_id: str, field: Field, text: str) -> Iterator[Mention]:
    for match in _NAME.finditer(text):
        start, end = match.span()
        yield Mention(
            mention_id=derived_id(article_id, field, str(start)),
            entity_id=derived_id(article_id, match[0]),
            field=field,
            start=start,
            end=end,
            surface=match[0],
            core_start=start,
            core_end=end,
            type=NAMES[match[0]],
            prob=1.0,
            sentence=0,
        )


def _names(mentions: Sequence[Mention]) -> list[str]:
    return list(dict.fromkeys(mention.surface for mention in mentions))


def _entity(name: str, mentions: Sequence[Mention]) -> Entity:
    return Entity(
        entity_id=mentions[0].entity_id,
        type=NAMES[name],
        canonical=name,
        aliases=(),
        mention_count=len(mentions),
        in_title=any(mention.field == "title" for mention in mentions),
        salience=1.0,
        confidence=1.0,
    )
