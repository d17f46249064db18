"""A key under which spellings of one Arabic name meet: for matching alone, never shown to anyone."""

from __future__ import annotations

import unicodedata
from typing import Final

from rasad.text.normalise import normalise

# Presentation forms of several letters (ﻻ, ﷲ, ﷺ), which `normalise` leaves whole since it never inserts.
_LIGATURES: Final = {
    code: letters
    for code in [*range(0xFB50, 0xFE00), *range(0xFE70, 0xFEFF)]
    if len(letters := unicodedata.normalize("NFKC", chr(code))) > 1
}
_FOLDED: Final = str.maketrans(
    {"أ": "ا", "إ": "ا", "آ": "ا", "ٱ": "ا", "ى": "ي", "ئ": "ي", "ؤ": "و", "ة": "ه"}
    | dict.fromkeys("یې", "ي")
    | dict.fromkeys("کڪ", "ك")
    | dict.fromkeys("ھہە", "ه")
)


def search_key(text: str) -> str:
    """Fold what writers of Arabic mix up: ى ي ئ, ة ه, أ إ آ ا, ؤ و, letter forms, marks, case, white space.

    `search_key(search_key(text)) == search_key(text)`.
    """
    letters = normalise(text.translate(_LIGATURES)).text.translate(_FOLDED)
    return " ".join(letters.casefold().split())
