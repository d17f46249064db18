from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from rasad.enrich.reading import Document
from rasad.inference.engine import Engine
from rasad.inference.tokenization import TokenizedText, cut, pool_words
from tests.unit.articles import REPORT, long_body

Read = Callable[[str, str], Document]

TEXTS = st.text(
    st.one_of(
        st.sampled_from('ابتدرسعلمنوية ءأ ـَُِّ\u200f\u200e\u061c.،؟!"«»()#_\n 0٣٫aZ'),
        st.characters(),
    ),
    max_size=120,
)


@st.composite
def rows(draw: st.DrawFn) -> tuple[int, np.ndarray, np.ndarray, int]:
    """A row of pieces: its length, sentence starts, word starts (sentences among them), a window's capacity."""
    length = draw(st.integers(min_value=0, max_value=200))
    words = sorted(draw(st.sets(st.integers(min_value=0, max_value=max(length - 1, 0)), max_size=60)) | {0})
    sentences = [0, *draw(st.lists(st.sampled_from(words), unique=True, max_size=10))]
    capacity = draw(st.integers(min_value=1, max_value=60))
    return length, np.array(sorted(set(sentences)), np.int64), np.array(words, np.int64), capacity


@given(rows())
def test_windows_cover_every_piece_once_and_fit(row: tuple[int, np.ndarray, np.ndarray, int]) -> None:
    length, sentences, words, capacity = row
    parts = cut(length, sentences, words, capacity)
    assert [piece for start, end in parts for piece in range(start, end)] == list(range(length))
    assert all(0 < end - start <= capacity for start, end in parts)


@given(rows())
def test_windows_part_sentences_and_words_only_when_they_must(row: tuple[int, np.ndarray, np.ndarray, int]) -> None:
    length, sentences, words, capacity = row
    for start, end in cut(length, sentences, words, capacity):
        if end == length or end in sentences:
            continue
        assert not any(start < other <= start + capacity for other in sentences), "a sentence would have ended here"
        assert end in words or not any(start < other <= start + capacity for other in words)


@pytest.mark.parametrize("spelled", ["</s>", "<s>", "<mask>", "قال</s>الوزير", "< / s >"])
def test_text_cannot_spell_special_pieces(ner_engine: Engine, spelled: str) -> None:
    (each,) = ner_engine.tokenizer.tokenize([f"{spelled} قديم {spelled} جديد"])
    template = ner_engine.tokenizer.template
    assert not set(each.ids.tolist()) & {*template.start, *template.middle, *template.end, 1, 11_050}
    assert [each.normalised.text[start:end] for start, end in each.words.tolist()].count("قديم") == 1


def test_windows_are_even() -> None:
    starts = np.arange(0, 300, 10)
    assert cut(300, starts, starts, 254) == [(0, 150), (150, 300)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS)
def test_pieces_words_and_sentences_fit_together(ner_engine: Engine, text: str) -> None:
    (each,) = ner_engine.tokenizer.tokenize([text])
    size = len(each.ids)
    assert len(each.pieces) == len(each.word_of_piece) == len(each.sentence_of_piece) == size
    owned = each.word_of_piece[each.word_of_piece >= 0]
    assert np.all(np.diff(owned) >= 0)
    assert np.all(np.diff(each.sentence_of_piece) >= 0)
    assert np.all(np.diff(each.sentence_of_word) >= 0)
    if len(each.sentences):
        assert all(0 <= index < len(each.sentences) for index in each.sentence_of_word)
    pieces = [index for number in range(len(each.sentences)) for index in range(*each.sentence_pieces(number))]
    assert not len(each.sentences) or pieces == list(range(size))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS)
