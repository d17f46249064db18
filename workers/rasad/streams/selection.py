"""Which messages a subscriber wants. Pure: a predicate over messages, with no broker near it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self, get_args

from rasad.messages import (
    EnrichedEvent,
    Entity,
    EntityRecord,
    EntitySubtype,
    EntityType,
    Stance,
    StanceRecord,
)
from rasad.text.search_key import search_key

TYPES: Final = frozenset({*get_args(EntityType), *get_args(EntitySubtype)})
"""What an entity may be of: a type or a subtype. LOC and MISC are both, and mean the type."""
KINDS: Final = ("headline", "claim", "entity")
"""Kinds of stance."""
LABELS: Final = ("agree", "disagree", "discuss", "unrelated", "support", "oppose")
"""Labels of stances; the last two are those of kind "entity"."""

# The criteria that can hold for a message at all. Of any other type nothing can be selected.
_APPLICABLE: Final[dict[type[object], frozenset[str]]] = {
    EnrichedEvent: frozenset({"types", "entities", "sources", "stances"}),
    EntityRecord: frozenset({"types", "entities", "sources"}),
    StanceRecord: frozenset({"sources", "stances", "claims"}),
}

_OF_CLAIMS: Final = "stances towards watched claims are records of the stances topic (news.stances.v1): read that one"

# Names come back in article after article, and a name's key is dearer than its look-up.
_key = lru_cache(maxsize=1 << 16)(search_key)


@dataclass(frozen=True, slots=True)
class StanceFilter:
    """A stance by kind, label or both; None takes any."""

    kind: str | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        if self.kind is not None and self.kind not in KINDS:
            raise ValueError(f"no stance is of kind {self.kind!r}: the kinds are {', '.join(KINDS)}")
        if self.label is not None and self.label not in LABELS:
            raise ValueError(f"no stance is labelled {self.label!r}: the labels are {', '.join(LABELS)}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """From "kind:label", or one of the two alone. Raises ValueError for a word that is neither."""
        kind, colon, label = text.partition(":")
        if not colon:
            return cls(kind=kind) if kind in KINDS else cls(label=kind)
        return cls(kind or None, label or None)

    def matches(self, stance: Stance) -> bool:
        """Whether `stance` is one of these."""
        return self.kind in (None, stance.kind) and self.label in (None, stance.label)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What a message must hold. Each criterion that is not empty must be met, by any one of its values.

    `types` and `entities` must be met by one and the same entity, `stances` and `claims` by one and the same stance.
    `entities` are names, compared with an entity's canonical name and its aliases by `rasad.text.search_key`, so that
    spellings of a name meet. `sources` and `claims` (claim ids) are compared as they are.
    """

    types: frozenset[str] = frozenset()
    entities: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    stances: frozenset[StanceFilter] = frozenset()
    claims: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        unknown = sorted(self.types - TYPES)
        if unknown:
            raise ValueError(f"no entity is of type {unknown[0]!r}: the types are {', '.join(sorted(TYPES))}")
        empty = next((name for name in self.entities if not _key(name)), None)
        if empty is not None:
            raise ValueError(f"{empty!r} holds no letter that a name could have")

    @classmethod
    def of(
        cls,
        *,
        types: str | Iterable[str] = (),
        entities: str | Iterable[str] = (),
        sources: str | Iterable[str] = (),
        stances: str | StanceFilter | Iterable[str | StanceFilter] = (),
        claims: str | Iterable[str] = (),
    ) -> Self:
        """From one value or several of each; a stance may be written "kind:label". Raises ValueError."""
        several = (stances,) if isinstance(stances, str | StanceFilter) else stances
        return cls(
            types=_several(types),
            entities=_several(entities),
            sources=_several(sources),
            stances=frozenset(StanceFilter.parse(each) if isinstance(each, str) else each for each in several),
            claims=_several(claims),
        )

    def __bool__(self) -> bool:
        return any(self._asked())

    def _asked(self) -> Iterator[str]:
        """The criteria that are not empty."""
        return (name for name in ("types", "entities", "sources", "stances", "claims") if getattr(self, name))

    def check(self, message: type[object]) -> None:
        """Raise ValueError where a criterion can hold for no message of this type."""
        applicable = _APPLICABLE.get(message, frozenset())
        wrong = next((name for name in self._asked() if name not in applicable), None)
        if wrong is not None:
            told = f"by {', '.join(sorted(applicable))}" if applicable else "by nothing"
            aside = f"; {_OF_CLAIMS}" if (message, wrong) == (EnrichedEvent, "claims") else ""
            raise ValueError(f"{message.__name__} cannot be selected by {wrong}, only {told}{aside}")
        if message is EnrichedEvent and any(each.kind == "claim" for each in self.stances):
            raise ValueError(f"EnrichedEvent has no stance of kind 'claim'; {_OF_CLAIMS}")

    def matches(self, message: object) -> bool:
        """Whether a message is wanted; without criteria, every one is."""
        match message:
            case EnrichedEvent():
                return (
                    self._from(message.article.source)
                    and self._names(message.entities)
                    and self._stands(message.stances)
                )
            case EntityRecord():
                return self._from(message.source) and self._names((message.entity,))
            case StanceRecord():
                return self._from(message.source) and self._stands((message.stance,))
            case _:
                return not self

    def _from(self, source: str | None) -> bool:
        return not self.sources or source in self.sources

    def _names(self, entities: Iterable[Entity]) -> bool:
        """Whether one of the entities is of the types and of the names."""
        if not self.types and not self.entities:
            return True
        keys = {_key(name) for name in self.entities}
        return any(
            (not self.types or not self.types.isdisjoint({entity.type, entity.subtype}))
            and (not keys or not keys.isdisjoint(map(_key, (entity.canonical, *entity.aliases))))
            for entity in entities
        )

    def _stands(self, stances: Iterable[Stance]) -> bool:
        """Whether one of the stances is of the kinds and labels and about the claims."""
        if not self.stances and not self.claims:
            return True
        return any(
            (not self.claims or stance.target.claim_id in self.claims)
            and (not self.stances or any(each.matches(stance) for each in self.stances))
            for stance in stances
        )


def _several(values: str | Iterable[str]) -> frozenset[str]:
    return frozenset({values} if isinstance(values, str) else values)
