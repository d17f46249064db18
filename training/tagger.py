"""A BertModel with one linear output layer a corpus over the mean of a word's pieces."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import BertConfig, BertModel, ElectraConfig, ElectraModel

from training.tagging import IGNORED, Window


@dataclass(frozen=True, slots=True)
class TaggerBatch:
    """Padded windows and the flat list of their words.

    `ids`, `mask`: `[rows, length]`. `pieces` and `words`, both `[links]`: piece `pieces[i]` of the flattened batch
    belongs to word `words[i]`. `labels[layer]`: `[words]`, -100 where the word's corpus lacks that layer.
    """

    ids: Tensor
    mask: Tensor
    pieces: Tensor
    words: Tensor
    sizes: tuple[int, ...]
    labels: dict[str, Tensor]

    def with_ids(self, ids: Tensor) -> TaggerBatch:
        """The same batch with other pieces, `[rows, length]`, in their places."""
        return replace(self, ids=ids)


def links(window: Window) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Piece positions and word numbers; a word without a piece of its own borrows the piece that covers it."""
    word_of = np.array(window.word_of)
    positions = np.flatnonzero(word_of >= 0)
    inner = word_of[positions]
    lacking = np.setdiff1d(np.arange(window.words), inner)
    borrowed = (
        positions[np.maximum(np.searchsorted(inner, lacking, side="right") - 1, 0)] if len(positions) else lacking
    )
    return np.concatenate([positions, borrowed]), np.concatenate([inner, lacking])


def collate(batch: Sequence[Window], layers: Sequence[str], padding: int) -> TaggerBatch:
    """Pad `batch` and link pieces to words."""
    length = max(len(w.ids) for w in batch)
    ids = np.full((len(batch), length), padding, dtype=np.int64)
    mask = np.zeros((len(batch), length), dtype=np.int64)
    pieces, words, sizes = [], [], []
    labels: dict[str, list[npt.NDArray[np.int64]]] = {name: [] for name in layers}
    total = 0
    for row, window in enumerate(batch):
        ids[row, : len(window.ids)] = window.ids
        mask[row, : len(window.ids)] = 1
        piece, word = links(window)
        pieces.append(piece + row * length)
        words.append(word + total)
        total += window.words
        sizes.append(window.words)
        for name in layers:
            values = window.labels.get(name)
            labels[name].append(np.full(window.words, IGNORED) if values is None else np.array(values, dtype=np.int64))
    return TaggerBatch(
        torch.from_numpy(ids),
        torch.from_numpy(mask),
        torch.from_numpy(np.concatenate(pieces)),
        torch.from_numpy(np.concatenate(words)),
        tuple(sizes),
        {name: torch.from_numpy(np.concatenate(values)) for name, values in labels.items()},
    )


def pooled(hidden: Tensor, batch: TaggerBatch) -> Tensor:
    """Mean of each word's piece vectors, `[words, hidden]`, of `hidden`, `[rows, length, hidden]`."""
    flat = hidden.reshape(-1, hidden.shape[-1]).float()
    total = sum(batch.sizes)
    summed = torch.zeros(total, flat.shape[-1], device=flat.device).index_add(0, batch.words, flat[batch.pieces])
    counts = torch.zeros(total, device=flat.device).index_add(
        0, batch.words, torch.ones_like(batch.words, dtype=torch.float32)
    )
    return summed / counts[:, None]


class Tagger(nn.Module):
    """Encoder, dropout and `heads[layer]`: linear layers from hidden size to that layer's labels."""

    def __init__(self, encoder: BertModel | ElectraModel, layers: dict[str, tuple[str, ...]]) -> None:
        super().__init__()
        self.encoder = encoder
        self.layers = layers
        self.dropout = nn.Dropout(0.1)
        hidden = encoder.config.hidden_size
        self.heads = nn.ModuleDict({name: nn.Linear(hidden, len(labels)) for name, labels in layers.items()})
        for head in self.heads.values():
            nn.init.normal_(head.weight, std=0.02)
            nn.init.zeros_(head.bias)

    def word_features(self, batch: TaggerBatch) -> Tensor:
        """Mean of each word's piece vectors: `[words, hidden]`."""
        return pooled(self.encoder(input_ids=batch.ids, attention_mask=batch.mask).last_hidden_state, batch)

    def forward(self, batch: TaggerBatch) -> dict[str, Tensor]:
        """Logits of every layer: `[words, labels]`."""
        features = self.dropout(self.word_features(batch))
        return {name: head(features) for name, head in self.heads.items()}