def test_every_word_has_the_mean_of_its_pieces(ner_engine: Engine, text: str) -> None:
    (each,) = ner_engine.tokenizer.tokenize([text])
    values = np.arange(2 * len(each.ids), dtype=np.float32).reshape(-1, 2)
    pooled = pool_words(values, each)
    assert pooled.shape == (len(each.words), 2)
    for word in set(each.word_of_piece.tolist()) - {-1}:
        assert pooled[word].tolist() == pytest.approx(values[each.word_of_piece == word].mean(axis=0).tolist())


def test_a_word_without_a_piece_takes_the_one_that_covers_it(ner_engine: Engine) -> None:
    (each,) = ner_engine.tokenizer.tokenize(['قال "نعم".'])
    covering = TokenizedText(
        text=each.text,
        normalised=each.normalised,
        sentences=each.sentences,
        words=np.array([[0, 3], [4, 5], [5, 8], [8, 9], [9, 10]], np.int32),
        ids=np.array([5, 6, 7, 8]),
        pieces=np.array([[0, 3], [3, 5], [5, 8], [8, 10]], np.int32),
        word_of_piece=np.array([0, 1, 2, 3]),
        sentence_of_word=np.zeros(5, np.int64),
        sentence_of_piece=np.zeros(4, np.int64),
    )
    assert pool_words(np.array([[1], [2], [3], [4]], np.float32), covering)[:, 0].tolist() == [1, 2, 3, 4, 4]


def test_words_of_the_input_are_found_again(read: Read) -> None:
    title, body = REPORT
    document = read(title, body)
    words = [
        body[slice(*document.body.input_span(word, word + 1))] for word in range(len(document.body.tokenized.words))
    ]
    assert "عمّان" in words
    assert "الهواري" in words
    assert [word for word in words if word.isalpha()][:3] == ["أعلن", "وزير", "الصحة"]


def test_a_long_article_is_covered_whole(read: Read, ner_engine: Engine) -> None:
    document = read(REPORT[0], long_body(1500))
    capacity = ner_engine.bundle.manifest.max_tokens - ner_engine.tokenizer.template.single_room
    assert len(document.windows) > 3
    assert document.windows[0][0] == 0
    assert document.windows[-1][1] == document.tokens
    assert all(before[1] == after[0] for before, after in zip(document.windows, document.windows[1:], strict=False))
    assert all(end - start <= capacity for start, end in document.windows)


def test_paragraphs_of_both_shapes(read: Read) -> None:
    lines = read("عنوان الخبر", "الجملة الأولى هنا. والجملة الثانية.\nفقرة أخرى.")
    scraped = read("عنوان الخبر", "الجملة الأولى هنا. والجملة الثانية., فقرة أخرى.")
    assert lines.body.paragraph_of_sentence.tolist() == [0, 0, 1]
    assert scraped.body.paragraph_of_sentence.tolist() == [0, 0, 1]


def test_special_pieces_are_those_of_the_tokenizer(ner_engine: Engine) -> None:
    template = ner_engine.tokenizer.template
    plain = Tokenizer.from_file(str(ner_engine.bundle.tokenizer))
    one, other = (np.array(plain.encode(text, add_special_tokens=False).ids) for text in ("قال", "الوزير"))
    assert template.single(one).tolist() == plain.encode("قال").ids
    assert template.pair(one, other).tolist() == plain.encode("قال", "الوزير").ids
    assert (template.single_room, template.pair_room) == (2, 4)


def test_logits_come_back_in_the_order_of_the_sequences(ner_engine: Engine) -> None:
    head = ner_engine.bundle.manifest.default_head
    rng = np.random.default_rng(0)
    sequences = [rng.integers(5, 900, size) for size in (7, 31, 4, 18)]
    together = ner_engine.run(sequences, [head], groups=[0, 1, 2, 3])
    for sequence, logits in zip(sequences, together, strict=True):
        assert logits[head].shape == (len(sequence), len(ner_engine.bundle.head(head)[1].labels))
        (alone,) = ner_engine.run([sequence], [head], groups=[0])
        assert np.array_equal(alone[head], logits[head])
