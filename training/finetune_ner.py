"""Fine-tune an encoder for NER, quotes and entity stances: one output layer a corpus, all corpora together.

Starts from an encoder, or from a tagger that an earlier run or `training.average` wrote, output layers and all. The run
is a number of rounds; each corpus spreads its passes evenly over them. Inputs lose some pieces to `<mask>` and mentions
swap names, so that context has to decide. Weights are averaged exponentially; dev scores choose between the average and
the last weights. Every random choice is seeded. A run goes on after its last whole round.
"""

from __future__ import annotations

import argparse
import copy
import random
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from rasad.evaluation.corpora import TaggedSentence, contiguous_blocks, read_conll, read_jsonl
from rasad.evaluation.report import ANERCORP_DEV
from rasad.evaluation.spans import SpanScorer, spans_of
from rasad.inference.decoding import best_path, bio_scheme
from training.labels import CORRECTED, LABELS, labelled_articles
from training.machine import autocast, device
from training.optimisation import Optimisation, batches, corrupt
from training.rounds import train_in_rounds
from training.tagger import Tagger, TaggerBatch, collate, load_encoder, load_tagger, save_heads
from training.tagging import (
    LAYERS,
    Document,
    Window,
    as_scraped,
    conll_documents,
    gazetteer_names,
    labelled_only,
    names_of,
    news_document,
    read_news,
    swap_names,
    windows,
    wojood_layer,
)

WEIGHTS = {"quotes": 0.6, "stance_evidence": 0.3, "stance_roles": 0.5, "panx": 0.5}
"""Share of a layer's loss in the total; 1 where not named."""

CORPORA = ("news", "labels", "corrected", "anercorp", "aqmar", "panx", "wojood")
"""Labelled corpora, by the names that `--passes` has for them; `silver` is one more."""

NEWS_LIKE = ("news", "labels", "corrected", "silver")
"""Corpora of whole news articles that share the layer `news`."""

AUXILIARY = ("stance_evidence", "stance_roles")
"""Layers that are trained along and not worth shipping: 1,900 examples bring them to a strict F1 of 14."""

ANERCORP = Path("ner/anercorp_camel/train.conll")
"""In the folder of the corpora."""

Passes = dict[str, float]
Layers = dict[str, tuple[str, ...]]
"""Labels by layer."""


def legal_labels(logits: Tensor, names: Sequence[str]) -> list[str]:
    """The best legal BIO sequence of one window: `logits` is `[words, labels]`."""
    scores = logits.float().cpu().numpy()
    path = best_path(scores, bio_scheme(tuple(names)), np.zeros(len(scores), dtype=bool))
    return [names[label] for label in path]


@torch.no_grad()
def score(model: Tagger, data: Sequence[Window], layer: str, padding: int) -> SpanScorer:
    """Strict span scores of `layer`; spans over ignored words are left out."""
    model.eval()
    scorer = SpanScorer()
    names = model.layers[layer]
    for group in batches(data, 4096, None):
        batch = to_device(collate(group, [layer], padding))
        logits = model.heads[layer](model.word_features(batch))
        for window, part in zip(group, torch.split(logits, list(batch.sizes)), strict=True):
            gold = window.labels[layer]
            ignored = [(i, i + 1, "") for i, label in enumerate(gold) if label < 0]
            truth = [names[label] if label > 0 else "O" for label in gold]
            scorer.add(spans_of(truth), spans_of(legal_labels(part, names)), ignored)
    model.train()
    return scorer


def to_device(batch: TaggerBatch) -> TaggerBatch:
    """The batch on the training device."""
    target = device()
    return TaggerBatch(
        batch.ids.to(target),
        batch.mask.to(target),
        batch.pieces.to(target),
        batch.words.to(target),
        batch.sizes,
        {name: labels.to(target) for name, labels in batch.labels.items()},
    )


def tagging_loss(logits: dict[str, Tensor], batch: TaggerBatch) -> Tensor:
    """Cross-entropy of all layers a word; `logits` are those of `batch`, `[words, labels]` by layer."""
    loss = torch.zeros((), device=batch.ids.device)
    for name, values in logits.items():
        labels = batch.labels[name]
        if bool((labels >= 0).any()):
            summed = nn.functional.cross_entropy(values.float(), labels, ignore_index=-100, reduction="sum")
            loss = loss + WEIGHTS.get(name, 1.0) * summed
    return loss / sum(batch.sizes)


