"""Who said what: the labelled parts of reported speech, put together and given a speaker."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from rasad.enrich.entities import CLASS_NOUNS, ROUNDED, EntityIndex, Resolution, bare_words, name_key, only
from rasad.enrich.ner import Name
from rasad.enrich.reading import FieldText
from rasad.enrich.span_index import SpanIndex
from rasad.inference.decoding import LabelledSpan
from rasad.messages import Field, Quote
from rasad.text.clitics import strip_proclitics
from rasad.text.marks import closes
from rasad.text.normalise import DELETED, normalised_text
from rasad.text.search_key import search_key
from rasad.text.sentences import INVISIBLE, LETTERS, LINE_BREAKS

Kind = Literal["direct", "indirect", "cue", "speaker"]

_KINDS: Final[Mapping[str, Kind]] = {"DIRECT": "direct", "INDIRECT": "indirect", "CUE": "cue", "SPEAKER": "speaker"}
_CONTENTS: Final = ("direct", "indirect")
_SPEAKING: Final = ("PER", "ORG")

CUE_REACH: Final = 80
SPEAKER_REACH: Final = 90
"""How many characters a cue may stand from what was said, and a speaker from both: what the head was trained on."""

_ADJACENT: Final = 2
"""How many characters may stand between a cue and the name that is its subject."""

_SUBJECT_BEFORE: Final = 3
"""How many characters may stand between a labelled speaker and a cue behind it of which it is the subject."""

_NAME_REACH: Final = 40
"""How far from the cue a name may stand to be taken for the speaker where none was labelled."""

_PERSON_REACH: Final = 300
"""How far before the cue a person may be named last to be the one who goes on speaking."""

PROCLITIC: Final = 2
"""Letters of a proclitic that a labelled speaker, holder or target may begin with before the name that fills it."""

_GAP: Final = 40
"""How many characters may part two contents of one kind that are one statement, where nothing is labelled between."""

_FEWEST_WORDS: Final = 2
_FEWEST_WORDS_WITHOUT_CUE: Final = 4
"""Shorter contents are strays of the tagger far more often than statements."""

_SENTENCE_END: Final = re.compile(rf"(?<![\s.\"“«(]\w)[.!?؟]|[{LINE_BREAKS}]")
"""A full stop or line break; the mark of an initial (`د.`) is none."""
_CLAUSE: Final = re.compile(rf"[^،,؛;.!?؟{LINE_BREAKS}]*+")

_WORD_BEFORE: Final = re.compile(rf"(?<![\w{DELETED}])([{DELETED}]*+{LETTERS})(?:[^\S{LINE_BREAKS}]|[{INVISIBLE}])++\Z")
_WITH_ARTICLE: Final = re.compile(r"[وفبك]?ال\w|لل\w")
_THEIRS: Final = ("ه", "ها", "هم")
"""A noun with a pronoun is definite: `نجله محمد`."""
_NO_NOUNS: Final = frozenset(
    search_key(
        "أن إن بأن لأن وأن وإن من عن على في إلى مع بين قبل بعد عند لدى منذ حتى ثم أو أم بل لكن كما مثل ضد حول عبر نحو "
        "قال وقال قالت وقالت أكد وأكد أضاف وأضاف كان وكان هو وهو هي وهي هذا هذه ذلك "
        "دكتور دكتورة مهندس لواء عميد عقيد عمدة شيخ حاج كابتن أستاذ أستاذة مستر سيد سيدة أمير ملك بابا أنبا قس إمام"
    ).split()
)
"""Words before a name that own nothing: particles, verbs, and titles that stand without ال."""

_ADVERB: Final = re.compile(
    "و?(?:قائل|مضيف|مؤكد|موضح|مشير|مشدد|معتبر|مبين|معلن|مطالب|متهم|داعي|محذر|لافت|منوه|كاشف)[اة]"
)
"""A reporting word, normalised, that needs a sentence of its own speaker before it."""

_RELAYED: Final = re.compile(r"(?:^|\s)[وف]?[يت]?نقل(?:ت|وا)?(?:ه|ها)?\Z")
"""A reporting word, normalised, whose subject only passes on what somebody else said: `نقلت رويترز عن الوزير قوله`."""
_FROM: Final = re.compile(r"\bعن\b")

_ASKED: Final = re.compile(
    rf"سؤال[^.!?؟{LINE_BREAKS}]{{0,80}}[^\S{LINE_BREAKS}](?:عن|حول|بشأن|بخصوص)[^\S{LINE_BREAKS}]+\Z"
)
_ASKED_WITHIN: Final = 100
"""How many characters before a content may tell that it begins with what somebody was asked about."""
_ANSWER: Final = re.compile(r"[،,]\s*(?=(?:[إا]ن|أن)(?:ه|ها|هم|نا|ني)?\b)")

_DEFINITE: Final = re.compile(rf"[^\S{LINE_BREAKS}]+(ا[{DELETED}]*+ل[{DELETED}]*+(?:\w[{DELETED}]*+){{2,}})")
_OUTLET_NOUN: Final = "(?:وكالة|صحيفة|جريدة|مجلة|قناة|شبكة|موقع|إذاعة|تلفزيون)(?: ال[أا]نباء)?"
_OUTLET: Final = re.compile(rf"[^\S{LINE_BREAKS}]+{_OUTLET_NOUN}(?=[^\S{LINE_BREAKS}])")
"""The noun of a news outlet before its name, which is no part of it: `ذكرت صحيفة "الغارديان"`."""
_TOLD_OUTLET: Final = re.compile(rf"\bل{_OUTLET_NOUN}[\s\"“«]+$")

_EDGES: Final = " \t\r\n\"'“”„«»‘’:،," + INVISIBLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A labelled part of reported speech: `[start, end)` of its field, and the paragraph it stands in."""

    kind: Kind
    field: Field
    start: int
    end: int
    paragraph: int
    prob: float


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who speaks: the fullest name or description, and the index of the entity where it is one."""

    text: str
    entity: int | None


def parts(text: FieldText, spans: Sequence[LabelledSpan]) -> list[Part]:
    """The decoded spans of the quotes head as parts of the field, marks at their edges left off."""
    found = []
    for span in spans:
        kind = _KINDS.get(span.type)
        start, end = trimmed(text.tokenized.text, *text.input_span(span.start, span.end))
        if kind is not None and start < end:
            paragraph = text.paragraph_of_word(span.start)
            found.append(Part(kind=kind, field=text.field, start=start, end=end, paragraph=paragraph, prob=span.prob))
    return found


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """`[start, end)` without marks at its edges, but for one that closes a quotation opened inside."""
    while start < end and text[start] in _EDGES:
        start += 1
    while start < end and text[end - 1] in _EDGES and not closes(text[end - 1], text[start : end - 1]):
        end -= 1
    return start, end


def statements(found: Sequence[Part], text: str) -> list[Part]:
    """The parts of one field, in order, contents in pieces joined and strays left out."""
    joined: list[Part] = []
    for part in sorted(found, key=lambda each: each.start):
        last = joined[-1] if joined else None
        if (
            last is not None
            and part.kind in _CONTENTS
            and (part.kind, part.paragraph) == (last.kind, last.paragraph)
            and part.start - last.end <= _GAP
        ):
            joined[-1] = replace(last, end=part.end, prob=min(last.prob, part.prob))
        else:
            joined.append(part)
    contents = [part for part in joined if part.kind in _CONTENTS]
    cues = cues_of(contents, [part for part in joined if part.kind == "cue"])
    strays = {part for part, cue in zip(contents, cues, strict=True) if _is_stray(text[part.start : part.end], cue)}
    return [part for part in joined if part not in strays]


def _said_from(content: Part, text: str) -> int:
    """Where what was said begins: in `ردا على سؤال عن المحادثات، إنه يجب` at `إنه`, behind what was asked."""
    start = content.start
    if content.kind == "direct" or _ASKED.search(text, max(0, start - _ASKED_WITHIN), start) is None:
        return start
    answer = _ANSWER.search(text, start, content.end)
    return start if answer is None else answer.end()


def _is_stray(words: str, cue: Part | None) -> bool:
    return len(words.split()) < (_FEWEST_WORDS if cue else _FEWEST_WORDS_WITHOUT_CUE)


@dataclass(frozen=True, slots=True, eq=False)
class NamedSpan:
    """A name of the article and the index of its entity."""

    name: Name
    entity: int

    @property
    def start(self) -> int:
        """Where the name begins."""
        return self.name.start

    @property
    def end(self) -> int:
        """One past where it ends."""
        return self.name.end


def named_spans(names: Sequence[Name], resolution: Resolution, field: Field) -> SpanIndex[NamedSpan]:
    """The names of one field with their entities."""
    known = zip(names, resolution.entity_of_name, strict=True)
    return SpanIndex([NamedSpan(name, entity) for name, entity in known if name.field == field])


def begins(text: str, start: int, name: NamedSpan) -> bool:
    """Whether a phrase from `start` begins with a name, but for a proclitic or the noun of its kind (`شركة أرامكو`).

    A person has no such noun: `حركة نافالني` is his.
    """
    if name.name.core_start <= start + PROCLITIC:
        return True
    if name.name.type == "PER":
        return False
    before = name_key(text[start : name.name.core_start]).split()
    return bool(before) and all(word in CLASS_NOUNS for word in (before[0].removeprefix("و"), *before[1:]))


def belongs(text: str, start: int, name: NamedSpan, names: SpanIndex[NamedSpan]) -> bool:
    """Whether the word before a person's name, from `start` on, makes it the owner: `مكتب نتنياهو`, `زوجة البرغوثي`.

    A noun without ال is in construct with the name behind it; a title has ال (`الرئيس ترامب`) or ends in a name of its
    own (`وزير خارجية مصر سامح شكري`).
    """
    before = _WORD_BEFORE.search(text, start, name.start)
    if before is None or any(each is not name for each in names.touching(before.start(1), before.end(1))):
        return False
    word = search_key(before[1])
    definite = _WITH_ARTICLE.match(word) and not word.startswith("والد")
    return not (definite or before[1].endswith(_THEIRS) or word in _NO_NOUNS)


def quotes(
    found: Sequence[Part], names: Sequence[Name], resolution: Resolution, texts: Mapping[Field, str]
) -> tuple[Quote, ...]:
    """One quote for each content part of an article, in order. The parts of a kind must not overlap."""
    index = EntityIndex(resolution.entities)
    fields: tuple[Field, Field] = ("title", "body")
    return tuple(
        quote
        for field in fields
        for quote in _Scene(
            texts[field],
            statements([part for part in found if part.field == field], texts[field]),
            named_spans(names, resolution, field),
            index,
        ).quotes()
    )


class _Scene:
    """The reported speech of one field, read from its beginning to its end."""

    def __init__(self, text: str, found: Sequence[Part], names: SpanIndex[NamedSpan], index: EntityIndex) -> None:
        self._text = text
        self._contents = [part for part in found if part.kind in _CONTENTS]
        self._cues = cues_of(self._contents, [part for part in found if part.kind == "cue"])
        self._speakers = SpanIndex([part for part in found if part.kind == "speaker"])
        self._names = names
        self._index = index
        self._heard: dict[str, Speaker] = {}

    def quotes(self) -> Iterator[Quote]:
        last: tuple[Speaker, int] | None = None
        previous = 0
        for content, cue in zip(self._contents, self._cues, strict=True):
            speaker = self._source(content, cue) or self._subject(content, cue) or self._labelled(content, cue)
            speaker = speaker or self._described(content, cue) or self._adverbial(cue, previous)
            if speaker is None and last is not None and content.paragraph - last[1] <= 1:
                speaker = last[0]
            speaker = speaker or self._named(content, cue)
            previous = content.end
            if speaker is not None:
                last = speaker, content.paragraph
                self._heard.update((word, speaker) for word in bare_words(name_key(speaker.text)))
            entity = None if speaker is None or speaker.entity is None else self._index.entities[speaker.entity]
            yield Quote(
                field=content.field,
                start=_said_from(content, self._text),
                end=content.end,
                kind="direct" if content.kind == "direct" else "indirect",
                cue=None if cue is None else self._text[cue.start : cue.end],
                speaker=None if speaker is None else speaker.text,
                speaker_entity_id=None if entity is None else entity.entity_id,
                prob=round(content.prob, ROUNDED),
            )

    def _source(self, content: Part, cue: Part | None) -> Speaker | None:
        """The labelled speaker behind عن whose words somebody passes on: `نقلت رويترز عن سامي الخطيب قوله`."""
        if cue is None or not _RELAYED.search(normalised_text(self._text[cue.start : cue.end])):
            return None
        reach = content.start if content.start >= cue.end else cue.end + SPEAKER_REACH
        stop = _SENTENCE_END.search(self._text, cue.end, reach)
        end = stop.start() if stop else reach
        word = _FROM.search(self._text, cue.end, end)
        if word is None:
            return None
        behind = (part for part in self._speakers.touching(word.end(), end) if word.end() <= part.start < end)
        return next((self._speaker(part) for part in behind), None)

    def _subject(self, content: Part, cue: Part | None) -> Speaker | None:
        """The name that stands right behind the cue, where an Arabic verb has its subject.

        A verb whose labelled subject stands right before it, as in headlines, has its object there:
        `ترامب يحذر إيران`.
        """
        if cue is None or self._has_subject(cue):
            return None
        outlet = _OUTLET.match(self._text, cue.end)
        behind = self._behind(content, outlet.end() if outlet else cue.end, _ADJACENT)
        return self._entity(behind[0].entity) if behind else None

    def _has_subject(self, cue: Part) -> bool:
        """Whether a labelled speaker ends right before a cue, with no mark between that ends a clause."""
        near = self._speakers.touching(cue.start - _SUBJECT_BEFORE, cue.start)
        return any(part.end <= cue.start and _CLAUSE.fullmatch(self._text, part.end, cue.start) for part in near)

    def _behind(self, content: Part, start: int, reach: int) -> list[NamedSpan]:
        """The names within reach from `start`, behind a cue, in its sentence, that can be its subject.

        No words of the content, and none with a preposition: `وقال لرويترز` and `لوكالة رويترز` tell who was told.
        """
        stop = _SENTENCE_END.search(self._text, start, start + reach)
        near = self._names.touching(start, stop.start() if stop else start + reach)
        bare = (each for each in near if start <= each.start == each.name.core_start)
        return [
            each
            for each in bare
            if not _holds(content, each.start)
            and not _TOLD_OUTLET.search(self._text, start, each.start)
            and not (each.name.type == "PER" and self._belongs(start, each))
        ]

    def _labelled(self, content: Part, cue: Part | None) -> Speaker | None:
        """The speaker part between cue and content, or else the one nearest to both."""
        low = min(content.start, cue.start) if cue else content.start
        high = max(content.end, cue.end) if cue else content.end

        def distance(part: Part) -> int:
            return max(part.start - high, low - part.end, 0)

        near = [
            part
            for part in self._speakers.touching(low - SPEAKER_REACH, high + SPEAKER_REACH)
            if part.paragraph == content.paragraph
            and not (part.start >= high and _SENTENCE_END.search(self._text, high, part.start))
            and not (part.start < content.end and content.start < part.end)
            and any(letter.isalpha() for letter in self._text[part.start : part.end])
        ]
        return self._speaker(min(near, key=distance)) if near else None

    def _speaker(self, part: Part) -> Speaker:
        """The entity a speaker part names: a person in it, or a body or place that fills it; else its own words.

        `المتحدث باسم الجيش` is somebody, but not the army; `محامي البرغوثي` is not البرغوثي.
        """
        for each in self._names.touching(part.start, part.end):
            inside = each.start < part.end and part.start < each.end
            somebody = each.name.type == "PER" and not self._belongs(part.start, each)
            fills = begins(self._text, part.start, each) and each.end >= part.end
            if inside and (somebody or fills):
                return self._entity(each.entity)
        words = strip_proclitics(self._text[part.start : part.end], seen=frozenset()).canonical
        entity = self._index.called(words)
        return Speaker(words, None) if entity is None else self._entity(entity)

    def _belongs(self, start: int, name: NamedSpan) -> bool:
        """Whether the words from `start` to a person's name are of somebody who is his: his lawyer, his office."""
        return belongs(self._text, start, name, self._names)

    def _entity(self, number: int) -> Speaker:
        return Speaker(self._index.entities[number].canonical, number)

    def _described(self, content: Part, cue: Part | None) -> Speaker | None:
        """The speaker that the definite noun right behind the cue takes up: `وذكر التقرير` after `تقرير جديد`.

        A plural takes one up in whatever case that stands: `وأكد المسؤولون` after `مسؤولون` or `مسؤولين`.
        """
        noun = None if cue is None else _DEFINITE.match(self._text, cue.end)
        if noun is None or _holds(content, noun.start(1)):
            return None
        words = {form.removeprefix("ال") for form in (name_key(noun[1]), search_key(noun[1]))}
        heard = [self._heard[word] for word in sorted(words) if word in self._heard]
        if heard:
            return heard[0]
        named = {each for word in words for each in self._index.holding(word)}
        body = only(each for each in named if self._index.entities[each].type in _SPEAKING)
        return None if body is None else self._entity(body)

    def _adverbial(self, cue: Part | None, previous: int) -> Speaker | None:
        """The only person of an adverb's sentence before it: `دافع الوزير سامي الخطيب عن الخطة قائلاً`.

        Nobody named before `previous`, where the content before ends.
        """
        if cue is None or not _ADVERB.fullmatch(normalised_text(self._text[cue.start : cue.end])):
            return None
        low = max(previous, cue.start - _PERSON_REACH)
        ends = [end.end() for end in _SENTENCE_END.finditer(self._text, low, cue.start)]
        within = self._names.touching(max(low, ends[-1]) if ends else low, cue.start)
        persons = {
            each.entity
            for each in within
            if low <= each.start == each.name.core_start and each.name.type == "PER" and each.end <= cue.start
        }
        return self._entity(persons.pop()) if len(persons) == 1 else None

    def _named(self, content: Part, cue: Part | None) -> Speaker | None:
        """Where no speaker is labelled: who is named right behind the cue, or right before it, or the last person."""
        if cue is None:
            return None
        before = [
            each
            for each in reversed(self._names.touching(cue.start - _PERSON_REACH, cue.start))
            if each.end <= cue.start
            and not _holds(content, each.start)
            and (each.end + _NAME_REACH >= cue.start or each.name.type == "PER")
        ]
        near = [*self._behind(content, cue.end, _NAME_REACH), *before]
        return next((self._entity(each.entity) for each in near if each.name.type in _SPEAKING), None)


