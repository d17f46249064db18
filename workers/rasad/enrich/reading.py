"""An article as the models read it: its two fields tokenised, cut into windows, and scored word by word."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from rasad.enrich.evidence import stem_counts
from rasad.inference.bundle import Head
from rasad.inference.decoding import LabelledSpan, labelled_spans
from rasad.inference.engine import Engine
from rasad.inference.tokenization import TokenizedText, pool_words, windows
from rasad.messages import Field, Span
from rasad.text.sentences import LINE_BREAKS

Scores = npt.NDArray[np.float32]

Unit = Literal["sentence", "paragraph"]

_PARAGRAPH_END: Final = re.compile(rf"[,{LINE_BREAKS}]")


@dataclass(frozen=True, eq=False)
class FieldText:
    """A field of an article. `paragraph_of_sentence` `[sentences]` counts paragraphs from 0.

    `first_sentence` is what the field's sentence 0 is in `article.sentences`, which counts over both fields.
    """

    field: Field
    tokenized: TokenizedText
    paragraph_of_sentence: npt.NDArray[np.int64]
    first_sentence: int

    @cached_property
    def sentence_stems(self) -> tuple[Counter[str], ...]:
        """How often each light stem occurs in each sentence; counted once for all that the article is held against."""
        text = self.tokenized.text
        return tuple(stem_counts(text[start:end]) for start, end in self.tokenized.sentences.tolist())

    def input_span(self, first_word: int, end_word: int) -> tuple[int, int]:
        """Words `[first_word, end_word)` as a span of the field as it arrived."""
        words = self.tokenized.words
        return self.tokenized.normalised.to_input(int(words[first_word, 0]), int(words[end_word - 1, 1]))

    @cached_property
    def word_spans(self) -> npt.NDArray[np.int32]:
        """Every word as a span of the field as it arrived, `[words, 2]`."""
        return self.tokenized.normalised.offsets[self.tokenized.words]

    def sentence_of_word(self, word: int) -> int:
        """Index into `article.sentences`."""
        return self.first_sentence + int(self.tokenized.sentence_of_word[word])

    def paragraph_of_word(self, word: int) -> int:
        """The paragraph that holds a word."""
        return int(self.paragraph_of_sentence[self.tokenized.sentence_of_word[word]])

    @property
    def opens_sentence(self) -> npt.NDArray[np.bool_]:
        """Whether each word is the first of its sentence."""
        return np.asarray(np.diff(self.tokenized.sentence_of_word, prepend=-1) != 0)

    @property
    def opens_paragraph(self) -> npt.NDArray[np.bool_]:
        """Whether each word is the first of its paragraph."""
        paragraph = self.paragraph_of_sentence[self.tokenized.sentence_of_word]
        return np.asarray(np.diff(paragraph, prepend=-1) != 0)


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """Title and body, and the windows over the pieces of both in one row."""

    title: FieldText
    body: FieldText
    windows: tuple[tuple[int, int], ...]

    @property
    def fields(self) -> tuple[FieldText, FieldText]:
        """Title, then body."""
        return self.title, self.body

    @property
    def tokens(self) -> int:
        """Pieces of title and body, special ones not counted."""
        return len(self.title.tokenized.ids) + len(self.body.tokenized.ids)

    @property
    def sentences(self) -> tuple[Span, ...]:
        """The sentences of both fields, as in `article.sentences`."""
        return tuple(
            Span(field=each.field, start=int(start), end=int(end))
            for each in self.fields
            for start, end in each.tokenized.sentences
        )


@dataclass(frozen=True, slots=True, eq=False)
class FieldScores:
    """Label scores of a field's words by head, each `[words, labels]`; of a relation head `[words, values]`."""

    text: FieldText
    scores: Mapping[str, Scores]


def documents(engine: Engine, articles: Sequence[tuple[str, str]]) -> list[Document]:
    """Tokenise `(title, body)` pairs for the engine's bundle, all in one go."""
    tokenized = engine.tokenizer.tokenize([text for article in articles for text in article])
    capacity = engine.bundle.manifest.max_tokens - engine.tokenizer.template.single_room
    return [
        Document(
            title=FieldText("title", title, paragraphs(title), 0),
            body=FieldText("body", body, paragraphs(body), len(title.sentences)),
            windows=tuple(windows((title, body), capacity)),
        )
        for title, body in zip(tokenized[::2], tokenized[1::2], strict=True)
    ]


def paragraphs(tokenized: TokenizedText) -> npt.NDArray[np.int64]:
    """The paragraph of each sentence, counted from 0.

    Paragraphs are parted by what sentences leave out between them: a line break, or the comma of the `., ` joiner.
    """
    text, spans = tokenized.text, tokenized.sentences
    gaps = zip(spans[:-1, 1].tolist(), spans[1:, 0].tolist(), strict=True)
    parted = [_PARAGRAPH_END.search(text, end, start) is not None for end, start in gaps]
    return np.cumsum([0, *parted])[: len(spans)].astype(np.int64)


def score_words(
    engine: Engine, read: Sequence[Document], heads: Sequence[str]
) -> list[tuple[FieldScores, FieldScores]]:
    """Run every window of every document once; scores of title and body for the token and relation heads named."""
    template = engine.tokenizer.template
    rows = [np.concatenate((each.title.tokenized.ids, each.body.tokenized.ids)) for each in read]
    owners = [index for index, each in enumerate(read) for _ in each.windows]
    sequences = [
        template.single(rows[index][start:end]) for index, each in enumerate(read) for start, end in each.windows
    ]
    logits = engine.run(sequences, heads, groups=owners)
    first, last = len(template.start), len(template.end)
    scored = []
    position = 0
    for document in read:
        mine = logits[position : position + len(document.windows)]
        position += len(document.windows)
        pieces = {
            head: np.concatenate([each[head][first : len(each[head]) - last] for each in mine])
            if mine
            else np.zeros((0, len(engine.bundle.head(head)[1].labels)), np.float32)
            for head in heads
        }
        cut = len(document.title.tokenized.ids)
        scored.append(
            (
                FieldScores(document.title, _pooled(engine, pieces, slice(0, cut), document.title)),
                FieldScores(document.body, _pooled(engine, pieces, slice(cut, None), document.body)),
            )
        )
    return scored


def _pooled(engine: Engine, pieces: Mapping[str, Scores], part: slice, text: FieldText) -> dict[str, Scores]:
    return {
        head: shifted(pool_words(values[part], text.tokenized), engine.bundle.head(head)[1])
        for head, values in pieces.items()
    }


def shifted(scores: Scores, head: Head) -> Scores:
    """`scores`, `[words, labels]`, with what the head adds to `O`."""
    if not head.outside:
        return scores
    added = np.zeros(scores.shape[1], scores.dtype)
    added[head.labels.index("O")] = head.outside
    return scores + added


def spans_of(engine: Engine, scored: FieldScores, head: str, *, within: Unit = "sentence") -> list[LabelledSpan]:
    """Decode one head over a field; no span leaves its sentence, or its paragraph with `within="paragraph"`.

    A field without a sentence (stray control characters) has no spans.
    """
    if not len(scored.text.tokenized.sentences):
        return []
    _, layer = engine.bundle.head(head)
    starts = scored.text.opens_sentence if within == "sentence" else scored.text.opens_paragraph
    return labelled_spans(scored.scores[head], layer.labels, starts, layer.temperature)
