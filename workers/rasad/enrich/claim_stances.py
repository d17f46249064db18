"""Where articles stand towards the watched claims that they speak of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rasad.enrich.claims import ClaimIndex, Gate
from rasad.enrich.reading import Document
from rasad.enrich.stance import UNRELATED, StanceModel, StanceResult
from rasad.messages import Claim


@dataclass(frozen=True, slots=True)
class JudgedClaim:
    """A claim and where an article stands towards it."""

    claim: Claim
    result: StanceResult


def judged(
    model: StanceModel, index: ClaimIndex, gate: Gate, read: Sequence[Document]
) -> list[tuple[JudgedClaim, ...]]:
    """For each article the claims that it speaks of, by id: those that pass the gate and are not unrelated to it.

    All pairs are run together. The documents must come from the bundle's tokenizer.
    """
    if not len(index):
        return [()] * len(read)
    passed = [
        sorted((match.claim for match in index.matches(article_stems(each), gate)), key=lambda claim: claim.id)
        for each in read
    ]
    pairs = [(claim, document.fields) for document, claims in zip(read, passed, strict=True) for claim in claims]
    tokenized = model.engine.tokenizer.tokenize([claim.text for claim, _ in pairs])
    inputs = [(text, fields) for text, (_, fields) in zip(tokenized, pairs, strict=True)]
    results = iter(model.classify_read(inputs))
    found = [[JudgedClaim(claim, next(results)) for claim in claims] for claims in passed]
    return [tuple(each for each in claims if each.result.label != UNRELATED) for claims in found]


def article_stems(document: Document) -> Counter[str]:
    """How often each light stem occurs in an article."""
    counted: Counter[str] = Counter()
    for field in document.fields:
        for sentence in field.sentence_stems:
            counted.update(sentence)
    return counted