def _holds(content: Part, position: int) -> bool:
    return content.start <= position < content.end


def cues_of(contents: Sequence[Part], cues: Sequence[Part]) -> list[Part | None]:
    """The reporting word of each content: the nearest before it, else the nearest behind it that opens no other.

    Both are in order. A cue serves only the contents next to it, in its own paragraph and within `CUE_REACH`.
    """
    gaps = [bisect_right(contents, cue.start, key=lambda content: content.start) for cue in cues]
    between: dict[int, list[Part]] = {}
    for gap, cue in zip(gaps, cues, strict=True):
        between.setdefault(gap, []).append(cue)
    opening = [
        [cue for cue in between.get(number, ()) if _within_reach(cue, content)]
        for number, content in enumerate(contents)
    ]
    found: list[Part | None] = []
    for number, content in enumerate(contents):
        taken = opening[number + 1] if number + 1 < len(contents) else []
        behind = [cue for cue in between.get(number + 1, ()) if _within_reach(cue, content) and cue not in taken]
        found.append(opening[number][-1] if opening[number] else next(iter(behind), None))
    return found


def _within_reach(cue: Part, content: Part) -> bool:
    distance = max(content.start - cue.end, cue.start - content.end)
    return cue.paragraph == content.paragraph and 0 <= distance <= CUE_REACH
