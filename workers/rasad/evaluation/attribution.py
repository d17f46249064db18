"""Who said what and who stands where, on whole articles of the news corpus: the events against their labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rasad.enrich.entities import name_key
from rasad.enrich.evidence import content_words
from rasad.evaluation.spans import Score
from rasad.messages import EnrichedEvent, Quote, Stance

HALF: Final = 0.5
"""Share of the longer of two spans that both must cover to count as one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteResult:
    """Quotes of a corpus, spans in code points of their field.

    `spans`: a found quote is right where it and a labelled one share at least half of the longer of the two, each used
    once. Of those `matched`, how many have the right kind and the right speaker.
    """

    spans: Score
    matched: int
    kind_right: int
    speaker_right: int

    @property
    def speaker_accuracy(self) -> float:
        """Percent of the matched quotes that have the right speaker."""
        return 100 * self.speaker_right / self.matched if self.matched else 0.0

    @property
    def kind_accuracy(self) -> float:
        """Percent of the matched quotes that are rightly direct or indirect."""
        return 100 * self.kind_right / self.matched if self.matched else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityStanceResult:
    """Stances of holders towards targets.

    `whole`: the same label in the same paragraph, holder and target each sharing a content word with the labelled one.
    `polarity`: the same label in the same paragraph, whoever holds it. `support` and `oppose` are `whole` by label.
    """

    whole: Score
    polarity: Score
    support: Score
    oppose: Score


def overlap(one: tuple[int, int], other: tuple[int, int]) -> float:
    """What two spans share, as a share of the longer one."""
    shared = min(one[1], other[1]) - max(one[0], other[0])
    longer = max(one[1] - one[0], other[1] - other[0])
    return max(shared, 0) / longer if longer else 0.0


def same_speaker(gold: str | None, event: EnrichedEvent, quote: Quote) -> bool:
    """Whether a quote's speaker is the labelled one (None, "" or "-" where unknowable).

    Right where the content words of one are all among those of the other, as for a surname beside the full name, and
    where the quote's entity has such an alias.
    """
    wanted = "" if gold is None else gold.strip("- ")
    if not wanted or not quote.speaker:
        return not wanted and not quote.speaker
    forms = [quote.speaker]
    for entity in event.entities:
        if entity.entity_id == quote.speaker_entity_id:
            forms += [entity.canonical, *entity.aliases]
    return any(name_key(form) == name_key(wanted) or _contained(form, wanted) for form in forms)


def _contained(one: str, other: str) -> bool:
    first, second = content_words(one), content_words(other)
    return bool(first and second) and (first <= second or second <= first)


def quote_result(articles: Sequence[Mapping[str, Any]], events: Sequence[EnrichedEvent]) -> QuoteResult:
    """Score the quotes of events against the records of the news corpus that they were made of."""
    predicted = labelled = matched = kind_right = speaker_right = 0
    for article, event in zip(articles, events, strict=True):
        labelled += len(article["quotes"])
        predicted += len(event.quotes)
        for gold, quote in _matched(article["quotes"], event.quotes):
            matched += 1
            kind_right += gold["kind"] == quote.kind
            speaker_right += same_speaker(gold["speaker"], event, quote)
    return QuoteResult(
        spans=Score(matched, predicted, labelled), matched=matched, kind_right=kind_right, speaker_right=speaker_right
    )


def _matched(gold: Sequence[Mapping[str, Any]], found: Sequence[Quote]) -> list[tuple[Mapping[str, Any], Quote]]:
    """Pairs that overlap enough, the closest first, none used twice."""
    close = sorted(
        (-share, g, f)
        for g, one in enumerate(gold)
        for f, other in enumerate(found)
        if one["field"] == other.field
        and (share := overlap((one["start"], one["end"]), (other.start, other.end))) >= HALF
    )
    used_gold: set[int] = set()
    used_found: set[int] = set()
    pairs = []
    for _, g, f in close:
        if g not in used_gold and f not in used_found:
            used_gold.add(g)
            used_found.add(f)
            pairs.append((gold[g], found[f]))
    return pairs


