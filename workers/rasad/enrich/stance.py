"""Where an article stands towards a sentence: its headline, or a claim that someone watches.

The model reads the sentence beside the article's most relevant sentences, chosen from the whole article, rather than
beside its first 512 pieces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from rasad.enrich.entities import ROUNDED
from rasad.enrich.evidence import ranked, relevance_of_counts
from rasad.enrich.reading import Document, FieldText, documents
from rasad.inference.bundle import BundleError
from rasad.inference.decoding import Scores, softmax
from rasad.inference.engine import Engine
from rasad.inference.tokenization import Ints, SequenceTemplate, TokenizedText
from rasad.messages import Span

UNRELATED: Final = "unrelated"

_MOST_EVIDENCE: Final = 3
_CLOSE: Final = 0.5
"""Sentences at least this share as relevant as the most relevant one count as deciding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A claim and the article to hold it against."""

    claim: str
    body: str
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StanceResult:
    """`probs` has every label of the head, in its order; `evidence` are sentences of the article, in its order.

    A sentence that is longer than the model's room counts as far as it was read.
    """

    label: str
    probs: Mapping[str, float]
    evidence: tuple[Span, ...]


@dataclass(frozen=True, slots=True, eq=False)
class PairInput:
    """What the model reads of a pair: `ids` with special pieces, and `evidence`, deciding sentences as far as read."""

    ids: Ints
    evidence: tuple[Span, ...]


class StanceModel:
    """A stance bundle and one of its heads. Raises BundleError for a head that is missing or labels tokens.

    `weights` by label are multiplied into its probabilities, which then add up to one again.
    """

    def __init__(
        self, engine: Engine, head: str | None = None, *, weights: Mapping[str, float] = MappingProxyType({})
    ) -> None:
        self.engine = engine
        self.head, self._layer = engine.bundle.head(head)
        if self._layer.kind != "sequence":
            raise BundleError(f"{engine.bundle.directory}: head {self.head!r} labels tokens, not sentence pairs")
        self._weights = np.array([weights.get(label, 1.0) for label in self._layer.labels])

    @property
    def labels(self) -> tuple[str, ...]:
        """The head's labels, in order."""
        return self._layer.labels

    def classify(self, pairs: Sequence[Pair]) -> list[StanceResult]:
        """The stance of each article, title and body, towards its claim; one result a pair, in order."""
        claims = self.engine.tokenizer.tokenize([pair.claim for pair in pairs])
        read = documents(self.engine, [(pair.title, pair.body) for pair in pairs])
        return self.classify_read([(claim, each.fields) for claim, each in zip(claims, read, strict=True)])

    def classify_headlines(self, read: Sequence[Document]) -> list[StanceResult]:
        """The stance of each body towards its own title. The documents must come from this bundle's tokenizer."""
        return self.classify_read([(each.title.tokenized, (each.body,)) for each in read])

    def classify_read(self, pairs: Sequence[tuple[TokenizedText, Sequence[FieldText]]]) -> list[StanceResult]:
        """The same for texts that are tokenised already: claims, and the fields to hold each against."""
        template, manifest = self.engine.tokenizer.template, self.engine.bundle.manifest
        inputs = [
            pair_input(claim, fields, template, manifest.max_tokens, text_first=manifest.text_first)
            for claim, fields in pairs
        ]
        logits = self.engine.run([each.ids for each in inputs], [self.head], groups=range(len(inputs)))
        return [
            self._result(softmax(each[self.head], self._layer.temperature) * self._weights, pair.evidence)
            for each, pair in zip(logits, inputs, strict=True)
        ]

    def _result(self, likely: Scores, evidence: tuple[Span, ...]) -> StanceResult:
        probabilities = (likely / likely.sum()).tolist()
        probs = {label: round(value, ROUNDED) for label, value in zip(self.labels, probabilities, strict=True)}
        label = self.labels[int(np.argmax(probabilities))]
        return StanceResult(label=label, probs=probs, evidence=() if label == UNRELATED else evidence)


