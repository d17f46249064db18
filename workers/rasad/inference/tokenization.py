"""Texts as an encoder reads them: pieces with offsets, the words and sentences they belong to, and windows.

All positions are code points of the normalised text unless said otherwise; arrays replace loops over tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import tokenizers
from tokenizers import Encoding, Tokenizer

from rasad import metrics
from rasad.inference.bundle import Bundle, BundleError, json_object
from rasad.text.normalise import Normalised, normalise
from rasad.text.sentences import split_sentences
from rasad.text.words import word_spans

Ints = npt.NDArray[np.int64]
Spans = npt.NDArray[np.int32]

_SPACE: Final = ord(" ")


@dataclass(frozen=True, slots=True, eq=False)
class TokenizedText:
    """One text and its pieces.

    `sentences` `[sentences, 2]` are spans of the text as it arrived; `words` `[words, 2]` and `pieces` `[pieces, 2]`
    of the normalised one. `word_of_piece` is -1 for a piece that touches no word.
    """

    text: str
    normalised: Normalised
    sentences: Spans
    words: Spans
    ids: Ints
    pieces: Spans
    word_of_piece: Ints
    sentence_of_word: Ints
    sentence_of_piece: Ints

    @property
    def sentence_starts(self) -> Ints:
        """The first piece of each sentence that has any."""
        return _changes(self.sentence_of_piece)

    @property
    def word_starts(self) -> Ints:
        """The pieces at which a word begins."""
        return _changes(self.word_of_piece)

    def sentence_pieces(self, sentence: int) -> tuple[int, int]:
        """`[start, end)` of a sentence's pieces."""
        start, end = np.searchsorted(self.sentence_of_piece, (sentence, sentence + 1))
        return int(start), int(end)


@dataclass(frozen=True, slots=True)
class SequenceTemplate:
    """The special pieces around one text (`start`, `end`) and around a pair (`start`, `middle`, `end`)."""

    start: tuple[int, ...]
    middle: tuple[int, ...]
    end: tuple[int, ...]

    def single(self, ids: Ints) -> Ints:
        """The sequence of one text."""
        return np.concatenate((np.array(self.start, np.int64), ids, np.array(self.end, np.int64)))

    def pair(self, first: Ints, second: Ints) -> Ints:
        """The sequence of two texts."""
        start, middle, end = (np.array(part, np.int64) for part in (self.start, self.middle, self.end))
        return np.concatenate((start, first, middle, second, end))

    @property
    def single_room(self) -> int:
        """How many special pieces `single` adds."""
        return len(self.start) + len(self.end)

    @property
    def pair_room(self) -> int:
        """How many special pieces `pair` adds."""
        return len(self.start) + len(self.middle) + len(self.end)


class TextTokenizer:
    """A bundle's tokenizer. `identity` is the SHA-256 of its file: equal identities give equal pieces.

    Raises BundleError where this version of the library cannot read the file.
    """

    def __init__(self, bundle: Bundle) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(bundle.tokenizer))
        except Exception as error:  # the library has no class of its own for it
            raise BundleError(
                f"{bundle.tokenizer}: tokenizers {tokenizers.__version__} cannot read it: {error}"
            ) from error
        # Text that spells a special piece, as HTML spells `</s>`, would be one, and move the border inside a pair.
        self._tokenizer.encode_special_tokens = True
        self._unknown, self._special = _special_pieces(bundle, self._tokenizer)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.identity = bundle.manifest.files["tokenizer.json"]
        self.template = sequence_template(self._tokenizer)

    def tokenize(self, texts: Sequence[str]) -> list[TokenizedText]:
        """Every text, normalised, split and tokenised; Rust threads share out the texts."""
        with metrics.stage("tokenise"):
            normalised = [normalise(text) for text in texts]
            encodings = self._encoded([each.text for each in normalised])
            return [
                _tokenized(text, each, self._ordinary(encoding.ids), encoding.offsets)
                for text, each, encoding in zip(texts, normalised, encodings, strict=True)
            ]

    def _ordinary(self, ids: Sequence[int]) -> Ints:
        """The pieces, unknown ones in place of special ones: a Unigram vocabulary has these among its pieces."""
        found = np.array(ids, np.int64)
        return np.where(np.isin(found, self._special), self._unknown, found)

    def _encoded(self, texts: list[str]) -> list[Encoding]:
        """The pieces of normalised texts. Raises RuntimeError where the Rust library panics.

        Python sees a panic as a BaseException, of a class that no module exports: it would end the process, though
        what was wrong was one text.
        """
        try:
            encodings: list[Encoding] = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        except BaseException as error:
            if type(error).__module__ != "pyo3_runtime":
                raise
            raise RuntimeError(f"the tokenizer panicked: {error}") from error
        return encodings


