"""Teach a fine-tuned tagger who stands where: scores for every pair of words of a paragraph, holder and target.

Starts anew, or from what an earlier run wrote beside the tagger, which stays as it is. A copy of its last layer and a
projection, on what its other layers give, make a vector of each word as a holder and one as a target for each side; the
product of two is the score of that stance (biaffine attention: Dozat and Manning, arXiv:1611.01734). Every word of a
holder is paired with every word of its target. Labels are those of the news corpus and our own. A tenth of the articles
is held out; on those of it that follow the news guide's habit, scale and offset of the scores are fitted, so that their
sigmoid is the share that is right.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import random
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from tqdm import tqdm

from rasad.enrich.evidence import content_words
from rasad.enrich.relations import rectangles
from rasad.evaluation.corpora import read_jsonl
from rasad.text.normalise import normalise
from rasad.text.words import word_spans
from training.labels import CLAIMS, LABELS, labelled_articles
from training.machine import autocast, device
from training.optimisation import Optimisation, batches
from training.rounds import train_in_rounds
from training.tagger import Relations, Tagger, collate, links, load_relations, load_tagger
from training.tagging import Document, Window, news_document, windows

SIDES = ("support", "oppose")
WIDEST_BATCH = 3000
"""Pieces that the tagger reads at once."""
PER_PARAGRAPH = 30.0
"""The loss of a paragraph's pairs is their sum over this."""
RARE = 2.0
"""What a pair that stands in a stance counts."""
EMPTY = 8
"""One in so many of the windows without a stance is read."""
HELD_OUT = 10
"""One article in so many is held out."""

Words = tuple[int, int]

_WORD = re.compile(r"[\w\u064b-\u0652]+")
"""A word with its vowel signs, without marks."""


@dataclass(frozen=True, slots=True)
class Gold:
    """A labelled stance: words of holder, target and evidence, `[start, end)` among the article's, and its side."""

    holder: Words
    target: Words
    evidence: Words
    side: int


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A window of an article.

    `states`: `[pieces, hidden]` in float16, what the layer before the last gives. `pieces` and `words`, both
    `[links]`: piece `pieces[i]` belongs to word `words[i]`. `numbers` and `paragraphs`, `[words]`, say where in the
    article each word stands.
    """

    article: int
    states: npt.NDArray[np.float16]
    pieces: npt.NDArray[np.int64]
    words: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.int64]
    paragraphs: npt.NDArray[np.int64]

    @property
    def ids(self) -> range:
        """As many as there are pieces: batches are made of windows of like length."""
        return range(len(self.states))

    def runs(self) -> Iterator[Words]:
        """The runs of the window's words that stand in one paragraph."""
        edges = [0, *(np.flatnonzero(np.diff(self.paragraphs)) + 1).tolist(), len(self.paragraphs)]
        yield from ((start, end) for start, end in itertools.pairwise(edges) if end - start > 1)


def word_offsets(article: dict[str, Any]) -> dict[str, tuple[int, npt.NDArray[Any], npt.NDArray[Any]]]:
    """By field: how many words stand before it, and where each of its words starts and ends."""
    found = {}
    before = 0
    for field in ("title", "body"):
        normalised = normalise(article[field])
        spans = word_spans(normalised.text)
        found[field] = (before, normalised.offsets[spans[:, 0]], normalised.offsets[spans[:, 1]])
        before += len(spans)
    return found


def golds(article: dict[str, Any]) -> Iterator[Gold]:
    """The stances whose holder and target are both named, at least in part, in the paragraph that shows them."""
    offsets = word_offsets(article)
    for stance in article["stances"]:
        field, start, end = (stance["evidence"][key] for key in ("field", "start", "end"))
        text = article[field]
        within = (0, len(text))
        if field == "body":
            within = next(((a, b) for a, b in article["paragraphs"] if a <= start < b), within)
        before, starts, ends = offsets[field]
        named = [_named(text, stance[role], within, (start, end)) for role in ("holder", "target")]
        found = []
        for place in (*named, (start, end)):
            covered = np.flatnonzero((starts < place[1]) & (ends > place[0])) if place else ()
            if len(covered):
                found.append((before + int(covered[0]), before + int(covered[-1]) + 1))
        if len(found) == 3:
            yield Gold(*found, SIDES.index(stance["stance"]))