def headline_model(model: StanceModel) -> StanceModel:
    """What judges headlines where `model` judges claims: as its bundle says, or `model` if its head was chosen."""
    manifest = model.engine.bundle.manifest
    return _unless_chosen(model, manifest.headline_head, manifest.headline_weights)


def claim_model(model: StanceModel) -> StanceModel:
    """What judges watched claims that passed the gate: as its bundle says, or `model` if its head was chosen."""
    return _unless_chosen(model, None, model.engine.bundle.manifest.claim_weights)


def _unless_chosen(model: StanceModel, head: str | None, weights: Mapping[str, float]) -> StanceModel:
    """A head of the model's bundle with weights; `model` itself where it was opened with another than the default."""
    if model.head != model.engine.bundle.manifest.default_head:
        return model
    return StanceModel(model.engine, head, weights=weights)


def pair_input(
    claim: TokenizedText,
    fields: Sequence[FieldText],
    template: SequenceTemplate,
    max_tokens: int,
    *,
    text_first: bool = False,
) -> PairInput:
    """Put a claim and as many relevant sentences as fit into one sequence of at most `max_tokens`, the claim first.

    Sentences are taken by relevance and stand in the article's order; among equally relevant ones the earlier are
    taken first, so a claim that shares no word with the article is held against its beginning. A claim may fill half
    of the sequence; a claim, or a first sentence, that is longer than its room is cut after a whole word.
    """
    room = max_tokens - template.pair_room
    claim_ids = claim.ids[: _whole_words(claim, 0, len(claim.ids), room // 2)]
    room -= len(claim_ids)
    sentences = [(each, number) for each in fields for number in range(len(each.tokenized.sentences))]
    scores = relevance_of_counts(claim.text, [each.sentence_stems[number] for each, number in sentences])
    taken: dict[int, tuple[int, int]] = {}
    for index in ranked(scores):
        each, number = sentences[index]
        start, end = each.tokenized.sentence_pieces(number)
        if end - start > room and not taken:
            end = _whole_words(each.tokenized, start, end, room)
        if start < end and end - start <= room:
            taken[index] = (start, end)
            room -= end - start
    parts = [sentences[index][0].tokenized.ids[slice(*taken[index])] for index in sorted(taken)]
    text = np.concatenate([np.zeros(0, np.int64), *parts])
    return PairInput(
        ids=template.pair(text, claim_ids) if text_first else template.pair(claim_ids, text),
        evidence=tuple(_span(*sentences[index], taken[index][1]) for index in _deciding(list(taken), scores)),
    )


def _deciding(taken: Sequence[int], scores: Sequence[float]) -> list[int]:
    """Of the sentences taken, by relevance, the most relevant ones, in the article's order."""
    if not taken:
        return []
    best = scores[taken[0]]
    close = [index for index in taken[:_MOST_EVIDENCE] if scores[index] > 0 and scores[index] >= _CLOSE * best]
    return sorted(close or taken[:1])


def _whole_words(tokenized: TokenizedText, start: int, end: int, room: int) -> int:
    """Where pieces `[start, end)` must stop to fit into `room`: after a word, or inside one that alone is longer."""
    if end - start <= room:
        return end
    words = tokenized.word_starts
    fitting = words[(words > start) & (words <= start + room)]
    return int(fitting[-1]) if len(fitting) else start + room


def _span(each: FieldText, sentence: int, read: int) -> Span:
    """A sentence as far as the piece before `read`; whole where that is its last, or where all read is blank."""
    tokenized = each.tokenized
    start, end = tokenized.sentences[sentence].tolist()
    if read < tokenized.sentence_pieces(sentence)[1]:
        _, stop = tokenized.normalised.to_input(*tokenized.pieces[read - 1].tolist())
        end = min(stop, end) if stop > start else end
    return Span(field=each.field, start=start, end=end)
