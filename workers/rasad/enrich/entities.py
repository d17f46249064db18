"""Names of one article that mean the same person, body or place become one entity."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, pairwise
from typing import Final, TypeVar

from rasad.enrich.ner import Name
from rasad.messages import Entity, EntitySubtype, EntityType, Field, derived_id
from rasad.text.lexicon import CHILD_OF, COUNTRIES, KINDS_OF_BODY
from rasad.text.search_key import search_key
from rasad.text.sentences import INVISIBLE

Choice = TypeVar("Choice")

ROUNDED: Final = 4
"""Decimals of every number in an event."""

CLASS_NOUNS: Final = KINDS_OF_BODY | frozenset(search_key("الشركة النادي البنك المحكمة").split())
"""Nouns of a kind of body, which news leaves off once the body is known: `حركة النهضة`, then `النهضة`."""

_DISTINGUISHING: Final = frozenset(search_key("الحر الحرة الجديد الجديدة الموازي الموازية").split())
"""Words that make another body of a name: `الجيش السوري الحر` fights `الجيش السوري`."""
_DISTINGUISHING_NEXT: Final = _DISTINGUISHING | frozenset(search_key("القومي العالي").split())
"""Those that do right behind the shorter name: `مجلس الأمن القومي` is no `مجلس الأمن`."""

_COUNTRY_END: Final = re.compile(r"(?:يا|يه|ا|ه)\Z")
_OF_COUNTRIES: Final = frozenset(
    f"ال{_COUNTRY_END.sub('', country.removeprefix('ال'))}{ending}" for country in COUNTRIES for ending in ("ي", "يه")
)
"""Nisba adjectives of countries: `الليبي`, `الليبية`."""
_INSTITUTIONAL: Final = frozenset(
    search_key(
        "الوطني الوطنية الدولي الدولية المركزي المركزية الاتحادي الاتحادية الشعبي الشعبية الديمقراطي الديمقراطية "
        "الإسلامي الإسلامية العسكري العسكرية المدني المدنية الأعلى"
    ).split()
)
"""Nisba adjectives of no country, which say what a body is."""
_GOVERNMENT: Final = search_key("حكومة")
"""Named after an accord or a task: `حكومة الوفاق الوطني`, then `الوفاق`. After a party it is another body than that."""
_OFFICES: Final = frozenset(search_key("بعثة لجنة مكتب وفد").split())
"""Nouns of what a body sends out or sets up, which its purpose only describes: `بعثة الأمم المتحدة للدعم`."""
_ADJECTIVES_OF: Final = {
    search_key(f"ال{adjective}"): search_key(body)
    for adjective, body in (("أممي", "الأمم المتحدة"), ("أممية", "الأمم المتحدة"))
}
"""Adjectives that stand for a body: `البعثة الأممية` is `بعثة الأمم المتحدة`."""
_PURPOSEFUL: Final = frozenset(
    search_key(
        "الوكالة الهيئة اللجنة المفوضية الجمعية المجلس الشركة المنظمة الاتحاد المركز الجهاز الصندوق المكتب"
    ).split()
)
"""Nouns of which a purpose is a part of the name, which is left off: `الوكالة الدولية للطاقة الذرية`."""
_BARE_KINDS: Final = frozenset(search_key("الاتحاد البرلمان المجلس").split())
"""Nouns of a kind of body that, alone, are any of that kind, or a club (`الاتحاد السكندري`)."""
_OF_UNIONS: Final = frozenset(search_key("الأوروبي الأوربي الأفريقي").split())
"""Of the unions that are called by their kind alone: where `الاتحاد الأوروبي` is named, `الاتحاد` is mostly that."""
_OF_NATIONS: Final = (_OF_COUNTRIES | set(search_key("الآسيوي العربي الخليجي الدولي").split())) - _OF_UNIONS
"""Of whom there is one of every kind: `الاتحاد السعودي` is of football, and not the club `الاتحاد`."""
_BANKS: Final = frozenset(search_key("البنك بنك").split())
_NAMED_BY_ADJECTIVE: Final = frozenset(
    search_key("حركة حزب جماعة تنظيم تيار جبهة ميليشيا ميليشيات مليشيا مليشيات نادي النادي المحكمة وزارة").split()
)
"""Class nouns that are left off together with the adjective behind the name: `الإخوان` of `جماعة الإخوان المسلمين`."""
_MINISTRY: Final = search_key("وزارة")
_AGENCIES: Final = frozenset(
    search_key(
        "رويترز, الأناضول, شينخوا, سبوتنيك, نوفوستي, تاس, إرنا, بلومبرغ, سانا, واس, وام, بترا, كونا, قنا, وفا, معا, "
        "بنا, وات, واج, ومع, فرانس برس, أسوشيتد برس, أسوشييتد برس, أ ف ب, أف ب, د ب أ, أ ب, أ ش أ, سي إن إن, بي بي سي"
    ).split(", ")
)
"""News agencies, which bodies of articles are credited to: `الأمم المتحدة (رويترز) - قال`."""
_AGENCY_NOUNS: Final = frozenset(search_key("وكالة وكالات شبكة قناة هيئة أنباء").split())
_ORGANISATION: Final = search_key("المنظمة")
_SHORTEST_BASE: Final = 2
"""Words that a name has at least before an adjective that is left off."""

_AROUND_ALIAS: Final = rf"[\s\"“”«»{INVISIBLE}]*+"
_BETWEEN_ALIAS: Final = re.compile(rf"{_AROUND_ALIAS}\({_AROUND_ALIAS}")
_AFTER_ALIAS: Final = re.compile(rf"{_AROUND_ALIAS}\)")
_NISBA: Final = re.compile(r"ال\w{2,}يه?")
_MARKS: Final = re.compile(r"[^\w\s]+")
_WITH_ALIAS: Final = re.compile(r"(?:\S+\s)+(?:وال|ال|لل)\w+\s*[\"(]+([^\"()]+)[\")]+")
"""A name of three words or more that ends in a quoted one or one in brackets, as its clitic-free text has it.