def _named(text: str, phrase: str, within: Words, evidence: Words) -> Words | None:
    """Where a paragraph has a phrase, else the longest run of words that the phrase has too: a surname alone.

    Of several the nearest to the evidence; None where there is none.
    """
    hits = [match.span() for match in re.finditer(re.escape(phrase), text[slice(*within)])] if phrase else []
    if not hits:
        sought = content_words(phrase)
        words = [match.span() for match in _WORD.finditer(text[slice(*within)])]
        shared = [bool(content_words(text[within[0] + a : within[0] + b]) & sought) for a, b in words]
        for shares, run in itertools.groupby(range(len(words)), key=shared.__getitem__):
            numbers = [*run]
            if shares:
                hits.append((words[numbers[0]][0], words[numbers[-1]][1]))
        longest = max((end - start for start, end in hits), default=0)
        hits = [(start, end) for start, end in hits if end - start == longest]
    places = [(within[0] + start, within[0] + end) for start, end in hits]
    return min(places, key=lambda place: max(0, place[0] - evidence[1], evidence[0] - place[1]), default=None)


def numbered(article: dict[str, Any]) -> Document:
    """The article with the numbers of its words and of their paragraphs as layers."""
    document = news_document({**article, "mentions": [], "quotes": [], "stances": []})
    units = []
    before = 0
    for paragraph, unit in enumerate(document.units):
        numbers = tuple(range(before, before + len(unit.words)))
        units.append(unit.labelled({"numbers": numbers, "paragraphs": (paragraph,) * len(numbers)}))
        before += len(numbers)
    return Document(document.corpus, tuple(units))


@torch.no_grad()
def parts(tagger: Tagger, tokenizer: Tokenizer, articles: Sequence[dict[str, Any]]) -> list[Part]:
    """The windows of all articles as the tagger's layers but the last read them."""
    padding = tokenizer.token_to_id("<pad>")
    owners: dict[int, int] = {}
    found: list[Window] = []
    for index, article in enumerate(articles):
        for window in windows(tokenizer, numbered(article), max_tokens=256):
            if window.words:
                owners[id(window)] = index
                found.append(window)
    made: list[Part] = []
    context = autocast()
    with tqdm(total=len(found), desc="reading", unit=" windows", mininterval=10) as bar:
        for group in batches(found, WIDEST_BATCH, None):
            batch = collate(group, (), padding)
            with context:
                read = tagger.encoder(
                    input_ids=batch.ids.to(device()), attention_mask=batch.mask.to(device()), output_hidden_states=True
                )
            states = read.hidden_states[-2]
            for window, row in zip(group, states, strict=True):
                pieces, words = links(window)
                numbers, paragraphs = (np.array(window.labels[name]) for name in ("numbers", "paragraphs"))
                kept = row[: len(window.ids)].cpu().float().numpy().astype(np.float16)
                made.append(Part(owners[id(window)], kept, pieces, words, numbers, paragraphs))
            bar.update(len(group))
    return made


def vectors_of(model: Relations, group: Sequence[Part]) -> Iterator[Tensor]:
    """For each window the vectors of its words, `[words, values]`."""
    length = max(len(part.states) for part in group)
    states = torch.zeros(len(group), length, group[0].states.shape[1])
    mask = torch.zeros(len(group), length)
    for row, part in enumerate(group):
        states[row, : len(part.states)] = torch.from_numpy(part.states).float()
        mask[row, : len(part.states)] = 1
    vectors = model(states.to(device()), mask.to(device())).float()
    for row, part in zip(vectors, group, strict=True):
        links_of = torch.from_numpy(part.words).to(device())
        words = torch.zeros(len(part.numbers), row.shape[1], device=device())
        words = words.index_add(0, links_of, row[torch.from_numpy(part.pieces).to(device())])
        counts = torch.zeros(len(part.numbers), device=device())
        counts = counts.index_add(0, links_of, torch.ones(len(links_of), device=device()))
        yield words / counts[:, None]


