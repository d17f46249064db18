"""Marks that come in pairs: quotation marks and brackets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

_OPENED_BY: Final[Mapping[str, str]] = {'"': '"', "'": "'", "”": "“", "»": "«", ")": "(", "]": "[", "}": "{"}


def closes(mark: str, before: Sequence[str]) -> bool:
    """Whether a mark closes a pair that is opened in `before`: a text, or words of which some are marks."""
    opening = _OPENED_BY.get(mark)
    if opening is None:
        return False
    opened = before.count(opening)
    return opened % 2 == 1 if opening == mark else opened > before.count(mark)