def _special_pieces(bundle: Bundle, tokenizer: Tokenizer) -> tuple[int, Ints]:
    """The piece for what a vocabulary does not have, and the special ones but for it; none where it has all bytes."""
    model = json_object(bundle.tokenizer)["model"]
    unknown = model.get("unk_id")
    if unknown is None and model.get("unk_token") is not None:
        unknown = tokenizer.token_to_id(model["unk_token"])
    if unknown is None:
        return 0, np.zeros(0, np.int64)
    special = [number for number, added in tokenizer.get_added_tokens_decoder().items() if added.special]
    return unknown, np.array([number for number in special if number != unknown], np.int64)


def sequence_template(tokenizer: Tokenizer) -> SequenceTemplate:
    """Read the special pieces off a tokenizer's own post-processor."""
    encoding = tokenizer.encode("a", "b")
    special = np.array(encoding.special_tokens_mask, dtype=bool)
    ids = np.array(encoding.ids)
    text = np.flatnonzero(~special)
    gap = int(text[np.argmax(np.diff(text))])
    after_gap = int(text[np.argmax(np.diff(text)) + 1])
    return SequenceTemplate(
        start=tuple(ids[: text[0]].tolist()),
        middle=tuple(ids[gap + 1 : after_gap].tolist()),
        end=tuple(ids[text[-1] + 1 :].tolist()),
    )


def _tokenized(text: str, normalised: Normalised, ids: Ints, offsets: list[tuple[int, int]]) -> TokenizedText:
    sentences = np.array(split_sentences(text), np.int32).reshape(-1, 2)
    words = word_spans(normalised.text)
    pieces = np.array(offsets, np.int32).reshape(-1, 2)
    firsts = first_visible(normalised.text, pieces[:, 0])
    word_of_piece = _word_of_piece(pieces, firsts, words)
    starts = np.searchsorted(normalised.offsets[:-1], sentences[:, 0])
    sentence_of_word = _last_at_or_before(starts, words[:, 0])
    # A piece follows its word, so that a word is never parted between two sentences.
    position = firsts.copy()
    inside = word_of_piece >= 0
    position[inside] = words[word_of_piece[inside], 0]
    return TokenizedText(
        text=text,
        normalised=normalised,
        sentences=sentences,
        words=words,
        ids=ids,
        pieces=pieces,
        word_of_piece=word_of_piece,
        sentence_of_word=sentence_of_word,
        sentence_of_piece=np.maximum.accumulate(_last_at_or_before(starts, position)),
    )


