"""Arabic verbs of support and opposition, with their verbal nouns and participles and what each stands with.

Forms are search keys, so spellings that writers mix up meet in one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from rasad.text.search_key import search_key

Side = Literal["support", "oppose"]
Shape = Literal["past", "present", "noun", "participle", "passive"]

_OBJECTS: Final = ("ه", "ها", "هم", "هما")
_DIRECT: Final = ""


@dataclass(frozen=True, slots=True)
class Sense:
    """One reading of a form: `preposition` stands before the target, "" where the target is the object.

    `possessor` tells that a pronoun is glued on: the object of a verb, the holder of a verbal noun.
    """

    side: Side
    shape: Shape
    preposition: str
    possessor: bool = False


# Past, present, verbal noun, participle; a hyphen stands for none in use.
_VERBS: Final[Mapping[tuple[Side, str], str]] = {
    ("oppose", _DIRECT): """
        رفض يرفض رفض رافض
        دان يدين إدانة -
        أدان يدين إدانة مدين
        استنكر يستنكر استنكار مستنكر
        انتقد ينتقد انتقاد منتقد
        هاجم يهاجم مهاجمة مهاجم
        اتهم يتهم اتهام متهم
        شجب يشجب شجب -
        عارض يعارض معارضة معارض
        هدد يهدد تهديد مهدد
        قاطع يقاطع مقاطعة مقاطع
        استهدف يستهدف استهداف مستهدف
        قصف يقصف قصف -
        حارب يحارب محاربة محارب
        ناهض يناهض مناهضة مناهض
        حمل يحمل - محمل
        اختصم يختصم اختصام مختصم
        نفى ينفي نفي -
        قاضى يقاضي مقاضاة مقاضي
        """,
    ("oppose", "ب"): """
        ندد يندد تنديد مندد
        """,
    ("oppose", "على"): """
        احتج يحتج احتجاج محتج
        اعترض يعترض اعتراض معترض
        """,
    ("support", _DIRECT): """
        أيد يؤيد تأييد مؤيد
        دعم يدعم دعم داعم
        ساند يساند مساندة مساند
        شكر يشكر شكر -
        ثمن يثمن تثمين مثمن
        بارك يبارك مباركة مبارك
        """,
    ("support", "ب"): """
        رحب يرحب ترحيب مرحب
        أشاد يشيد إشادة مشيد
        """,
    ("support", "على"): """
        أثنى يثني ثناء مثني
        وافق يوافق موافقة موافق
        """,
    ("support", "عن"): """
        دافع يدافع دفاع مدافع
        """,
    ("support", "مع"): """
        تضامن يتضامن تضامن متضامن
        تعاطف يتعاطف تعاطف متعاطف
        """,
}

_BACKED: Final = "مدعوم مدعومة مدعومين مدعوما المدعوم المدعومة المدعومين المدعومون"
"""Passive participles: who is named behind من holds the stance, who they describe is its target."""

_SIDED: Final[Mapping[Side, str]] = {
    "support": "الموالي الموالية الموالين الموالون المؤيد المؤيدة المؤيدين المؤيدون الداعم الداعمة الداعمين الداعمون",
    "oppose": "المعارض المعارضين المعارضون المناهض المناهضة المناهضين المناهضون المعادي المعادية المعادين المعادون",
}
"""Attributes of the holder: the target stands behind ل."""