def aims(part: Part, run: Words, labelled: Sequence[Gold]) -> tuple[Tensor, Tensor]:
    """1 at every pair of a run's words that stand in a stance, `[sides, words, words]`, and at those that show one."""
    first, size = int(part.numbers[run[0]]), run[1] - run[0]
    pairs, shown = torch.zeros(len(SIDES), size, size), torch.zeros(size, len(SIDES))
    for gold in labelled:
        holder, target, evidence = (
            slice(max(0, start - first), max(0, end - first))
            for start, end in (gold.holder, gold.target, gold.evidence)
        )
        pairs[gold.side, holder, target] = 1
        shown[evidence, gold.side] = 1
    return pairs.to(device()), shown.to(device())


def loss_of(model: Relations, group: Sequence[Part], labelled: Sequence[Sequence[Gold]]) -> Tensor:
    """The mean over the runs of some windows; `labelled` are the stances of each article."""
    losses = []
    weight = torch.tensor(RARE, device=device())
    for part, vectors in zip(group, vectors_of(model, group), strict=True):
        for start, end in part.runs():
            mine = vectors[start:end]
            for values, aim in zip(
                (model.products(mine), mine[:, model.width :]),
                aims(part, (start, end), labelled[part.article]),
                strict=True,
            ):
                loss = nn.functional.binary_cross_entropy_with_logits(values, aim, reduction="sum", pos_weight=weight)
                losses.append(loss / PER_PARAGRAPH)
    return torch.stack(losses).mean()


@dataclass(frozen=True, slots=True)
class Judged:
    """A stance that was found: its score, and whether the labels have it."""

    score: float
    right: bool


def _said(numbers: Words, words: Sequence[str]) -> frozenset[str]:
    return content_words(" ".join(words[numbers[0] : numbers[1]]))


@torch.no_grad()
def judged(model: Relations, found: Sequence[Part], articles: Sequence[dict[str, Any]]) -> list[Judged]:
    """The stances found in some windows, each right where a label of its paragraph and side agrees, used once."""
    model.eval()
    candidates: dict[int, list[tuple[float, int, str, frozenset[str], frozenset[str]]]] = {}
    texts: dict[int, list[str]] = {}
    for group in batches(found, WIDEST_BATCH, None):
        for part, vectors in zip(group, vectors_of(model, group), strict=True):
            article = articles[part.article]
            if part.article not in texts:
                texts[part.article] = [word for unit in numbered(article).units for word in unit.words]
            words = texts[part.article]
            for start, end in part.runs():
                first = int(part.numbers[start])
                values = model.products(vectors[start:end])
                for each in rectangles(torch.sigmoid(values).cpu().numpy(), least=0.02):
                    holder, target = ((first + a, first + b) for a, b in (each.holder, each.target))
                    said = (_said(holder, words), _said(target, words))
                    row = (min(each.prob, 1 - 1e-6), int(part.paragraphs[start]), SIDES[each.side], *said)
                    candidates.setdefault(part.article, []).append(row)
    model.train()
    made: list[Judged] = []
    for index, rows in candidates.items():
        left = [*_labelled(articles[index])]
        for prob, paragraph, side, holder, target in sorted(rows, key=lambda row: -row[0]):
            match = next((g for g in left if g[:2] == (paragraph, side) and g[2] & holder and g[3] & target), None)
            if match:
                left.remove(match)
            made.append(Judged(float(np.log(prob / (1 - prob))), match is not None))
    return made


def _labelled(article: dict[str, Any]) -> Iterator[tuple[int, str, frozenset[str], frozenset[str]]]:
    """Paragraph among the document's units, side, and what holder and target are called."""
    title = 1 if article["title"].split() else 0
    for stance in article["stances"]:
        evidence = stance["evidence"]
        paragraph = 0
        if evidence["field"] == "body":
            paragraph = title + next(
                (i for i, (a, b) in enumerate(article["paragraphs"]) if a <= evidence["start"] < b), -2
            )
        yield paragraph, stance["stance"], content_words(stance["holder"]), content_words(stance["target"])


