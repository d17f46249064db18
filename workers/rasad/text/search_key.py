"""A key under which spellings of one Arabic name meet: for matching alone, never shown to anyone."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Final

from rasad.text.normalise import DELETED, normalised_text

# Presentation forms of several letters (ﻻ, ﷲ, ﷺ), which normalising leaves whole since it never inserts.
_LIGATURES: Final = {
    code: letters
    for code in [*range(0xFB50, 0xFE00), *range(0xFE70, 0xFEFF)]
    if chr(code) not in DELETED and len(letters := unicodedata.normalize("NFKC", chr(code))) > 1
}
_FOLDED: Final = str.maketrans(
    {"أ": "ا", "إ": "ا", "آ": "ا", "ٱ": "ا", "ى": "ي", "ئ": "ي", "ؤ": "و", "ة": "ه"}
    | dict.fromkeys("یې", "ي")
    | dict.fromkeys("کڪ", "ك")
    | dict.fromkeys("ھہە", "ه")
)
_WORD: Final = 32
"""The longest text, in code points, whose key is kept: news repeats its words, not its sentences."""


def search_key(text: str) -> str:
    """Fold what writers of Arabic mix up: ى ي ئ, ة ه, أ إ آ ا, ؤ و, letter forms, marks, case, white space.

    `search_key(search_key(text)) == search_key(text)`.
    """
    return _kept(text) if len(text) <= _WORD else _folded(text)


def _folded(text: str) -> str:
    letters = normalised_text(text.translate(_LIGATURES)).translate(_FOLDED)
    return " ".join(letters.casefold().split())


_kept: Final = lru_cache(maxsize=65_536)(_folded)
