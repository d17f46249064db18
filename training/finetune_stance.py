"""Fine-tune an encoder for stance: one output layer a corpus over pairs of a sentence and the text it is judged by.

Starts from an encoder, or from what an earlier run of this program wrote, output layers and all. Claims are read with
the sentences of the article that bear on them (rasad.enrich.evidence), never with its first tokens only. The token type
of a piece tells whether it also occurs on the other side of the pair; the graph works that out from the ids, so it
needs no further input. The encoder's rate must stay low: at 2e-4 it ended at the majority label of every corpus.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import BertModel

from rasad.enrich.evidence import ranked, relevance
from rasad.enrich.stance import Pair as ArticlePair
from rasad.evaluation.corpora import read_jsonl
from rasad.evaluation.stance import Example, news_claims, stance_records
from rasad.text.normalise import normalise
from rasad.text.sentences import split_sentences
from training.labels import CLAIMS, LABELS, labelled_articles
from training.machine import autocast, device
from training.optimisation import Optimisation, batches, corrupt
from training.rounds import train_in_rounds
from training.tagger import load_encoder, saved_layers

HEADS: dict[str, tuple[str, ...]] = {
    "news": ("agree", "disagree", "discuss", "unrelated"),
    "ans": ("agree", "disagree", "other"),
    "unifiedfc": ("agree", "disagree", "discuss", "unrelated"),
    "nli": ("0", "1"),
    "target": ("favor", "against", "none"),
}
CLOSING = 2
_NUMBER = re.compile(r"\d+")
_SHORTEST_HEADLINE = 4
"""Words: shorter ones often state nothing."""

DECIDING = ("news", "ans")
"""The corpora whose dev scores choose the weights, and are measured after every round."""
BALANCED = ("unifiedfc", "target")
"""Heads whose rare labels count for more: by the root of how much rarer than the average label they are."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Piece ids of one pair with special pieces, its corpus's head and label number."""

    ids: tuple[int, ...]
    head: str
    label: int


@dataclass(frozen=True, slots=True)
class Text:
    """A text's sentences and the pieces of each."""

    sentences: tuple[str, ...]
    pieces: tuple[tuple[int, ...], ...]