def calibrated(found: Sequence[Judged]) -> tuple[float, float]:
    """Scale and offset that make the sigmoid of a score the share that is right (Platt, 1999), by Newton's method.

    1 and 0 where none or all are.
    """
    if len({each.right for each in found}) < 2:
        return 1.0, 0.0
    scale, offset = logistic(np.array([[each.score, 1.0] for each in found]), [each.right for each in found])
    return float(scale), float(offset)


def logistic(inputs: npt.NDArray[np.float64], right: Sequence[bool]) -> npt.NDArray[np.float64]:
    """The weights of `inputs`, `[items, weights]`, whose sigmoid is likeliest to be right, by Newton's method."""
    aims = np.array(right, dtype=float)
    weights = np.zeros(inputs.shape[1])
    for _ in range(50):
        likely = 1 / (1 + np.exp(-inputs @ weights))
        slope = inputs.T @ (likely - aims) + 1e-3 * weights
        curvature = (inputs * (likely * (1 - likely))[:, None]).T @ inputs + 1e-3 * np.eye(len(weights))
        weights -= np.linalg.solve(curvature, slope)
    return weights


def average_precision(found: Sequence[Judged], total: int) -> float:
    """The mean of the precision down to each of `total` labelled stances, 0 for those not found, in percent."""
    right = np.array([each.right for each in sorted(found, key=lambda each: -each.score)], dtype=bool)
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    return round(100 * float(precision[right].sum()) / max(1, total), 1)


def curve(found: Sequence[Judged], total: int) -> dict[str, tuple[float, float]]:
    """Precision and recall of `total` labelled stances, in percent, from several scores on."""
    made = {}
    for least in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
        kept = [each.right for each in found if each.score >= np.log(least / (1 - least))]
        made[str(least)] = (round(100 * sum(kept) / max(1, len(kept)), 1), round(100 * sum(kept) / max(1, total), 1))
    return made


@dataclass(frozen=True, slots=True)
class Articles:
    """Those with stances to learn from, of the news guide's habit and of a freer one, and guided ones held out."""

    guided: list[dict[str, Any]]
    freely: list[dict[str, Any]]
    held_out: list[dict[str, Any]]