def round_windows(
    corpora: dict[str, list[Document]],
    passes: Passes,
    rounds: int,
    number: int,
    tokenizer: Tokenizer,
    names: dict[str, list[tuple[str, ...]]],
    swap: float,
) -> list[Window]:
    """Training windows of one round, augmented afresh."""
    made: list[Window] = []
    for corpus, documents in corpora.items():
        rng = random.Random(f"{corpus}/{number}")
        share = passes[corpus] / rounds
        whole, rest = int(share), share - int(share)
        chosen = documents * whole
        # Consecutive rounds walk through a corpus, so that each pass sees every document once.
        offset = int(number * rest * len(documents)) % max(1, len(documents))
        rotated = documents[offset:] + documents[:offset]
        chosen = chosen + rotated[: round(rest * len(documents))]
        for document in chosen:
            augmented = as_scraped(document, rng) if corpus in NEWS_LIKE else document
            if corpus in (*NEWS_LIKE, "anercorp", "aqmar") and swap:
                layer = "news" if corpus in NEWS_LIKE else corpus
                units = tuple(swap_names(u, layer, names, rng, swap) for u in augmented.units)
                augmented = replace(augmented, units=units)
            made.extend(windows(tokenizer, augmented, max_tokens=rng.choice((128, 192, 256))))
    return made


def swap_pool(corpora: dict[str, list[Document]], gazetteer: Path) -> dict[str, list[tuple[str, ...]]]:
    """Names by type that may stand in for one another: those of the news, and the persons of other corpora."""
    names = names_of([document for corpus in NEWS_LIKE for document in corpora.get(corpus, [])], "news")
    for layer in ("anercorp", "aqmar", "panx"):
        found = names_of(corpora.get(layer, []), layer)
        names["PER"] = names.get("PER", []) + [name for name in found.get("PER", []) if 1 < len(name) < 5]
    if gazetteer.exists():
        names["PER"] = names.get("PER", []) + gazetteer_names(gazetteer, 3000)["PER"]
    return names


def training_corpora(
    data: Path,
    layers: Layers,
    wanted: Collection[str] = CORPORA,
    held_out: Collection[str] = (),
    *,
    whole: bool = False,
) -> dict[str, list[Document]]:
    """Those of CORPORA in `data` that are `wanted`, by name; news of the sources in `held_out` are left out.

    ANERcorp's comes without the blocks that are its dev set, unless it is to be `whole`.
    Raises FileNotFoundError where one of them is not there.
    """

    def news() -> list[Document]:
        articles = read_jsonl(data / "news/train.jsonl")
        return [news_document(article) for article in articles if article["source"] not in held_out]

    def sentences(name: str, folder: str, each: int) -> list[Document]:
        return conll_documents(read_conll(data / "ner" / folder / "train.conll"), name, layers[name], each)

    def anercorp() -> list[Document]:
        if whole:
            return sentences("anercorp", "anercorp_camel", 4)
        return conll_documents(anercorp_blocks(data)[0], "anercorp", layers["anercorp"], 4)

    readers: dict[str, Callable[[], list[Document]]] = {
        "news": news,
        "labels": lambda: own_labels([LABELS], data / "raw", held_out),
        "corrected": lambda: own_labels(CORRECTED, data / "raw", held_out),
        "anercorp": anercorp,
        "aqmar": lambda: sentences("aqmar", "aqmar", 3),
        "panx": lambda: sentences("panx", "panx_ar", 1),
        "wojood": lambda: sentences("wojood", "wojood_sample", 2),
    }
    return {name: readers[name]() for name in CORPORA if name in wanted}


def own_labels(files: Iterable[Path], raw: Path, held_out: Collection[str]) -> list[Document]:
    """The articles of some files of `training/labels/`, each with the layers that were labelled."""
    found = [article for path in files for article in labelled_articles(path, raw)]
    return [news_document(each) for each in found if each["source"] not in held_out]


def dev_windows(data: Path, layers: Layers, tokenizer: Tokenizer) -> dict[str, list[Window]]:
    """Windows of the dev sets that `data` has, by those of `layers` that they are scored on."""
    documents: dict[str, list[Document]] = {}
    if (data / "news/dev.jsonl").exists():
        documents["news"] = read_news(data / "news/dev.jsonl")
    for name, sentences in dev_sentences(data).items():
        documents[name] = conll_documents(sentences, name, layers[name], 1)
    made = {
        name: [window for each in found for window in windows(tokenizer, each, max_tokens=256)]
        for name, found in documents.items()
    }
    beside = dict.fromkeys(("quotes", *AUXILIARY), made["news"]) if "news" in made else {}
    return {name: found for name, found in (made | beside).items() if name in layers}


def dev_sentences(data: Path) -> dict[str, list[TaggedSentence]]:
    """The dev sets of sentences that `data` has, by the layer that they are scored on."""
    found: dict[str, list[TaggedSentence]] = {}
    if (data / ANERCORP).exists():
        found["anercorp"] = anercorp_blocks(data)[1]
    if (aqmar := data / "ner/aqmar/dev.conll").exists():
        found["aqmar"] = read_conll(aqmar)
    return found


