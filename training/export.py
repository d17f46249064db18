"""Write a fine-tuned model as ONNX: fused fp32, then the same with int8 weights (rasad.inference.quantisation).

A few hundred of the texts that it was trained on decide how the weights are rounded.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np
import torch
from onnxruntime.transformers.fusion_options import FusionOptions
from onnxruntime.transformers.optimizer import optimize_model
from tokenizers import Tokenizer
from torch import Tensor, nn

from rasad.evaluation.corpora import read_jsonl
from rasad.evaluation.stance import news_claims
from rasad.inference.quantisation import quantise
from training.finetune_stance import PairEncoder, StanceModel, labelled_pairs, load, load_model
from training.tagger import Relations, Tagger, load_relations, load_tagger
from training.tagging import read_news, windows

OPSET = 17

MAX_TOKENS = 192
"""Pieces of a text that decides on the rounding, as many as a sequence of a bundle has."""

TEXTS = 360
"""How many texts decide."""


class TaggerGraph(nn.Module):
    """Logits of every layer for each piece: the mean over a word's pieces commutes with a linear layer."""

    def __init__(self, model: Tagger, relations: Relations | None = None) -> None:
        super().__init__()
        self.model = model
        self.relations = relations
        if relations is not None:
            width = model.encoder.config.hidden_size
            self.fork = _Fork(model.encoder.encoder.layer[-1], relations.encoder, width)
            model.encoder.encoder.layer[-1] = self.fork

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """`[batch, length, labels]` for each layer in order, and where there are relations their values behind them."""
        hidden = self.model.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        found = tuple(head(hidden) for head in self.model.heads.values())
        return found if self.relations is None else (*found, self.relations.project(self.fork.other))


class _Fork(nn.Module):
    """An encoder's last layer, and another on the same input under the same mask; `other` is what that one gave."""

    def __init__(self, layer: nn.Module, beside: nn.Module, width: int) -> None:
        super().__init__()
        self.layer = layer
        self.beside = beside
        # ONNX Runtime fuses an attention only where nothing but its three products reads what it reads.
        self.apart = nn.Parameter(torch.ones(width))
        self.other = torch.zeros(0)

    def forward(self, states: Tensor, *arguments: Tensor, **more: object) -> Tensor:
        """What the first layer gives."""
        self.other = self.beside(states * self.apart, *arguments, **more)
        made: Tensor = self.layer(states, *arguments, **more)
        return made


class StanceGraph(nn.Module):
    """Logits of every head for each pair."""

    def __init__(self, model: StanceModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """`[batch, labels]` for each head in order."""
        return tuple(self.model(input_ids, attention_mask).values())


def export_fp32(graph: nn.Module, names: list[str], ranks: int, path: Path, *, heads: int, hidden: int) -> None:
    """Export and fuse `graph` to `path`; `ranks` is 3 for token layers, 2 for sequence heads."""
    ids = torch.randint(5, 100, (2, 16))
    ids[:, 0], ids[:, 5], ids[:, 6], ids[:, 15] = 0, 2, 2, 2
    outputs = [f"logits_{name}" for name in names]
    axes = {0: "batch", 1: "length"}
    dynamic = {"input_ids": axes, "attention_mask": axes}
    dynamic.update({name: axes if ranks == 3 else {0: "batch"} for name in outputs})
    raw = path.with_suffix(".raw.onnx")
    with torch.no_grad():
        torch.onnx.export(
            graph,
            (ids, torch.ones_like(ids)),
            str(raw),
            input_names=["input_ids", "attention_mask"],
            output_names=outputs,
            dynamic_axes=dynamic,
            opset_version=OPSET,
            dynamo=False,
        )
    options = FusionOptions("bert")
    options.enable_embed_layer_norm = False
    options.use_multi_head_attention = True  # keeps the projections as MatMul nodes, which can be quantised
    fused = optimize_model(str(raw), "bert", num_heads=heads, hidden_size=hidden, optimization_options=options)
    fused.save_model_to_file(str(path))
    raw.unlink()


def ner_inputs(tokenizer: Tokenizer, data: Path, rng: random.Random) -> list[tuple[int, ...]]:
    """Piece ids of some windows of the news that a tagger is trained on."""
    documents = read_news(data / "news/train.jsonl")
    found = [window for each in documents for window in windows(tokenizer, each, max_tokens=MAX_TOKENS)]
    return [window.ids for window in rng.sample(found, min(len(found), TEXTS))]


def stance_inputs(tokenizer: Tokenizer, data: Path, rng: random.Random) -> list[tuple[int, ...]]:
    """Piece ids of some pairs of each corpus that a stance model is trained on."""
    encoder = PairEncoder(tokenizer, MAX_TOKENS)
    found = load(data, "train", encoder)
    claims = news_claims(read_jsonl(data / "news/train.jsonl"), rng, 1)
    found["news"] = labelled_pairs(claims, encoder, "news")
    each = TEXTS // len(found)
    return [pair.ids for pairs in found.values() for pair in rng.sample(pairs, min(len(pairs), each))]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("task", choices=("ner", "stance"))
    parser.add_argument("model", type=Path, help="directory written by training.finetune_ner or finetune_stance")
    parser.add_argument("out", type=Path, help="directory to write model.fp32.onnx and model.onnx to")
    parser.add_argument("data", type=Path, help="folder of the corpora")
    arguments = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
    arguments.out.mkdir(parents=True, exist_ok=True)
    fp32 = arguments.out / "model.fp32.onnx"
    if arguments.task == "ner":
        tagger = load_tagger(arguments.model)
        config = tagger.encoder.config
        relations = load_relations(tagger, arguments.model)
        graph: nn.Module = TaggerGraph(tagger, relations).eval()
        names, ranks = [*tagger.layers, *(["stances"] if relations else [])], 3
    else:
        stance = load_model(arguments.model).eval()
        config = stance.encoder.config
        graph = StanceGraph(stance)
        names, ranks = list(stance.heads), 2
    export_fp32(graph, names, ranks, fp32, heads=config.num_attention_heads, hidden=config.hidden_size)
    choose = ner_inputs if arguments.task == "ner" else stance_inputs
    read = [np.array([ids], dtype=np.int64) for ids in choose(tokenizer, arguments.data, random.Random(0))]
    texts = [{"input_ids": ids, "attention_mask": np.ones_like(ids)} for ids in read]
    quantise(fp32, arguments.out / "model.onnx", texts)
    for path in (fp32, arguments.out / "model.onnx"):
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