def stance_articles(data: Path) -> Articles:
    """The news corpus's train set and our own labels. The same are held out whatever the seed, so that runs can go on
    from one another and be averaged."""
    guided, freely = (
        [each for each in found if "stances" in each.get("labelled", ("stances",))]
        for found in (
            [*read_jsonl(data / "news/train.jsonl"), *labelled_articles(LABELS, data / "raw")],
            labelled_articles(CLAIMS, data / "raw"),
        )
    )
    total = len(guided) + len(freely)
    held_out = set(random.Random(0).sample(range(total), total)[: total // HELD_OUT])
    return Articles(
        guided=[each for index, each in enumerate(guided) if index not in held_out],
        freely=[each for index, each in enumerate(freely, start=len(guided)) if index not in held_out],
        held_out=[each for index, each in enumerate(guided) if index in held_out],
    )


def finish(
    model: Relations, asked: Sequence[Part], articles: Sequence[dict[str, Any]], arguments: argparse.Namespace
) -> None:
    """Write the tagger and the model, its probabilities those that hold on the windows `asked` of `articles`."""
    scale, offset = calibrated(judged(model, asked, articles))
    for name in ("config.json", "model.safetensors", "tokenizer.json", "heads.json", "heads.safetensors"):
        shutil.copyfile(arguments.tagger / name, arguments.out / name)
    state = {key: value.contiguous() for key, value in model.scaled(scale, offset).state_dict().items()}
    save_file(state, arguments.out / "relations.safetensors")
    (arguments.out / "relations.json").write_text(json.dumps({"sides": SIDES, "rank": model.shape[-1] - 1}) + "\n")
    print(json.dumps({"scale": round(scale, 3), "offset": round(offset, 3)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tagger", type=Path, help="directory written by training.finetune_ner, or by this program")
    parser.add_argument("data", type=Path, help="folder of the corpora")
    parser.add_argument("out", type=Path, help="directory to write: the tagger and what it has learnt")
    parser.add_argument(
        "--rounds",
        type=int,
        default=6,
        help="passes over all articles; 0 calibrates only (default: %(default)s)",
    )
    parser.add_argument(
        "--relations", type=Path, help="folder with relations to go on from (default: the tagger's, if it has any)"
    )
    parser.add_argument(
        "--guided",
        action="store_true",
        help="learn from articles that follow the news guide's habit alone, as the last rounds should",
    )
    parser.add_argument("--rank", type=int, default=64, help="width of a word's vectors (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=1500, help="pieces a batch (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=2e-4, help="the layer's peak learning rate (default: %(default)s)")
    parser.add_argument("--head-lr", type=float, default=2e-3, help="the projection's (default: %(default)s)")
    parser.add_argument("--dropout", type=float, default=0.2, help="of the projection (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    data: Path = arguments.data
    arguments.out.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(arguments.tagger / "tokenizer.json"))
    tagger = load_tagger(arguments.tagger).to(device())
    begun: Path = arguments.relations or arguments.tagger
    given = load_relations(tagger, begun)
    if given is None and arguments.relations:
        parser.error(f"--relations {begun}: it has none; training.relations or training.restore writes them")
    if given is None and not arguments.rounds:
        parser.error(f"{begun} has no relations to calibrate; give --rounds")
    articles = stance_articles(data)
    asked = articles.held_out
    if given is not None and not arguments.rounds:
        finish(given.to(device()), parts(tagger, tokenizer, asked), asked, arguments)
        return
    learnt = articles.guided if arguments.guided else [*articles.guided, *articles.freely]
    dev = list(read_jsonl(data / "news/dev.jsonl"))
    labelled = [list(golds(each)) for each in learnt]
    train = [part for part in parts(tagger, tokenizer, learnt) if any(True for _ in part.runs())]
    read_asked = parts(tagger, tokenizer, asked)
    read_dev = parts(tagger, tokenizer, dev)
    bearing = [part for part in train if any(aims(part, run, labelled[part.article])[0].any() for run in part.runs())]
    chosen_ids = {id(part) for part in bearing}
    empty = [part for part in train if id(part) not in chosen_ids]

    model = given or Relations(tagger.encoder, rank=arguments.rank, sides=len(SIDES))
    model.dropout.p = arguments.dropout
    model = model.to(device()).train()
    average = copy.deepcopy(model)
    optimisation = Optimisation(model, average, lr=arguments.lr, head_lr=arguments.head_lr)
    context = autocast()

    def groups(number: int) -> list[list[Part]]:
        rng = random.Random(f"{arguments.seed}/{number}")
        chosen = bearing + rng.sample(empty, len(empty) // EMPTY)
        return list(batches(chosen, arguments.tokens, np.random.default_rng([arguments.seed, number])))

    def loss(group: list[Part], _: torch.Generator) -> Tensor:
        with context:
            return loss_of(model, group, labelled)

    def scores(_: int) -> dict[str, Any]:
        row: dict[str, Any] = {}
        for name, read, texts in (("dev", read_dev, dev), ("held out", read_asked, asked)):
            total = sum(len(each["stances"]) for each in texts)
            for which, candidate in (("last", model), ("average", average)):
                found = judged(candidate, read, texts)
                row[f"{which}/{name}"] = {"AP": average_precision(found, total), **curve(found, total)}
        return row

    train_in_rounds(
        optimisation, arguments.out, arguments.rounds, groups=groups, loss=loss, scores=scores, seed=arguments.seed
    )
    finish(average, read_asked, asked, arguments)


if __name__ == "__main__":
    main()
