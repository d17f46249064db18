"""Sentences of Arabic news, as spans of the text exactly as it arrived.

First paragraphs, then sentences in them. A paragraph ends at a blank line, at the `., ` that some scrapes join
paragraphs with, and at a newline that is no mere line wrap. A comma (، ؛) never ends anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from rasad.text.normalise import DELETED, normalised_text

LINE_BREAKS: Final = r"\n\r\x0b\x0c\x85\u2028\u2029"
"""What ends a line, as characters of a regular expression's class."""

INVISIBLE: Final = "".join(
    map(chr, [0xAD, 0x61C, 0x180E, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF])
)
"""Zero-width and bidi marks, which white space (`\\s`) leaves out; as they are, or in a regular expression's class."""
# What the eye does not see.
_BLANK: Final = rf"\s\x00-\x1f\x7f-\x9f{INVISIBLE}"
_BLANKS: Final = re.compile(rf"[{_BLANK}]*")
_VISIBLE: Final = re.compile(rf"[^{_BLANK}]")
_LINE_BREAK: Final = re.compile(rf"\r\n|[{LINE_BREAKS}]")
_LINE_BREAK_AND_BLANKS: Final = re.compile(rf"[{LINE_BREAKS}][{_BLANK}]*")

_TERMINATORS: Final = ".!?؟…۔"
_MARK: Final = re.compile(rf"[{_TERMINATORS}]")
_BEHIND_MARK: Final = frozenset(_TERMINATORS + "\"“”»)]}’'")
_COMPLETE: Final = re.compile(rf"[{_TERMINATORS}][{_BLANK}\"“”»)\]}}’']*\Z")
_JOINER: Final = re.compile(r"[.!?؟…][\"“”»)\]]{0,2}(,)(?=\s|\Z)")
_BULLET: Final = re.compile(r"[-–—•*●▪■◦·][ \t]|\d{1,3}[-.)][ \t]")
_CONTINUED: Final = "،,؛;:"
_NEVER_FIRST: Final = frozenset("،؛,;:)]}»" + _TERMINATORS)
# How a byline or dateline begins, and what parts it.
_WROTE: Final = re.compile(rf"كتبت?[{_BLANK}]")
# A tatweel inside a word only stretches it, and a stroke between digits is a score's.
_DASH: Final = re.compile(rf"[{_BLANK}]ـ|ـ[{_BLANK}]|(?<!\d)[-–—]|[-–—](?!\d)")
_LONGEST_BYLINE: Final = 60

_LETTER: Final = r"[^\W\d_]"
_ARABIC: Final = re.compile(r"[\u0620-\u064a\u0671-\u06d3\u06d5]")
_LATIN: Final = re.compile(r"[A-Za-z]")
# Possessive, for a tatweel is both a letter and a mark.
LETTERS: Final = rf"(?:{_LETTER}[{DELETED}]*+)++"
"""Letters with their marks, as part of a regular expression."""
_TOKEN: Final = re.compile(rf"(?<![\w{DELETED}]){LETTERS}(?:\.{LETTERS})*\Z")
_LAST_WORD: Final = re.compile(r"(\w+)\W*\Z")
_NEXT_WORD: Final = re.compile(rf"(?:{_LETTER}[{DELETED}]*+){{1,24}}")
_WORD_CHARACTER: Final = re.compile(r"\w")

_LONGEST_ABBREVIATION: Final = 24
# Longer than any hard wrap of plain text: lines of this length are whole paragraphs.
_WIDEST_WRAP: Final = 120
# A quotation or bracket up to this long stays in one sentence whatever marks it holds; so do about 60 words.
_LONGEST_WHOLE_ENCLOSURE: Final = 320

