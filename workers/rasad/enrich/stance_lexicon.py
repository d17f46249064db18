"""Arabic verbs of support and opposition, their verbal nouns and participles, and what each stands with.

Forms are search keys, so the spellings that writers mix up meet in one. Entries are general Arabic; those that mislead
more often than they help in news (حذر، هدد، استهدف، دعا) are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, Literal

from rasad.text.search_key import search_key

Side = Literal["support", "oppose"]
Shape = Literal["verb", "noun", "participle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sense:
    """One reading of a form of `lemma`, the verb's third person of the past.

    `preposition` stands before the target, "" where the target is the object. `pronoun` is the one glued on: the
    object of a verb, the holder of a verbal noun. `proclitic` is what was cut off in front. `plural` and `first` are
    persons of a verb, `several` a verbal noun in the plural. `ambiguous`: verb and verbal noun are spelt alike;
    `participial`: a verbal noun is spelt like the feminine participle. `bare`: a participle that is no adverbial
    accusative.
    """

    lemma: str
    side: Side
    shape: Shape
    preposition: str
    pronoun: str = ""
    proclitic: str = ""
    plural: bool = False
    first: bool = False
    several: bool = False
    ambiguous: bool = False
    participial: bool = False
    bare: bool = False

    @property
    def definite(self) -> bool:
        """Whether the article stands before it."""
        return self.proclitic.endswith(("ال", "لل"))

    @property
    def joined(self) -> bool:
        """Whether و or ف joins it to what comes before."""
        return self.proclitic[:1] in ("و", "ف")


# Past, present, verbal noun, indefinite participle; a hyphen where one is not used so.
_WORDS: Final[Mapping[tuple[Side, str], str]] = {
    ("oppose", ""): """
        رفض يرفض رفض رافض
        دان يدين إدانة -
        أدان - - -
        استنكر يستنكر استنكار مستنكر
        استهجن يستهجن استهجان مستهجن
        انتقد ينتقد انتقاد منتقد
        هاجم يهاجم مهاجمة مهاجم
        اتهم يتهم اتهام متهم
        شجب يشجب شجب -
        عارض يعارض معارضة معارض
        قاطع يقاطع مقاطعة مقاطع
        حارب يحارب محاربة محارب
        ناهض يناهض مناهضة مناهض
        - - معاداة معادي
        اختصم يختصم - مختصم
        أنكر ينكر - منكر
        - - - مدينا
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
        ناصر يناصر مناصرة مناصر
        شكر يشكر شكر -
        بارك يبارك مباركة مبارك
        امتدح يمتدح - ممتدح
        ثمن يثمن تثمين مثمن
        """,
    ("support", "ب"): """
        رحب يرحب ترحيب مرحب
        أشاد يشيد إشادة مشيد
        - يثق ثقة واثق
        """,
    ("support", "على"): """
        أثنى يثني ثناء مثن
        وافق يوافق موافقة موافق
        """,
    ("support", "عن"): """
        دافع يدافع دفاع مدافع
        """,
    ("support", "مع"): """
        تضامن يتضامن تضامن متضامن
        تعاطف يتعاطف تعاطف متعاطف
        """,
    ("support", "ل"): """
        - - احترام -
        - - تقدير -
        - - امتنان ممتن
        - - موالاة موالي
        """,
    ("support", "من"): """
        - - إسناد مدعوم
        """,
}

DEMANDING: Final = "طالب"
"""Lemma of the verb whose side is that of what is demanded: a removal, or a release."""
_DEMAND: Final = "طالب يطالب مطالبة مطالب"

_PRONOUNS: Final = ("ه", "ها", "هم", "هما")
_SPEAKERS: Final = ("ي", "نا")
"""Pronouns of the first person on a verbal noun."""

_NOT_WITH_PRONOUN: Final = ("اتهم", "دان")
"""Verbal nouns whose pronoun names their object (`اتهامه`: of him)."""

_NO_SENSE: Final = "ثمن وثمن موالي المدين بلوم مقاطعات بمقاطعة ومقاطعة"
"""Forms that mean something else in news more often than not: a price, my masters, provinces."""


def keys(words: str) -> frozenset[str]:
    """Search keys of words parted by spaces."""
    return frozenset(search_key(words).split())


REMOVALS: Final = keys(
    "إقالة إسقاط رحيل محاكمة عزل استقالة إلغاء وقف حل تنحي تنحية رفض إغلاق طرد إبعاد حظر محاسبة معاقبة إنهاء"
)
RELEASES: Final = keys("الإفراج إفراج إطلاق")


def _past(form: str) -> Iterator[tuple[str, str, str]]:
    """`(form, person, pronoun)`: person is "", "plural" or "first"."""
    stem, weak = (form[:-1], "ا") if form.endswith("ى") else (form, "")
    yield form, "", ""
    yield stem + "ت", "", ""
    yield from ((stem + ending, "plural", "") for ending in ("وا", "تا"))
    yield stem + "نا", "first", ""
    for pronoun in _PRONOUNS:
        yield from ((stem + ending + pronoun, "", pronoun) for ending in (weak, "ت"))
        yield stem + "و" + pronoun, "plural", pronoun


def _present(form: str) -> Iterator[tuple[str, str, str]]:
    for prefix, person in (("ي", ""), ("ت", ""), ("ن", "first"), ("أ", "first")):
        whole = prefix + form[1:]
        stem = whole.removesuffix("ي")
        yield whole, person, ""
        yield from ((whole + pronoun, person, pronoun) for pronoun in _PRONOUNS)
        if not person:
            yield from ((stem + ending, "plural", "") for ending in ("ون", "ان", "وا"))
            yield from ((stem + "ون" + pronoun, "plural", pronoun) for pronoun in _PRONOUNS)


def _verbal_nouns(form: str) -> Iterator[tuple[str, bool, str]]:
    """`(form, several, pronoun)`."""
    stem = form.removesuffix("ة")
    bound = stem + "ت" if stem != form else form
    yield form, False, ""
    yield stem + "ات", True, ""
    if stem == form:
        yield form + "ا", False, ""
    for pronoun in (*_PRONOUNS, *_SPEAKERS):
        yield bound + pronoun, False, pronoun
        yield stem + "ات" + pronoun, True, pronoun


def _readings(side: Side, preposition: str, line: str) -> Iterator[tuple[str, Sense]]:
    """The forms of a line of the table; the verb's own come first."""
    past, present, noun, participle = line.split()
    lemma = next(form for form in (past, present, noun, participle) if form != "-")
    verb = Sense(lemma=lemma, side=side, shape="verb", preposition=preposition)
    for forms in (() if past == "-" else _past(past), () if present == "-" else _present(present)):
        for form, person, pronoun in forms:
            if not (pronoun and preposition):
                yield form, replace(verb, pronoun=pronoun, plural=person == "plural", first=person == "first")
    if noun != "-":
        for form, several, pronoun in _verbal_nouns(noun):
            if not (pronoun and lemma in _NOT_WITH_PRONOUN):
                yield form, replace(verb, shape="noun", pronoun=pronoun, several=several)
    if participle != "-":
        for ending in ("", "ا", "ة", "ين", "ون"):
            yield participle + ending, replace(verb, shape="participle", bare=ending in ("", "ون"))


