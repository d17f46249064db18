"""Names that recur: further places of a name that an article gives surely once, where the model saw none.

A model reads a window at a time, and a surname alone among words that it does not know may pass for a word. What it has
named surely elsewhere in the article decides there: the scores that make those words the name are raised, and the field
is decoded again. For persons and bodies only: a place recurs mostly inside other names (كأس إسبانيا).
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from rasad.enrich.reading import FieldText
from rasad.inference.decoding import LabelledSpan, Scores
from rasad.text.clitics import strip_proclitics
from rasad.text.search_key import search_key

_SURE: Final = 0.8
"""Least probability of a span whose name is looked for elsewhere."""

_RAISE: Final = 6.0
"""What is added to a score: enough to pass O nearly everywhere, and a name that is as unlikely stays less probable."""

_SHORTEST_NAME: Final = 3
"""Letters."""

_SHORTEST_SURNAME: Final = 4
"""Letters of a person's last word that stands for the whole name."""
_SHORTEST_CUT: Final = 4
"""Letters of what is left of a word whose first one may be a proclitic: `كامل` is not `أمل`."""

_COMPOUND_BEFORE: Final = frozenset(search_key("عبد أبو أبي أم").split())
_COMPOUND_LAST: Final = frozenset(search_key("الله الدين الإسلام").split())
"""What makes one name of a person's last two words (`عبد السلام`, `صلاح الدين`), of which the last is a common word."""

_PROCLITICS: Final = re.compile(r"[وف]?[بلك]?")
_BEFORE_ARTICLE: Final = re.compile(r"[وف]?ل(?=ل)")

NameKeys = tuple[str, ...]
"""Search keys of a name's words, the first without proclitics."""


def recurring_names(
    fields: Iterable[tuple[FieldText, Iterable[LabelledSpan]]], types: Container[str], persons: Container[str]
) -> dict[NameKeys, str]:
    """The names that an article's spans of `types` surely are, and surnames of those of `persons`, each with its type.

    A name of two types has the one that is surer.
    """
    found: dict[NameKeys, tuple[float, str]] = {}
    for text, spans in fields:
        for span in spans:
            if span.type not in types or span.prob < _SURE:
                continue
            start, end = text.input_span(span.start, span.end)
            core = strip_proclitics(text.tokenized.text[start:end], seen=frozenset())
            whole = tuple(search_key(core.canonical).split())
            surname = _surname(whole) if span.type in persons else ()
            for name, letters in ((whole, _SHORTEST_NAME), (surname, _SHORTEST_SURNAME)):
                if sum(map(len, name)) >= letters:
                    found[name] = max(found.get(name, (0.0, "")), (span.prob, span.type))
    return {name: kind for name, (_, kind) in found.items()}


def _surname(whole: NameKeys) -> NameKeys:
    """What stands for a person's whole name: its last word, or two that are one name. Empty where there is no more."""
    size = 2 if len(whole) > 1 and (whole[-2] in _COMPOUND_BEFORE or whole[-1] in _COMPOUND_LAST) else 1
    return whole[-size:] if len(whole) > size else ()


def recurrences(
    text: FieldText, spans: Iterable[LabelledSpan], names: Mapping[NameKeys, str], opens: npt.NDArray[np.bool_]
) -> Iterator[tuple[int, int, str]]:
    """Where a field has one of `names` outside its spans: words `[start, end)` and its type, the longest name first.

    None goes on where `opens`, `[words]`, is True.
    """
    if not names:
        return
    taken = np.zeros(len(opens), dtype=bool)
    for span in spans:
        taken[span.start : span.end] = True
    longest = max(map(len, names))
    first = {name[0] for name in names}
    normalised = text.tokenized.normalised.text
    keys = [search_key(normalised[start:end]) for start, end in text.tokenized.words.tolist()]
    end = 0
    for start in np.flatnonzero(~taken).tolist():
        openings = [form for form in _forms(keys[start]) if form in first] if start >= end else []
        for size in range(longest, 0, -1) if openings else ():
            stop = start + size
            if stop > len(keys) or taken[start:stop].any() or opens[start + 1 : stop].any():
                continue
            kind = next((names[name] for form in openings if (name := (form, *keys[start + 1 : stop])) in names), None)
            if kind is not None:
                end = stop
                yield start, stop, kind
                break


def _forms(key: str) -> Iterator[str]:
    """A word's key as it stands, and what it is without letters that may be proclitics."""
    yield key
    for size in range(1, len(_PROCLITICS.match(key)[0]) + 1):  # type: ignore[index]
        if len(key) - size >= _SHORTEST_CUT:
            yield key[size:]
    before = _BEFORE_ARTICLE.match(key)
    if before:
        yield "ا" + key[before.end() :]


def raised(scores: Scores, labels: Sequence[str], found: Iterable[tuple[int, int, str]]) -> Scores:
    """A copy of `scores`, `[words, labels]`, in which the words of each recurrence are likelier to be that name."""
    made = scores.copy()
    for start, end, kind in found:
        made[start, labels.index(f"B-{kind}")] += _RAISE
        if end > start + 1 and f"I-{kind}" in labels:
            made[start + 1 : end, labels.index(f"I-{kind}")] += _RAISE
    return made