class Relations(nn.Module):
    """For each piece a vector as a stance's holder and one as its target, by side, whose products are scores.

    Reads what the layer before an encoder's last one gives, by a layer of its own that starts as a copy of that last
    one. A vector's last value is added to the product of all others. Behind the vectors stands for each side a score
    of the piece being among the words that show a stance.
    """

    def __init__(self, source: BertModel | ElectraModel, *, rank: int, sides: int) -> None:
        super().__init__()
        hidden = source.config.hidden_size
        self.shape = (2, sides, rank + 1)
        self.width = 2 * sides * (rank + 1)
        self.encoder = copy.deepcopy(source.encoder.layer[-1])
        self.dropout = nn.Dropout(0.2)
        self.inner = nn.Linear(hidden, 4 * rank)
        self.outer = nn.Linear(4 * rank, self.width + sides)
        with torch.no_grad():
            self.outer.weight[: self.width] *= rank**-0.25
            # Nearly all pairs stand in no stance.
            self.outer.bias[: self.width].view(self.shape)[0, :, -1] = -6.0

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """`[rows, length, values]` of `states`, `[rows, length, hidden]`, and `mask`, 0 where there is padding."""
        added = (1.0 - mask[:, None, None, :]) * torch.finfo(torch.float32).min
        return self.project(self.encoder(states, attention_mask=added))

    def project(self, states: Tensor) -> Tensor:
        """The same of what the layer gives."""
        inner = self.dropout(nn.functional.gelu(self.inner(self.dropout(states))))
        return self.outer(inner)

    def products(self, vectors: Tensor) -> Tensor:
        """Scores `[sides, holders, targets]` of every pair of words; `vectors` are `[words, values]`."""
        holders, targets = vectors[:, : self.width].view(len(vectors), *self.shape).permute(1, 2, 0, 3)
        product = holders[..., :-1] @ targets[..., :-1].transpose(1, 2)
        return product + holders[..., -1:] + targets[..., -1:].transpose(1, 2)

    def scaled(self, scale: float, offset: float) -> Relations:
        """A copy whose scores are these times `scale`, plus `offset`."""
        made = copy.deepcopy(self)
        with torch.no_grad():
            for values in (made.outer.weight, made.outer.bias):
                shaped = values[: self.width].view(*self.shape, -1)
                shaped[0] *= scale
                shaped[1, :, -1] *= scale
            made.outer.bias[: self.width].view(self.shape)[0, :, -1] += offset
        return made


def load_relations(tagger: Tagger, folder: Path) -> Relations | None:
    """What training.relations wrote to `folder` beside the tagger; None where it was not run."""
    path = folder / "relations.json"
    if not path.exists():
        return None
    shape = json.loads(path.read_text())
    model = Relations(tagger.encoder, rank=shape["rank"], sides=len(shape["sides"]))
    model.load_state_dict(load_file(folder / "relations.safetensors"))
    return model.eval()


def load_encoder(path: Path) -> BertModel | ElectraModel:
    """The encoder in `path`; no dropout inside, which costs a CPU dearly."""
    plain = {"attn_implementation": "eager", "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    if json.loads((path / "config.json").read_text())["model_type"] == "electra":
        return ElectraModel.from_pretrained(path, config=ElectraConfig.from_pretrained(path, **plain))
    return BertModel.from_pretrained(path, config=BertConfig.from_pretrained(path, **plain), add_pooling_layer=False)


def save_heads(heads: nn.ModuleDict, layers: dict[str, tuple[str, ...]], folder: Path) -> None:
    """Write `heads.safetensors` and the labels, `heads.json`, beside an encoder."""
    save_file({k: v.contiguous() for k, v in heads.state_dict().items()}, folder / "heads.safetensors")
    (folder / "heads.json").write_text(json.dumps(layers, ensure_ascii=False, indent=1))


def load_heads(model: nn.ModuleDict, folder: Path) -> None:
    """Fill `model` from `heads.safetensors`."""
    model.load_state_dict(load_file(folder / "heads.safetensors"))


def saved_layers(folder: Path) -> dict[str, tuple[str, ...]]:
    """The labels of each output layer in a tuned model's `heads.json`."""
    return {name: tuple(labels) for name, labels in json.loads((folder / "heads.json").read_text()).items()}


def load_tagger(folder: Path) -> Tagger:
    """The tagger that `training.finetune_ner` or `training.average` wrote."""
    model = Tagger(load_encoder(folder), saved_layers(folder))
    load_heads(model.heads, folder)
    return model.eval()
