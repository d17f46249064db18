"""Subjects that do not stand beside their verb: of a clause, of a sentence, of a quote, of a pronoun."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rasad.enrich.span_index import SpanIndex
from rasad.enrich.stance_lexicon import keys
from rasad.enrich.stance_phrases import COMMAS, OPENINGS, PREPOSITIONS, THAT, THAT_HE, Known, Phrase, Words
from rasad.messages import EntityType, Quote

THAT_REACH: Final = 14
"""How many words back an أن may stand whose subject is the verb's."""

NAMES_REACH: Final = 50
"""How many names from a sentence's beginning, or back from a word, are looked at."""

_CONNECTIVES: Final = keys(
    "كما وقد قد لقد ثم لكن ولكن بينما فيما حيث إذ وكان وكانت كان كانت بعدما عندما أيضا و أو ف أن إن بأن وأن لأن كذلك "
    "وكذلك بل حين حينما لطالما ولطالما"
)
"""What may stand in front of the first phrase of a sentence."""

_TEMPORAL: Final = keys("بعد قبل خلال منذ رغم عقب إثر")

_ASIDES: Final = keys("جانب جهة ناحية سياق غضون المقابل الأثناء جانبه جهته جهتها جانبها ناحيته جانبهم جهتهم وقت الوقت")

_ASIDE_ENDS: Final = keys("آخر أخرى ثانية متصل ذاته ذلك نفسه السياق الإطار الأثناء الصدد سابق")

_OWNED: Final = {"ها": ("LOC", "ORG"), "هم": ("ORG", "MISC", "LOC")}
"""Entity types that a pronoun on a verbal noun stands for, ه aside."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a stance, and how it was found."""

    who: Phrase | Known
    found: str


@dataclass(frozen=True, slots=True)
class Scene:
    """What is known around a sentence: the quotes of its field that have a speaker, in order, the types of entities by
    their ids, and who was named first in an earlier sentence.
    """

    quotes: SpanIndex[Quote]
    types: Mapping[str, EntityType]
    earlier: Known | None