def _merged(known: Sense, other: Sense) -> Sense:
    """What a form means that has a reading already."""
    if known.lemma != other.lemma:
        return known
    match known.shape, other.shape:
        case "verb", "noun":
            # رفضه is his refusal rather than `he refused it`, and so stands where either may.
            return replace(other if other.pronoun else known, ambiguous=True)
        case "noun", "participle":
            return replace(known, participial=True)
        case _:
            return known


def _forms() -> dict[str, Sense]:
    """The reading of every form without proclitics."""
    tables = {**_WORDS, ("oppose", "ب "): _DEMAND}
    known: dict[str, Sense] = {}
    for (side, preposition), table in tables.items():
        for line in table.strip().splitlines():
            for form, sense in _readings(side, preposition.strip(), line):
                key = search_key(form)
                known[key] = _merged(known[key], sense) if key in known else sense
    for key in keys(_NO_SENSE):
        known.pop(key, None)
    return known


_FORMS: Final = _forms()
_ARTICLES: Final = ("ال", "وال", "بال", "لل", "ولل", "فال", "وبال")
_PROCLITICS: Final = ("و", "ف", "س", "ب", "ل", "وس", "وب", "ول", "فب")


@lru_cache(maxsize=65_536)
def sense_of(key: str) -> Sense | None:
    """The reading of a word by its search key, proclitics and all; None where it opens no stance."""
    if key in _FORMS:
        return _FORMS[key]
    if key in _OTHERWISE:
        return None
    for article in _ARTICLES:
        bare = _FORMS.get(key.removeprefix(article)) if key.startswith(article) else None
        if bare is not None and not bare.pronoun and (bare.shape != "verb" or bare.ambiguous):
            shape: Shape = "noun" if bare.shape == "verb" else bare.shape
            return replace(bare, shape=shape, ambiguous=False, proclitic=article)
    return next((sense for proclitic in _PROCLITICS if (sense := _behind(proclitic, key)) is not None), None)


_OTHERWISE: Final = keys(_NO_SENSE)


def _behind(proclitic: str, key: str) -> Sense | None:
    """The reading of what a proclitic leaves, if it may stand there: س before verbs, ب and ل before nouns."""
    sense = _FORMS.get(key.removeprefix(proclitic)) if key.startswith(proclitic) else None
    if sense is None or len(key) - len(proclitic) < 3:
        return None
    if proclitic.endswith(("ب", "ل")):
        if sense.shape == "verb" and not sense.ambiguous:
            return None
        return replace(
            sense, shape="noun" if sense.shape == "verb" else sense.shape, ambiguous=False, proclitic=proclitic
        )
    if proclitic.endswith("س") and sense.shape != "verb":
        return None
    return replace(sense, proclitic=proclitic)
