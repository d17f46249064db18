"""Sentences as spans of the text as it arrived."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rasad.text.sentences import split_sentences

PIECES = st.sampled_from(
    [
        "., ",
        ". ",
        ".",
        "..",
        "...",
        "…",
        "؟",
        "! ",
        "\n",
        "\n\n",
        '"',
        "«",
        "»",
        "(",
        ")",
        "،",
        "؛ ",
        ", ",
        ":",
        " ",
        "قال",
        "وأضاف",
        "د.",
        "ق.م.",
        "U.S.",
        "3.5",
        "bbc.com",
        "\u200f",
        "\u064b",
        "\ud800",
        "1. ",
        "- ",
        "ـ",
        "\r\n",
    ]
)
TEXTS = st.one_of(
    st.lists(PIECES, max_size=40).map("".join),
    st.text(st.characters(codec=None, exclude_categories=()), max_size=60),
)


def sentences(text):
    return [text[start:end] for start, end in split_sentences(text)]


def is_blank(character):
    return character.isspace() or unicodedata.category(character) in {"Cc", "Cf", "Zl", "Zp", "Zs"}


@given(TEXTS)
def test_sentences_are_ordered_disjoint_and_never_blank(text):
    previous = 0
    for start, end in split_sentences(text):
        assert previous <= start < end <= len(text)
        assert not text[start].isspace()
        assert not text[end - 1].isspace()
        assert not all(is_blank(character) for character in text[start:end])
        previous = end


@given(TEXTS)
def test_only_space_and_the_comma_between_paragraphs_is_left_out(text):
    covered = {place for start, end in split_sentences(text) for place in range(start, end)}
    for place, character in enumerate(text):
        if place not in covered and not is_blank(character):
            assert character == ","
            assert text[:place].rstrip('"“”»)]').endswith((".", "!", "?", "؟", "…"))
            assert text[place + 1 : place + 2].isspace() or place + 1 == len(text)


@given(TEXTS)
def test_splitting_is_deterministic(text):
    assert split_sentences(text) == split_sentences(text)


@pytest.mark.parametrize(
    "text",
    [
        "التقى د. سامر الحكيم الوفد.",
        "كتبه أ.د. سامر ثم م. رامي في ص. 5 منه.",
        "كتبه أُ.دَ. سامر ثم مُـ. رامي.",
        "حضر اللقاء ود. سامر الحكيم.",
        "بني عام 500 ق.م. في الجنوب.",
        "كتبت ج. ك. رولينغ رواية.",
        "زار George W. Bush المدينة.",
        "عرض الفيلم في U.S. Army أمس.",
        "بلغ 3.5 في المئة و٣٫٥ و1.000.000 نسمة.",
        "نشره موقع bbc.com ثم العربية.نت أمس.",
        "الخبر في https://example.org/a.b?c=d.e اليوم.",
        "يبدأ عند 10.30 مساء (20.15 بتوقيت محلي) غدا.",
        "قال، ثم صمت؛ وعاد، ثم مضى.",
        'سأل "لماذا؟" ثم خرج.',
        'عنوان الكتاب "من نحن؟"، وهو جديد.',
        "هذا (!) غريب جدا.",
        "قرأ النص (...) كاملا.",
        "خيارات أخرى متاحة .. فربما تنجح.",
        'قال: "لن نذهب. سنبقى هنا. هذا قرارنا".',
        "تحدثت بي. بي. سي. عن الأمر.",
        "سطر أول من غير نهاية\nوبقيته في الثاني.",
        'كتب ترامب على تويتر:\n"لن نذهب".',
        "وقال المتحدث باسم الحكومـة:\nالخطة جاهزة",
        "فاز الأهلي 2-1 وقال مدربه:\nنستحق الفوز",
        "زار جورج دبليو. بوش المدينة.",
        "قتل جون إف. كينيدي عام 1963.",
        "فاز دونالد جيه. ترامب أمس.",
        "كتبت جيه. كيه. رولينغ رواية.",
        "من غير أي علامة",
    ],
)
def test_one_sentence(text):
    assert sentences(text) == [text]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("وصل الوفد. وغادر أمس.", ["وصل الوفد.", "وغادر أمس."]),
        ("عاد الوزير أمس قريبًا. التقى الرئيس.", ["عاد الوزير أمس قريبًا.", "التقى الرئيس."]),
        ("لن يفلَح.وَعَادَ أمس.", ["لن يفلَح.", "وَعَادَ أمس."]),
        ("بلغ السعر 25M. التقى الرئيس.", ["بلغ السعر 25M.", "التقى الرئيس."]),
        ("هل وصل؟ نعم! وصل… ثم عاد... وانتهى", ["هل وصل؟", "نعم!", "وصل…", "ثم عاد...", "وانتهى"]),
        ("انتهى الأمر., وبدأ آخر., وثالث.", ["انتهى الأمر.", "وبدأ آخر.", "وثالث."]),
        ('قال "نعم"., وأضاف: "لا".', ['قال "نعم".', 'وأضاف: "لا".']),
        ('قال "نعم." وأضاف "لا."', ['قال "نعم."', 'وأضاف "لا."']),
        ("قال «نعم.» وأضاف", ["قال «نعم.»", "وأضاف"]),
        ("(انتهى الخبر.) وبدأ غيره.", ["(انتهى الخبر.)", "وبدأ غيره."]),
        ('سأل: "من فعل هذا؟" وأضاف شيئا.', ['سأل: "من فعل هذا؟"', "وأضاف شيئا."]),
        ("عنوان أول\n\nنص الخبر.", ["عنوان أول", "نص الخبر."]),
        ("جملة أولى.\nجملة ثانية.", ["جملة أولى.", "جملة ثانية."]),
        ("جملة أولى.\nعنوان فرعي\nجملة ثانية.\nثالثة.", ["جملة أولى.", "عنوان فرعي", "جملة ثانية.", "ثالثة."]),
        ("نقلا عن د.ب.أ. وقال آخرون.", ["نقلا عن د.ب.أ.", "وقال آخرون."]),
        ("يحتوي على فيتامين د. ويباع هنا.", ["يحتوي على فيتامين د.", "ويباع هنا."]),
        ("على عمق 5 م. وقال.", ["على عمق 5 م.", "وقال."]),
        ("فاز 3 - 1. وخسر 2.", ["فاز 3 - 1.", "وخسر 2."]),
        ("1. الأول هنا.\n2. الثاني هناك.", ["1. الأول هنا.", "2. الثاني هناك."]),
        ("سيارة من بي إم دبليو. أعلنت الشركة ذلك.", ["سيارة من بي إم دبليو.", "أعلنت الشركة ذلك."]),
        ("غنى جاي زد. غادر بعدها.", ["غنى جاي زد.", "غادر بعدها."]),
        ("التقى جورج دبليو. وعاد.", ["التقى جورج دبليو.", "وعاد."]),
        ("التقى جورج دبليو. كان ذلك أمس.", ["التقى جورج دبليو.", "كان ذلك أمس."]),
        ("عرضت تسلا موديل إس. ستباع هنا.", ["عرضت تسلا موديل إس.", "ستباع هنا."]),
        ("إحنا تعبنا في البلد دي. نعمل إيه. مش عارفين.", ["إحنا تعبنا في البلد دي.", "نعمل إيه.", "مش عارفين."]),
        ("كتب ـ محمد سعيد:\nقررت الجبهة\nمقاطعتها.", ["كتب ـ محمد سعيد:", "قررت الجبهة\nمقاطعتها."]),
        ("كتبت هدى علي:\nقررت الجبهة", ["كتبت هدى علي:", "قررت الجبهة"]),
        ("سوهاج - صباح علي:\nقررت الجبهة", ["سوهاج - صباح علي:", "قررت الجبهة"]),
        ("القاهرة- الأناضول:\nقررت الجبهة", ["القاهرة- الأناضول:", "قررت الجبهة"]),
        ("وصل الوفد.\nسوهاج - صباح:\nقررت الجبهة", ["وصل الوفد.", "سوهاج - صباح:\nقررت الجبهة"]),
        ("وصل الوفد.\n.\nوغادر.", ["وصل الوفد.\n.", "وغادر."]),
        ("وصل الوفد.\n-------\nوغادر.", ["وصل الوفد.\n-------", "وغادر."]),
        ("...", ["..."]),
        ("انتهت الجلسة.وبدأت الأخرى.", ["انتهت الجلسة.", "وبدأت الأخرى."]),
        ("  \u200f وصل. \u200f ", ["وصل."]),
        ("", []),
        (" \n\u200f\n ", []),
    ],
)
def test_several_sentences(text, expected):
    assert sentences(text) == expected


def test_scraped_paragraphs_with_lines_in_them():
    text = "أعلنت اللجنة\nاليوم قرارها., ثم عادت\nوسحبته."
    assert sentences(text) == ["أعلنت اللجنة\nاليوم قرارها.", "ثم عادت\nوسحبته."]


def test_a_long_quotation_is_cut_at_its_marks():
    text = 'قال: "' + "هذه جملة طويلة من كلام كثير عن أمر واحد. " * 12 + 'انتهى".'
    assert len(sentences(text)) == 13


@pytest.mark.parametrize(
    "piece",
    [
        "وصل الوفد أمس. ",
        ". ",
        ".",
        '"',
        '" ',
        "(",
        "()",
        "\n",
        " \n",
        " ",
        ".,",
        "., ",
        "د. ",
        "ـ.",
        "a.",
        "ا",
        '".',
        '.""',
        ".“”",
        "\u200f.",
        ".\n",
        "دبليو. ",
        "ـ -:",
        "كتب ـ:\n",
    ],
)
def test_time_grows_with_length_alone(piece):
    text = piece * (500_000 // len(piece))
    began = time.process_time()
    split_sentences(text)
    assert time.process_time() - began < 5
