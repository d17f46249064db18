"""Who stands where towards whom, as the text states it outright: support or opposition, with the words that show it.

A lexicon opens a frame at a verb, its verbal noun or its participle; the order of an Arabic clause, the article's names
and its quotes tell the holder and the target. Precision comes before recall: a frame without both is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from rasad.enrich.quotes import PROCLITIC, NamedSpan
from rasad.enrich.reading import FieldText
from rasad.enrich.span_index import SpanIndex
from rasad.enrich.stance_lexicon import DEMANDS, RELEASES, REMOVALS, SENSES, Sense, Side, keys
from rasad.messages import Entity, Quote, Span, Stance, StanceHolder, StanceTarget
from rasad.text.clitics import strip_proclitics
from rasad.text.normalise import normalise
from rasad.text.search_key import search_key

MOST_EVIDENCE: Final = 8
"""Words of evidence at most."""

MOST_TARGET: Final = 8
"""Words of a target at most, unless they would cut a name."""

PREPOSITION_REACH: Final = 6
"""Words that may stand between a subject and the preposition of its verb."""

_RELATIVES: Final = keys("الذي التي الذين اللذين اللذان والتي والذي والذين")
_NEGATIONS: Final = keys("لا لم لن ما ليس ليست عدم دون غير ولا ولم ولن")
_THAT: Final = keys("أن إن وأن بأن لكن ولكن")
_THAT_HE: Final = keys("إنه أنه أنها إنها أنهم إنهم بأنه بأنها وأنه وأنها لأنه لأنها لكنه لكنها ولكنه ولكنها وهو وهي")
_OPENINGS: Final = (
    _RELATIVES
    | _THAT
    | _THAT_HE
    | keys("قد وقد لقد فقد إذ حيث كما فيما بينما كان كانت وكان وكانت بعدما عندما ما مما ثم و أو")
)
"""Words that a verb may follow as the first of its clause."""

_BOUNDARIES: Final = (
    _RELATIVES
    | _THAT
    | keys(
        "بعد قبل خلال إذ حيث عندما حين منذ بينما فيما كما وقد قد وذلك بسبب عقب إثر أثناء حتى لأن أنه بأنه بأنها ما لم "
        "أو وهو وهي وكان وكانت كان كانت عبر وفق وفقا بحسب حسب رغم ردا وقال وقالت وأضاف وأكد وأكدت وأشار ثم إذا مؤكدا "
        "مشيرا معتبرا قائلا قائلة مشددا مضيفا"
    )
)
"""Words that no phrase goes past."""

_PREPOSITIONS: Final = keys("في من على إلى عن مع بين ضد أمام عند لدى تجاه إزاء حول بشأن نحو وفي ومن وعلى وعن")
_ADVERBS: Final = keys(
    "اليوم أمس أيضا بشدة السبت الأحد الاثنين الإثنين الثلاثاء الأربعاء الخميس الجمعة يوم مساء صباح مرارا الماضي المقبل "
    "الحالي الجاري فجر ظهر بقوة رسميا علنا مجددا بالفعل كذلك"
)
_TITLES: Final = keys("وزير وزيرة رئيس رئيسة مدير نائب عضو سفير مستشار زعيم أمير قائد محافظ المتحدث أمين الأمين نقيب")
_NO_COMMENT: Final = keys("التعليق الكشف الإدلاء الإفصاح ذلك هذا")
"""What is refused without a stance (`رفض التعليق`)."""

_CHARGES: Final = keys("التهم التهمة تهمة تهم الاتهامات اتهامات")
_ONLY_CHARGES: Final = ("نفى", "أنكر")
_POINTERS: Final = keys(
    "فيه فيها عنه عنها عنهم عليه عليها عليهم له لها لهم به بها بهم ذلك هذا بذلك لذلك سراحه سراحها سراحهم نفسه نفسها "
    "معه معها"
)
"""Words that point at a target without naming it."""

_QUOTATION: Final = frozenset("\"'«»“”#_()[]-–—")
_COMMAS: Final = frozenset("،,")
_FULL_STOP: Final = "."


@dataclass(frozen=True, slots=True, eq=False)
class _Word:
    """A word of the field at `[start, end)`: its search key, and the name it belongs to."""

    key: str
    start: int
    end: int
    name: NamedSpan | None

    @property
    def definite(self) -> bool:
        return self.key.startswith("ال") and len(self.key) > 3

    @property
    def begins_bare_name(self) -> bool:
        """Whether it is a name's first word, without a proclitic."""
        return self.name is not None and self.name.start == self.start == self.name.name.core_start