def anercorp_blocks(data: Path) -> tuple[list[TaggedSentence], list[TaggedSentence]]:
    """ANERcorp's train split in two: training, and ten blocks of 40 sentences as its dev set."""
    return contiguous_blocks(read_conll(data / ANERCORP), **ANERCORP_DEV)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("encoder", type=Path, help="directory written by training.pretrain, or a tagger's")
    parser.add_argument("data", type=Path, help="folder of the corpora")
    parser.add_argument("out", type=Path, help="directory to write")
    parser.add_argument("--rounds", type=int, default=10, help="rounds of the run (default: %(default)s)")
    parser.add_argument(
        "--passes",
        default="news=7,labels=2.5,corrected=1,silver=1,anercorp=6,aqmar=4,panx=0.3,wojood=0.8",
        help="passes over each corpus (default: %(default)s)",
    )
    parser.add_argument("--tokens", type=int, default=1300, help="pieces a batch (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=3e-4, help="encoder's peak learning rate (default: %(default)s)")
    parser.add_argument("--head-lr", type=float, default=3e-3, help="heads' peak learning rate (default: %(default)s)")
    parser.add_argument("--mask", type=float, default=0.08, help="share of pieces masked (default: %(default)s)")
    parser.add_argument("--swap", type=float, default=0.15, help="probability of a name swap (default: %(default)s)")
    parser.add_argument("--silver", type=Path, help="raw news labelled by training.silver")
    parser.add_argument("--hold-out", default="", help="news sources to leave out of training, comma-separated")
    parser.add_argument(
        "--whole-anercorp",
        action="store_true",
        help="train on the part of ANERcorp that is its dev set too, once all is chosen; it has no dev score then",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of the order of batches, masks and dropout; names are swapped and texts marred alike in all runs",
    )
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    data: Path = arguments.data
    arguments.out.mkdir(parents=True, exist_ok=True)
    passes: Passes = {k: float(v) for k, v in (pair.split("=") for pair in arguments.passes.split(","))}
    wanted = {name for name, count in passes.items() if count > 0}
    if unknown := wanted - {*CORPORA, "silver"}:
        parser.error(f"--passes names no such corpus: {', '.join(sorted(unknown))}; there are {', '.join(CORPORA)}")

    tokenizer = Tokenizer.from_file(str(arguments.encoder / "tokenizer.json"))
    padding, mask_id = tokenizer.token_to_id("<pad>"), tokenizer.token_to_id("<mask>")
    if (arguments.encoder / "heads.json").exists():
        model = load_tagger(arguments.encoder)
    else:
        model = Tagger(load_encoder(arguments.encoder), {**LAYERS, "wojood": wojood_layer(data / "ner/wojood_sample")})
    model = model.to(device()).train()
    layers = model.layers
    held_out = {source for source in arguments.hold_out.split(",") if source}
    try:
        corpora = training_corpora(data, layers, wanted, held_out, whole=arguments.whole_anercorp)
    except FileNotFoundError as error:
        parser.error(f"{error.filename}: no such file; --passes asks for it")
    if arguments.silver and "silver" in wanted:
        labelled = (each for each in read_jsonl(arguments.silver) if each["source"] not in held_out)
        corpora["silver"] = [labelled_only(news_document(each), ["mentions"]) for each in labelled]
    dev = dev_windows(data, layers, tokenizer)
    if arguments.whole_anercorp:
        dev.pop("anercorp", None)
    names = swap_pool(corpora, data / "gazetteer/names.tsv")

    average = copy.deepcopy(model)
    optimisation = Optimisation(model, average, lr=arguments.lr, head_lr=arguments.head_lr)
    context = autocast()

    def groups(number: int) -> list[list[Window]]:
        made = round_windows(corpora, passes, arguments.rounds, number, tokenizer, names, arguments.swap)
        return list(batches(made, arguments.tokens, np.random.default_rng([arguments.seed, number])))

    def loss(group: list[Window], generator: torch.Generator) -> Tensor:
        batch = collate(group, list(layers), padding)
        batch = to_device(batch.with_ids(corrupt(batch.ids, mask_id, arguments.mask, generator)))
        with context:
            logits = model(batch)
        return tagging_loss(logits, batch)

    def scores(number: int) -> dict[str, float]:
        found: dict[str, float] = {}
        if number % 3 != 2 and number + 1 < arguments.rounds:
            return found
        for which, candidate in (("last", model), ("average", average)):
            for layer, data_windows in dev.items():
                with context:
                    result = score(candidate, data_windows, layer, padding)
                found[f"{which}/{layer}"] = round(result.score().f1, 2)
                if layer == "news":
                    found[f"{which}/news/ORG"] = round(result.score("ORG").f1, 2)
        return found

    row = train_in_rounds(
        optimisation, arguments.out, arguments.rounds, groups=groups, loss=loss, scores=scores, seed=arguments.seed
    )
    chosen = average if float(row.get("average/news", 0)) >= float(row.get("last/news", 0)) else model
    chosen.encoder.save_pretrained(arguments.out)
    kept = {name: labels for name, labels in layers.items() if name not in AUXILIARY}
    save_heads(nn.ModuleDict({name: chosen.heads[name] for name in kept}), kept, arguments.out)
    (arguments.out / "tokenizer.json").write_bytes((arguments.encoder / "tokenizer.json").read_bytes())


if __name__ == "__main__":
    main()
