"""Names where they stand: labelled word spans become mentions of the text as it arrived."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from rasad.enrich.reading import FieldScores, FieldText
from rasad.enrich.recurrence import raised, recurrences, recurring_names
from rasad.inference.bundle import Head
from rasad.inference.decoding import LabelledSpan, Scores, labelled_spans
from rasad.inference.engine import Engine
from rasad.messages import EntitySubtype, EntityType, Field
from rasad.text.clitics import strip_proclitics
from rasad.text.lexicon import CHILD_OF, CITIES, COUNTRIES, KINDS_OF_BODY
from rasad.text.marks import closes
from rasad.text.search_key import search_key
from rasad.text.sentences import LINE_BREAKS

_FOLDED: Final[Mapping[str, tuple[EntityType, EntitySubtype | None]]] = {
    "PER": ("PER", None),
    "ORG": ("ORG", None),
    "GPE": ("LOC", "GPE"),
    "LOC": ("LOC", "LOC"),
    "FAC": ("LOC", "FAC"),
    "NORP": ("MISC", "NORP"),
    "EVENT": ("MISC", "EVENT"),
    "MISC": ("MISC", "MISC"),
}
_OTHER_NAMES: Final[Mapping[str, EntityType]] = {
    "PERS": "PER",
    "PERSON": "PER",
    "ORGANIZATION": "ORG",
    "LOCATION": "LOC",
    "GPE": "LOC",
    "FAC": "LOC",
}
_LINE_END: Final = re.compile(rf"[{LINE_BREAKS}]")
_PROCLITICS: Final = frozenset("وفبلك")
_KINSHIP: Final = CHILD_OF | {"ولد"}
_RECURRING: Final[tuple[EntityType, ...]] = ("PER", "ORG")
_JOINED: Final = frozenset({"PER", "LOC"})
_WHOLE_PLACES: Final = (COUNTRIES | CITIES) - frozenset(
    search_key(
        "جنوب ساحل سري كوستا بوركينا هونغ هونج بابوا القارة بلاد المملكة الولايات بني كفر مرسى شرم أبو رأس العين "
        "البيضاء باب ذي دير خان جسر رام بيت تل بئر أم سيدي الدار دار تيزي بندر غازي ديار جلال مزار إسلام بيونغ عشق سان "
        "نيو لوس لاس ريو ساو كيب بوينس أديس الشرقية الغربية المدينة"
    ).split()
)
"""Places that one word names whole, without those that are also a part of longer names (`الدار البيضاء`)."""
_NO_BODIES: Final = KINDS_OF_BODY | frozenset(search_key("قوات بعثة فرع إدارة").split())
"""What is left of a body whose name a model lost: `مصرف` of `مصرف الراجحي`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """A mention that belongs to no entity yet. `canonical` is its clitic-free text; see messages.Mention."""

    field: Field
    start: int
    end: int
    surface: str
    core_start: int
    canonical: str
    type: EntityType
    subtype: EntitySubtype | None
    prob: float
    sentence: int


def entity_type(label: str, labels: Container[str]) -> tuple[EntityType, EntitySubtype | None] | None:
    """Type and subtype of a head's label; None for one that Rasad has no type for (dates, numbers).

    A head that tells GPE apart follows the eight types; one that does not has a LOC of unknown kind, so no subtype.
    """
    if "B-GPE" in labels and "B-NORP" in labels:
        return _FOLDED.get(label)
    if label in ("PER", "ORG", "LOC", "MISC"):
        return _FOLDED[label][0], None
    other = _OTHER_NAMES.get(label)
    return None if other is None else (other, None)


def names(engine: Engine, scored: Sequence[FieldScores], head: str, *, threshold: float = 0.0) -> list[Name]:
    """The names of an article's fields in order, those below `threshold` left out."""
    _, layer = engine.bundle.head(head)
    read = [each for each in scored if len(each.text.tokenized.sentences)]
    fields = [(each.text, each.scores[head], each.text.opens_sentence) for each in read]
    spans = [
        (text, trimmed)
        for text, found in name_spans(layer, fields)
        for span in found
        if span.prob >= threshold and (trimmed := trim(text, span)) is not None
    ]
    return named(spans, layer.labels)


