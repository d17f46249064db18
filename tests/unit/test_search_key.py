"""Spellings of one name share a key."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rasad.text.search_key import search_key

TEXTS = st.one_of(
    st.text(st.characters(codec=None, exclude_categories=()), max_size=60),
    st.text(st.sampled_from(list("أإآاىيئؤةه ـیکھہە_ﷺﻻﺍﯼﹶﹷﳲﱠ\u064b\u200f")), max_size=40),
)


@given(TEXTS)
def test_a_key_is_its_own_key(text):
    key = search_key(text)
    assert search_key(key) == key
    assert key == " ".join(key.split())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("مصطفى", "مصطفي"),
        ("فاطمة", "فاطمه"),
        ("أحمد", "احمد"),
        ("إيران", "ایران"),
        ("آسيا", "اسيا"),
        ("مؤتمر", "موتمر"),
        ("هيئة", "هيية"),
        ("الأُمَم المتَّحدة", "الامم  المتحده"),
        ("العـراق", "العراق"),
        ("أبو_ظبي", "ابو ظبى"),
        ("ﷲ", "الله"),
        ("محﹼمد", "محمد"),
        ("محـﳲمد كﹶتب", "محمد كتب"),
        ("ﻻ", "لا"),
        ("ﯾﻤﻦ", "يمن"),
        ("CNN", "cnn"),
        ("٢٠١٨", "2018"),
    ],
)
def test_same_key(one, other):
    assert search_key(one) == search_key(other)


@pytest.mark.parametrize(("one", "other"), [("علي", "على ال"), ("سعد", "سعيد"), ("حلب", "حرب"), ("", "ا")])
def test_other_key(one, other):
    assert search_key(one) != search_key(other)


@pytest.mark.parametrize("piece", ["كتب ", "\u064b", "ﷺ", "\u0327\u0301", "ﹷ"])
def test_a_megabyte_takes_about_a_second(piece):
    text = piece * (500_000 // len(piece))
    began = time.process_time()
    search_key(text)
    assert time.process_time() - began < 4
