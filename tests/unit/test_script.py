"""Arabic is told from the other languages of its script, and from other scripts."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rasad.text.script import arabic_share, language

TEXTS = st.text(st.characters(codec=None, exclude_categories=()), max_size=60)


@given(TEXTS)
def test_total(text):
    assert 0 <= arabic_share(text) <= 1
    assert language(text) in {"ar", "fa", "ur", "ckb", "ps", "ug", "sd", "und"}


@pytest.mark.parametrize(
    ("text", "share"),
    [("", 0), ("123 !", 0), ("بغداد", 1), ("ab بغ", 0.5), ("بَغ ١٢", 1), ("שלום", 0), ("\ud800", 0), ("ﷺ", 1)],
)
def test_share(text, share):
    assert arabic_share(text) == share


@pytest.mark.parametrize(
    "text",
    [
        "بغداد",
        "ترامب يلتقي بوتين",
        "محمد صلاح يسجل هدفين",
        "ترامب یلتقی بوتین فی هلسنکی",
        "محمد صلاح یسجل ھدفین",
        "قال الرئیس الأمریکی إن بلاده ستنسحب من الاتفاق النووی وھذا ما أکدہ",
        "شركة Vue International تطلق iPhone X في دبي",
        "پاريس سان جيرمان يفوز على تشيلسي بهدف",
        "مؤتمر صحفى لرئيس الوزراء فى القاهرة",
        "عَقَدَ المَجْلِسُ جَلْسَةً",
        "آن هاثاواي تزور لبنان",
        "مي كساب تنجب ولدا",
        "#أبو_ظبي",
    ],
)
def test_arabic(text):
    assert language(text) == "ar"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("رئیس جمهور ایران برای شرکت در نشست سازمان ملل به نیویورک رفت", "fa"),
        ("وزیر امور خارجه گفت که این کشور به تعهدات خود پایبند است", "fa"),
        ("پیروزی تیم ملی فوتبال", "fa"),
        ("وزیر اعظم نے کہا ہے کہ پاکستان میں صورتحال بہتر ہو رہی ہے", "ur"),
        ("لاہور میں بارش سے نظام زندگی متاثر", "ur"),
        ("سەرۆکی هەرێمی کوردستان لەگەڵ باڵیۆزی ئەمریکا کۆبووەوە", "ckb"),
        ("وەزارەتی ناوخۆ ڕایگەیاند", "ckb"),
        ("د افغانستان ولسمشر وايي چې په هېواد کې به سوله راشي", "ps"),
        ("د کابل په ښار کې چاودنه وشوه", "ps"),
        ("The president said on Monday", "und"),
        ("הנשיא אמר היום", "und"),
        ("A long English report that only names القاهرة once", "und"),
        ("", "und"),
        ("1234 ...", "und"),
        ("\u064b\u0651", "und"),
    ],
)
def test_not_arabic(text, expected):
    assert language(text) == expected


@pytest.mark.parametrize("piece", ["كتب الولد ", "ا", "\u064b", "a1", " "])
def test_a_megabyte_takes_about_a_second(piece):
    text = piece * (1_000_000 // len(piece))
    began = time.process_time()
    language(text)
    assert time.process_time() - began < 4