class PairEncoder:
    """Makes pairs of at most `max_tokens` pieces from a claim and a text."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self._texts: dict[str, Text] = {}

    def text(self, text: str) -> Text:
        """The sentences of `text`, tokenised once."""
        if text not in self._texts:
            sentences = tuple(text[start:end] for start, end in split_sentences(text))
            encodings = self.tokenizer.encode_batch([normalise(s).text for s in sentences], add_special_tokens=False)
            self._texts[text] = Text(sentences, tuple(tuple(e.ids) for e in encodings))
        return self._texts[text]

    def pair(self, claim: str, text: str, head: str, label: int) -> Pair:
        """`<s> claim </s> </s> evidence </s>`."""
        first = tuple(self.tokenizer.encode(normalise(claim).text, add_special_tokens=False).ids)
        first = first[: self.max_tokens // 2]
        room = self.max_tokens - 4 - len(first)
        read = self.text(text)
        chosen: list[int] = []
        left = room
        for index in ranked(relevance(claim, read.sentences)):
            if not chosen or len(read.pieces[index]) <= left:
                chosen.append(index)
                left -= len(read.pieces[index])
        second = [piece for index in sorted(chosen) for piece in read.pieces[index]][:room]
        return Pair((0, *first, CLOSING, CLOSING, *second, CLOSING), head, label)


class StanceModel(nn.Module):
    """Encoder, and for each head a linear layer over what the two sides of a pair have in common and apart.

    The features are those of Conneau et al., "Supervised Learning of Universal Sentence Representations" (2017), over
    a cross-encoder's vectors: mean of each side, their absolute difference and their product, with the first piece,
    and the share of each side's pieces that the other has too.
    """

    def __init__(self, encoder: BertModel, heads: dict[str, tuple[str, ...]]) -> None:
        super().__init__()
        self.encoder = encoder
        hidden = encoder.config.hidden_size
        self.projection = nn.Linear(5 * hidden + 2, hidden)
        self.dropout = nn.Dropout(0.1)
        self.heads = nn.ModuleDict({name: nn.Linear(hidden, len(labels)) for name, labels in heads.items()})
        for head in self.heads.values():
            nn.init.normal_(head.weight, std=0.02)
            nn.init.zeros_(head.bias)

    def forward(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Logits by head, `[rows, labels]`, of `ids` and `mask`, both `[rows, length]`."""
        second = (ids == CLOSING).long().cumsum(dim=1) > 0
        content = (mask > 0) & (ids > 4)
        same = (ids[:, :, None] == ids[:, None, :]) & (second[:, :, None] != second[:, None, :])
        same = same & content[:, :, None] & content[:, None, :]
        types = same.any(dim=2).long()
        hidden = self.encoder(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state.float()
        sides = torch.stack([content & ~second, content & second], dim=1).float()
        sizes = sides.sum(dim=2).clamp(min=1)
        means = (sides @ hidden) / sizes[:, :, None]
        shared = (sides @ types[:, :, None].float())[:, :, 0] / sizes
        one, other = means[:, 0], means[:, 1]
        joined = torch.cat([hidden[:, 0], one, other, (one - other).abs(), one * other, shared], dim=1)
        features = self.dropout(torch.tanh(self.projection(joined)))
        return {name: head(features) for name, head in self.heads.items()}


def article_text(example: Example) -> str:
    """Title and body; the title is the first sentence."""
    title, body = example.pair.title, example.pair.body
    return f"{title}\n{body}" if title else body


def headlines(articles: Sequence[dict[str, Any]], rng: random.Random) -> Iterator[Example]:
    """Headlines as claims over the body alone, which agrees; half of them with another number or name: it disagrees."""
    names = sorted({(m["type"], a["title"][m["start"] : m["end"]]) for a in articles for m in _named(a)})
    for article in articles:
        title, body = article["title"], article["body"]
        places = [(m["start"], m["end"], m["type"]) for m in _named(article)]
        places += [(*number.span(), "") for number in _NUMBER.finditer(title)]
        if places and rng.random() < 0.5:
            start, end, kind = rng.choice(places)
            others = [name for each, name in names if each == kind and name not in f"{title} {body}"]
            other = rng.choice(others) if kind and others else str(rng.randint(2, 99))
            if (kind and not others) or other == title[start:end]:
                continue
            yield Example(pair=ArticlePair(claim=f"{title[:start]}{other}{title[end:]}", body=body), label="disagree")
        elif len(title.split()) >= _SHORTEST_HEADLINE:
            yield Example(pair=ArticlePair(claim=title, body=body), label="agree")


def _named(article: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The names in an article's headline."""
    for mention in article["mentions"]:
        if mention["field"] == "title" and not mention.get("debatable"):
            yield mention


def labelled_pairs(examples: Iterable[Example], encoder: PairEncoder, head: str) -> list[Pair]:
    """Pairs for a head, with their labels."""
    labels = HEADS[head]
    return [encoder.pair(each.pair.claim, article_text(each), head, labels.index(each.label)) for each in examples]


def load(data: Path, split: str, encoder: PairEncoder) -> dict[str, list[Pair]]:
    """Pairs of one split by corpus, the news apart, where the corpus has that split."""
    found: dict[str, list[Pair]] = {}
    for corpus, folder, head in (
        ("ans", "ans", "ans"),
        ("ans_article", "ans_article_DERIVED", "ans"),
        ("unifiedfc", "unifiedfc", "unifiedfc"),
        ("nli", "nli_arbteds", "nli"),
        ("target", "arabicstancex", "target"),
    ):
        path = data / "stance" / folder / f"{split}.jsonl.zst"
        if path.exists():
            found[corpus] = labelled_pairs(stance_records(path), encoder, head)
    return found


def swapped(pair: Pair) -> Pair:
    """The same headlines the other way round: their labels say how the two stand to each other."""
    first = pair.ids.index(CLOSING)
    return replace(pair, ids=(0, *pair.ids[first + 2 : -1], CLOSING, CLOSING, *pair.ids[1:first], CLOSING))


def tensors(group: Sequence[Pair], padding: int) -> tuple[Tensor, Tensor]:
    """Padded ids and mask of a batch."""
    length = max(len(p.ids) for p in group)
    ids = torch.full((len(group), length), padding)
    mask = torch.zeros((len(group), length), dtype=torch.long)
    for row, pair in enumerate(group):
        ids[row, : len(pair.ids)] = torch.tensor(pair.ids)
        mask[row, : len(pair.ids)] = 1
    return ids.to(device()), mask.to(device())


def label_weights(pairs: Sequence[Pair]) -> dict[str, Tensor]:
    """The weight of each label's loss by head; 1 for the heads that are not in BALANCED."""
    found = {}
    for head, labels in HEADS.items():
        counts = Counter(pair.label for pair in pairs if pair.head == head)
        mean = max(1.0, counts.total() / len(labels))
        rare = [(mean / max(1, counts[index])) ** 0.5 if head in BALANCED else 1.0 for index in range(len(labels))]
        found[head] = torch.tensor(rare, device=device())
    return found


def macro_f1(gold: Sequence[int], predicted: Sequence[int], classes: int) -> float:
    """Mean F1 of the classes that occur in `gold`, 0 to 100."""
    scores = []
    for index in sorted(set(gold) & set(range(classes))):
        both = sum(g == p == index for g, p in zip(gold, predicted, strict=True))
        scores.append(200 * both / (gold.count(index) + list(predicted).count(index)))
    return sum(scores) / len(scores)


def stance_loss(logits: dict[str, Tensor], group: Sequence[Pair], weights: dict[str, Tensor]) -> Tensor:
    """Smoothed cross-entropy a pair, each under its own head; `logits` `[pairs, labels]` and `weights` by head."""
    loss = torch.zeros((), device=device())
    for name in sorted(Counter(p.head for p in group)):
        rows = [i for i, p in enumerate(group) if p.head == name]
        labels = torch.tensor([group[i].label for i in rows], device=device())
        values = logits[name][rows].float()
        loss = loss + nn.functional.cross_entropy(values, labels, weights[name], reduction="sum", label_smoothing=0.05)
    return loss / len(group)


@torch.no_grad()
def evaluate(model: StanceModel, pairs: Sequence[Pair], padding: int) -> tuple[float, float]:
    """Accuracy and macro-F1, 0 to 100, of pairs that share one head."""
    model.eval()
    gold: list[int] = []
    predicted: list[int] = []
    for group in batches(pairs, 4096, None):
        logits = model(*tensors(group, padding))[group[0].head]
        gold.extend(p.label for p in group)
        predicted.extend(logits.argmax(dim=1).tolist())
    model.train()
    accuracy = 100 * sum(g == p for g, p in zip(gold, predicted, strict=True)) / len(gold)
    return accuracy, macro_f1(gold, predicted, len(HEADS[pairs[0].head]))


def load_model(folder: Path) -> StanceModel:
    """The model that `save` wrote to `folder`; where there is but an encoder, new output layers on it."""
    written = folder / "heads.safetensors"
    if not written.exists():
        return StanceModel(load_encoder(folder), HEADS)
    model = StanceModel(load_encoder(folder), saved_layers(folder))
    model.load_state_dict(load_file(written), strict=False)
    return model


def save(model: StanceModel, folder: Path) -> None:
    """Write encoder and heads to `folder`."""
    model.encoder.save_pretrained(folder)
    state = {k: v.contiguous() for k, v in model.state_dict().items() if not k.startswith("encoder.")}
    save_file(state, folder / "heads.safetensors")
    (folder / "heads.json").write_text(json.dumps(HEADS, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("encoder", type=Path, help="directory written by training.pretrain, or by this program")
    parser.add_argument("data", type=Path, help="folder of the corpora")
    parser.add_argument("out", type=Path, help="directory to write")
    parser.add_argument("--rounds", type=int, default=4, help="rounds of the run (default: %(default)s)")
    parser.add_argument(
        "--passes",
        default="news=0.95,labels=0.95,headlines=0.6,ans=3.5,ans_article=0.03,unifiedfc=1.2,nli=1,target=1",
        help="passes over each corpus (default: %(default)s)",
    )
    parser.add_argument("--max-tokens", type=int, default=192, help="pieces a pair (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=1600, help="pieces a batch (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=8e-5, help="encoder's peak learning rate (default: %(default)s)")
    parser.add_argument("--head-lr", type=float, default=1e-3, help="heads' peak learning rate (default: %(default)s)")
    parser.add_argument("--mask", type=float, default=0.02, help="share of pieces masked (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    passes = {k: float(v) for k, v in (pair.split("=") for pair in arguments.passes.split(","))}
    tokenizer = Tokenizer.from_file(str(arguments.encoder / "tokenizer.json"))
    padding, mask_id = tokenizer.token_to_id("<pad>"), tokenizer.token_to_id("<mask>")
    encoder = PairEncoder(tokenizer, arguments.max_tokens)
    news: Path = arguments.data / "news"
    train = load(arguments.data, "train", encoder)
    dev = load(arguments.data, "dev", encoder)
    dev["news"] = labelled_pairs(news_claims(read_jsonl(news / "dev.jsonl"), random.Random(0), 1), encoder, "news")
    articles = {
        "news": list(read_jsonl(news / "train.jsonl")),
        "labels": labelled_articles(LABELS, arguments.data / "raw"),
        "claims": labelled_articles(CLAIMS, arguments.data / "raw"),
    }
    # ArabicStanceX has no dev split: every tenth of train is kept out for it.
    dev["target"] = train["target"][::10]
    train["target"] = [p for i, p in enumerate(train["target"]) if i % 10]
    print({name: (len(pairs), sum(len(p.ids) for p in pairs)) for name, pairs in train.items()}, flush=True)

    weights = label_weights([pair for pairs in train.values() for pair in pairs])
    model = load_model(arguments.encoder).to(device()).train()
    average = copy.deepcopy(model)
    optimisation = Optimisation(model, average, lr=arguments.lr, head_lr=arguments.head_lr)
    context = autocast()

    def groups(number: int) -> list[list[Pair]]:
        rng = random.Random(f"{arguments.seed}/{number}")
        for corpus, labelled in articles.items():
            claimed = [article for article in labelled if article["claims"]]
            train[corpus] = labelled_pairs(news_claims(claimed, rng, 1), encoder, "news") if claimed else []
        named = [*articles["news"], *articles["labels"]]
        train["headlines"] = labelled_pairs(headlines(named, rng), encoder, "news")
        chosen: list[Pair] = []
        for corpus, pairs in train.items():
            wanted = passes.get(corpus, 0) / arguments.rounds * len(pairs)
            picked = pairs * int(wanted // max(1, len(pairs))) + rng.sample(pairs, round(wanted % max(1, len(pairs))))
            chosen.extend(swapped(p) if corpus == "ans" and rng.random() < 0.5 else p for p in picked)
        return list(batches(chosen, arguments.tokens, np.random.default_rng([arguments.seed, number])))

    def loss(group: list[Pair], generator: torch.Generator) -> Tensor:
        ids, mask = tensors(group, padding)
        ids = corrupt(ids, mask_id, arguments.mask, generator)
        with context:
            logits = model(ids, mask)
        return stance_loss(logits, group, weights)

    def scores(number: int) -> dict[str, tuple[float, float]]:
        found = {}
        for which, candidate in (("last", model), ("average", average)):
            for corpus in dev if number + 1 == arguments.rounds else DECIDING:
                with context:
                    accuracy, f1 = evaluate(candidate, dev[corpus], padding)
                found[f"{which}/{corpus}"] = (round(accuracy, 2), round(f1, 2))
        return found

    def keep(row: dict[str, Any]) -> None:
        better = sum(row[f"average/{c}"][1] for c in DECIDING) >= sum(row[f"last/{c}"][1] for c in DECIDING)
        save(average if better else model, arguments.out)

    train_in_rounds(
        optimisation,
        arguments.out,
        arguments.rounds,
        groups=groups,
        loss=loss,
        scores=scores,
        keep=keep,
        seed=arguments.seed,
    )
    # Last of all: it says that the run is done.
    (arguments.out / "tokenizer.json").write_bytes((arguments.encoder / "tokenizer.json").read_bytes())


if __name__ == "__main__":
    main()
