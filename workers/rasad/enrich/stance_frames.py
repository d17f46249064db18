"""Frames of stances: at a verb, its verbal noun or its participle, who may hold which side towards whom.

The order of an Arabic clause, the article's names and its quotes decide. Each frame says by which construction it was
read, so that `entity_stances` can judge how far to trust it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from rasad.enrich.stance_lexicon import DEMANDING, RELEASES, REMOVALS, Sense, Side, keys, sense_of
from rasad.enrich.stance_phrases import (
    COMMAS,
    NEGATIONS,
    NO_COMMENT,
    POINTERS,
    PREPOSITIONS,
    RELATIVES,
    THAT,
    THAT_HE,
    Known,
    Phrase,
    Target,
    Words,
)
from rasad.enrich.stance_subjects import Holder, Scene, Subjects

DEMAND_REACH: Final = 7
"""How far behind `طالب` what is demanded may stand."""

_RELATIVES_OF_ONE: Final = keys("الذي التي والتي والذي")

_TOWARDS: Final = ("ضد", "على", "إلى", "تجاه", "إزاء", "مع", "من", "ل", "ب", "بشأن", "حول", "عن")
"""What a verbal noun may have before its target beside its own preposition."""

_ACTORS: Final = keys(
    "معارضة المعارضة المتهم متهم المتهمين المتهمون المتهمة للمتهم المعارض المعارضين المعارضون المقاومة"
)
"""Forms of the lexicon that name people."""

_NO_HOLDERS: Final = keys(
    "قضية دعوى بلاغ قصف غارة غارات انفجار تفجير صاروخ صواريخ هجوم هجمات عملية بداية ذلك هذا عدم مرات أي كل منع محاولة "
    "نهاية فكرة"
)
"""Nouns that hold no stance."""

_ATTITUDES: Final = ("موقف", "مواقف", "مشاعر", "هتاف", "شعار", "بيان", "تصريح", "خطاب")
"""What an attribute describes while somebody else holds it (`مواقفها الداعمة`)."""

_DIRECTED: Final = keys("وجه وجهت وجهها وجهتها وجهه وجهته شن شنت شنها شنتها شنه شنته يشنها تشنها أطلقها أطلقتها")
"""Verbs whose object is a stance (`انتقادات وجهها الوزير`)."""

_OBJECTIVE: Final = ("دان",)
"""Whose verbal noun governs its object alone (`إدانة موسكو` is of Moscow)."""

_AGENTS: Final = ("دعم", "ساند", "إسناد")
"""What `من` gives an agent (`بدعم من روسيا`)."""

_ACCUSED: Final = {"ه": ("PER", "ORG"), "ها": ("LOC", "ORG"), "هم": ("MISC", "ORG"), "هما": ("PER",)}
"""Entity types that the object of a verb stands for, the first before the second."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A stance as it was read at word `at` of a sentence."""

    at: int
    sense: Sense
    side: Side
    construction: str
    holder: Holder
    target: Target


