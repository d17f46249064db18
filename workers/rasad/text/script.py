"""Whether a text is Arabic: by its script, then by letters and words of the other languages that share it."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final, Literal

Language = Literal["ar", "fa", "ur", "ckb", "ps", "ug", "sd", "und"]
"""ISO 639 code of a language in Arabic script; "und" for all others and for text without letters."""

_LETTERS: Final = re.compile(r"[^\W\d_]+")
_ARABIC_SCRIPT: Final = re.compile(r"[\u0600-\u06ff\u0750-\u077f\u0870-\u08ff\ufb50-\ufdff\ufe70-\ufeff]+")
_MARKS: Final = re.compile(r"[\u0640\u064b-\u065f\u0670\u06d6-\u06ed\u0610-\u061a]+")

# Arabic articles on technology and business name much in Latin letters; a foreign one quotes little Arabic.
_LEAST_SHARE: Final = 0.3

# Writers of Arabic mix these forms up, so they tell nothing.
_FORMS: Final = str.maketrans("یىکھہە", "ييكههه")

_ARABIC_SHAPE: Final = re.compile(r"(?:[وف]?[بك]?ال|[وف]?لل)\w{2,}|[وفبكل]?[أإ]\w+|\w+ة")
_ARABIC_WORDS: Final = frozenset(
    "في وفي على وعلى إلى الى عن مع أن إن التي الذي الذين هذا هذه ذلك تلك هو هي كان كانت قال قالت خلال لم لن أو أي منذ "
    "وهو وهي ليس عليه عليها منه منها فيه فيها لدى سوف كما أما".translate(_FORMS).split()
)

# No Arabic word is written with these, but for loans and dialects (پ چ گ), which Arabic words outnumber.
_FOREIGN_LETTERS: Final[dict[Language, str]] = {
    "ur": "ٹڈڑںےۓۃ",
    "ckb": "ڕڵۆێ",
    "ps": "ټډړږښګڼۍځڅۀ",
    "ug": "ۇۈۋڭ",
    "sd": "ٻڀڄڃڇڊڌڍڏڦڳڱڻٿٽٺ",
    "fa": "پچژگ",
}
_LANGUAGE_OF_LETTER: Final = {letter: code for code, letters in _FOREIGN_LETTERS.items() for letter in letters}
_FOREIGN_LETTER: Final = re.compile(f"[{''.join(_LANGUAGE_OF_LETTER)}]")

# Frequent words that are none of Arabic's, nor names in it (مي, آن).
_FOREIGN_WORDS: Final[dict[Language, str]] = {
    "ur": "میں اور سے کو نے پر یہ بھی نہیں گیا لیے کیا ایک کا ہیں ہوا رہا تھا",
    "ckb": "بۆ ئەو ئەم ئەوە دەکات لەسەر",
    "ps": "په او چې کې یې شوي کښې",
    "ug": "ۋە بىلەن",
    "sd": "آهي آهن",
    "fa": "است در از که این را با برای شده یک های نیز گفت کرده دارد باید شود کند آنها توسط همچنین دیگر رفت",
}
_LANGUAGE_OF_WORD: Final = {
    word: code for code, words in reversed(_FOREIGN_WORDS.items()) for word in words.translate(_FORMS).split()
}


def arabic_share(text: str) -> float:
    """The share of `text`'s letters that are of the Arabic script, 0 to 1; 0 where there are no letters."""
    letters = "".join(_LETTERS.findall(text))
    if not letters:
        return 0.0
    return sum(map(len, _ARABIC_SCRIPT.findall(letters))) / len(letters)


def language(text: str) -> Language:
    """The language of `text`, where it is one in Arabic script.

    Arabic wins ties, so that a headline of a few names is Arabic. Persian letter forms (ی ک ھ) are no evidence.
    """
    if arabic_share(text) < _LEAST_SHARE:
        return "und"
    votes: Counter[Language] = Counter()
    for word, count in Counter(_LETTERS.findall(_MARKS.sub("", text))).items():
        vote = _vote(word)
        if vote is not None:
            votes[vote] += count
    foreign = [(count, code) for code, count in votes.items() if code != "ar"]
    if votes["ar"] >= sum(count for count, _ in foreign):
        return "ar"
    return max(foreign)[1]


def _vote(word: str) -> Language | None:
    """The one language that a word speaks for, if any."""
    form = word.translate(_FORMS)
    if form in _LANGUAGE_OF_WORD:
        return _LANGUAGE_OF_WORD[form]
    letters = {_LANGUAGE_OF_LETTER[letter] for letter in _FOREIGN_LETTER.findall(word)}
    if letters:
        return next(code for code in _FOREIGN_LETTERS if code in letters)
    # Sorani writes its commonest vowel with a letter that Arabic writers use for a final ه at most.
    if word.count("ە") > 1:
        return "ckb"
    return "ar" if form in _ARABIC_WORDS or _ARABIC_SHAPE.fullmatch(form) else None
