from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from rasad.enrich.ner import Name, entity_type, name_spans, named, names, trim
from rasad.enrich.reading import Document, documents, score_words
from rasad.enrich.recurrence import raised
from rasad.inference.bundle import Head
from rasad.inference.decoding import LabelledSpan, Scores
from rasad.inference.engine import Engine

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


def marks_of(marked: str) -> tuple[str, list[LabelledSpan]]:
    """A text in which `[kind words]` marks spans, without the marks, and its spans."""
    words = marked.split()
    opened = [index for index, word in enumerate(words) if word.startswith("[")]
    closed = [index for index, word in enumerate(words) if word.endswith("]")]
    plain = " ".join(word.strip("]") for word in words if not word.startswith("["))
    spans = [
        LabelledSpan(first - before, last - before, words[first][1:], 0.9)
        for before, (first, last) in enumerate(zip(opened, closed, strict=True))
    ]
    return plain, spans


def names_in(read: Read, marked: str) -> list[Name]:
    """The names of a text in which `[kind words]` marks each."""
    plain, spans = marks_of(marked)
    text = read("", plain).body
    return named([(text, span) for span in spans], EIGHT)


LABELS = ("O", *EIGHT)


def scores_of(words: int, spans: list[LabelledSpan], sure: float) -> Scores:
    """Scores of a model that is as sure of every label as a distance of `sure` from all others makes it."""
    scores = np.zeros((words, len(LABELS)), np.float32)
    scores[:, 0] = sure
    for span in spans:
        scores[span.start : span.end, 0] = 0
        scores[span.start, LABELS.index(f"B-{span.type}")] = sure
        scores[span.start + 1 : span.end, LABELS.index(f"I-{span.type}")] = sure
    return scores


def spans_in(read: Read, *fields: str, sure: float = 5.0) -> list[str]:
    """What an article's fields name by the scores of a model that sees what is marked, by kind and words."""
    read_fields = []
    for marked in fields:
        plain, spans = marks_of(marked)
        text = read("", plain).body
        read_fields.append((text, scores_of(len(text.tokenized.words), spans, sure), text.opens_sentence))
    head = Head(kind="token", labels=LABELS, temperature=1.0)
    return [
        f"{span.type} {text.tokenized.text[slice(*text.input_span(span.start, span.end))]}"
        for text, found in name_spans(head, read_fields)
        for span in found
    ]


def test_what_a_head_adds_to_outside_leaves_doubtful_names_out(ner_engine: Engine) -> None:
    text = "قال محمد بن سلمان في الرياض إن الأمم المتحدة ترحب بالاتفاق مع شركة نور"
    name, head = ner_engine.bundle.head()
    manifest = ner_engine.bundle.manifest

    def found(outside: float) -> dict[int, float]:
        heads = {**manifest.heads, name: replace(head, outside=outside)}
        engine = Engine(replace(ner_engine.bundle, manifest=replace(manifest, heads=heads)), ner_engine.backend)
        (scored,) = score_words(engine, documents(engine, [("", text)]), [name])
        return {each.start: each.prob for each in names(engine, scored, name)}

    as_it_is, fewer = found(0.0), found(2.0)
    assert found(100.0) == {}
    assert fewer.keys() <= as_it_is.keys()
    assert all(prob < as_it_is[start] for start, prob in fewer.items())


@pytest.mark.parametrize(
    ("marked", "named"),
    [
        ("قال [PER عبد] [PER الحميد كشك] أمس", ["PER عبد الحميد كشك"]),
        ("في [GPE كوريا] [GPE الجنوبية] أمس", ["GPE كوريا الجنوبية"]),
        ("في [GPE سوريا] [GPE والعراق] أمس", ["GPE سوريا", "GPE والعراق"]),
        ("في [GPE نابلس] [GPE بالضفة] أمس", ["GPE نابلس", "GPE بالضفة"]),
        ("في [GPE سوريا] [PER أحمد] أمس", ["GPE سوريا", "PER أحمد"]),
        ("لدى [ORG شركة] [ORG أرامكو] أمس", ["ORG شركة", "ORG أرامكو"]),
        ("قال [PER محمد] ولد [PER عبد العزيز] أمس", ["PER محمد ولد عبد العزيز"]),
        ("قال [PER محمد] ثم [PER سعيد] أمس", ["PER محمد", "PER سعيد"]),
        ("زار [GPE مصر] بن [GPE ليبيا] أمس", ["GPE مصر", "GPE ليبيا"]),
        ("قال [PER سعيد] . [PER محمد] أمس", ["PER سعيد", "PER محمد"]),
        ("تقع [GPE الدار] [GPE البيضاء] هنا", ["GPE الدار البيضاء"]),
        ("ولاية [GPE جنوب] [GPE السودان] أمس", ["GPE جنوب السودان"]),
    ],
)
def test_a_name_that_was_cut_in_two_is_one(read: Read, marked: str, named: list[str]) -> None:
    assert spans_in(read, marked) == named


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        (("وتتهم [GPE السعودية] [GPE إيران] بذلك",), ["GPE السعودية", "GPE إيران"]),
        (("كما اتهمت [GPE بريطانيا] [GPE موسكو] بذلك",), ["GPE بريطانيا", "GPE موسكو"]),
        (
            ("قمة [PER كيم] [PER ترمب] غدا", "قال [PER كيم] إن [PER دونالد ترمب] وصل"),
            ["PER كيم", "PER ترمب", "PER كيم", "PER دونالد ترمب"],
        ),
        (("قمة [PER كيم] [PER ترمب] غدا", "قال [PER كيم] أمس"), ["PER كيم ترمب", "PER كيم"]),
        (
            ("قال [PER محمد] [PER صلاح] أمس", "سجل [PER صلاح] ثم [PER محمد] ثم [PER محمد صلاح] هدفا"),
            ["PER محمد صلاح", "PER صلاح", "PER محمد", "PER محمد صلاح"],
        ),
    ],
)
def test_the_subject_and_the_object_of_a_verb_stay_two(read: Read, fields: tuple[str, ...], named: list[str]) -> None:
    assert spans_in(read, *fields) == named