class StanceReader:
    """Reads the frames of one sentence."""

    def __init__(self, words: Words, scene: Scene) -> None:
        self.words = words
        self.scene = scene
        self._subjects = Subjects(words, scene)

    def frames(self) -> Iterator[Frame]:
        """The frames of the sentence, in order."""
        for at, word in enumerate(self.words.words):
            sense = None if word.name is not None or self.words.key(at - 1) in NEGATIONS else sense_of(word.key)
            if sense is None or (sense.pronoun and word.text.endswith("ة")):
                continue
            frame = self._frame(at, sense)
            if frame is not None and self._holds(frame):
                yield frame

    def _holds(self, frame: Frame) -> bool:
        """Whether someone can hold the stance, and its target is named rather than pointed at."""
        who, target = frame.holder.who, frame.target.phrase
        if self.words.key(target.first) in POINTERS:
            return False
        if isinstance(who, Known):
            return True
        head = self.words.key(who.first)
        apart = who.end <= target.first or target.end <= who.first
        return apart and (self.words.name(who.first) is not None or head.removeprefix("ال") not in _NO_HOLDERS)

    def _frame(self, at: int, sense: Sense) -> Frame | None:
        if sense.lemma == DEMANDING:
            return self._demand(at, sense)
        match self._shape(at, sense):
            case "verb":
                return self._verb(at, sense)
            case "noun":
                return None if self.words.key(at) in _ACTORS else self._noun(at, sense)
            case _:
                return None if self.words.key(at) in _ACTORS else self._participle(at, sense)

    def _shape(self, at: int, sense: Sense) -> str:
        """Which of its readings a word has here."""
        words = self.words
        if sense.participial and (sense.definite or (words.is_plain(at - 1) and words.behind(at + 1, "ل", reach=0))):
            return "participle"
        if not sense.ambiguous:
            return sense.shape
        if words.key(at - 1) in PREPOSITIONS or (sense.pronoun and words.key(at - 1) not in RELATIVES):
            return "noun"
        before = not sense.joined and words.subject_before(at) is not None
        return "verb" if before or words.opens_clause(at) else "noun"

    @staticmethod
    def _built(
        at: int, sense: Sense, construction: str, holder: Holder | None, target: Target | None, side: Side | None = None
    ) -> Frame | None:
        if holder is None or target is None:
            return None
        return Frame(at, sense, side or sense.side, construction, holder, target)

    def _verb(self, at: int, sense: Sense) -> Frame | None:
        before = self.words.past_auxiliaries(at)
        if sense.pronoun:
            return self._verb_with_object(at, sense, before)
        target = self._object(at + 1, sense)
        if sense.first:
            return self._built(at, sense, "first person", self._subjects.speaker(at), target)
        if self.words.key(before) in RELATIVES:
            if sense.plural and self.words.key(before) in _RELATIVES_OF_ONE:
                return None
            return self._built(at, sense, "relative", self._subjects.head(before), target)
        if self.words.key(before) in THAT_HE:
            return self._built(at, sense, "pronoun", self._subjects.of_clause(before), target)
        if sense.proclitic in ("", "س"):
            subject = self._subject_in_front(at, before)
            if subject is not None:
                return self._built(at, sense, "subject verb", Holder(subject, "beside"), target)
        if sense.plural:
            return self._built(at, sense, "plural verb", self._subjects.of_clause(at), target)
        return self._verb_first(at, sense, target)

    def _subject_in_front(self, at: int, before: int) -> Phrase | None:
        subject = self.words.subject_before(before + 1)
        if subject is not None or before != at - 1:
            return subject
        name = self.words.name_before(at)
        if name is None or self.words.key(name.first - 1) in PREPOSITIONS or not self.words.begins_name(name.first):
            return None
        return name

    def _verb_first(self, at: int, sense: Sense, target: Target | None) -> Frame | None:
        """Verb, subject, object; or verb and object, where no second phrase follows what might be the subject."""
        words = self.words
        subject = words.noun_phrase(at + 1)
        marked = bool(sense.preposition) and words.behind(at + 1, [sense.preposition], reach=0) is not None
        if subject is not None and not marked:
            end = words.coordinated(subject.end)
            beyond = self._object(end, sense)
            if beyond is not None:
                return self._built(at, sense, "verb subject", Holder(subject, "beside"), beyond)
            goes_on = words.key(subject.end) in PREPOSITIONS or words.key(subject.end).startswith("ل")
            if sense.preposition or words.names_someone(subject) or not goes_on:
                return None
        return self._built(at, sense, "verb alone", self._subjects.of_clause(at), target)

    def _verb_with_object(self, at: int, sense: Sense, before: int) -> Frame | None:
        """`برونسون، الذي اتهمته تركيا`: the pronoun stands for the name before the relative, or named last."""
        words = self.words
        if words.key(at - 1) == "ما":
            return None
        follows = words.key(at + 1) not in PREPOSITIONS and not words.has_proclitic(at + 1, "ب")
        subject = words.noun_phrase(at + 1) if follows else None
        if subject is not None:
            holder: Holder | None = Holder(subject, "beside")
        else:
            holder = self._subjects.head(before) if words.key(before) in RELATIVES else self._subjects.of_clause(at)
        return self._built(at, sense, "object pronoun", holder, self._antecedent(at, sense.pronoun))

    def _antecedent(self, at: int, pronoun: str) -> Target | None:
        if self.words.key(at - 1) in RELATIVES:
            head = self._subjects.head(at - 1)
            if head is not None and isinstance(head.who, Phrase):
                return Target(head.who, "relative head")
        for kind in _ACCUSED.get(pronoun, ()):
            named = self._subjects.last_named(at, (kind,))
            if named is not None:
                return Target(named, "antecedent")
        return None

    def _object(self, at: int, sense: Sense) -> Target | None:
        """The target of a verb or participle, from the end of its subject on."""
        words = self.words
        if sense.preposition:
            return self._past_place(words.behind(at, [sense.preposition]), sense.preposition)
        at = words.past_apposition(at)
        if words.key(at) in PREPOSITIONS:
            aside = words.noun_phrase(at + 1)
            at = len(words.words) if aside is None else words.past_apposition(aside.end)
        key = words.key(at)
        closed = key in PREPOSITIONS or key in NO_COMMENT or key in THAT or key.startswith("لل")
        phrase = None if closed or words.has_proclitic(at, "ب") else words.target_phrase(at)
        return None if phrase is None else Target(phrase, "object")

    def _past_place(self, target: Target | None, preposition: str) -> Target | None:
        """`ندد قاض بالولايات المتحدة بالإجراءات`: where the preposition comes twice, a place is not the target."""
        name = None if target is None else self.words.name(target.phrase.first)
        if target is None or name is None or name.name.type != "LOC":
            return target
        return self.words.behind(target.phrase.end, [preposition], reach=1) or target

    def _noun(self, at: int, sense: Sense) -> Frame | None:
        """`دعمه للقرار`, `بدعم من روسيا`, `انتقادات وجهها الوزير`, `اتهام لندن لموسكو`, `احتجاجا على القرار`."""
        if sense.pronoun:
            return self._possessive(at, sense)
        if self.words.key(at + 1) == "من" and sense.lemma in _AGENTS:
            return self._by(at, sense)
        directed = self._directed(at, sense)
        if directed is not None:
            return directed
        if not sense.definite and self._governs(at + 1):
            return self._genitive(at, sense)
        prepositions = [sense.preposition] if sense.preposition else _TOWARDS
        target = self._towards(self.words.behind(at + 1, prepositions, reach=4), sense)
        return self._built(at, sense, "verbal noun", self._subjects.of_clause(at), target)

    def _governs(self, at: int) -> bool:
        """Whether a phrase follows that no preposition begins."""
        words, place = self.words, self.words.skip(at)
        glued = any(words.has_proclitic(place, each) for each in "بل")
        return words.noun_phrase(at) is not None and words.key(place) not in PREPOSITIONS and not glued

    @staticmethod
    def _towards(target: Target | None, sense: Sense) -> Target | None:
        """A target behind a preposition that is not the word's own says so."""
        if target is None or sense.preposition:
            return target
        return Target(target.phrase, "other preposition", target.glued)

    def _possessive(self, at: int, sense: Sense) -> Frame | None:
        words = self.words
        target = words.behind(at + 1, [sense.preposition or "ل"], reach=3)
        if target is None and not sense.preposition and self._takes_possessed(at + 1):
            phrase = words.target_phrase(at + 1)
            target = None if phrase is None else Target(phrase, "object")
        if target is None:
            target = self._towards(words.behind(at + 1, _TOWARDS, reach=3), sense)
        return self._built(at, sense, "possessive", self._subjects.possessor(at, sense.pronoun), target)

    def _takes_possessed(self, at: int) -> bool:
        """Whether what follows a possessive may be its object rather than an adjective (`دعمها المادي`)."""
        words, key = self.words, self.words.key(at)
        adjective = words.name(at) is None and key.startswith("ال") and key.endswith("ي")
        return key not in PREPOSITIONS and not adjective and not words.has_proclitic(at, "ب")

    def _by(self, at: int, sense: Sense) -> Frame | None:
        words = self.words
        place = at + 3 if words.key(at + 2) in ("قبل", "جانب", "طرف") else at + 2
        agent, supported = words.noun_phrase(place), self._subjects.of_sentence(at)
        if agent is None or supported is None or not isinstance(supported.who, Phrase):
            return None
        return self._built(at, sense, "agent", Holder(agent, "beside"), Target(supported.who, "subject"))

    def _directed(self, at: int, sense: Sense) -> Frame | None:
        for place in range(at + 1, min(at + 4, len(self.words.words))):
            if self.words.key(place) in _DIRECTED:
                subject = self.words.noun_phrase(place + 1)
                target = None if subject is None else self.words.behind(subject.end, _TOWARDS)
                if subject is not None and target is not None:
                    return self._built(at, sense, "directed", Holder(subject, "beside"), self._towards(target, sense))
        return None

    def _genitive(self, at: int, sense: Sense) -> Frame | None:
        """The phrase behind a verbal noun: who holds it, where a target follows; else what it aims at."""
        words = self.words
        owner = words.noun_phrase(at + 1)
        if owner is None or words.key(owner.first) in _DIRECTED:
            return None
        end = words.coordinated(owner.end)
        holder = Holder(owner, "beside")
        if sense.several:
            return self._built(
                at, sense, "genitives", holder, self._towards(words.behind(end, _TOWARDS, reach=3), sense)
            )
        if sense.lemma in _OBJECTIVE:
            return self._aimed(at, sense)
        named = words.begins_name(words.skip(at + 1))
        target = words.behind(end, [sense.preposition or "ل"], reach=3 if named else 1)
        if target is not None and (words.names_someone(owner) or words.words[owner.first].definite):
            return self._built(at, sense, "genitive", holder, target)
        if sense.preposition:
            return self._built(
                at, sense, "verbal noun", self._subjects.of_clause(at), words.behind(at + 1, [sense.preposition])
            )
        if named and sense.lemma in ("اتهم", "رفض", "دعم") and self._takes_object(end):
            phrase = words.target_phrase(end)
            return self._built(at, sense, "genitive", holder, None if phrase is None else Target(phrase, "object"))
        return self._aimed(at, sense)

    def _aimed(self, at: int, sense: Sense) -> Frame | None:
        phrase = self.words.target_phrase(at + 1)
        target = None if phrase is None else Target(phrase, "genitive")
        return self._built(at, sense, "verbal noun", self._subjects.of_clause(at), target)

    def _takes_object(self, at: int) -> bool:
        words = self.words
        closed = words.key(at) in PREPOSITIONS or words.is_boundary(at) or words.is_adjective(at)
        return not closed and not words.has_proclitic(at, "ب")

    def _participle(self, at: int, sense: Sense) -> Frame | None:
        """`الموالية لإيران` of the name before it; `رافضا القرار` of the clause's subject; `مدعومة من روسيا`."""
        words = self.words
        if sense.lemma == "إسناد":
            agent = words.behind(at + 1, ("من", "ب"), reach=2)
            supported = words.name_before(at) or words.subject_before(at)
            if agent is None or supported is None:
                return None
            return self._built(at, sense, "agent", Holder(agent.phrase, "beside"), Target(supported, "subject"))
        marked = words.behind(at + 1, [sense.preposition or "ل"], reach=0 if sense.bare else 1)
        counted = words.key(at - 1).isdigit()
        if counted or (sense.bare and not sense.definite and marked is None):
            return None
        attributive = sense.definite or words.key(at - 1) not in COMMAS | {"و"}
        if attributive and marked is not None:
            described = self._described(at)
            if described is not None:
                return self._built(at, sense, "attribute", described, marked)
        if sense.definite:
            return None
        return self._built(at, sense, "adverbial", self._subjects.of_clause(at), self._object(at + 1, sense))

    def _described(self, at: int) -> Holder | None:
        """What an attribute describes; of an attitude, whose it is."""
        words = self.words
        phrase = words.name_before(at) or words.subject_before(at)
        if phrase is None:
            first = at
            while first > 0 and at - first < 2 and words.is_plain(first - 1) and not words.is_past_verb(first - 1):
                first -= 1
            phrase = Phrase(first, at) if first < at else None
        if phrase is None:
            return None
        if words.key(phrase.end - 1).removeprefix("و").removeprefix("ال").startswith(_ATTITUDES):
            return self._subjects.of_clause(at)
        return Holder(phrase, "beside")

    def _demand(self, at: int, sense: Sense) -> Frame | None:
        """`طالب ... بإقالة الوزير`, `للمطالبة بالإفراج عن ...`."""
        words = self.words
        for place in range(at + 1, min(at + 1 + DEMAND_REACH, len(words.words))):
            aim = words.key(place).removeprefix("ب").removeprefix("ل").removeprefix("و")
            if aim not in REMOVALS | RELEASES:
                if words.is_boundary(place):
                    return None
                continue
            behind = place + 2 if words.key(place + 1) in ("عن", "سراح") else place + 1
            phrase = words.target_phrase(behind)
            side: Side = "oppose" if aim in REMOVALS else "support"
            target = None if phrase is None else Target(phrase, "aim")
            return self._built(at, sense, "demand", self._demander(at, place, sense), target, side)
        return None

    def _demander(self, at: int, aim: int, sense: Sense) -> Holder | None:
        words = self.words
        if sense.shape == "verb" and words.key(at - 1) not in PREPOSITIONS:
            before = None if sense.joined else words.subject_before(at)
            behind = words.noun_phrase(at + 1) if aim > at + 1 else None
            beside = before or (behind if behind is not None and behind.end <= aim else None)
            if beside is not None:
                return Holder(beside, "beside")
        return self._subjects.of_clause(at)
