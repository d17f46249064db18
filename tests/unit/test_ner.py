from __future__ import annotations

from collections.abc import Callable

import pytest

from rasad.enrich.ner import Name, entity_type, named, trim
from rasad.enrich.reading import Document
from rasad.inference.decoding import LabelledSpan

Read = Callable[[str, str], Document]

KINDS = ("PER", "ORG", "GPE", "LOC", "FAC", "NORP", "EVENT", "MISC")
EIGHT = tuple(f"{prefix}-{kind}" for kind in KINDS for prefix in "BI")


@pytest.mark.parametrize(
    ("marked", "kept"),
    [
        ('"الوفاق"', "الوفاق"),
        ("«النهضة»،", "النهضة"),
        ("#القاهرة", "القاهرة"),
        ("(باريس", "باريس"),
        ('حكومة "الوفاق" الليبية', 'حكومة "الوفاق" الليبية'),
        ('حزب "النور"', 'حزب "النور"'),
        ("هيئة (الصحة)", "هيئة (الصحة)"),
        ("طرابلس).", "طرابلس"),
        ("عمّانـ", "عمّانـ"),
    ],
)
def test_marks_at_the_edges_stay_off_and_those_inside_stay(read: Read, marked: str, kept: str) -> None:
    text = read("", f"{marked} ثم").body
    words = len(text.tokenized.words)
    trimmed = trim(text, LabelledSpan(0, words - 1, "ORG", 0.5))
    assert trimmed is not None
    start, end = text.input_span(trimmed.start, trimmed.end)
    assert text.tokenized.text[start:end] == kept


def test_a_closing_mark_right_behind_a_span_is_taken_in(read: Read) -> None:
    text = read("", 'حزب "النور" السلفي').body
    trimmed = trim(text, LabelledSpan(0, 3, "ORG", 0.5))
    assert trimmed == LabelledSpan(0, 4, "ORG", 0.5)


def test_marks_alone_are_no_name(read: Read) -> None:
    assert trim(read("", '"(" نص').body, LabelledSpan(0, 3, "PER", 0.9)) is None


@pytest.mark.parametrize(
    ("label", "labels", "expected"),
    [
        ("GPE", EIGHT, ("LOC", "GPE")),
        ("LOC", EIGHT, ("LOC", "LOC")),
        ("NORP", EIGHT, ("MISC", "NORP")),
        ("PER", EIGHT, ("PER", None)),
        ("DATE", EIGHT, None),
        ("LOC", ("B-LOC", "I-LOC"), ("LOC", None)),
        ("PERS", ("B-PERS",), ("PER", None)),
        ("DATE", ("B-DATE",), None),
    ],
)
def test_labels_fold_into_types(label: str, labels: tuple[str, ...], expected: object) -> None:
    assert entity_type(label, labels) == expected


def names_in(read: Read, marked: str) -> list[Name]:
    """The names of a text in which `[kind words]` marks each."""
    words = marked.split()
    opened = [index for index, word in enumerate(words) if word.startswith("[")]
    closed = [index for index, word in enumerate(words) if word.endswith("]")]
    plain = " ".join(word.strip("]") for word in words if not word.startswith("["))
    text = read("", plain).body
    spans = [
        LabelledSpan(first - before, last - before, words[first][1:], 0.9)
        for before, (first, last) in enumerate(zip(opened, closed, strict=True))
    ]
    return named([(text, span) for span in spans], EIGHT)


@pytest.mark.parametrize(
    ("marked", "canonical"),
    [
        ("[PER ستيفاني وليامز] ثم قالت [PER وليامز] إن", "وليامز"),
        ("[PER عبد الوافي لفتيت] ثم [PER لفتيت] أمس", "لفتيت"),
        ("[PER ستيفاني وليامز] ثم [PER ووليامز] أمس", "وليامز"),
        ("[ORG مجلس وليامز] ثم قالت [PER وليامز] إن", "ليامز"),
    ],
)
def test_a_surname_keeps_the_letter_that_the_full_name_has(read: Read, marked: str, canonical: str) -> None:
    assert names_in(read, marked)[-1].canonical == canonical


@pytest.mark.parametrize(
    ("marked", "canonicals"),
    [
        ("صعد سهم [ORG مصرف] الراجحي", []),
        ("صعد سهم [ORG ومصرف] الراجحي", []),
        ("قالت [ORG قوات] إن", []),
        ("قالت [ORG كتلة] و [ORG جبهة العمل الإسلامي] إن", ["جبهة العمل الإسلامي"]),
        ("قالت [ORG النادي] إن", ["النادي"]),
        ("قالت [PER تيار] إن", ["تيار"]),
    ],
)
def test_the_noun_of_a_kind_alone_names_no_body(read: Read, marked: str, canonicals: list[str]) -> None:
    assert [name.canonical for name in names_in(read, marked)] == canonicals