@pytest.mark.parametrize("gap", ["\n", "\n\n", " \u2028"])
def test_no_name_goes_on_in_the_next_line(read: Read, gap: str) -> None:
    text = read("", f"رحل عبد{gap}الحميد كشك قال").body
    scores = scores_of(5, [LabelledSpan(1, 2, "PER", 0.9), LabelledSpan(2, 4, "PER", 0.9)], 5.0)
    ((_, found),) = name_spans(Head(kind="token", labels=LABELS), [(text, scores, text.opens_sentence)])
    assert [(each.start, each.end) for each in found] == [(1, 2), (2, 4)]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        (("زار [PER ريتشارد ستولمان] مصر", "قال ستولمان إن"), ["PER ريتشارد ستولمان", "PER ستولمان"]),
        (("قال ستولمان إن", "زار [PER ريتشارد ستولمان] مصر"), ["PER ستولمان", "PER ريتشارد ستولمان"]),
        (("زار [PER ريتشارد ستولمان] مصر", "وقيل لستولمان إن"), ["PER ريتشارد ستولمان", "PER لستولمان"]),
        (("زار [PER أبو بكر الرازي] مصر", "وقيل للرازي إن"), ["PER أبو بكر الرازي", "PER للرازي"]),
        (
            ("أعلنت [ORG البرمجيات الحرة] أن", "إلى البرمجيات الحرة ثم"),
            ["ORG البرمجيات الحرة", "ORG البرمجيات الحرة"],
        ),
        (("أعلنت [ORG البرمجيات الحرة] أن", "إلى البرمجيات ثم"), ["ORG البرمجيات الحرة"]),
        (("زار [PER ريتشارد عون] مصر", "من عون إلى"), ["PER ريتشارد عون"]),
        (("قال [PER محمد عبد السلام] إن", "محادثات السلام ثم"), ["PER محمد عبد السلام"]),
        (("قال [PER صلاح الدين] إن", "رجال الدين ثم"), ["PER صلاح الدين"]),
        (("قال [PER محمد عبد السلام] إن", "زار عبد السلام مصر"), ["PER محمد عبد السلام", "PER عبد السلام"]),
        (("قال [PER حسن نصر الله] إن", "زار نصر الله مصر والله"), ["PER حسن نصر الله", "PER نصر الله"]),
        (("أعلنت [ORG أمل] أن", "بشكل كامل ثم"), ["ORG أمل"]),
        (("في [GPE إسبانيا] أمس", "كأس إسبانيا ثم"), ["GPE إسبانيا"]),
        (("زار [PER ستولمان] مصر", "في [ORG مؤسسة ستولمان] أمس"), ["PER ستولمان", "ORG مؤسسة ستولمان"]),
    ],
)
def test_what_an_article_names_once_it_names_everywhere(read: Read, fields: tuple[str, ...], named: list[str]) -> None:
    assert spans_in(read, *fields) == named


def test_a_head_without_labels_for_what_follows_raises_the_first_word() -> None:
    scores = np.zeros((3, 2), np.float32)
    assert raised(scores, ("O", "B-PER"), [(0, 1, "PER"), (1, 3, "PER")])[:, 1].tolist() == [6.0, 6.0, 0.0]


def test_a_name_that_is_not_sure_names_nothing_elsewhere(read: Read) -> None:
    fields = ("زار [PER ريتشارد ستولمان] مصر", "قال ستولمان إن")
    assert spans_in(read, *fields, sure=3.5) == ["PER ريتشارد ستولمان"]
    assert spans_in(read, *fields, sure=4.5) == ["PER ريتشارد ستولمان", "PER ستولمان"]


def test_a_line_with_a_full_stop_alone_is_no_paragraph(read: Read) -> None:
    text = read("", "وصل الوفد.\n.\nوغادر.").body
    assert text.paragraph_of_sentence.tolist() == [0, 1]


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
