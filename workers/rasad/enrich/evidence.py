"""Which sentences of an article a claim is about: BM25 over light stems, no model. `claims.py` weighs articles so."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from rasad.text.search_key import search_key

_WORD: Final = re.compile(r"[^\W_]+")
# Larkey, Ballesteros and Connell's light10 (2007), on search keys: their ة and ى are ه and ي here.
_PREFIX: Final = re.compile(r"(?:و(?=\w{4}))?(?:وال|فال|بال|كال|لل|ال)?(?=\w{2})")
_SUFFIX: Final = re.compile(r"(?<=\w{2})(?:ها|ان|ات|ون|ين|يه|ه|ي)$")

K1: Final = 1.2
B: Final = 0.75
"""BM25's usual constants (Robertson and Zaragoza 2009)."""


def stem(word: str) -> str:
    """The light stem of an Arabic word: no conjunction, article or common ending."""
    return _stem(search_key(word))


@lru_cache(maxsize=65_536)
def _stem(key: str) -> str:
    bare = _PREFIX.sub("", key, count=1)
    return _SUFFIX.sub("", bare, count=1) if len(bare) > 3 else bare


def stems(text: str) -> list[str]:
    """The light stems of a text's words, those of a single letter left out."""
    return [_stem(word) for word in _WORD.findall(search_key(text)) if len(word) > 1]


_FUNCTION_WORDS: Final = frozenset(
    stems(
        "في من على إلى عن مع بعد قبل بين حول ضد أو أن التي الذي الذين ما لا هذا هذه ذلك تلك كل بعض غير عند لدى خلال "
        "حتى ثم قد كان كانت هو هي هم كما منذ أي نحو دون عبر"
    )
)


def content_words(text: str) -> frozenset[str]:
    """Light stems of a phrase without function words."""
    return frozenset(stems(text)) - _FUNCTION_WORDS


def stem_counts(text: str) -> Counter[str]:
    """How often each light stem occurs in a text."""
    return Counter(stems(text))


def relevance(claim: str, sentences: Sequence[str]) -> list[float]:
    """A score for each sentence, 0 where it shares no stem with the claim.

    How rare a stem is counts among the sentences themselves.
    """
    return relevance_of_counts(claim, [stem_counts(sentence) for sentence in sentences])


def relevance_of_counts(claim: str, sentences: Sequence[Counter[str]]) -> list[float]:
    """The same for sentences whose stems are counted already, as those of an article are for all claims together."""
    wanted = set(stems(claim))
    lengths = [sentence.total() for sentence in sentences]
    average = sum(lengths) / max(len(lengths), 1) or 1.0
    frequency = Counter(word for sentence in sentences for word in sentence if word in wanted)
    weight = {word: math.log(1 + (len(sentences) - n + 0.5) / (n + 0.5)) for word, n in frequency.items()}
    return [
        sum(weight[word] * saturation(sentence[word], length, average) for word in sorted(wanted & sentence.keys()))
        for sentence, length in zip(sentences, lengths, strict=True)
    ]


def saturation(count: int, length: int, average: float) -> float:
    """What `count` occurrences of a stem in a text of `length` stems are worth in BM25, from 0 to `K1 + 1`."""
    return count * (K1 + 1) / (count + K1 * (1 - B + B * length / average))


def ranked(scores: Sequence[float]) -> list[int]:
    """Indices of sentences from the most relevant to the least; earlier ones first among equals."""
    return sorted(range(len(scores)), key=lambda index: (-scores[index], index))