_ABBREVIATION: Final = re.compile(
    r"ود|وأ|وم|لد|لأ|أد|وأد|مج|تح"
    r"|(?i:dr|mrs?|ms|prof|st|jr|sr|inc|ltd|co|corp|no|vs|fig|vol|gen|sen|rep|gov|col|capt|lt|sgt|mt|ft)"
)
# Latin letters by name: بي. بي. سي.
_LETTER_NAME: Final = r"(?:[إا]ي|إيه|بي|سي|دي|جيه?|[إا]ف|[إا]تش|كيه|[إا]م|[إا]ن|[آا]ر|تي|إس|اس|إل|ال|دبليو|زد)"
_SPELT: Final = re.compile(_LETTER_NAME)
_SPELT_BEFORE: Final = re.compile(rf"(?<!\w){_LETTER_NAME}\.\Z")
_SPELT_AFTER: Final = re.compile(rf"{_LETTER_NAME}\.")
_SPELT_WORD: Final = re.compile(rf"{_LETTER_NAME}|جاي")
# Those of them that are no words of Arabic: `البلد دي.` and `لا صلة لها بي.` end.
_INITIAL: Final = re.compile(r"سي|جيه?|[إا]ف|[إا]تش|كيه|إم|آر|تي|إس|إل|دبليو|زد")
# What opens sentences of news, and is no surname behind an initial.
_NO_SURNAME: Final = re.compile(
    r"[إأا]ن(?:ه|ها|هم)?|كانت?|قد|لقد|ل[من]|لا|ليس|ما|هل|ه[وي]|هذ[اه]|ذلك|تلك|كما|كذلك|لكن|ثم|[إا]ذا|بينما|حيث|[أا]ما|في|من|على"
    r"|عن|[إا]لى|مع|بعد|قبل|منذ|حتى|خلال|قالت?|[أا]كدت?|[أا]ضافت?|[أا]علنت?|ذكرت?|يذكر|يشار"
)
# After these a single letter is a name in a series (فيتامين د), not the initial of what follows.
_SERIES: Final = re.compile(
    r"(?:ال)?(?:فيتامين|مجموعة|فئة|درجة|حرف|نموذج|كبد|خطة|نوع|نقطة|قسم|سيري|طراز|موديل)",
)
_DOMAIN: Final = re.compile(r"نت|كوم|[أا]ور[غج]")


def split_sentences(text: str) -> list[tuple[int, int]]:
    """`[start, end)` of every sentence of `text` in code points: ordered, disjoint, never empty or blank.

    Together they hold every visible character but the comma of the `., ` between scraped paragraphs. A closing
    quotation mark or bracket stays with its sentence, and a quotation of up to some 60 words is not cut inside. What
    has no letter and no digit (a line of asterisks, or with a full stop alone) stays with the sentence before it.
    """
    found: list[tuple[int, int]] = []
    for first, last in _paragraphs(text):
        for start, end in _sentences(_paragraph(text, first, last)):
            if found and not _WORD_CHARACTER.search(text, start, end):
                found[-1] = (found[-1][0], end)
            else:
                found.append((start, end))
    return found


# Paragraphs


@dataclass(frozen=True, slots=True)
class _Line:
    """A line without its blank edges; `blank_after` where an empty line follows."""

    start: int
    end: int
    blank_after: bool


def _paragraphs(text: str) -> Iterator[tuple[int, int]]:
    joiners = [match.start(1) for match in _JOINER.finditer(text) if _joins_paragraphs(text, match)]
    cuts = sorted([(comma, comma + 1) for comma in joiners] + _line_cuts(text, scraped=bool(joiners)))
    start = 0
    for cut_start, cut_end in [*cuts, (len(text), len(text))]:
        first = _skip_blanks(text, start)
        end = _strip_end(text, first, cut_start)
        if first < end:
            yield first, end
        start = cut_end


def _joins_paragraphs(text: str, match: re.Match[str]) -> bool:
    """Whether the comma stands for a paragraph's end and not after a Latin abbreviation (U.S., Inc.,)."""
    mark = match.start()
    before = text[max(0, mark - _LONGEST_ABBREVIATION) : mark]
    if not before or not _LATIN.match(before[-1]):
        return True
    after = _skip_blanks(text, match.end())
    token = _TOKEN.search(before)
    return not _LATIN.match(text, after) and not (token and _is_abbreviated(token[0]))