def name_spans(
    head: Head, fields: Sequence[tuple[FieldText, Scores, npt.NDArray[np.bool_]]]
) -> list[tuple[FieldText, list[LabelledSpan]]]:
    """The spans of an article's fields, which are read together: what one names surely is a name in all.

    Each field comes with its scores, `[words, labels]`, and `[words]`, True where a word opens a sentence.
    """
    kinds = {label[2:]: entity_type(label[2:], head.labels) for label in head.labels if label.startswith("B-")}
    of = {each: {label for label, kind in kinds.items() if kind is not None and kind[0] == each} for each in _RECURRING}

    def decoded(scores: Scores, opens: npt.NDArray[np.bool_]) -> list[LabelledSpan]:
        return labelled_spans(scores, head.labels, opens, head.temperature)

    cut = [(text, decoded(scores, opens), opens) for text, scores, opens in fields]
    alone = _alone(cut, head.labels)
    first = [(text, joined(text, spans, head.labels, opens, alone)) for text, spans, opens in cut]
    known = recurring_names(first, types=frozenset().union(*of.values()), persons=of["PER"])
    made = []
    for (text, spans), (_, scores, opens) in zip(first, fields, strict=True):
        again = [*recurrences(text, spans, known, opens)]
        if again:
            spans = joined(text, decoded(raised(scores, head.labels, again), opens), head.labels, opens, alone)
        made.append((text, spans))
    return made


def joined(
    text: FieldText,
    spans: Iterable[LabelledSpan],
    labels: Container[str],
    opens: npt.NDArray[np.bool_],
    alone: Container[str] = frozenset(),
) -> list[LabelledSpan]:
    """The spans of a field in order, those of a person or a place that a model cut in two made one.

    Two names that are neighbours mostly have a conjunction, a preposition or a mark between them. So a span right
    behind another of its type goes on with that name where its first word opens with no letter that may be such a word;
    and a person's does behind a word of kinship (محمد ولد عبد العزيز). No span goes on in the next line, nor where
    `opens`, `[words]`, is True. A verb may have subject and object right behind it (`اتهمت بريطانيا موسكو`): two names
    of which each is known to be whole, as a place or from elsewhere in the article (a key in `alone`), stay two.
    """
    made: list[LabelledSpan] = []
    for span in spans:
        last = made[-1] if made else None
        if last is not None and _goes_on(text, last, span, labels, opens) and not _are_two(text, last, span, alone):
            made[-1] = LabelledSpan(last.start, span.end, span.type, min(last.prob, span.prob))
        else:
            made.append(span)
    return made


def _are_two(text: FieldText, last: LabelledSpan, span: LabelledSpan, alone: Container[str]) -> bool:
    """Whether neighbours are names of two, each of them whole by itself, and not the whole name of one."""
    keys = _key(text, last), _key(text, span)
    if span.start > last.end or " ".join(keys) in alone:
        return False
    return all(key in _WHOLE_PLACES for key in keys) or all(key in alone for key in keys)


def _alone(
    fields: Sequence[tuple[FieldText, Sequence[LabelledSpan], npt.NDArray[np.bool_]]], labels: Container[str]
) -> frozenset[str]:
    """The keys of an article's spans that are no possible part of a longer name, and of the surnames in them.

    None where it has no such parts, since nothing asks for them then.
    """
    parts = [
        {
            each
            for last, span in pairwise(spans)
            if _goes_on(text, last, span, labels, opens)
            for each in (last.start, span.start)
        }
        for text, spans, opens in fields
    ]
    if not any(parts):
        return frozenset()
    found: set[str] = set()
    for (text, spans, _), mine in zip(fields, parts, strict=True):
        for span in spans:
            kind = entity_type(span.type, labels)
            if span.start not in mine and kind is not None:
                key = _key(text, span)
                found |= {key, *(key.split()[-1:] if kind[0] == "PER" else ())}
    return frozenset(found)


