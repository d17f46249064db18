"""Words: runs of letters and digits, and single marks of punctuation."""

from __future__ import annotations

import re
from typing import Final

import numpy as np
import numpy.typing as npt

_WORD: Final = re.compile(r"[^\W_]+|[^\w\s]|_")


def word_spans(text: str) -> npt.NDArray[np.int32]:
    """`[start, end)` of every word of `text`, in order; shape `[words, 2]`.

    On normalised text a word carries its glued clitics, and a hashtag's words are words of their own.
    """
    spans = [match.span() for match in _WORD.finditer(text)]
    return np.array(spans, dtype=np.int32).reshape(-1, 2)
