"""Words of normalised text."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rasad.text.normalise import normalise
from rasad.text.words import word_spans

TEXTS = st.one_of(
    st.text(st.characters(codec=None, exclude_categories=()), max_size=60),
    st.text(st.sampled_from(list('اب وC3.،_#"\n\u064b\u200f')), max_size=60),
)


def words(text):
    return [text[start:end] for start, end in word_spans(text)]


@given(TEXTS)
def test_words_are_ordered_disjoint_and_cover_all_but_space(text):
    spans = word_spans(text)
    assert spans.dtype == np.int32
    assert spans.shape == (len(spans), 2)
    covered = [place for start, end in spans for place in range(start, end)]
    assert covered == sorted(set(covered))
    assert set(covered) == {place for place, character in enumerate(text) if not character.isspace()}


@given(TEXTS)
def test_words_of_normalised_text_map_back(text):
    result = normalise(text)
    for start, end in word_spans(result.text):
        input_start, input_end = result.to_input(int(start), int(end))
        assert normalise(text[input_start:input_end]).text == result.text[start:end]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("وقال: نعم", ["وقال", ":", "نعم"]),
        ("عام2018", ["عام2018"]),
        ("#أبو ظبي", ["#", "أبو", "ظبي"]),
        ("3.5%", ["3", ".", "5", "%"]),
        ("a_b", ["a", "_", "b"]),
        ("", []),
        (" \n ", []),
    ],
)
def test_examples(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize("piece", ["كتب ", ".", "ا"])
def test_a_megabyte_takes_about_a_second(piece):
    text = piece * (1_000_000 // len(piece))
    began = time.process_time()
    word_spans(text)
    assert time.process_time() - began < 4
