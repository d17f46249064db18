"""What changed between two events of one article, and a tally of it over many. Pure.

Spans are paired first: those with equal places, then those that overlap, the largest overlap first. What is left
unpaired was lost (in the first event only) or added (in the second only).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Final, Literal, Protocol, TypeVar

from rasad.messages import EnrichedEvent, Entity, Field, Mention, Quote, Stance

Part = Literal["mention", "entity", "quote", "stance"]
How = Literal["added", "lost", "retyped", "boundary", "speaker", "flipped"]

HOWS: Final[Mapping[Part, tuple[How, ...]]] = {
    "mention": ("added", "lost", "retyped", "boundary"),
    "entity": ("added", "lost"),
    "quote": ("added", "lost", "speaker", "boundary"),
    "stance": ("added", "lost", "flipped"),
}
"""The changes that each part of an event can undergo, in the order in which they are shown."""
UNKNOWN_SOURCE: Final = "-"
_CONTEXT: Final = 60


class _Placed(Protocol):
    @property
    def field(self) -> Field: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


Span = TypeVar("Span", bound=_Placed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that is not as it was. `type` is its type before, or after where it was added.

    `before` and `after` say what it was and is, None where it was not or is not. The place, in code points of the
    article's field, is the one after, or the one before where it was lost; entities and headline stances have none.
    """

    part: Part
    how: How
    type: str
    before: str | None
    after: str | None
    field: Field | None = None
    start: int = 0
    end: int = 0


def changes(before: EnrichedEvent, after: EnrichedEvent) -> list[Change]:
    """Every change from one event of an article to another, of the same text. None between equal events."""
    return [
        *_mentions(before.mentions, after.mentions),
        *_entities(before.entities, after.entities),
        *_quotes(before, after),
        *_stances(before.stances, after.stances),
    ]


def paired(before: Sequence[Span], after: Sequence[Span]) -> list[tuple[Span | None, Span | None]]:
    """Pairs of spans, each span in one of them: equal places, then by overlap, then alone.

    Among overlaps the largest comes first, and where they are equal the one that begins first, in `before` and then in
    `after`. The result is in the order of the text.
    """
    overlaps = sorted(_overlaps(before, after))
    mate: dict[int, int] = {}
    taken: set[int] = set()
    for *_, mine, other in overlaps:
        if mine not in mate and other not in taken:
            mate[mine] = other
            taken.add(other)
    pairs: list[tuple[Span | None, Span | None]] = [
        (each, after[mate[number]] if number in mate else None) for number, each in enumerate(before)
    ]
    pairs += [(None, each) for number, each in enumerate(after) if number not in taken]
    return sorted(pairs, key=lambda pair: _place(pair[0] or pair[1]))


def _place(span: _Placed | None) -> tuple[bool, int, int]:
    assert span is not None
    return span.field == "body", span.start, span.end


def _overlaps(before: Sequence[Span], after: Sequence[Span]) -> Iterator[tuple[bool, int, int, int, int, int]]:
    """How well each two spans that touch fit, best first when sorted: differing place, minus overlap, places, indices.

    Sweeps over both in the order of their starts, so that spans that are far apart never meet.
    """
    order = sorted(range(len(after)), key=lambda number: _place(after[number]))
    first = 0
    longest = max((each.end - each.start for each in after), default=0)
    for mine in sorted(range(len(before)), key=lambda number: _place(before[number])):
        span = before[mine]
        in_body = span.field == "body"
        # No span of `after` that begins so far before this one can reach it, nor any later one of `before`.
        while first < len(order) and _place(after[order[first]])[:2] < (in_body, span.start - longest):
            first += 1
        for other in order[first:]:
            candidate = after[other]
            if _place(candidate)[:2] >= (in_body, span.end):
                break
            shared = min(span.end, candidate.end) - max(span.start, candidate.start)
            if candidate.field == span.field and shared > 0:
                differs = (span.start, span.end) != (candidate.start, candidate.end)
                yield differs, -shared, span.start, candidate.start, mine, other


def _mentions(before: Sequence[Mention], after: Sequence[Mention]) -> Iterator[Change]:
    for was, now in paired(before, after):
        how: How | None = _presence(was, now)
        if was is not None and now is not None:
            if (was.start, was.end) != (now.start, now.end):
                how = "boundary"
            elif (was.type, was.subtype) != (now.type, now.subtype):
                how = "retyped"
        place = now or was
        assert place is not None
        if how is not None:
            yield Change(
                part="mention",
                how=how,
                type=(was or place).type,
                before=_of(was, lambda each: f"{each.surface} {_type(each)}"),
                after=_of(now, lambda each: f"{each.surface} {_type(each)}"),
                field=place.field,
                start=place.start,
                end=place.end,
            )


def _type(each: Mention) -> str:
    return each.type if each.subtype in (None, each.type) else f"{each.type}/{each.subtype}"


def _entities(before: Sequence[Entity], after: Sequence[Entity]) -> Iterator[Change]:
    known, found = ({each.entity_id: each for each in entities} for entities in (before, after))
    for key, entity in known.items():
        if key not in found:
            yield Change(part="entity", how="lost", type=entity.type, before=entity.canonical, after=None)
    for key, entity in found.items():
        if key not in known:
            yield Change(part="entity", how="added", type=entity.type, before=None, after=entity.canonical)