A noun without ال right before that owns it: `مجلس شورى "النهضة"` is not النهضة.
"""


@dataclass(frozen=True, slots=True)
class Resolution:
    """Entities in order of appearance, and for each name the index of its entity."""

    entities: tuple[Entity, ...]
    entity_of_name: tuple[int, ...]


class EntityIndex:
    """An article's entities by what they are called."""

    def __init__(self, entities: Sequence[Entity]) -> None:
        self.entities = entities
        self._by_form: dict[str, int] = {}
        self._by_word: dict[str, list[int]] = defaultdict(list)
        self._words = [bare_words(name_key(each.canonical)) for each in entities]
        for number, each in enumerate(entities):
            for form in (each.canonical, *each.aliases):
                self._by_form.setdefault(name_key(form), number)
            for word in dict.fromkeys(self._words[number]):
                self._by_word[word].append(number)

    def called(self, words: str) -> int | None:
        """The entity of that name, or with that body's adjective, or the only person of whose name it is a part."""
        key = name_key(words)
        for form in (key, _without_adjective(key)):
            if form in self._by_form:
                return self._by_form[form]
        wanted = bare_words(key)
        near = min((self._by_word.get(word, []) for word in wanted), key=len, default=[])
        persons = (number for number in near if self.entities[number].type == "PER")
        return only(each for each in persons if is_part_of_person(wanted, self._words[each]))

    def holding(self, word: str) -> list[int]:
        """The entities whose canonical name has a word (a search key without ال)."""
        return self._by_word.get(word, [])


def only(found: Iterable[int]) -> int | None:
    """The one that is found; None where there are more, or none."""
    few = list(islice(found, 2))
    return few[0] if len(few) == 1 else None


