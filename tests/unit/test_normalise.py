"""Normalisation keeps the way back to every character."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rasad.text.normalise import normalise, normalised_text

PIECES = st.sampled_from(list("ابتلوي ىةأإؤئیکھـ٫٬٪۱٣،؛؟.!_#\"«»“”'()-\n\t\u064b\u0651\u0670\u200f\u202b"))
ANY = st.text(st.characters(codec=None, exclude_categories=()), max_size=60)
ARABIC = st.text(PIECES, max_size=60)
MARKS_ONLY = st.text(
    st.sampled_from(["\u064b", "\u0650", "\u0651", "\u0640", "\u200f", "\u0610", "\ufe0f"]), max_size=20
)
TEXTS = st.one_of(ANY, ARABIC, MARKS_ONLY)


@given(TEXTS)
def test_never_inserts(text):
    result = normalise(text)
    assert len(result.text) <= len(text)
    assert result.offsets.dtype == np.int32
    assert result.offsets.shape == (len(result.text) + 1,)
    assert np.all(np.diff(result.offsets) > 0) or (not result.text and result.offsets.tolist() == [len(text)])
    assert result.offsets[-1] == len(text)


@given(TEXTS)
def test_the_text_alone_is_the_same(text):
    assert normalised_text(text) == normalise(text).text


@given(TEXTS, st.data())
def test_every_span_names_a_span_of_the_input(text, data):
    result = normalise(text)
    start = data.draw(st.integers(0, len(result.text)))
    end = data.draw(st.integers(start, len(result.text)))
    input_start, input_end = result.to_input(start, end)
    assert 0 <= input_start <= input_end <= len(text)
    assert normalise(text[input_start:input_end]).text == result.text[start:end]


@given(TEXTS)
def test_characters_map_one_for_one(text):
    result = normalise(text)
    for character, offset in zip(result.text, result.offsets, strict=False):
        assert normalise(text[offset]).text == character


@given(TEXTS)
def test_output_is_valid_unicode(text):
    normalise(text).text.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("الأُمَمُ المُتَّحِدَة", "الأمم المتحدة"),
        ("العـــراق", "العراق"),
        ("الرئیس الأمریکی وھو", "الرئيس الأمريكي وهو"),
        ("٣٫٥٪ و۱۲", "3.5% و12"),
        ("#أبو_ظبي", "#أبو ظبي"),
        ("قال\u200fمحمد", "قال محمد"),
        ("«الوفاق» “نعم”", '"الوفاق" "نعم"'),
        ("ﷺ", "ﷺ"),
        ("كﹶتب محﹼمد وﹷسـﱠلﱞ", "كتب محمد وسل"),
        ("ﻣﺣﻣﺪ ﻟﻠﹻﻪ", "محمد لله"),
        ("ؤ ئ ى ة أ إ آ", "ؤ ئ ى ة أ إ آ"),
        ("\u064b\u0651\u0640", ""),
        ("\ud800", "\ufffd"),
        ("\U0001f600", "\U0001f600"),
        ("", ""),
    ],
)
def test_examples(text, expected):
    assert normalise(text).text == expected


def test_normalising_again_changes_nothing():
    text = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x10000)]))
    once = normalise(text).text
    assert normalise(once).text == once
    assert normalise("ﯾوسف ﮐﺎرﯾﮐﺎﺗور").text == "يوسف كاريكاتور"


def test_a_span_takes_its_marks_along():
    text = "وَلُبْنَانُ."
    result = normalise(text)
    start = result.text.index("لبنان")
    input_start, input_end = result.to_input(start, start + 5)
    assert text[input_start:input_end] == "لُبْنَانُ"


def test_a_mark_with_a_place_of_its_own_is_a_mark():
    text = "زار محﹼمدﹲ لبنان"
    result = normalise(text)
    start = result.text.index("محمد")
    input_start, input_end = result.to_input(start, start + 4)
    assert text[input_start:input_end] == "محﹼمدﹲ"


def test_an_empty_span_is_a_place():
    assert normalise("ـا").to_input(0, 0) == (1, 1)
    assert normalise("ـ").to_input(0, 0) == (1, 1)


@pytest.mark.parametrize("piece", ["كتب ", "\u064b", "ـ", "\u200f"])
def test_a_megabyte_takes_no_second(piece):
    text = piece * (1_000_000 // len(piece))
    began = time.process_time()
    normalise(text)
    assert time.process_time() - began < 1