def _key(text: FieldText, span: LabelledSpan) -> str:
    """The search key of a span's words without proclitics."""
    start, end = text.input_span(span.start, span.end)
    return search_key(strip_proclitics(text.tokenized.text[start:end], seen=frozenset()).canonical)


def _goes_on(
    text: FieldText,
    last: LabelledSpan,
    span: LabelledSpan,
    labels: Container[str],
    opens: npt.NDArray[np.bool_],
) -> bool:
    kind = entity_type(span.type, labels)
    if last.type != span.type or kind is None or kind[0] not in _JOINED or opens[last.end : span.start + 1].any():
        return False
    _, end = text.input_span(last.start, last.end)
    start, _ = text.input_span(span.start, span.end)
    if _LINE_END.search(text.tokenized.text, end, start):
        return False
    starts, ends = text.tokenized.words[last.end : span.start + 1].T.tolist()
    first, *rest = (text.tokenized.normalised.text[a:b] for a, b in zip(starts, ends, strict=True))
    if rest:
        return len(rest) == 1 and kind[0] == "PER" and search_key(first) in _KINSHIP
    return first[0].isalpha() and first[0] not in _PROCLITICS


def named(spans: Sequence[tuple[FieldText, LabelledSpan]], labels: Container[str]) -> list[Name]:
    """An article's spans as names, each of them evidence for the proclitics of the rest.

    Spans of a type that Rasad has none for are left out, and bodies of which there is but the noun of their kind.
    """
    kinds = [entity_type(span.type, labels) for _, span in spans]
    plain = [_plain(text, span) for text, span in spans]
    seen = frozenset(plain) | {name.split()[0] for name in plain}
    persons = (name for name, kind in zip(plain, kinds, strict=True) if kind is not None and kind[0] == "PER")
    whole = frozenset(search_key(word) for name in persons for word in name.split()[1:])
    found = (
        _name(text, span, kind, seen, whole)
        for (text, span), kind in zip(spans, kinds, strict=True)
        if kind is not None
    )
    return [name for name in found if name.type != "ORG" or search_key(name.canonical) not in _NO_BODIES]


def trim(text: FieldText, span: LabelledSpan) -> LabelledSpan | None:
    """The span without marks at its edges (quotation marks, brackets, commas, `#`); None if nothing is left.

    A closing mark whose opening one is inside stays, and is taken in where the span stops short of it: a name may end
    in a quoted word (`حزب "النور"`).
    """
    words = text.tokenized.words
    normalised = text.tokenized.normalised.text
    marks = [normalised[start:end] for start, end in words[span.start : span.end + 1].tolist()]
    size = span.end - span.start
    named = [index for index in range(size) if marks[index][0].isalnum()]
    if not named:
        return None
    first, last = named[0], named[-1] + 1
    if last < len(marks) and closes(marks[last], marks[first:last]):
        last += 1
    return LabelledSpan(span.start + first, span.start + last, span.type, span.prob)


def _plain(text: FieldText, span: LabelledSpan) -> str:
    start, end = int(text.tokenized.words[span.start, 0]), int(text.tokenized.words[span.end - 1, 1])
    return text.tokenized.normalised.text[start:end]


def _name(
    text: FieldText,
    span: LabelledSpan,
    kind: tuple[EntityType, EntitySubtype | None],
    seen: Container[str],
    whole: Container[str],
) -> Name:
    start, end = text.input_span(span.start, span.end)
    surface = text.tokenized.text[start:end]
    core = strip_proclitics(surface, seen=seen, whole=whole)
    return Name(
        field=text.field,
        start=start,
        end=end,
        surface=surface,
        core_start=start + core.start,
        canonical=core.canonical,
        type=kind[0],
        subtype=kind[1],
        prob=span.prob,
        sentence=text.sentence_of_word(span.start),
    )
