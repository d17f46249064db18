"""Arabic verbs of support and opposition, their verbal nouns and participles, and what each stands with.

Forms are search keys, so the spellings that writers mix up meet in one. Entries are general Arabic; those that mislead
more often than they help in news (حذر، هدد، استهدف، دعا) are left out, as are verbal nouns that name their object by
their pronoun (اتهامه: of him).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from rasad.text.search_key import search_key

Side = Literal["support", "oppose"]
Shape = Literal["verb", "noun", "participle", "attribute"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sense:
    """One reading of a form of `lemma`, the verb's third person of the past.

    `preposition` stands before the target, "" where the target is the object. `pronoun` is the one glued on: the
    object of a verb, the holder of a verbal noun. `joined`: و or ف stands before it. `plural`: a verb whose subject is
    named before it, if at all. `ambiguous`: verb and verbal noun are spelt alike.
    """

    lemma: str
    side: Side
    shape: Shape
    preposition: str
    pronoun: str = ""
    joined: bool = False
    plural: bool = False
    ambiguous: bool = False


# Past, present, verbal noun, indefinite participle; a hyphen where one is not used so.
_VERBS: Final[Mapping[tuple[Side, str], str]] = {
    ("oppose", ""): """
        رفض يرفض رفض رافض
        دان يدين - -
        أدان يدين - مدين
        استنكر يستنكر استنكار مستنكر
        انتقد ينتقد انتقاد منتقد
        هاجم يهاجم مهاجمة مهاجم
        اتهم يتهم اتهام متهم
        شجب يشجب شجب -
        عارض يعارض معارضة معارض
        قاطع يقاطع مقاطعة مقاطع
        حارب يحارب محاربة محارب
        ناهض يناهض مناهضة مناهض
        اختصم يختصم - مختصم
        نفى ينفي نفي -
        أنكر ينكر - منكر
        """,
    ("oppose", "ب"): """
        ندد يندد تنديد مندد
        """,
    ("oppose", "على"): """
        احتج يحتج احتجاج محتج
        اعترض يعترض اعتراض معترض
        """,
    ("support", ""): """
        أيد يؤيد تأييد مؤيد
        دعم يدعم دعم داعم
        ساند يساند مساندة مساند
        شكر يشكر شكر -
        بارك يبارك مباركة مبارك
        امتدح يمتدح - ممتدح
        """,
    ("support", "ب"): """
        رحب يرحب ترحيب مرحب
        أشاد يشيد إشادة مشيد
        """,
    ("support", "على"): """
        أثنى يثني ثناء -
        وافق يوافق موافقة -
        """,
    ("support", "عن"): """
        دافع يدافع دفاع مدافع
        """,
    ("support", "مع"): """
        تضامن يتضامن تضامن متضامن
        تعاطف يتعاطف تعاطف متعاطف
        """,
}

_FEELINGS: Final[Mapping[str, str]] = {"ب": "ثقة", "ل": "تقدير احترام امتنان"}
"""Nouns of support that only a pronoun gives a holder, by what stands before their target."""

_ATTRIBUTES: Final[Mapping[Side, str]] = {
    "support": "الموالي الموالية الموالين الموالون المؤيد المؤيدة المؤيدين المؤيدون الداعم الداعمة الداعمين الداعمون",
    "oppose": "المعارض المعارضين المعارضون المناهض المناهضة المناهضين المناهضون المعادي المعادية المعادين المعادون",
}
"""What describes the holder, with ل before the target."""

_PRONOUNS: Final = ("ه", "ها", "هم", "هما")
_ONLY_SINGULAR: Final = ("متهم", "مدين")
"""Participles whose other forms are accused people, or towns (`متهمين`, `مدينة`)."""


def keys(words: str) -> frozenset[str]:
    """Search keys of words parted by spaces."""
    return frozenset(search_key(words).split())


DEMANDS: Final = keys("طالب طالبت طالبوا يطالب يطالبون تطالب مطالبا مطالبين للمطالبة بالمطالبة وطالب وطالبت وطالبوا")
REMOVALS: Final = keys(
    "بإقالة بإسقاط برحيل بمحاكمة بعزل باستقالة بإلغاء بوقف بحل بتنحي لإقالة لإسقاط إسقاط وإسقاط وإقالة ومحاكمة"
)
RELEASES: Final = keys("بالإفراج بإطلاق")


def _past(form: str) -> Iterator[tuple[str, str]]:
    stem, weak = (form[:-1], "ا") if form.endswith("ى") else (form, "")
    yield form, ""
    yield from ((stem + ending, "") for ending in ("ت", "وا", "تا"))
    yield from ((stem + ending + pronoun, pronoun) for pronoun in _PRONOUNS for ending in (weak, "ت", "و"))


def _present(form: str) -> Iterator[tuple[str, str]]:
    for whole in (form, "ت" + form[1:]):
        stem = whole.removesuffix("ي")
        yield whole, ""
        yield from ((stem + ending, "") for ending in ("ون", "ان", "وا"))
        yield from ((ending + pronoun, pronoun) for pronoun in _PRONOUNS for ending in (whole, stem + "ون"))


def _noun(form: str) -> Iterator[tuple[str, str]]:
    stem = form.removesuffix("ة")
    bound = stem + "ت" if stem != form else form
    yield from ((each, "") for each in (form, stem + "ات"))
    yield from ((each + pronoun, pronoun) for pronoun in _PRONOUNS for each in (bound, stem + "ات"))


def _readings(
    side: Side, preposition: str, past: str, present: str, noun: str, participle: str
) -> Iterator[tuple[tuple[str, ...], str, Sense]]:
    """`(proclitics, form, reading)` of a verb; the verb's own forms come first."""
    for form, pronoun in (*_past(past), *_present(present)):
        # تضامنه is his solidarity, and رفضه his refusal rather than `he refused it`.
        if pronoun and (preposition or form == noun + pronoun):
            continue
        yield (
            ("", "و", "ف", "س", "وس"),
            form,
            Sense(
                lemma=past,
                side=side,
                shape="verb",
                preposition=preposition,
                pronoun=pronoun,
                plural=form.endswith(("وا", "ون")),
                ambiguous=form == noun,
            ),
        )
    if noun != "-":
        for form, pronoun in _noun(noun):
            if not (pronoun and past == "اتهم"):
                sense = Sense(lemma=past, side=side, shape="noun", preposition=preposition, pronoun=pronoun)
                yield ("", "و", "ف", "ب", "ل", "ول", "وب"), form, sense
    if participle != "-":
        for ending in ("ا",) if participle in _ONLY_SINGULAR else ("ا", "ة", "ين"):
            sense = Sense(lemma=past, side=side, shape="participle", preposition=preposition)
            yield ("", "و"), participle + ending, sense


def _all_readings() -> Iterator[tuple[tuple[str, ...], str, Sense]]:
    for (side, preposition), table in _VERBS.items():
        for line in table.strip().splitlines():
            past, present, noun, participle = line.split()
            yield from _readings(side, preposition, past, present, noun, participle)
    for preposition, nouns in _FEELINGS.items():
        for noun in nouns.split():
            for form, pronoun in _noun(noun):
                if pronoun:
                    sense = Sense(lemma=noun, side="support", shape="noun", preposition=preposition, pronoun=pronoun)
                    yield ("", "و", "ب"), form, sense
    for side, forms in _ATTRIBUTES.items():
        for form in forms.split():
            yield ("", "و"), form, Sense(lemma=form, side=side, shape="attribute", preposition="ل")


def _senses() -> dict[str, Sense]:
    """Each form's first reading."""
    known: dict[str, Sense] = {}
    for proclitics, form, sense in _all_readings():
        for proclitic in proclitics:
            joined = proclitic in ("و", "ف", "وس")
            reading = replace(sense, joined=joined)
            known.setdefault(search_key(proclitic + form), reading)
    return known


SENSES: Final[Mapping[str, Sense]] = _senses()
"""The reading of every form that opens a stance, by its search key with its proclitics."""