@dataclass(frozen=True, slots=True)
class _Phrase:
    """Words `[first, end)` of a sentence."""

    first: int
    end: int


@dataclass(frozen=True, slots=True)
class _Known:
    """Somebody whom a pronoun stands for."""

    text: str
    entity_id: str | None


@dataclass(frozen=True, slots=True)
class _Frame:
    """Holder and target of a stance, found at a word."""

    side: Side
    holder: _Phrase | _Known
    target: _Phrase
    preposition: str = ""


def entity_stances(
    text: FieldText, names: SpanIndex[NamedSpan], entities: Sequence[Entity], quotes: Sequence[Quote]
) -> list[Stance]:
    """The stances of one field, in order. `names` and `quotes` are those of the field."""
    return [
        stance
        for words in _sentences(text, names)
        for stance in _Sentence(text, words, names, entities, quotes).stances()
    ]


def _sentences(text: FieldText, names: SpanIndex[NamedSpan]) -> Iterator[list[_Word]]:
    normalised = text.tokenized.normalised.text
    words = []
    for (first, end), (start, stop) in zip(text.tokenized.words.tolist(), text.word_spans.tolist(), strict=True):
        name = next((each for each in names.touching(start, stop) if each.start < stop and start < each.end), None)
        words.append(_Word(search_key(normalised[first:end]), start, stop, name))
    numbered = zip(text.tokenized.sentence_of_word.tolist(), words, strict=True)
    for _, mine in groupby(numbered, key=lambda each: each[0]):
        yield [word for _, word in mine]


