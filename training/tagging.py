"""Labelled texts as words with one label a layer, and their windows as tensors.

A `Unit` is a sentence, a title or a paragraph: words, the gap after each word, and for every output layer that its
corpus labels a sequence of label numbers (-100 where nothing is to be learnt).
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from rasad.evaluation.corpora import TaggedSentence, read_conll, read_jsonl
from rasad.text.normalise import normalise
from rasad.text.words import word_spans

NEWS_TYPES = ("PER", "ORG", "GPE", "LOC", "FAC", "NORP", "EVENT", "MISC")
IGNORED = -100


def bio(types: Iterable[str]) -> tuple[str, ...]:
    """BIO labels of `types`, O first."""
    return ("O", *(f"{prefix}-{kind}" for kind in types for prefix in "BI"))


LAYERS: dict[str, tuple[str, ...]] = {
    "news": bio(NEWS_TYPES),
    "anercorp": bio(("PER", "LOC", "ORG", "MISC")),
    "aqmar": bio(("PER", "LOC", "ORG", "MISC")),
    "panx": bio(("PER", "LOC", "ORG")),
    "quotes": bio(("DIRECT", "INDIRECT", "CUE", "SPEAKER")),
    "stance_evidence": bio(("SUPPORT", "OPPOSE")),
    "stance_roles": bio(("HOLDER", "SUPPORTED", "OPPOSED")),
}
LAYERS_OF = {
    "mentions": ("news",),
    "quotes": ("quotes",),
    "stances": ("stance_evidence", "stance_roles"),
}
"""The layers that each kind of an article's labels fills."""

_TARGETS = {"support": "SUPPORTED", "oppose": "OPPOSED"}
_RENAMED = {"PERS": "PER", "MIS": "MISC"}


@dataclass(frozen=True, slots=True)
class Unit:
    """`words[i]` is followed by `gaps[i]`; `labels[layer][i]` is its label number in that layer."""

    words: tuple[str, ...]
    gaps: tuple[str, ...]
    labels: dict[str, tuple[int, ...]]

    def labelled(self, labels: dict[str, tuple[int, ...]]) -> Unit:
        """The same words with other layers."""
        return replace(self, labels=labels)


@dataclass(frozen=True, slots=True)
class Document:
    """Units in reading order; consecutive ones may share a window."""

    corpus: str
    units: tuple[Unit, ...]


def conll_unit(sentence: TaggedSentence, layer: str, names: Sequence[str]) -> Unit:
    """A corpus sentence re-cut into Rasad's words: a corpus token's label spreads over the words in it."""
    words: list[str] = []
    gaps: list[str] = []
    labels: list[int] = []
    number = {name: index for index, name in enumerate(names)}
    for token, label in zip(sentence.words, sentence.labels, strict=True):
        text = normalise(token).text
        spans = word_spans(text)
        prefix, _, kind = label.partition("-")
        kind = _RENAMED.get(kind, kind)
        for position, (start, end) in enumerate(spans):
            words.append(text[start:end])
            gaps.append("")
            inside = "I" if position else prefix
            labels.append(number.get(f"{inside}-{kind}" if kind else "O", 0))
        if gaps:
            gaps[-1] = " "
    return Unit(tuple(words), tuple(gaps), {layer: tuple(labels)})


def conll_documents(sentences: Sequence[TaggedSentence], layer: str, names: Sequence[str], run: int) -> list[Document]:
    """Runs of `run` consecutive sentences as documents."""
    units = [unit for unit in (conll_unit(s, layer, names) for s in sentences) if unit.words]
    return [Document(layer, tuple(units[i : i + run])) for i in range(0, len(units), run)]


def _paint(labels: npt.NDArray[np.int64], covered: npt.NDArray[np.int64], names: Sequence[str], kind: str) -> None:
    if len(covered):
        labels[covered] = names.index(f"I-{kind}")
        labels[covered[0]] = names.index(f"B-{kind}")


def _find(text: str, phrase: str, start: int, end: int) -> tuple[int, int] | None:
    position = text.find(phrase, start, end) if phrase else -1
    return (position, position + len(phrase)) if position >= 0 else None


