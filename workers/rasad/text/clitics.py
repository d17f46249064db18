"""Glued proclitics of Arabic names: و ف (and, so), ب ل ك (in, to, like), alone, combined and before ال.

A name that is itself spelt with such a letter (وليد، بغداد، لبنان) looks the same as one that carries a proclitic,
so a cut needs evidence: a well-known name in what remains, the article's own words, or the shape of the word.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from typing import Final

from rasad.text.lexicon import AFTER_ARTICLE, BODIES, CITIES, COUNTRIES, KINDS_OF_BODY, NAMES, WHOLE
from rasad.text.normalise import DELETED, normalise
from rasad.text.search_key import search_key

_EVIDENT: Final = COUNTRIES | CITIES | KINDS_OF_BODY | {"داعش", "حماس", "طالبان"}
"""What a ف or ك may stand before without further evidence. Both are rare before names, and begin many."""

_WORD: Final = re.compile(r"[^\W\d_]+")
_LEADING: Final = re.compile(r"[#\"'(\[\s]*")
_ALONE: Final = re.compile(r"\s+(?=\w)")
_HASH: Final = re.compile(r"#(?=\w)")
# A stroke after a proclitic sets it off from quotation marks, other letters or a name: بـ"الوفاق"، لـCNN.
# What comes next is a letter that normalising keeps, never another stroke: بـ alone is no proclitic.
_KEPT: Final = rf"[^\W_{DELETED}]"
_SET_OFF: Final = re.compile(rf"(?:[وف]?[بلك]|[وف])(?:ـ++|(?=[\"“«#A-Za-z0-9]))([\"“«#]*)(?={_KEPT})")

_LL: Final = re.compile(r"[وف]?ل(?=ل\w{2})")
_ARTICLE: Final = re.compile(r"([وف]?[بك]|[وف])(?=ال\w{2})")
_HAMZA: Final = re.compile(r"(?:[وف]?[بلك]|[وف])(?=[أإآ]\w{2})|و(?=[أإآ]\w)")
_NEXT_DEFINITE: Final = re.compile(r"\W+ال\w{2}")
_ADJECTIVE_OR_NUMBER: Final = re.compile(r"\W+(?:ال\w+(?:ية|يا)\b|\d)")
# Latin letters by name, as in بي بي سي and سي إن إن.
_LETTER_NAME: Final = re.compile(r"[إا]ي|بي|سي|دي|جي|[إا]ف|[إا]م|[إا]ن|[آا]ر|تي|في")
_SPELT_OUT: Final = re.compile(rf"[\s.](?:{_LETTER_NAME.pattern})\b")
_NO_CLITIC: Final = (0, "")


@dataclass(frozen=True, slots=True)
class _Article:
    """What an article says of its names; see `strip_proclitics`."""

    seen: Container[str]
    whole: Container[str]


@dataclass(frozen=True, slots=True)
class Core:
    """What remains of a mention without its proclitics.

    `start` counts code points into the surface; `canonical` is the name in plain spelling: without marks and
    strokes, letter forms mapped, white space single, the article's alef restored (للأمم المتحدة: 1, الأمم المتحدة).
    """

    start: int
    canonical: str


def strip_proclitics(surface: str, *, seen: Container[str], whole: Container[str] = frozenset()) -> Core:
    """Find the core of a mention.

    `seen` holds what the article names without a proclitic: its mentions and their first words, as `normalise` or
    `search_key` gives them. (All words of the article would be too much: امل would make كامل of any such name.)
    `whole` holds search keys of words that stand inside the article's names, where no proclitic does: وليامز of
    ستيفاني وليامز carries no و.
    Total: every string has a core; without evidence for a proclitic it is the whole surface.
    """
    article = _Article(seen, whole)
    normalised = normalise(surface)
    text = normalised.text
    leading = _end(_LEADING, text, 0)
    word = _WORD.match(text, leading)
    if word is None:
        return Core(0, _plain(text))
    length, restored = _proclitic(word[0], text[word.end() :], article)
    if length:
        start = leading + length
        return Core(int(normalised.offsets[start]), _plain(restored + text[start:]))
    set_off = None if _is_whole(word[0], article) else _SET_OFF.match(surface)
    if set_off is None:
        return Core(0, _plain(text))
    rest = normalise(surface[set_off.end() :]).text
    return Core(set_off.end(), _plain(rest.rstrip('"') if set_off[1] else rest))


def _plain(text: str) -> str:
    return " ".join(_HASH.sub("", text).split())


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position


def _proclitic(word: str, rest: str, article: _Article) -> tuple[int, str]:
    """How many letters of `word` are proclitics, and the letters of the article to restore before what remains.

    `rest` is the mention after `word`, with the space between them.
    """
    if word == "و":
        return (1 + _end(_ALONE, rest, 0), "") if _ALONE.match(rest) else _NO_CLITIC
    if _is_whole(word, article):
        return _NO_CLITIC
    return (
        _before_ll(word, rest, article)
        or _before_article(word, rest, article)
        or _before_known(word, rest, article)
        or _before_hamza(word)
        or _by_shape(word, rest, article)
        or _NO_CLITIC
    )


def _is_whole(word: str, article: _Article) -> bool:
    key = search_key(word)
    return key in NAMES or key in WHOLE or key in article.whole


def _before_ll(word: str, rest: str, article: _Article) -> tuple[int, str] | None:
    """لل: ل before ال, whose alef is not written, or before a name in ل (لليبيا)."""
    match = _LL.match(word)
    if match is None:
        return None
    length, remaining = match.end(), word[match.end() :]
    key = search_key(remaining)
    if key in AFTER_ARTICLE and _takes_article(key, rest):
        return length, "ال"
    known = _is_whole(remaining, article) or _is_seen(remaining, rest, article)
    return length, "" if known else "ا"


def _takes_article(key: str, rest: str) -> bool:
    """Whether a noun in ل is definite by itself: للجنة العليا is (اللجنة العليا), للجنة الانتخابات is not."""
    return key not in NAMES or not rest.strip() or _ADJECTIVE_OR_NUMBER.match(rest) is not None


def _before_article(word: str, rest: str, article: _Article) -> tuple[int, str] | None:
    match = _ARTICLE.match(word)
    if match is None:
        return None
    if match.end() > 1 and _is_whole(word[1:], article):
        return 1, ""
    remaining = word[match.end() :]
    # ف and ك are rare before names, and many foreign names begin with فال and كال.
    frequent = match[1] in {"و", "ب", "وب", "فب"}
    evident = (
        frequent
        or remaining.endswith(("ة", "ات"))
        or search_key(remaining) in NAMES
        or (search_key(remaining[2:]) in BODIES and _NEXT_DEFINITE.match(rest) is not None)
        or _is_seen(remaining, rest, article)
    )
    return (match.end(), "") if evident else None


def _before_known(word: str, rest: str, article: _Article) -> tuple[int, str] | None:
    """A proclitic, or و or ف and another, before a well-known name or one that the article has without it."""
    lengths = [1] if word[0] in "وفبلك" else []
    if word[0] in "وف" and word[1:2] in {"ب", "ل", "ك"}:
        lengths.append(2)
    known = (n for n in lengths if _is_known(word[n - 1], word[n:], rest, article))
    return next(((length, "") for length in known), None)


def _is_known(proclitic: str, remaining: str, rest: str, article: _Article) -> bool:
    """Whether `remaining` is a name of which it is safe to say that `proclitic` stands before it."""
    key = search_key(remaining)
    if len(remaining) == 2:
        return (
            proclitic in "بلو"
            and rest[:1].isspace()
            and (
                key in BODIES
                or key == "بن"
                or _is_spelt_out(remaining, rest)
                or _plain(remaining + rest) in article.seen
            )
        )
    if len(remaining) < 2:
        return False
    common = proclitic in "ول"
    listed = key in BODIES or (key in NAMES and (common or len(remaining) > 3))
    if (key in _EVIDENT if proclitic in "فك" else listed) or _is_spelt_out(remaining, rest):
        return True
    return (common or len(remaining) > 3 or key in NAMES) and _is_seen(remaining, rest, article)


def _is_spelt_out(remaining: str, rest: str) -> bool:
    return _LETTER_NAME.fullmatch(remaining) is not None and _SPELT_OUT.match(rest) is not None


def _is_seen(remaining: str, rest: str, article: _Article) -> bool:
    """Whether the article has the name alone; one that itself begins with a proclitic is none (وبمجلس، بمجلس)."""
    whole = _plain(remaining + rest)
    forms = (remaining, search_key(remaining), whole, search_key(whole))
    alone = _Article(frozenset(), article.whole)
    return any(form in article.seen for form in forms) and _proclitic(remaining, rest, alone) == _NO_CLITIC


def _before_hamza(word: str) -> tuple[int, str] | None:
    """Hardly any Arabic or foreign name has أ إ آ as its second letter, and those that do are listed."""
    match = _HAMZA.match(word)
    if match is not None:
        return match.end(), ""
    return (1, "") if word[0] in "لب" and word[1:] in {"أم", "آل"} else None


def _by_shape(word: str, rest: str, article: _Article) -> tuple[int, str] | None:
    """Cuts that what follows the letter makes likely by itself, where a foreign name would go on with a vowel."""
    remaining = word[1:]
    if len(remaining) < 3 or remaining[0] in "ءئؤةى":
        return None
    if word[0] == "و":
        if remaining[0] in "اوي":
            return (1, "") if _is_whole(remaining, article) else None
        inner, restored = _proclitic(remaining, rest, article) if remaining[0] in "بلك" else _NO_CLITIC
        return 1 + inner, restored
    vowel = remaining[0] in "اوي"
    if (word[0] == "ل" and not vowel) or (word[0] == "ب" and remaining[0] in "مف"):
        return 1, ""
    return None
