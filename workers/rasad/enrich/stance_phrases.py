"""The words of an Arabic sentence, and the phrases they make as far as word order and names show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from rasad.enrich.quotes import PROCLITIC, NamedSpan
from rasad.enrich.reading import FieldText
from rasad.enrich.span_index import SpanIndex
from rasad.enrich.stance_lexicon import keys, sense_of
from rasad.messages import Entity, EntityType
from rasad.text.clitics import strip_proclitics
from rasad.text.normalise import normalised_text
from rasad.text.search_key import search_key

MOST_TARGET: Final = 8
"""Words of a target at most, unless they would cut a name."""

PREPOSITION_REACH: Final = 6
"""Words that may stand between a subject and the preposition of its verb."""

_MOST_PHRASE: Final = 8
_MOST_NOUNS: Final = 5
_MOST_CONSTRUCT: Final = 6

RELATIVES: Final = keys("الذي التي الذين اللذين اللذان والتي والذي والذين")
NEGATIONS: Final = keys("لا لم لن ما ليس ليست عدم دون غير ولا ولم ولن")
THAT: Final = keys("أن إن وأن بأن لكن ولكن")
THAT_HE: Final = keys(
    "إنه أنه أنها إنها أنهم إنهم بأنه بأنها وأنه وأنها لأنه لأنها لكنه لكنها لكنهم ولكنه ولكنها وهو وهي وهم وإنهم"
)
OPENINGS: Final = (
    RELATIVES
    | THAT
    | THAT_HE
    | keys("قد وقد لقد فقد إذ حيث كما فيما بينما كان كانت وكان وكانت بعدما عندما ما مما ثم و أو")
)
"""Words that a verb may follow as the first of its clause."""


_AUXILIARIES: Final = keys("قد وقد لقد فقد كان كانت وكان وكانت كانوا لا لم لن سوف ما زال يزال تزال أيضا اليوم أمس")
"""What may stand between a subject and its verb."""

_BOUNDARIES: Final = (
    RELATIVES
    | THAT
    | keys(
        "بعد قبل خلال إذ حيث عندما حين منذ بينما فيما كما وقد قد وذلك بسبب عقب إثر أثناء حتى لأن أنه بأنه بأنها ما لم "
        "أو وهو وهي وكان وكانت كان كانت عبر وفق وفقا بحسب حسب رغم ردا وقال وقالت وأضاف وأكد وأكدت وأشار ثم إذا مؤكدا "
        "مشيرا معتبرا قائلا قائلة مشددا مضيفا"
    )
)
"""Words that no phrase goes past."""

PREPOSITIONS: Final = keys("في من على إلى عن مع بين ضد أمام عند لدى تجاه إزاء حول بشأن نحو وفي ومن وعلى وعن")

_ADVERBS: Final = keys(
    "اليوم أمس أيضا بشدة السبت الأحد الاثنين الإثنين الثلاثاء الأربعاء الخميس الجمعة يوم مساء صباح مرارا الماضي المقبل "
    "الحالي الجاري فجر ظهر بقوة رسميا علنا مجددا بالفعل كذلك"
)
_TITLES: Final = keys("وزير وزيرة رئيس رئيسة مدير نائب عضو سفير مستشار زعيم أمير قائد محافظ المتحدث أمين الأمين نقيب")
POINTERS: Final = keys(
    "فيه فيها عنه عنها عنهم عليه عليها عليهم له لها لهم به بها بهم ذلك هذا بذلك لذلك سراحه سراحها سراحهم نفسه نفسها "
    "معه معها منه منها منهم إليه إليها"
)
"""Words that point at somebody or something without naming it."""

NO_COMMENT: Final = keys("التعليق الكشف الإدلاء الإفصاح ذلك هذا")
"""What is refused without a stance (`رفض التعليق`)."""


QUOTATION: Final = frozenset("\"'«»“”#_()[]-–—")
COMMAS: Final = frozenset("،,")
_ENDS: Final = frozenset("؛؟!.")
_FULL_STOP: Final = "."


@dataclass(frozen=True, slots=True, eq=False)
class Word:
    """A word of the field at `[start, end)`: as normalised, its search key, and the name it belongs to."""

    text: str
    key: str
    start: int
    end: int
    name: NamedSpan | None

    @property
    def definite(self) -> bool:
        """Whether it begins with the article."""
        return self.key.startswith("ال") and len(self.key) > 3

    @property
    def begins_bare_name(self) -> bool:
        """Whether it is a name's first word, without a proclitic."""
        return self.name is not None and self.name.start == self.start == self.name.name.core_start


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words `[first, end)` of a sentence."""

    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Known:
    """Somebody by name or description, and the entity where there is one."""

    text: str
    entity_id: str | None


@dataclass(frozen=True, slots=True)
class Target:
    """At whom a stance aims, how it stands there, and the preposition glued to its first word, if any."""

    phrase: Phrase
    stands: str
    glued: str = ""


def sentences(text: FieldText, names: SpanIndex[NamedSpan]) -> Iterator[tuple[int, list[Word]]]:
    """The number of its first word and the words, for each sentence of a field."""
    normalised = text.tokenized.normalised.text
    words = []
    for (first, end), (start, stop) in zip(text.tokenized.words.tolist(), text.word_spans.tolist(), strict=True):
        name = next((each for each in names.touching(start, stop) if each.start < stop and start < each.end), None)
        words.append(Word(normalised[first:end], search_key(normalised[first:end]), start, stop, name))
    first = 0
    for _, mine in groupby(text.tokenized.sentence_of_word.tolist()):
        end = first + sum(1 for _ in mine)
        yield first, words[first:end]
        first = end


class Words:
    """The words of a sentence and the phrases they make. Methods take and give positions of words."""

    def __init__(
        self,
        text: FieldText,
        first: int,
        words: Sequence[Word],
        names: SpanIndex[NamedSpan],
        entities: Sequence[Entity],
    ) -> None:
        self.field = text.field
        self.words = words
        self._first = first
        self._text = text.tokenized.text
        self._names = names
        self._entities = entities

    def entity(self, number: int, text: str | None = None) -> Known:
        """An entity of the article, under its canonical name if no text is given."""
        entity = self._entities[number]
        return Known(text or entity.canonical, entity.entity_id)

    def name_phrases(self) -> list[Phrase]:
        """The names of the sentence, in order."""
        named = (at for at, word in enumerate(self.words) if word.name is not None)
        return [Phrase(at, self.name_end(at)) for at in named if self.name(at - 1) is not self.name(at)]

    def type_at(self, at: int) -> EntityType | None:
        """The type of the name that a word belongs to."""
        name = self.name(at)
        return None if name is None else name.name.type

    def number(self, at: int) -> int:
        """A word's number in its field."""
        return self._first + at

    def first_actor(self) -> Known | None:
        """The first person or body that is named without a preposition."""
        for at, word in enumerate(self.words):
            free = word.begins_bare_name and self.key(at - 1) not in PREPOSITIONS
            if free and word.name is not None and word.name.name.type in ("PER", "ORG"):
                return self.entity(word.name.entity)
        return None

    def key(self, at: int) -> str:
        """The search key of a word; a full stop where there is none."""
        return self.words[at].key or _FULL_STOP if 0 <= at < len(self.words) else _FULL_STOP

    def name(self, at: int) -> NamedSpan | None:
        """The name that a word belongs to."""
        return self.words[at].name if 0 <= at < len(self.words) else None

    def begins_name(self, at: int) -> bool:
        """Whether a name without a proclitic begins here."""
        return 0 <= at < len(self.words) and self.words[at].begins_bare_name

    def names_someone(self, phrase: Phrase) -> bool:
        """Whether a name stands in a phrase."""
        return any(word.name is not None for word in self.words[phrase.first : phrase.end])

    def is_boundary(self, at: int) -> bool:
        """Whether no phrase goes past here."""
        key = self.key(at)
        return key in _BOUNDARIES or not (key[0].isalnum() or key in QUOTATION)

    def is_plain(self, at: int) -> bool:
        """Whether a word may be a noun or an adjective that belongs to no name."""
        key = self.key(at)
        closed = (OPENINGS, PREPOSITIONS, _BOUNDARIES, _ADVERBS)
        return self.name(at) is None and key[0].isalnum() and not any(key in words for words in closed)

    def is_past_verb(self, at: int) -> bool:
        """Whether a word looks like a verb of a feminine subject."""
        key = self.key(at)
        return self.is_plain(at) and len(key) > 3 and key.endswith("ت") and not key.endswith("ات")

    def is_adjective(self, at: int) -> bool:
        """Whether a word may be a definite adjective."""
        return self.is_plain(at) and self.words[at].definite and self.key(at) not in NO_COMMENT

    def has_proclitic(self, at: int, proclitic: str) -> bool:
        """Whether a preposition may be glued to a word: to the front of a name, or of a word that is none."""
        key, name = self.key(at), self.name(at)
        if not key.startswith(proclitic) or len(key) < 3:
            return False
        return name is None or (self.words[at].start == name.start < name.name.core_start)

    def skip(self, at: int, *, commas: bool = False) -> int:
        """The next word that is neither a quotation mark nor an adverb."""
        while at < len(self.words) and (
            self.key(at) in QUOTATION or self.key(at) in _ADVERBS or (commas and self.key(at) in COMMAS)
        ):
            at += 1
        return at

    def name_end(self, at: int) -> int:
        """One past the name that a word belongs to."""
        name = self.name(at)
        while at < len(self.words) and self.words[at].name is name:
            at += 1
        return at

    def name_start(self, at: int) -> int:
        """The first word of the name that a word belongs to."""
        name = self.name(at)
        while at > 0 and self.words[at - 1].name is name:
            at -= 1
        return at

    def coordinated(self, at: int) -> int:
        """Past the names that follow a name with و, and the adjectives of nationality of the last."""
        first = at
        while self.name(at) is not None and self.has_proclitic(at, "و"):
            at = self.name_end(at)
        if at > first:
            while at - first < _MOST_PHRASE and self.is_adjective(at) and self.key(at).endswith(("ي", "يه")):
                at += 1
        return at

    def noun_phrase(self, at: int) -> Phrase | None:
        """Nouns up to a name or a definite one, its adjectives, and a person's name behind them."""
        at = first = self.skip(at)
        sense = None if self.name(at) is not None else sense_of(self.key(at))
        verb = sense is not None and sense.shape == "verb" and not sense.ambiguous
        if verb or self.is_boundary(at) or self.key(at) in PREPOSITIONS | POINTERS:
            return None
        while at - first < _MOST_NOUNS and not self._ends_nouns(at, first):
            if self.name(at) is not None:
                if at == first or self.words[at].begins_bare_name:
                    at = self.name_end(at)
                break
            at += 1
            if self.words[at - 1].definite:
                at = self._past_adjectives(at, first)
                break
        at = self._past_person(first, at)
        return Phrase(first, at) if at > first else None

    def _ends_nouns(self, at: int, first: int) -> bool:
        if self.is_boundary(at) or self.key(at) in PREPOSITIONS:
            return True
        return at > first and self.name(at) is None and self._is_glued(self.key(at))

    @staticmethod
    def _is_glued(key: str) -> bool:
        """Whether a word shows by itself that a preposition is glued to it."""
        possessed = key[:1] in "بل" and len(key) > 5 and key.endswith(("هم", "هن", "ها", "هما"))
        return possessed or key.startswith(("بال", "لل", "ولل", "وبال"))

    def _past_adjectives(self, at: int, first: int) -> int:
        noun = self.key(at - 1)
        while self.is_adjective(at) and at - first < _MOST_PHRASE:
            if noun.endswith("ه") and not self.key(at).endswith(("ه", "ا", "ي")):
                break
            at += 1
        return at

    def _past_person(self, first: int, at: int) -> int:
        """Past a person's name that a title or a description leads to; a feminine noun is no man's title."""
        person = self.skip(at, commas=True)
        name = self.name(person)
        if name is None or name.name.type != "PER" or not self.begins_name(person) or self.name(first) is not None:
            return at
        head = self.key(first)
        title = head in _TITLES or head.removeprefix("ال") in _TITLES
        parted = any(self.key(place) in COMMAS for place in range(at, person))
        described = not parted and not head.endswith(("ه", "ات", "ون", "ين"))
        return self.name_end(person) if title or described else at

    def extent(self, at: int) -> Phrase | None:
        """A target: up to a mark, a relative or a subordinate clause, but never part of a name."""
        at = first = self.skip(at)
        if self.key(at) == "ما":
            at += 1
        while at - first < MOST_TARGET and not self.is_boundary(at):
            at += 1
        name = self.name(at)
        if name is not None and at > first and self.name(at - 1) is name:
            at = self.name_end(at)
        return Phrase(first, at) if at > first else None

    def target_phrase(self, at: int) -> Phrase | None:
        """A name, or all that a target goes on with."""
        place = self.skip(at)
        return Phrase(place, self.name_end(place)) if self.begins_name(place) else self.extent(at)

    def behind(self, at: int, prepositions: Sequence[str], *, reach: int = PREPOSITION_REACH) -> Target | None:
        """The first phrase behind one of the prepositions; a glued one is part of it."""
        for place in range(at, min(at + reach + 1, len(self.words))):
            if self.key(place) in _ENDS or self.key(place) in RELATIVES:
                return None
            for preposition in prepositions:
                if self.key(place) == search_key(preposition) and len(preposition) > 1:
                    phrase = self.target_phrase(place + 1)
                    return None if phrase is None else Target(phrase, "preposition")
                if len(preposition) == 1 and self.has_proclitic(place, preposition) and not self.begins_name(place):
                    named = self.name(place) is not None
                    phrase = Phrase(place, self.name_end(place)) if named else self.extent(place)
                    return None if phrase is None else Target(phrase, "preposition", preposition)
        return None

    def past_apposition(self, at: int) -> int:
        """Past what commas or a title add to a subject: `، رئيس الوزراء السابق،`."""
        comma, at = self.key(self.skip(at)) in COMMAS, self.skip(at, commas=True)
        title = self.key(at) in _TITLES
        phrase = self.noun_phrase(at) if (comma or title) and self.name(at) is None else None
        if phrase is None or (self.names_someone(phrase) and not title):
            return at
        end = phrase.end
        while self.is_plain(end) and (self.key(end).startswith("وال") or self.words[end].definite):
            end += 1
        return self.skip(end, commas=True) if title or self.key(end) in COMMAS else at

    def past_auxiliaries(self, at: int) -> int:
        """The word before a verb and its auxiliaries."""
        at -= 1
        while at >= 0 and self.key(at) in _AUXILIARIES:
            at -= 1
        return at

    def opens_clause(self, at: int) -> bool:
        """Whether a verb here would be the first word of its clause."""
        key = self.key(at - 1)
        return not key[0].isalnum() or key in OPENINGS or key in _ADVERBS

    def name_before(self, at: int) -> Phrase | None:
        """The name that ends right before a word, up to three adjectives and marks between."""
        place = at - 1
        while place >= 0 and self.key(place) in '،,"»)':
            place -= 1
        end = place
        while self.is_adjective(place) and end - place < 3:
            place -= 1
        return None if self.name(place) is None else Phrase(self.name_start(place), place + 1)

    def subject_before(self, at: int) -> Phrase | None:
        """The subject in front of its verb: a name or a definite noun, with the nouns in construct before it.

        Behind a comma only a name that another comma sets off.
        """
        named = self.name_before(at)
        if self.key(at - 1) in COMMAS:
            return named if named is not None and self.key(named.first - 1) in COMMAS else None
        first = at if named is None else named.first
        while named is None and self.is_adjective(first - 1):
            first -= 1
        if first == at:
            return None
        end = at if named is None else named.end
        while end - first < _MOST_CONSTRUCT and self._joins_construct(first - 1):
            first -= 1
        opens = not self.key(first - 1)[0].isalnum() or self.key(first - 1) in OPENINGS
        return Phrase(first, end) if opens else named

    def _joins_construct(self, at: int) -> bool:
        return self.is_plain(at) and not self.words[at].definite and not self.is_past_verb(at)

    def described(self, phrase: Phrase, glued: str = "") -> Known:
        """A phrase without its proclitics, and the entity where a name fills it or a person's ends it.

        `glued` is the preposition that must stand there, so needs no further evidence.
        """
        start, end = self.words[phrase.first].start, self.words[phrase.end - 1].end
        words = strip_proclitics(self._text[start:end], seen=frozenset()).canonical
        if glued and words.startswith(glued) and words == normalised_text(self._text[start:end]):
            words = "ال" + words[2:] if words.startswith("لل") else words[1:]
        for each in self._names.touching(start, end):
            fills = each.name.core_start <= start + PROCLITIC and start < each.end and end <= each.end
            if fills or (each.name.type == "PER" and start <= each.start and each.end == end):
                return self.entity(each.entity, words)
        return Known(words, None)