class Subjects:
    """Finds them in one sentence."""

    def __init__(self, words: Words, scene: Scene) -> None:
        self._words = words
        self._earlier = scene.earlier
        first, last = words.words[0].start, words.words[-1].end
        near = scene.quotes.touching(first, last)
        self._quotes = [quote for quote in near if quote.start < last and first < quote.end]
        self._names = words.name_phrases()
        self._name_starts = [name.first for name in self._names]

    def quoted(self, at: int) -> Quote | None:
        """The quote that a word stands in."""
        start = self._words.words[at].start
        return next((quote for quote in self._quotes if quote.start <= start < quote.end), None)

    def possessor(self, at: int, pronoun: str) -> Holder | None:
        """Whom the pronoun of a verbal noun stands for: `ها` and `هم` for the body or place named last."""
        if pronoun in ("ي", "نا"):
            return self.speaker(at)
        kinds = _OWNED.get(pronoun)
        if kinds is not None:
            named = self.last_named(at, kinds)
            return self.of_clause(at) if named is None else Holder(named, "nearest")
        quote = self.quoted(at) or next(iter(self._quotes), None)
        if pronoun == "ه" and quote is not None and quote.speaker is not None:
            return Holder(Known(quote.speaker, quote.speaker_entity_id), "quote")
        named = self.first_named(at, ("PER",)) or self.first_named(at, ("ORG", "LOC"))
        return Holder(named, "first name") if pronoun == "ه" and named is not None else self.of_clause(at)

    def speaker(self, at: int) -> Holder | None:
        """Who says the quote that a word stands in."""
        quote = self.quoted(at)
        if quote is None or quote.speaker is None:
            return None
        return Holder(Known(quote.speaker, quote.speaker_entity_id), "quote")

    def of_clause(self, at: int) -> Holder | None:
        """Whose clause holds a word: in a quote its speaker, unless it has a subject of its own."""
        quote, main = self.quoted(at), self.of_sentence(at)
        if quote is not None and quote.speaker is not None:
            start = None if main is None or isinstance(main.who, Known) else self._words.words[main.who.first].start
            if main is not None and start is not None and start >= quote.start:
                return Holder(main.who, f"{main.found}, quoted")
            return Holder(Known(quote.speaker, quote.speaker_entity_id), f"{quote.kind} quote")
        if self._quotes and not (main is not None and main.found == "that"):
            said = self._quotes[0]
            return None if said.speaker is None else Holder(Known(said.speaker, said.speaker_entity_id), "quote beside")
        if main is None and self._earlier is not None:
            return Holder(self._earlier, "earlier")
        return main

    def of_sentence(self, at: int) -> Holder | None:
        """The subject of the clause or sentence around a word, which stands before it."""
        that = self._behind_that(at)
        if that is not None:
            return that
        place = self._clause_start(at)
        subject = self._topic(place, at) if place < at else None
        if subject is not None:
            return subject
        named = next((each for each in self._names_before(at) if self._is_subject_name(each.first, place)), None)
        if named is not None:
            return Holder(named, "first name")
        behind = self._words.noun_phrase(place + 1)
        return Holder(behind, "verb first, unnamed") if behind is not None and behind.end <= at else None

    def _behind_that(self, at: int) -> Holder | None:
        words = self._words
        for place in range(at - 1, max(-1, at - THAT_REACH), -1):
            if words.key(place) in THAT_HE:
                return None
            if words.key(place) in THAT and words.name(place) is None:
                phrase = words.noun_phrase(place + 1)
                return Holder(phrase, "that") if phrase is not None and self._may_be_subject(phrase, at) else None
        return None

    def _may_be_subject(self, phrase: Phrase, at: int) -> bool:
        words = self._words
        if phrase.end > at or words.is_past_verb(phrase.first):
            return False
        definite = words.words[phrase.first].definite or words.words[phrase.end - 1].definite
        ends = words.key(phrase.end) in OPENINGS or words.key(phrase.end - 1).endswith(("ين", "ون"))
        return definite or ends or words.names_someone(phrase)

    def _topic(self, place: int, at: int) -> Holder | None:
        """The first phrase of a sentence, if it can be its subject, or what follows its first verb."""
        words = self._words
        first = words.noun_phrase(place)
        if words.name(place) is None and words.key(place).endswith("وا"):
            return None
        opens = words.begins_name(place) or (words.name(place) is None and words.words[place].definite)
        if opens and first is not None and first.end <= at:
            return Holder(first, "topic")
        if words.name(place) is not None:
            return None
        behind = words.noun_phrase(place + 1) if words.key(place + 1) not in PREPOSITIONS else None
        named = behind is not None and (words.names_someone(behind) or words.words[behind.end - 1].definite)
        if behind is not None and named and behind.end <= at:
            return Holder(behind, "verb first")
        if first is not None and first.end <= at and words.names_someone(first):
            return Holder(first, "noun")
        return None

    def _is_subject_name(self, at: int, clause: int) -> bool:
        words, name = self._words, self._words.name(at)
        if name is None or not words.begins_name(at) or words.key(at - 1) in PREPOSITIONS:
            return False
        return name.name.type in ("PER", "ORG") or (name.name.type == "LOC" and at <= clause + 1)

    def _clause_start(self, at: int) -> int:
        """Past connectives and an adverbial that opens the sentence: `من جهة أخرى`, `وفي القاهرة،`."""
        words = self._words
        place = self._past_connectives(0, at)
        if words.key(place) in PREPOSITIONS and words.key(place + 1) in _ASIDES and words.name(place + 1) is None:
            place += 2
            while place < at and words.key(place) in _ASIDE_ENDS:
                place += 1
            return self._past_connectives(words.skip(place, commas=True), at)
        if words.key(place) in PREPOSITIONS or words.key(place) in _TEMPORAL:
            comma = next((each for each in range(place, min(at, place + 12)) if words.key(each) in COMMAS), None)
            if comma is not None:
                return self._past_connectives(comma + 1, at)
        return place

    def _past_connectives(self, place: int, at: int) -> int:
        while place < at and (self._words.key(place) in _CONNECTIVES or not self._words.key(place)[0].isalnum()):
            place += 1
        return place

    def head(self, at: int) -> Holder | None:
        """What a relative at a place speaks of."""
        phrase = self._words.name_before(at) or self._words.subject_before(at)
        return None if phrase is None else Holder(phrase, "relative head")

    def first_named(self, at: int, kinds: Sequence[str]) -> Phrase | None:
        """The first name of one of the types before a word that has no preposition."""
        for phrase in self._names_before(at):
            free = self._words.begins_name(phrase.first) and self._words.key(phrase.first - 1) not in PREPOSITIONS
            if free and self._words.type_at(phrase.first) in kinds:
                return phrase
        return None

    def last_named(self, at: int, kinds: Sequence[str]) -> Phrase | None:
        """The last name of one of the types before a word."""
        end = bisect_right(self._name_starts, at - 1)
        near = reversed(self._names[max(0, end - NAMES_REACH) : end])
        return next((phrase for phrase in near if self._words.type_at(phrase.first) in kinds), None)

    def _names_before(self, at: int) -> Sequence[Phrase]:
        """The first names before a word."""
        return self._names[: min(bisect_right(self._name_starts, at - 1), NAMES_REACH)]