def resolve(names: Sequence[Name], texts: Mapping[Field, str]) -> Resolution:
    """Group the names of one article. `texts` are its fields as they arrived.

    Names with one search key are one entity. A part of a person's name (`السراج`) joins the only fuller name that
    holds it, a body's short form (`حكومة الوفاق`, or `النهضة` for `حركة النهضة`) the only longer one, and so does the
    name in brackets right behind a body's (`حلف شمال الأطلسي (الناتو)`). Where two bodies or persons fit, nothing is
    joined. A body of one word is the same with ال and without (`الفيفا`, `فيفا`), and an adjective means the body that
    it is of (`البعثة الأممية`, `بعثة الأمم المتحدة`).
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(names):
        groups[name_key(name.canonical)].append(index)
    types = {key: _type([names[index] for index in members])[0] for key, members in groups.items()}
    parents = _parents(types, _bracketed(names, texts))
    roots: dict[str, list[int]] = defaultdict(list)
    for key, members in groups.items():
        roots[_root(key, parents)].extend(members)
    clusters = sorted((sorted(members), key) for key, members in roots.items())
    most = max((len(members) for members, _ in clusters), default=1)
    entity_of_name = {index: number for number, (members, _) in enumerate(clusters) for index in members}
    entities = tuple(_entity([names[index] for index in members], key, texts, most) for members, key in clusters)
    return Resolution(entities, tuple(entity_of_name[index] for index in range(len(names))))


_COMPOUND: Final = re.compile(r"\bعبد (?=ال\w|ربه\b)")
_FATHER_OF: Final = re.compile(r"\b(?:ابو |اب[اي] (?!احمد\b))(?=\w)")
_OF_FAITH: Final = re.compile(r"\b(\w+) (?=الدين\b)")
_PLURAL: Final = re.compile(r"\b(ال(?!بنتا[غج]|امازون\b)\w{2,}|\w+ي)ون\b")
_STATES: Final = {
    search_key(full): search_key(short)
    for full, short in (
        ("الولايات المتحدة الأمريكية", "الولايات المتحدة"),
        ("الإمارات العربية المتحدة", "الإمارات"),
        ("المملكة العربية السعودية", "السعودية"),
        ("جمهورية مصر العربية", "مصر"),
        ("روسيا الاتحادية", "روسيا"),
        ("سورية", "سوريا"),
    )
}
"""States by their full names, and what they are called. Not by their first words: `السودان` is not `جنوب السودان`."""


@lru_cache(maxsize=16_384)
def name_key(canonical: str) -> str:
    """The search key of a name without its marks: `حكومة "الوفاق"` and `حكومة الوفاق` are one.

    Compound names are one word however they are spaced: `عبد الجواد` and `عبدالجواد`, `أبو ظبي` and `أبوظبي`. Case
    changes no name (`الحوثيون`, `الحوثيين`; `أبو بكر`, `أبي بكر`, but `أبي أحمد` is mostly `آبي أحمد`), nor does the
    spelling of America, nor a state's full name.
    """
    key = search_key(canonical)
    words = " ".join(_MARKS.sub(" ", key).split()) or key
    words = _PLURAL.sub(r"\1ين", words).replace("اميرك", "امريك")
    words = _OF_FAITH.sub(r"\1", _COMPOUND.sub("عبد", words))
    words = _FATHER_OF.sub("ابو", words)
    return _STATES.get(words, words)


def bare_words(key: str) -> list[str]:
    """The words of a search key without the article ال."""
    return [word.removeprefix("ال") for word in key.split()]


def entity_id(kind: EntityType, canonical: str) -> str:
    """The same for every article that names the entity so."""
    return derived_id("entity", kind, name_key(canonical))


def _parents(types: Mapping[str, EntityType], bracketed: Mapping[str, set[str]]) -> dict[str, str]:
    """For each key that is another form of a fuller one, or of one with ال, that one."""
    persons = {key: bare_words(key) for key, kind in types.items() if kind == "PER"}
    bodies_of = {key: _without_adjective(key) for key, kind in types.items() if kind == "ORG"}
    orgs = {key: full.split() for key, full in bodies_of.items()}
    parents = _fullest(persons, is_part_of_person) | _fullest(orgs, is_short_form) | _of_one_nation(orgs)
    parents |= {key: full for key, full in bodies_of.items() if full != key and full in orgs}
    for alias, holders in bracketed.items():
        bodies = {_root(name, parents) for name in holders if types[name] == "ORG"} - {alias}
        if types[alias] == "ORG" and alias not in parents and len(bodies) == 1:
            parents[alias] = bodies.pop()
    for bare, definite in [(key, f"ال{key}") for key, words in orgs.items() if len(words) == 1 and f"ال{key}" in orgs]:
        if _root(bare, parents) == _root(definite, parents):
            continue
        if bare not in parents:
            parents[bare] = definite
        elif definite not in parents:
            parents[definite] = bare
    return parents


def _without_adjective(key: str) -> str:
    """A body's key with the body that its adjective stands for: `بعثه الامم المتحده` of `البعثه الامميه`.

    `المنظمه الامميه` is that body itself.
    """
    noun, _, adjective = key.partition(" ")
    body = _ADJECTIVES_OF.get(adjective)
    if body is None:
        return key
    return body if noun == _ORGANISATION else f"{noun.removeprefix('ال')} {body}"


def _fullest(keys: Mapping[str, list[str]], is_part: Callable[[list[str], list[str]], bool]) -> dict[str, str]:
    """For each key, given with its words, that is a part of others, the one of which all of those are forms."""
    holders: dict[str, set[str]] = defaultdict(set)
    for key, words in keys.items():
        for word in words:
            holders[word].add(key)
    found: dict[str, str] = {}
    for key, words in keys.items():
        # Whoever holds the name holds all its words.
        near = set.intersection(*sorted((holders[word] for word in words), key=len)) if words else set()
        fuller = [other for other in near if is_part(words, keys[other])]
        fullest = max(fuller, key=lambda other: len(keys[other]), default=None)
        if fullest is not None and all(other == fullest or is_part(keys[other], keys[fullest]) for other in fuller):
            found[key] = fullest
    return found


def _of_one_nation(keys: Mapping[str, list[str]]) -> dict[str, str]:
    """Parents of a body's name and of the one form of it that adds its nation, where a fuller name adds what it is.

    `حكومة الوفاق الليبية` and `حكومة الوفاق` are `حكومة الوفاق الوطني`; with a second nation, or an adjective that
    may be one, nothing is joined.
    """
    forms: dict[str, list[str]] = defaultdict(list)
    for key, words in keys.items():
        if len(words) > _SHORTEST_BASE:
            forms[" ".join(words[:-1])].append(key)
    found: dict[str, str] = {}
    for base, fuller in forms.items():
        nations = [key for key in fuller if keys[key][-1] in _OF_COUNTRIES]
        others = [key for key in fuller if key not in nations]
        if base in keys and len(nations) == len(others) == 1 and _says_what(keys[others[0]][-1]):
            found |= {base: others[0], nations[0]: base}
    return found


def _says_what(adjective: str) -> bool:
    return adjective.startswith("ال") and (not _NISBA.fullmatch(adjective) or adjective in _INSTITUTIONAL)


def _root(key: str, parents: Mapping[str, str]) -> str:
    while key in parents:
        key = parents[key]
    return key


def is_part_of_person(wanted: list[str], words: list[str]) -> bool:
    """Whether a person's name is part of a longer one (bare words).

    A run of its words (`السراج`, `محمد بن زايد`), or its first and last with some of those between. A run behind بن
    names the father: `زايد` is not `محمد بن زايد`.
    """
    if not wanted or len(wanted) >= len(words):
        return False
    runs = (at for at in range(len(words) - len(wanted) + 1) if words[at : at + len(wanted)] == wanted)
    if any(at == 0 or words[at - 1] not in CHILD_OF for at in runs):
        return True
    rest = iter(words)
    return wanted[0] == words[0] and wanted[-1] == words[-1] and all(word in rest for word in wanted)


def is_short_form(wanted: list[str], words: list[str]) -> bool:
    """Whether a body's name is a short form of a longer one (words of search keys).

    The beginning of it (`مجلس الأمن` of `مجلس الأمن الدولي`; a single word only before one nisba adjective, as
    `الكونغرس` of `الكونغرس الأميركي`), or what follows its class noun, with a party or the like up to one adjective
    (`الإخوان` of `جماعة الإخوان المسلمين`; of a government only with an adjective, `الوفاق` of `حكومة الوفاق الوطني`;
    of a bank only with an institution's, `المركزي`, for `الأهلي` is a club). Not any part: `الأمم المتحدة` is another
    body than `بعثة الأمم المتحدة`, and what goes on with a purpose (`الأمم المتحدة للدعم`) names a part of it, unless
    it is an agency, a mission or the like that has the purpose.
    """
    if not wanted or len(wanted) >= len(words) or words[-1] in _DISTINGUISHING:
        return False
    tail = _tail(wanted, words)
    if tail is not None:
        return _goes_on(wanted, tail)
    if words[0] == _GOVERNMENT:
        return len(words) == len(wanted) + _SHORTEST_BASE and words[1:-1] == wanted and words[-1] in _INSTITUTIONAL
    tail = _tail(wanted, words[1:]) if words[0] in CLASS_NOUNS else None
    if tail is None or (words[0] in _BANKS and _INSTITUTIONAL.isdisjoint(wanted)):
        return False
    return not tail or (len(tail) == 1 and _is_left_off(tail[0], words[0]))


def _goes_on(wanted: list[str], tail: list[str]) -> bool:
    """Whether a body's name and what goes on behind it name the same body."""
    if tail[0] in _DISTINGUISHING_NEXT:
        return False
    if tail[0].startswith("لل") and not (wanted[0] in _OFFICES or _is_purpose(wanted, tail)):
        return False
    if len(wanted) > 1:
        return True
    if len(tail) > 1 or not _NISBA.fullmatch(tail[0]):
        return False
    return wanted[0] not in _BARE_KINDS or tail[0] not in _OF_NATIONS


def _is_purpose(wanted: list[str], tail: list[str]) -> bool:
    """Whether the noun of a name has a purpose as a part of that, and `tail` is one.

    `للمنظمة` only says whose it is; and the European Union is whole without a purpose.
    """
    whose = len(tail) == 1 and f"ال{tail[0].removeprefix('لل')}" in _PURPOSEFUL
    return wanted[0] in _PURPOSEFUL and wanted[-1] not in _OF_UNIONS and not whose


def _is_left_off(adjective: str, noun: str) -> bool:
    """Whether a word behind a body's name is left off with the class noun before it; of a ministry also `والسكان`."""
    if noun not in _NAMED_BY_ADJECTIVE or adjective in _DISTINGUISHING_NEXT:
        return False
    return adjective.startswith(("ال", "وال") if noun == _MINISTRY else "ال")


def _tail(beginning: list[str], words: list[str]) -> list[str] | None:
    """What follows `beginning` in `words`; None if they do not begin so."""
    return words[len(beginning) :] if words[: len(beginning)] == beginning else None


def _bracketed(names: Sequence[Name], texts: Mapping[Field, str]) -> dict[str, set[str]]:
    """For each name that stands in brackets of its own right behind others, those others, by key.

    An agency is credited for what it wrote behind any body, and named behind its own alone. One mention may hold both:
    `حركة المقاومة الإسلامية "حماس"`.
    """
    found: dict[str, set[str]] = defaultdict(set)
    keys = {name_key(name.canonical) for name in names}
    for name in names:
        held = _WITH_ALIAS.fullmatch(name.canonical) if name.type == "ORG" else None
        if held and (alias := name_key(held[1])) in keys:
            found[alias].add(name_key(name.canonical))
    for before, name in pairwise(names):
        text = texts[name.field]
        same = before.field == name.field and before.end <= name.start
        if not same or not _BETWEEN_ALIAS.fullmatch(text, before.end, name.start):
            continue
        alias, holder = name_key(name.canonical), name_key(before.canonical)
        if _AFTER_ALIAS.match(text, name.end) and (alias not in _AGENCIES or _is_agency(holder)):
            found[alias].add(holder)
    return found


def _is_agency(key: str) -> bool:
    return key in _AGENCIES or not _AGENCY_NOUNS.isdisjoint(bare_words(key)[:1])


def _type(names: Sequence[Name]) -> tuple[EntityType, EntitySubtype | None]:
    """The type with most probability behind it, the first one seen on a tie; then its subtype likewise."""
    kind = _vote(names, lambda name: name.type)
    return kind, _vote([name for name in names if name.type == kind], lambda name: name.subtype)


def _vote(names: Sequence[Name], choice: Callable[[Name], Choice]) -> Choice:
    votes: dict[Choice, float] = defaultdict(float)
    for name in names:
        votes[choice(name)] += name.prob
    return max(votes, key=lambda each: votes[each])


def _entity(names: Sequence[Name], key: str, texts: Mapping[Field, str], most: int) -> Entity:
    kind, subtype = _type(names)
    forms = Counter(name.canonical for name in names if name_key(name.canonical) == key)
    canonical = max(forms, key=lambda form: forms[form])
    in_title = any(name.field == "title" for name in names)
    return Entity(
        entity_id=entity_id(kind, canonical),
        type=kind,
        subtype=subtype,
        canonical=canonical,
        aliases=tuple(sorted({name.canonical for name in names} - {canonical})),
        mention_count=len(names),
        in_title=in_title,
        salience=round(salience(names, len(texts["body"]), most), ROUNDED),
        confidence=round(max(name.prob for name in names), ROUNDED),
    )


def salience(names: Sequence[Name], body_length: int, most: int) -> float:
    """How much an article is about an entity, 0 to 1.

    0.4 if the title names it, up to 0.3 for how early the article does (the title counts as the very beginning), and
    up to 0.3 for its mentions as a share of the most mentioned entity's (`most`).
    """
    in_title = any(name.field == "title" for name in names)
    first = 0 if in_title else min(name.start for name in names)
    early = 1 - first / max(body_length, 1)
    return 0.4 * in_title + 0.3 * early + 0.3 * len(names) / max(most, 1)