def first_visible(text: str, positions: npt.NDArray[np.integer]) -> Ints:
    """For each position, that of the first character at or after it that is no space; `len(text)` if there is none."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    visible = np.append(np.flatnonzero(codes != _SPACE), len(codes))
    return visible[np.searchsorted(visible, positions)].astype(np.int64)


def word_of_piece(text: str, pieces: Spans, words: Spans) -> Ints:
    """The word that holds each piece's first visible character; for a piece of spaces alone the word right behind it.

    -1 where there is none.
    """
    return _word_of_piece(pieces, first_visible(text, pieces[:, 0]), words)


def _word_of_piece(pieces: Spans, firsts: Ints, words: Spans) -> Ints:
    if not len(words) or not len(pieces):
        return np.full(len(pieces), -1, np.int64)
    word = _last_at_or_before(words[:, 0], firsts)
    inside = (firsts <= np.maximum(pieces[:, 1], pieces[:, 0])) & (firsts < words[word, 1])
    return np.where(inside, word, -1)


def pool_words(values: npt.NDArray[np.float32], tokenized: TokenizedText) -> npt.NDArray[np.float32]:
    """Mean of the pieces' values for each word: `[pieces, labels]` to `[words, labels]`.

    A word with no piece of its own (`."` may be one piece) has the values of the piece that covers its start.
    """
    words, pieces, owner = tokenized.words, tokenized.pieces, tokenized.word_of_piece
    if not len(pieces):
        return np.zeros((len(words), values.shape[1]), np.float32)
    covering = _last_at_or_before(pieces[:, 0], words[:, 0])
    pooled = values[covering]
    owned = np.flatnonzero(owner >= 0)
    if len(owned):
        runs = np.flatnonzero(np.diff(owner[owned], prepend=-1))
        counts = np.diff(np.append(runs, len(owned)))
        sums = np.add.reduceat(values[owned], runs, axis=0)
        pooled[owner[owned[runs]]] = sums / counts[:, None].astype(np.float32)
    return pooled


def windows(tokenized: Sequence[TokenizedText], capacity: int) -> list[tuple[int, int]]:
    """Cut the pieces of consecutive texts, taken as one row, into windows of whole sentences."""
    sizes = [len(each.ids) for each in tokenized]
    bases = np.cumsum([0, *sizes])
    sentences = [each.sentence_starts + base for each, base in zip(tokenized, bases, strict=False)]
    words = [each.word_starts + base for each, base in zip(tokenized, bases, strict=False)]
    empty = np.zeros(0, np.int64)
    return cut(int(bases[-1]), np.concatenate([empty, *sentences]), np.concatenate([empty, *words]), capacity)


def cut(length: int, sentence_starts: Ints, word_starts: Ints, capacity: int) -> list[tuple[int, int]]:
    """Part `[0, length)` into few windows of whole sentences, none longer than `capacity`, about equally long.

    Starts are sorted. A sentence longer than a window is cut where a word begins, a word longer than a window
    anywhere. Even windows, rather than full ones and a short last one, give each the same context and pad little.
    """
    parts: list[tuple[int, int]] = []
    start = 0
    while start < length:
        rest = length - start
        count = -(-rest // capacity)
        if count == 1:
            end = length
        else:
            limit = start + capacity
            even = start + -(-rest // count)
            end = (
                _nearest(sentence_starts, even, after=start, limit=limit)
                or _last(word_starts, after=start, limit=limit)
                or limit
            )
        parts.append((start, end))
        start = end
    return parts


def _nearest(starts: Ints, wanted: int, *, after: int, limit: int) -> int | None:
    low, high = np.searchsorted(starts, (after, limit), side="right")
    choices = starts[low:high]
    return int(choices[np.argmin(np.abs(choices - wanted))]) if len(choices) else None


def _last(starts: Ints, *, after: int, limit: int) -> int | None:
    index = int(np.searchsorted(starts, limit, side="right")) - 1
    return int(starts[index]) if index >= 0 and starts[index] > after else None


def _last_at_or_before(starts: npt.NDArray[np.integer], positions: npt.NDArray[np.integer]) -> Ints:
    """For each position the index of the last start at or before it, the first one where there is none."""
    return np.maximum(np.searchsorted(starts, positions, side="right") - 1, 0).astype(np.int64)


def _changes(values: Ints) -> Ints:
    return np.flatnonzero(np.diff(values, prepend=-2)).astype(np.int64)