class _Sentence:
    """One sentence, read for frames. Its methods take and give positions of words."""

    def __init__(
        self,
        text: FieldText,
        words: Sequence[_Word],
        names: SpanIndex[NamedSpan],
        entities: Sequence[Entity],
        quotes: Sequence[Quote],
    ) -> None:
        self._field = text.field
        self._text = text.tokenized.text
        self._words = words
        self._names = names
        self._entities = entities
        self._quotes = [
            quote
            for quote in quotes
            if quote.speaker is not None and quote.start < words[-1].end and words[0].start < quote.end
        ]

    def stances(self) -> Iterator[Stance]:
        for at, word in enumerate(self._words):
            frame = None if word.name is not None or self._key(at - 1) in _NEGATIONS else self._frame(at)
            if frame is not None:
                found = (self._stance(at, frame, holder) for holder in self._each(frame.holder))
                yield from (stance for stance in found if stance is not None)

    def _frame(self, at: int) -> _Frame | None:
        if self._key(at) in DEMANDS:
            return self._demand(at)
        sense = SENSES.get(self._key(at))
        if sense is None:
            return None
        match sense.shape:
            case "verb":
                return self._verb(at, sense)
            case "noun":
                return self._verbal_noun(at, sense)
            case "participle":
                return self._framed(sense.side, self._speaker(at), self._target(at + 1, sense), sense.preposition)
            case "attribute":
                place = self._behind(at + 1, sense.preposition, reach=0)
                target = None if place is None else self._noun_phrase(place)
                return self._framed(sense.side, self._name_before(at), target, sense.preposition)

    @staticmethod
    def _framed(
        side: Side, holder: _Phrase | _Known | None, target: _Phrase | None, preposition: str = ""
    ) -> _Frame | None:
        return None if holder is None or target is None else _Frame(side, holder, target, preposition)

    def _verb(self, at: int, sense: Sense) -> _Frame | None:
        before = self._key(at - 1)
        if sense.pronoun:
            return self._relative_object(at, sense)
        if before in _RELATIVES:
            return self._framed(sense.side, self._name_before(at - 1), self._target(at + 1, sense), sense.preposition)
        if before in _THAT_HE:
            return self._framed(sense.side, self._speaker(at), self._target(at + 1, sense), sense.preposition)
        subject = None if sense.joined else self._subject_before(at)
        if subject is not None:
            noun = sense.ambiguous and subject.first > 0 and self._key(subject.first - 1) not in _THAT
            return None if noun else self._framed(sense.side, subject, self._target(at + 1, sense), sense.preposition)
        # `ودعم` goes on with a list of aims far more often than it is a verb.
        if not (sense.joined or self._opens_clause(at)) or (sense.ambiguous and sense.lemma == "دعم"):
            return None
        if sense.plural or (sense.preposition and self._behind(at + 1, sense.preposition, reach=0) is not None):
            return self._framed(sense.side, self._speaker(at), self._target(at + 1, sense), sense.preposition)
        return self._verb_first(at, sense)

    def _verb_first(self, at: int, sense: Sense) -> _Frame | None:
        """Verb, subject, object; or verb and object, where no second phrase follows what might be the subject."""
        subject = self._noun_phrase(at + 1)
        if subject is None:
            return None
        target = self._target(self._coordinated(subject.end), sense)
        if target is not None:
            return _Frame(sense.side, subject, target, sense.preposition)
        goes_on = self._key(subject.end) in _PREPOSITIONS or self._key(subject.end).startswith("ل")
        if sense.preposition or self._has_name(subject) or not goes_on:
            return None
        return self._framed(sense.side, self._speaker(at), self._target(at + 1, sense), sense.preposition)

    def _relative_object(self, at: int, sense: Sense) -> _Frame | None:
        """`برونسون، الذي اتهمته تركيا`: the pronoun stands for the name before the relative."""
        if self._key(at - 1) not in _RELATIVES or self._has_proclitic(at + 1, "ب"):
            return None
        return self._framed(sense.side, self._noun_phrase(at + 1), self._name_before(at - 1))

    def _verbal_noun(self, at: int, sense: Sense) -> _Frame | None:
        """`دعمه للقرار`, `رفضه القرار`, `اتهام لندن لموسكو`."""
        preposition = sense.preposition or "ل"
        if sense.pronoun:
            place = self._behind(at + 1, preposition, reach=2)
            if place is None and sense.lemma == "رفض":
                place = at + 1
            return self._framed(sense.side, self._possessor(at, sense), self._extent(place), preposition)
        if at + 1 >= len(self._words) or not self._words[at + 1].begins_bare_name:
            return None
        holder = _Phrase(at + 1, self._name_end(at + 1))
        target = self._extent(self._behind(holder.end, preposition, reach=0))
        return self._framed(sense.side, holder, target, preposition)

    def _demand(self, at: int) -> _Frame | None:
        """`طالب ... بإقالة الوزير`, `بالإفراج عن ...`."""
        aims = range(at + 1, min(at + 1 + PREPOSITION_REACH, len(self._words)))
        aim = next((place for place in aims if self._key(place) in REMOVALS | RELEASES), None)
        if aim is None:
            return None
        subject = self._noun_phrase(at + 1) if aim > at + 1 else None
        holder = subject if subject is not None and subject.end <= aim else self._subject_before(at)
        behind = aim + 2 if self._key(aim + 1) in ("عن", "سراح") else aim + 1
        side: Side = "oppose" if self._key(aim) in REMOVALS else "support"
        return self._framed(side, holder or self._speaker(at), self._extent(behind))

    def _target(self, at: int, sense: Sense) -> _Phrase | None:
        """The target of a verb or participle, from the end of its subject on."""
        if sense.preposition:
            return self._extent(self._behind(at, sense.preposition))
        at = self._past_apposition(at)
        if self._key(at) in _PREPOSITIONS:
            aside = self._noun_phrase(at + 1)
            at = len(self._words) if aside is None else self._past_apposition(aside.end)
        key = self._key(at)
        if key in _PREPOSITIONS or key in _NO_COMMENT or key.startswith("لل") or self._has_proclitic(at, "ب"):
            return None
        if sense.lemma in _ONLY_CHARGES and key not in _CHARGES:
            return None
        if sense.lemma == "اتهم":
            accused = self._noun_phrase(at)
            return accused if accused is not None and self._has_name(accused) else None
        return self._extent(at)

    def _key(self, at: int) -> str:
        return self._words[at].key or _FULL_STOP if 0 <= at < len(self._words) else _FULL_STOP

    def _name(self, at: int) -> NamedSpan | None:
        return self._words[at].name if 0 <= at < len(self._words) else None

    def _has_name(self, phrase: _Phrase) -> bool:
        return any(word.name is not None for word in self._words[phrase.first : phrase.end])

    def _is_boundary(self, at: int) -> bool:
        key = self._key(at)
        return key in _BOUNDARIES or not (key[0].isalnum() or key in _QUOTATION)

    def _is_plain(self, at: int) -> bool:
        """Whether a word may be a noun or an adjective that belongs to no name."""
        key = self._key(at)
        closed = (_OPENINGS, _PREPOSITIONS, _BOUNDARIES, _ADVERBS)
        return self._name(at) is None and key[0].isalnum() and not any(key in words for words in closed)

    def _is_adjective(self, at: int) -> bool:
        return self._is_plain(at) and self._words[at].definite

    def _has_proclitic(self, at: int, proclitic: str) -> bool:
        key, name = self._key(at), self._name(at)
        if not key.startswith(proclitic) or len(key) < 3:
            return False
        return name is None or (self._words[at].start == name.start < name.name.core_start)

    def _skip(self, at: int, *, commas: bool = False) -> int:
        """The next word that is neither a quotation mark nor an adverb."""
        while at < len(self._words) and (
            self._key(at) in _QUOTATION or self._key(at) in _ADVERBS or (commas and self._key(at) in _COMMAS)
        ):
            at += 1
        return at

    def _name_end(self, at: int) -> int:
        name = self._name(at)
        while at < len(self._words) and self._words[at].name is name:
            at += 1
        return at

    def _coordinated(self, at: int) -> int:
        """Past the names that follow a name with و."""
        while self._name(at) is not None and self._has_proclitic(at, "و"):
            at = self._name_end(at)
        return at

    def _behind(self, at: int, preposition: str, *, reach: int = PREPOSITION_REACH) -> int | None:
        """Where the phrase begins that stands behind a preposition; a glued one is part of it."""
        for place in range(at, min(at + reach + 1, len(self._words))):
            if self._key(place) in "؛؟!." or self._key(place) in _RELATIVES:
                return None
            if self._key(place) == search_key(preposition):
                return place + 1
            if len(preposition) == 1 and self._has_proclitic(place, preposition):
                return place
        return None

    def _noun_phrase(self, at: int) -> _Phrase | None:
        """Nouns up to a name or a definite one, its adjectives, and a person's name behind them."""
        at = first = self._skip(at)
        if self._is_boundary(at) or self._key(at) in _PREPOSITIONS or self._key(at) in SENSES:
            return None
        while at - first < 5 and not self._is_boundary(at) and self._key(at) not in _PREPOSITIONS:
            if self._name(at) is not None:
                if at == first or self._words[at].begins_bare_name:
                    at = self._name_end(at)
                break
            at += 1
            if self._words[at - 1].definite:
                while self._is_adjective(at) and at - first < 8:
                    at += 1
                break
        person = self._skip(at, commas=True)
        name = self._name(person)
        if name is not None and name.name.type == "PER" and self._words[person].begins_bare_name:
            at = self._name_end(person)
        return _Phrase(first, at) if at > first else None

    def _extent(self, at: int | None) -> _Phrase | None:
        """A target: up to a mark, a relative or a subordinate clause, but never part of a name."""
        if at is None:
            return None
        at = first = self._skip(at)
        if self._key(at) == "ما":
            at += 1
        while at - first < MOST_TARGET and not self._is_boundary(at):
            at += 1
        name = self._name(at)
        if name is not None and at > first and self._name(at - 1) is name:
            at = self._name_end(at)
        return _Phrase(first, at) if at > first else None

    def _past_apposition(self, at: int) -> int:
        """Past what commas or a title add to a subject: `، رئيس الوزراء السابق،`."""
        comma, at = self._key(self._skip(at)) in _COMMAS, self._skip(at, commas=True)
        title = self._key(at) in _TITLES
        phrase = self._noun_phrase(at) if (comma or title) and self._name(at) is None else None
        if phrase is None or (self._has_name(phrase) and not title):
            return at
        end = phrase.end
        while self._is_plain(end) and (self._key(end).startswith("وال") or self._words[end].definite):
            end += 1
        return self._skip(end, commas=True) if title or self._key(end) in _COMMAS else at

    def _opens_clause(self, at: int) -> bool:
        key = self._key(at - 1)
        return not key[0].isalnum() or key in _OPENINGS or key in _ADVERBS

    def _name_before(self, at: int) -> _Phrase | None:
        """The name that ends right before a word, up to three adjectives and marks between."""
        place = at - 1
        while place >= 0 and self._key(place) in '،,"»)':
            place -= 1
        end = place
        while self._is_adjective(place) and end - place < 3:
            place -= 1
        name = self._name(place)
        if name is None:
            return None
        end = place + 1
        while self._name(place - 1) is name:
            place -= 1
        return _Phrase(place, end)

    def _subject_before(self, at: int) -> _Phrase | None:
        """The subject in front of its verb: a name or a definite noun, with the nouns in construct before it.

        Behind a comma only a name that another comma sets off.
        """
        named = self._name_before(at)
        if self._key(at - 1) in _COMMAS:
            return named if named is not None and self._key(named.first - 1) in _COMMAS else None
        first = at if named is None else named.first
        while named is None and self._is_adjective(first - 1):
            first -= 1
        if first == at:
            return None
        end = at if named is None else named.end
        while end - first < 6 and self._is_plain(first - 1) and not self._words[first - 1].definite:
            first -= 1
        opens = not self._key(first - 1)[0].isalnum() or self._key(first - 1) in _OPENINGS
        return _Phrase(first, end) if opens else named

    def _possessor(self, at: int, sense: Sense) -> _Phrase | _Known | None:
        """Whom the pronoun of a verbal noun stands for: `ها` and `هم` for the body or place named last."""
        if sense.pronoun == "ه":
            return self._speaker(at)
        kinds = ("LOC", "ORG") if sense.pronoun == "ها" else ("ORG", "MISC", "LOC")
        named = (word.name for word in reversed(self._words[:at]) if word.name is not None)
        return next((self._entity(each) for each in named if each.name.type in kinds), None)

    def _speaker(self, at: int) -> _Known | None:
        """Whom an unnamed subject stands for: who is quoted here, else the first person, body or place named before."""
        start = self._words[at].start
        here = [quote for quote in self._quotes if quote.start <= start < quote.end] or self._quotes
        if here and here[0].speaker is not None:
            return _Known(here[0].speaker, here[0].speaker_entity_id)
        named = [
            word.name
            for place, word in enumerate(self._words[:at])
            if word.name is not None and word.begins_bare_name and self._key(place - 1) not in _PREPOSITIONS
        ]
        persons = [each for each in named if each.name.type == "PER"]
        others = [each for each in named if each.name.type in ("ORG", "LOC")]
        return next((self._entity(each) for each in (*persons, *others)), None)

    def _entity(self, named: NamedSpan) -> _Known:
        entity = self._entities[named.entity]
        return _Known(entity.canonical, entity.entity_id)

    def _each(self, holder: _Phrase | _Known) -> list[_Phrase | _Known]:
        """A holder, and the names that follow it with و."""
        if isinstance(holder, _Known):
            return [holder]
        found: list[_Phrase | _Known] = [holder]
        at, end = holder.end, self._coordinated(holder.end)
        while at < end:
            found.append(_Phrase(at, self._name_end(at)))
            at = self._name_end(at)
        return found

    def _stance(self, at: int, frame: _Frame, holder: _Phrase | _Known) -> Stance | None:
        """None where nobody is named, where the target is only pointed at, and where someone faces themselves."""
        target = frame.target
        if self._key(target.first) in _POINTERS:
            return None
        if isinstance(holder, _Phrase) and not (self._has_name(holder) or self._has_name(target)):
            return None
        held_by = self._described(holder) if isinstance(holder, _Phrase) else holder
        glued = frame.preposition if self._has_proclitic(target.first, frame.preposition or " ") else ""
        aimed_at = self._described(target, glued)
        same = held_by.entity_id is not None and held_by.entity_id == aimed_at.entity_id
        if same or not held_by.text or not aimed_at.text or held_by.text == aimed_at.text:
            return None
        end = max(at + 1, min(target.end, at + MOST_EVIDENCE))
        return Stance(
            kind="entity",
            holder=StanceHolder(text=held_by.text, entity_id=held_by.entity_id),
            target=StanceTarget(text=aimed_at.text, entity_id=aimed_at.entity_id),
            label=frame.side,
            probs={"support": float(frame.side == "support"), "oppose": float(frame.side == "oppose")},
            evidence=(Span(field=self._field, start=self._words[at].start, end=self._words[end - 1].end),),
        )

    def _described(self, phrase: _Phrase, glued: str = "") -> _Known:
        """A phrase without its proclitics, and the entity where a name fills it or a person's ends it.

        `glued` is the preposition that the frame puts before it, so needs no further evidence.
        """
        start, end = self._words[phrase.first].start, self._words[phrase.end - 1].end
        words = strip_proclitics(self._text[start:end], seen=frozenset()).canonical
        if glued and words.startswith(glued) and words == normalise(self._text[start:end]).text:
            words = "ال" + words[2:] if words.startswith("لل") else words[1:]
        for each in self._names.touching(start, end):
            fills = each.name.core_start <= start + PROCLITIC and start < each.end and end <= each.end
            if fills or (each.name.type == "PER" and start <= each.start and each.end == end):
                return _Known(words, self._entities[each.entity].entity_id)
        return _Known(words, None)