def _near(text: str, phrase: str, anchor: tuple[int, int], reach: int) -> tuple[int, int] | None:
    """The occurrence of `phrase`, or else of its last or first word, nearest to `anchor` within `reach` characters."""
    low, high = max(0, anchor[0] - reach), min(len(text), anchor[1] + reach)
    parts = phrase.split()
    candidates = [phrase, *(part for part in (parts[-1], parts[0]) if len(part) > 3)] if parts else []
    for candidate in candidates:
        found: list[tuple[int, int]] = []
        hit = _find(text, candidate, low, high)
        while hit:
            found.append(hit)
            hit = _find(text, candidate, hit[1], high)
        outside = [h for h in found if h[1] <= anchor[0] or h[0] >= anchor[1]]
        if outside:
            return min(outside, key=lambda h: min(abs(h[1] - anchor[0]), abs(h[0] - anchor[1])))
    return None


def news_document(article: dict[str, Any]) -> Document:
    """An article of `news/` with all its layers: mentions, quotes with cue and speaker, entity stances.

    Where the article has `labelled`, it names what was: the others have no layers.
    """
    if "labelled" not in article:
        return _with_all_layers(article)
    whole = {"mentions": [], "quotes": [], "stances": [], **article}
    return labelled_only(_with_all_layers(whole), article["labelled"])


def _with_all_layers(article: dict[str, Any]) -> Document:
    units: list[Unit] = []
    for field_name in ("title", "body"):
        text = article[field_name]
        normalised = normalise(text)
        spans = word_spans(normalised.text)
        starts = normalised.offsets[spans[:, 0]] if len(spans) else np.zeros(0, np.int32)
        ends = normalised.offsets[spans[:, 1]] if len(spans) else np.zeros(0, np.int32)
        layers = {
            name: np.zeros(len(spans), dtype=np.int64) for name in ("news", "quotes", "stance_evidence", "stance_roles")
        }

        def covered(
            start: int, end: int, starts: npt.NDArray[np.int32] = starts, ends: npt.NDArray[np.int32] = ends
        ) -> npt.NDArray[np.int64]:
            return np.flatnonzero((starts < end) & (ends > start))

        def paint(
            layer: str,
            span: tuple[int, int] | None,
            kind: str,
            layers: dict[str, npt.NDArray[np.int64]] = layers,
        ) -> None:
            if span:
                _paint(layers[layer], covered(*span), LAYERS[layer], kind)

        for quote in (q for q in article["quotes"] if q["field"] == field_name):
            span = (quote["start"], quote["end"])
            cue = _near(text, (quote["cue"] or "").strip("- "), span, 80)
            if quote["speaker"] and quote["speaker"] != "-":
                anchor = (min(span[0], cue[0]), max(span[1], cue[1])) if cue else span
                near = _near(text, quote["speaker"], anchor, 90)
                inner = _find(text, quote["speaker"], cue[1], span[0]) if cue and cue[1] < span[0] else None
                paint("quotes", inner or near, "SPEAKER")
            paint("quotes", cue, "CUE")
            paint("quotes", span, quote["kind"].upper())
        for stance in (s for s in article["stances"] if s["evidence"]["field"] == field_name):
            span = (stance["evidence"]["start"], stance["evidence"]["end"])
            paint("stance_evidence", span, stance["stance"].upper())
            for role, kind in (("target", _TARGETS[stance["stance"]]), ("holder", "HOLDER")):
                found = _find(text, stance[role], *span) or _near(text, stance[role], (span[0], span[0]), 150)
                paint("stance_roles", found, kind)
        for mention in (m for m in article["mentions"] if m["field"] == field_name):
            if mention.get("debatable"):
                layers["news"][covered(mention["start"], mention["end"])] = IGNORED
            else:
                paint("news", (mention["start"], mention["end"]), mention["type"])

        paragraphs = [(0, len(text))] if field_name == "title" else article["paragraphs"]
        for start, end in paragraphs:
            inside = np.flatnonzero((starts >= start) & (starts < end))
            if not len(inside):
                continue
            words = tuple(normalised.text[spans[i, 0] : spans[i, 1]] for i in inside)
            following = [*spans[inside[1:], 0], spans[inside[-1], 1]]
            gaps = [normalised.text[spans[i, 1] : after] for i, after in zip(inside, following, strict=True)]
            gaps[-1] = " "
            units.append(Unit(words, tuple(gaps), {name: tuple(v[inside].tolist()) for name, v in layers.items()}))
    return Document("news", tuple(units))