def _quotes(before: EnrichedEvent, after: EnrichedEvent) -> Iterator[Change]:
    names = {each.entity_id: each.canonical for event in (before, after) for each in event.entities}

    def speaker(quote: Quote) -> str:
        return names.get(quote.speaker_entity_id or "", quote.speaker or "؟")

    for was, now in paired(before.quotes, after.quotes):
        how: How | None = _presence(was, now)
        if was is not None and now is not None:
            if speaker(was) != speaker(now):
                how = "speaker"
            elif (was.start, was.end) != (now.start, now.end):
                how = "boundary"
        place = now or was
        assert place is not None
        if how is not None:
            yield Change(
                part="quote",
                how=how,
                type=(was or place).kind,
                before=_of(was, speaker),
                after=_of(now, speaker),
                field=place.field,
                start=place.start,
                end=place.end,
            )


def _stances(before: Sequence[Stance], after: Sequence[Stance]) -> Iterator[Change]:
    """Stances about the same thing by the same holder are one; of several, equal labels are paired first."""
    known, found = (_by_subject(stances) for stances in (before, after))
    for subject in dict.fromkeys((*known, *found)):
        was, now = list(known.get(subject, ())), list(found.get(subject, ()))
        for each in list(was):
            same = next((other for other in now if other.label == each.label), None)
            if same is not None:
                was.remove(each)
                now.remove(same)
        for old, new in zip_longest(was, now):
            how = _presence(old, new)
            yield Change(
                part="stance",
                how=how or "flipped",
                type=subject[0],
                before=_of(old, _stance),
                after=_of(new, _stance),
            )


def _by_subject(stances: Iterable[Stance]) -> Mapping[tuple[str, ...], list[Stance]]:
    subjects: dict[tuple[str, ...], list[Stance]] = defaultdict(list)
    for each in stances:
        target, holder = each.target, each.holder
        about = target.claim_id or target.entity_id or target.text
        subjects[each.kind, about, (holder.entity_id or holder.text) if holder else ""].append(each)
    return subjects


def _stance(stance: Stance) -> str:
    holder = f"{stance.holder.text}: " if stance.holder else ""
    return f"{holder}{stance.target.text}: {stance.label}"


Either = TypeVar("Either")


def _presence(was: object | None, now: object | None) -> Literal["added", "lost"] | None:
    if was is None:
        return "added"
    return "lost" if now is None else None


def _of(each: Either | None, shown: Callable[[Either], str]) -> str | None:
    return None if each is None else shown(each)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A change where it stands: the article, and for what has a place the text around it, on either side."""

    article_id: str
    source: str
    title: str
    change: Change
    left: str = ""
    marked: str = ""
    right: str = ""


@dataclass(slots=True, kw_only=True)
class Comparison:
    """A tally over the articles of two sides, `a` and `b`; memory grows with sources and types, not with articles.

    `texts_differ` are articles of which the sides have different versions: places mean nothing between them, so they
    are counted and no more. `examples_max` bounds the examples of each change and of each list of ids.
    """

    a: str
    b: str
    examples_max: int = 5
    same: int = 0
    changed: int = 0
    texts_differ: int = 0
    only_a: int = 0
    only_b: int = 0
    only_a_ids: list[str] = field(default_factory=list)
    only_b_ids: list[str] = field(default_factory=list)
    texts_differ_ids: list[str] = field(default_factory=list)
    by_type: Counter[tuple[Part, str, How]] = field(default_factory=Counter)
    by_source: Counter[tuple[str, Part, How]] = field(default_factory=Counter)
    articles_by_source: Counter[str] = field(default_factory=Counter)
    retyped: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[Part, How], list[Example]] = field(default_factory=lambda: defaultdict(list))

    def add(self, before: EnrichedEvent | None, after: EnrichedEvent | None) -> None:
        """Count one article: its event on either side, None where a side has none."""
        if before is None or after is None:
            self._add_alone(before, after)
        elif before.article.content_sha256 != after.article.content_sha256:
            self.texts_differ += 1
            _keep(self.texts_differ_ids, after.article.id, self.examples_max)
        else:
            self._add_pair(after, changes(before, after))

    def _add_alone(self, before: EnrichedEvent | None, after: EnrichedEvent | None) -> None:
        if before is not None:
            self.only_a += 1
            _keep(self.only_a_ids, before.article.id, self.examples_max)
        if after is not None:
            self.only_b += 1
            _keep(self.only_b_ids, after.article.id, self.examples_max)

    def _add_pair(self, event: EnrichedEvent, found: Sequence[Change]) -> None:
        source = event.article.source or UNKNOWN_SOURCE
        self.articles_by_source[source] += 1
        self.same += not found
        self.changed += bool(found)
        for change in found:
            self.by_type[change.part, change.type, change.how] += 1
            self.by_source[source, change.part, change.how] += 1
            if change.how == "retyped":
                self.retyped[_last_word(change.before), _last_word(change.after)] += 1
            kept = self.examples[change.part, change.how]
            if len(kept) < self.examples_max:
                kept.append(_example(event, source, change))

    @property
    def compared(self) -> int:
        """Articles with the same text on both sides."""
        return self.same + self.changed


def _keep(ids: list[str], article_id: str, at_most: int) -> None:
    if len(ids) < at_most:
        ids.append(article_id)


def _last_word(shown: str | None) -> str:
    return (shown or "").rsplit(" ", 1)[-1]


def _example(event: EnrichedEvent, source: str, change: Change) -> Example:
    article = event.article
    if change.field is None:
        return Example(article_id=article.id, source=source, title=article.title, change=change)
    text = article.title if change.field == "title" else article.body
    return Example(
        article_id=article.id,
        source=source,
        title=article.title,
        change=change,
        left=text[max(0, change.start - _CONTEXT) : change.start],
        marked=text[change.start : change.end],
        right=text[change.end : change.end + _CONTEXT],
    )