def _lines(text: str) -> list[_Line]:
    lines = []
    start = 0
    for match in _LINE_BREAK_AND_BLANKS.finditer(text):
        breaks = sum(1 for _ in _LINE_BREAK.finditer(match[0]))
        lines.append(_Line(start, _strip_end(text, start, match.start()), breaks > 1))
        start = match.end()
    lines.append(_Line(start, _strip_end(text, start, len(text)), blank_after=False))
    return [line for line in lines if line.start < line.end]


def _line_cuts(text: str, *, scraped: bool) -> list[tuple[int, int]]:
    """Empty cuts at the start of each line that begins a paragraph."""
    lines = _lines(text)
    one_paragraph_a_line = not scraped and _one_paragraph_a_line(text, lines)
    return [
        (following.start, following.start)
        for line, following in pairwise(lines)
        if line.blank_after
        or _is_complete(text, line)
        or _BULLET.match(text, following.start)
        or (line is lines[0] and _is_byline(text, line, following))
        or (one_paragraph_a_line and text[line.end - 1] not in _CONTINUED)
    ]


def _one_paragraph_a_line(text: str, lines: list[_Line]) -> bool:
    """Whether newlines part paragraphs, so that a heading, which has no full stop, stands alone too."""
    inner = lines[:-1]
    if not inner:
        return False
    complete = sum(_is_complete(text, line) for line in inner)
    lengths = sorted(line.end - line.start for line in inner)
    return 2 * complete >= len(inner) or lengths[len(lengths) // 2] > _WIDEST_WRAP


def _is_byline(text: str, line: _Line, following: _Line) -> bool:
    """Whether a first line is no part of the sentence behind it: `كتب ـ محمد سعيد:`, `القاهرة - رويترز:`.

    Who wrote what stands in quotation marks is no byline but its speaker.
    """
    if line.end - line.start > _LONGEST_BYLINE or text[line.end - 1] != ":":
        return False
    words = text[line.start : line.end]
    wrote = _WROTE.match(words) is not None and not _ENCLOSING.match(text, following.start)
    return wrote or _DASH.search(words) is not None


def _is_complete(text: str, line: _Line) -> bool:
    return _COMPLETE.search(text[max(line.start, line.end - 6) : line.end]) is not None


def _skip_blanks(text: str, position: int) -> int:
    match = _BLANKS.match(text, position)
    return match.end() if match else position


def _strip_end(text: str, start: int, end: int) -> int:
    while end > start and not _VISIBLE.match(text, end - 1):
        end -= 1
    return end


# Quotations and brackets


@dataclass(frozen=True, slots=True)
class _Paragraph:
    """A stretch of text with its quotations and brackets.

    `opening_of` maps the place of each closing mark to that of its opening one; `wholes` are the short ones, as
    ordered disjoint `(opening, closing)` places.
    """

    text: str
    start: int
    end: int
    opening_of: dict[int, int]
    openings: frozenset[int]
    wholes: list[tuple[int, int]]


_ENCLOSING: Final = re.compile(r"[\"“”„‟«»()\[\]]")
_PAIRS: Final = {"»": "«", ")": "(", "]": "["}


def _paragraph(text: str, start: int, end: int) -> _Paragraph:
    opening_of = _enclosures(text, start, end)
    wholes: list[tuple[int, int]] = []
    for opening, closing in sorted((opening, closing) for closing, opening in opening_of.items()):
        if closing - opening > _LONGEST_WHOLE_ENCLOSURE:
            continue
        if wholes and opening < wholes[-1][1]:
            wholes[-1] = (wholes[-1][0], max(closing, wholes[-1][1]))
        else:
            wholes.append((opening, closing))
    return _Paragraph(text, start, end, opening_of, frozenset(opening_of.values()), wholes)


def _enclosures(text: str, start: int, end: int) -> dict[int, int]:
    """Closing place to opening place of all that is closed in `[start, end)`; what is not is left out."""
    opening_of: dict[int, int] = {}
    open_brackets: dict[str, list[int]] = {"«": [], "(": [], "[": []}
    open_quote: int | None = None
    for match in _ENCLOSING.finditer(text, start, end):
        mark, place = match[0], match.start()
        if mark in open_brackets:
            open_brackets[mark].append(place)
        elif mark in _PAIRS:
            if open_brackets[_PAIRS[mark]]:
                opening_of[place] = open_brackets[_PAIRS[mark]].pop()
        elif open_quote is None:
            open_quote = None if _looks_closing(text, place, start, end) else place
        elif _looks_opening(text, place, end):
            open_quote = place
        else:
            opening_of[place] = open_quote
            open_quote = None
    return opening_of


def _looks_closing(text: str, place: int, start: int, end: int) -> bool:
    before = place > start and not _BLANKS.fullmatch(text[place - 1]) and text[place - 1] not in "(«[:،"
    after = place + 1 >= end or _BLANKS.fullmatch(text[place + 1]) or text[place + 1] in _NEVER_FIRST
    return bool(before and after)


def _looks_opening(text: str, place: int, end: int) -> bool:
    before = _BLANKS.fullmatch(text[place - 1]) or text[place - 1] in "(«["
    after = place + 1 < end and not _BLANKS.fullmatch(text[place + 1]) and text[place + 1] not in _NEVER_FIRST
    return bool(before and after)


# Sentences


def _sentences(paragraph: _Paragraph) -> Iterator[tuple[int, int]]:
    text, start = paragraph.text, paragraph.start
    whole = 0
    searched = start  # no letter or digit of the sentence stands before this place
    position = start
    while match := _MARK.search(text, position, paragraph.end):
        mark, end = match.start(), _closed_end(paragraph, match.end())
        position = end
        first = _WORD_CHARACTER.search(text, searched, mark)
        searched = first.start() if first else mark
        while whole < len(paragraph.wholes) and paragraph.wholes[whole][1] < mark:
            whole += 1
        within = whole < len(paragraph.wholes) and paragraph.wholes[whole][0] < mark
        if first is None or (within and end <= paragraph.wholes[whole][1]):
            continue
        if _ends_sentence(paragraph, start, first.start(), mark, end):
            yield start, end
            start = searched = _skip_blanks(text, end)
    if start < paragraph.end:
        yield start, paragraph.end


def _closed_end(paragraph: _Paragraph, end: int) -> int:
    """The end of the mark, which is `end` so far, with what closes right after it, one space between allowed."""
    while end < paragraph.end and paragraph.text[end] in _BEHIND_MARK and end not in paragraph.openings:
        end += 1
    after = _skip_blanks(paragraph.text, end)
    return after + 1 if after - end <= 1 and after in paragraph.opening_of else end


def _ends_sentence(paragraph: _Paragraph, start: int, first: int, mark: int, end: int) -> bool:
    """Whether the mark `[mark, end)` ends the sentence that begins at `start`, its first word at `first`."""
    text = paragraph.text
    following = _skip_blanks(text, end)
    if following >= paragraph.end:
        return True
    if text[following] in _NEVER_FIRST or text[following].islower():
        return False
    run = text[mark:end]
    closing = next((place for place in range(end - 1, mark, -1) if place in paragraph.opening_of), None)
    if closing is not None and not _ends_after_closing(paragraph, start, mark, closing, following):
        return False
    if following == end:
        return _ends_without_space(paragraph, mark, end)
    if run.startswith(("..", "…")):
        return not _BLANKS.fullmatch(text[mark - 1])
    return run != "." or not (_is_enumerator(text, first, mark) or _is_abbreviation(text, start, mark, following))


def _ends_after_closing(paragraph: _Paragraph, start: int, mark: int, closing: int, following: int) -> bool:
    """Whether a mark right before a closing quotation mark or bracket ends the sentence around it too.

    A full stop does. A question, exclamation or ellipsis does where the quotation began the sentence or came
    after a colon, or where the next word is joined by و; else the sentence goes on (سأل "لماذا؟" ثم خرج).
    """
    text, opening = paragraph.text, paragraph.opening_of[closing]
    if opening == mark - 1:
        return False
    if text[mark] == "." and text[mark : mark + 2] != "..":
        return True
    before = text[max(start, opening - 3) : opening].rstrip()
    return opening == start or before.endswith(":") or text[following] == "و" or following in paragraph.openings


def _ends_without_space(paragraph: _Paragraph, mark: int, end: int) -> bool:
    """Whether a mark ends a sentence although the next character follows at once: a forgotten space."""
    text, run = paragraph.text, paragraph.text[mark:end]
    if end in paragraph.openings:
        return not run.startswith(("..", "…"))
    if not _ARABIC.match(text[end]) or run.startswith(("..", "…")):
        return False
    if run != "." or mark - 1 in paragraph.opening_of:
        return True
    before = _TOKEN.search(text[max(paragraph.start, mark - _LONGEST_ABBREVIATION) : mark])
    after = _NEXT_WORD.match(text, end)
    if before is None or after is None or not _ARABIC.match(before[0]):
        return False
    last, first = normalised_text(before[0]), normalised_text(after[0])
    return "." not in last and len(last) >= 4 and len(first) >= 3 and not _DOMAIN.fullmatch(first)


def _is_enumerator(text: str, first: int, mark: int) -> bool:
    """Whether the sentence so far is but a number of a list: `3. `."""
    return mark - first <= 3 and text[first:mark].isdecimal()


def _is_abbreviation(text: str, start: int, mark: int, following: int) -> bool:
    """Whether the full stop at `mark` belongs to an abbreviation or an initial and ends nothing."""
    floor = max(start, mark - _LONGEST_ABBREVIATION)
    token = _TOKEN.search(text[floor:mark])
    if token is None:
        return False
    letters = normalised_text(token[0])
    token_start = floor + token.start()
    before = text[max(start, token_start - _LONGEST_ABBREVIATION) : token_start].rstrip()
    if letters in {"م", "ه"} and before[-1:].isdecimal():
        return False
    joined = text[following] == "و"
    if _SPELT.fullmatch(letters):
        after_another = _SPELT_BEFORE.search(before) is not None
        initial = after_another or _is_initial(text, letters, before, following)
        return _SPELT_AFTER.match(text, following) is not None or (initial and not joined)
    if not _is_abbreviated(letters):
        return False
    if len(letters) == 1:
        return not _in_series(before) and not (joined and _LATIN.match(letters))
    return not (joined and (letters.count(".") >= 2 or (len(letters) > 2 and _LATIN.fullmatch(letters[1]))))


def _is_initial(text: str, letters: str, before: str, following: int) -> bool:
    """Whether a letter by its name stands alone between two names, as in جورج دبليو. بوش."""
    last, after = _LAST_WORD.search(before), _NEXT_WORD.match(text, following)
    if _INITIAL.fullmatch(letters) is None or after is None:
        return False
    if _NO_SURNAME.fullmatch(normalised_text(after[0])):
        return False
    return not _in_series(before) and not (last and _SPELT_WORD.fullmatch(last[1]))


def _in_series(before: str) -> bool:
    last = _LAST_WORD.search(before)
    return last is not None and _SERIES.fullmatch(last[1]) is not None


def _is_abbreviated(token: str) -> bool:
    parts = token.split(".")
    if len(parts) == 1:
        return len(token) == 1 or _ABBREVIATION.fullmatch(token) is not None
    return all(len(part) == 1 or part in {"وأ", "Ph"} for part in parts)