def labelled_only(document: Document, labelled: Collection[str]) -> Document:
    """The document with the layers of what was `labelled` (keys of LAYERS_OF; others have no layers here) alone."""
    kept = [layer for kind in labelled for layer in LAYERS_OF.get(kind, ())]
    units = tuple(replace(unit, labels={layer: unit.labels[layer] for layer in kept}) for unit in document.units)
    return replace(document, units=units)


def cut(unit: Unit, size: int) -> list[Unit]:
    """`unit` in pieces of at most `size` words, cut after a full stop where one is near the end."""
    pieces: list[Unit] = []
    start = 0
    while start < len(unit.words):
        end = min(start + size, len(unit.words))
        if end < len(unit.words):
            stops = [i + 1 for i in range(start + size // 2, end) if unit.words[i] in ".؟!"]
            end = stops[-1] if stops else end
        labels = {name: values[start:end] for name, values in unit.labels.items()}
        pieces.append(Unit(unit.words[start:end], unit.gaps[start:end], labels))
        start = end
    return pieces


def as_scraped(document: Document, rng: random.Random) -> Document:
    """Flaws of real input: paragraphs joined by `., `, a lost first word, now and then a hashtag."""
    units = list(document.units)
    if rng.random() < 0.5:
        for index in range(1, len(units) - 1):
            unit = units[index]
            ending = ("," if unit.words[-1] == "." else ".,").strip()
            words = unit.words + tuple(ending)
            gaps = (*unit.gaps[:-1], "", *("" for _ in ending[1:]), " ")
            labels = {name: values + (0,) * len(ending) for name, values in unit.labels.items()}
            units[index] = Unit(words, gaps, labels)
    if rng.random() < 0.2 and len(units) > 1 and len(units[1].words) > 8:
        unit = units[1]
        if all(values[0] == 0 for values in unit.labels.values()):
            labels = {name: values[1:] for name, values in unit.labels.items()}
            units[1] = Unit(unit.words[1:], unit.gaps[1:], labels)
    return replace(document, units=tuple(units))


def swap_names(unit: Unit, layer: str, names: dict[str, list[tuple[str, ...]]], rng: random.Random, p: float) -> Unit:
    """Replace mentions by other names of their type with probability `p`; the label layers stay aligned.

    A unit without that layer stays as it is.
    """
    if layer not in unit.labels:
        return unit
    labels = unit.labels[layer]
    vocabulary = LAYERS[layer]
    words: list[str] = []
    gaps: list[str] = []
    layers: dict[str, list[int]] = {name: [] for name in unit.labels}
    index = 0
    while index < len(unit.words):
        label = labels[index]
        name = vocabulary[label] if label > 0 else "O"
        end = index + 1
        if name.startswith("B-"):
            while end < len(labels) and labels[end] > 0 and vocabulary[labels[end]] == f"I-{name[2:]}":
                end += 1
        pool = names.get(name[2:], []) if name.startswith("B-") else []
        if pool and rng.random() < p and all(word.isalpha() for word in unit.words[index:end]):
            new = rng.choice(pool)
            words.extend(new)
            gaps.extend([" "] * (len(new) - 1) + [unit.gaps[end - 1]])
            for key, values in unit.labels.items():
                first = values[index]
                rest = values[min(index + 1, end - 1)]
                if key == layer:
                    rest = vocabulary.index(f"I-{name[2:]}")
                elif len(set(values[index:end])) > 1 and end - index == 1:
                    rest = first
                elif end - index == 1 and LAYERS.get(key, ("O",))[max(first, 0)].startswith("B-"):
                    rest = LAYERS[key].index("I-" + LAYERS[key][first][2:])
                layers[key].extend([first] + [rest] * (len(new) - 1))
        else:
            words.extend(unit.words[index:end])
            gaps.extend(unit.gaps[index:end])
            for key, values in unit.labels.items():
                layers[key].extend(values[index:end])
        index = end
    return Unit(tuple(words), tuple(gaps), {key: tuple(values) for key, values in layers.items()})


def names_of(documents: Iterable[Document], layer: str) -> dict[str, list[tuple[str, ...]]]:
    """Mentions of two words or more (one for places), by type, that a swap may use."""
    vocabulary = LAYERS[layer]
    found: dict[str, set[tuple[str, ...]]] = {}
    for document in documents:
        for unit in document.units:
            labels = unit.labels.get(layer, ())
            index = 0
            while index < len(labels):
                name = vocabulary[labels[index]] if labels[index] > 0 else "O"
                end = index + 1
                if name.startswith("B-"):
                    while end < len(labels) and labels[end] > 0 and vocabulary[labels[end]] == f"I-{name[2:]}":
                        end += 1
                    words = unit.words[index:end]
                    if all(w.isalpha() for w in words) and words[0][0] not in "ولبفك":
                        found.setdefault(name[2:], set()).add(words)
                index = end
    return {kind: sorted(values) for kind, values in found.items()}


def gazetteer_names(path: Path, count: int) -> dict[str, list[tuple[str, ...]]]:
    """`count` person names of two words, drawn (seeded) from the single names of a `name TAB label` gazetteer."""
    singles: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        name, label, *_ = line.split("\t")
        words = normalise(name).text.split()
        if label == "PER" and len(words) == 1 and words[0].isalpha() and len(words[0]) > 2:
            singles.append(words[0])
    rng = random.Random(0)
    return {"PER": [(rng.choice(singles), rng.choice(singles)) for _ in range(count if singles else 0)]}


@dataclass(frozen=True, slots=True)
class Window:
    """Piece ids with `<s>` and `</s>`; `word_of[i]` is the word of piece `i`, -1 for special pieces."""

    ids: tuple[int, ...]
    word_of: tuple[int, ...]
    words: int
    labels: dict[str, tuple[int, ...]]


def encode_units(tokenizer: Tokenizer, units: Sequence[Unit]) -> Window:
    """One window over consecutive units."""
    text: list[str] = []
    starts: list[int] = []
    length = 0
    for unit in units:
        for word, gap in zip(unit.words, unit.gaps, strict=True):
            starts.append(length)
            text.extend((word, gap))
            length += len(word) + len(gap)
    joined = "".join(text)
    encoding = tokenizer.encode(joined, add_special_tokens=False)
    offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
    first = offsets[:, 0].copy()
    for i, position in enumerate(first):
        while position < offsets[i, 1] and joined[position].isspace():
            position += 1
        first[i] = position
    word_of = np.searchsorted(np.array(starts), first, side="right") - 1
    opening, closing = tokenizer.token_to_id("<s>"), tokenizer.token_to_id("</s>")
    layers: dict[str, list[int]] = {}
    for unit in units:
        for name, values in unit.labels.items():
            layers.setdefault(name, []).extend(values)
    return Window(
        (opening, *encoding.ids, closing),
        (-1, *word_of.tolist(), -1),
        len(starts),
        {name: tuple(values) for name, values in layers.items()},
    )


def windows(tokenizer: Tokenizer, document: Document, *, max_tokens: int) -> list[Window]:
    """Greedy windows of whole units up to `max_tokens` pieces, longer units cut first."""
    pieces = [piece for unit in document.units for piece in cut(unit, max_tokens // 3)]
    sizes = [len(encode_units(tokenizer, [piece]).ids) - 2 for piece in pieces]
    made: list[Window] = []
    held: list[Unit] = []
    total = 2
    for piece, size in zip(pieces, sizes, strict=True):
        if held and total + size > max_tokens:
            made.append(encode_units(tokenizer, held))
            held, total = [], 2
        held.append(piece)
        total += size
    if held:
        made.append(encode_units(tokenizer, held))
    return made


def wojood_layer(folder: Path) -> tuple[str, ...]:
    """BIO labels that occur in the sample's train file."""
    kinds = {
        label.partition("-")[2]
        for sentence in read_conll(folder / "train.conll")
        for label in sentence.labels
        if label != "O"
    }
    return bio(sorted(kinds))


def read_news(path: Path) -> list[Document]:
    """All articles of a `news/*.jsonl` file."""
    return [news_document(article) for article in read_jsonl(path)]