@dataclass(frozen=True, slots=True)
class _Standing:
    """A stance as it is compared: `place` is "title" or the number of a paragraph of the body."""

    place: str
    label: str
    holder: frozenset[str]
    target: frozenset[str]

    def agrees(self, other: _Standing) -> bool:
        """Same place and label, holder and target sharing a content word."""
        return self.side(other) and bool(self.holder & other.holder) and bool(self.target & other.target)

    def side(self, other: _Standing) -> bool:
        """Same place and label."""
        return (self.place, self.label) == (other.place, other.label)


def entity_stance_result(articles: Sequence[Mapping[str, Any]], events: Sequence[EnrichedEvent]) -> EntityStanceResult:
    """Score the stances of kind "entity" of events against the records of the news corpus."""
    return stance_result(articles, [[each for each in event.stances if each.kind == "entity"] for event in events])


def stance_result(articles: Sequence[Mapping[str, Any]], stances: Sequence[Sequence[Stance]]) -> EntityStanceResult:
    """Score stances of kind "entity", those of each article, against the records of the news corpus."""
    gold = [[_labelled(article, each) for each in article["stances"]] for article in articles]
    found = [[_found(article, stance) for stance in mine] for article, mine in zip(articles, stances, strict=True)]

    def of_label(stances: list[list[_Standing]], label: str) -> list[list[_Standing]]:
        return [[each for each in mine if each.label == label] for mine in stances]

    return EntityStanceResult(
        whole=_score(gold, found, whole=True),
        polarity=_score(gold, found, whole=False),
        support=_score(of_label(gold, "support"), of_label(found, "support"), whole=True),
        oppose=_score(of_label(gold, "oppose"), of_label(found, "oppose"), whole=True),
    )


def stances_right(article: Mapping[str, Any], stances: Sequence[Stance]) -> list[bool]:
    """Which of an article's stances agree with a labelled one, the likeliest first and each label used once."""
    order = sorted(range(len(stances)), key=lambda index: -stances[index].probs[stances[index].label])
    found = [_found(article, stances[index]) for index in order]
    hits = _hits([_labelled(article, each) for each in article["stances"]], found, whole=True)
    return [hit for _, hit in sorted(zip(order, hits, strict=True))]


def _score(gold: Sequence[list[_Standing]], found: Sequence[list[_Standing]], *, whole: bool) -> Score:
    correct = sum(sum(_hits(wanted, mine, whole=whole)) for wanted, mine in zip(gold, found, strict=True))
    return Score(correct, sum(map(len, found)), sum(map(len, gold)))


def _hits(gold: Sequence[_Standing], found: Sequence[_Standing], *, whole: bool) -> list[bool]:
    """Which of an article's stances are right, in order, each label used once."""
    left = list(gold)
    made = []
    for each in found:
        hit = next((one for one in left if (one.agrees(each) if whole else one.side(each))), None)
        if hit is not None:
            left.remove(hit)
        made.append(hit is not None)
    return made


def _labelled(article: Mapping[str, Any], stance: Mapping[str, Any]) -> _Standing:
    shown = stance["evidence"]
    where = place(article, shown["field"], shown["start"])
    return _Standing(where, stance["stance"], content_words(stance["holder"]), content_words(stance["target"]))


def _found(article: Mapping[str, Any], stance: Stance) -> _Standing:
    shown = stance.evidence[0]
    holder = stance.holder.text if stance.holder else ""
    where = place(article, shown.field, shown.start)
    return _Standing(where, stance.label, content_words(holder), content_words(stance.target.text))


def place(article: Mapping[str, Any], field: str, position: int) -> str:
    """Which part of an article has a position: "title", or the number of the body's paragraph."""
    paragraphs: Iterable[Sequence[int]] = article["paragraphs"]
    return field if field == "title" else str(sum(1 for _, end in paragraphs if end <= position))
