"""A BertModel with one linear output layer a corpus over the mean of a word's pieces."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import BertConfig, BertModel

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


class Tagger(nn.Module):
    """Encoder, dropout and `heads[layer]`: linear layers from hidden size to that layer's labels."""

    def __init__(self, encoder: BertModel, layers: dict[str, tuple[str, ...]]) -> None:
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
        hidden = self.encoder(input_ids=batch.ids, attention_mask=batch.mask).last_hidden_state
        flat = hidden.reshape(-1, hidden.shape[-1]).float()
        total = sum(batch.sizes)
        summed = torch.zeros(total, flat.shape[-1], device=flat.device).index_add(0, batch.words, flat[batch.pieces])
        counts = torch.zeros(total, device=flat.device).index_add(
            0, batch.words, torch.ones_like(batch.words, dtype=torch.float32)
        )
        return summed / counts[:, None]

    def forward(self, batch: TaggerBatch) -> dict[str, Tensor]:
        """Logits of every layer: `[words, labels]`."""
        features = self.dropout(self.word_features(batch))
        return {name: head(features) for name, head in self.heads.items()}


def load_encoder(path: Path, *, layers: int | None = None) -> BertModel:
    """The encoder in `path`, its first `layers` layers where given; no dropout inside, which costs a CPU dearly."""
    config = BertConfig.from_pretrained(
        path, attn_implementation="eager", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    if layers:
        config.num_hidden_layers = layers
    return BertModel.from_pretrained(path, config=config, add_pooling_layer=False)


def save_heads(heads: nn.ModuleDict, layers: dict[str, tuple[str, ...]], folder: Path) -> None:
    """Write `heads.safetensors` and the labels, `heads.json`, beside an encoder."""
    save_file({k: v.contiguous() for k, v in heads.state_dict().items()}, folder / "heads.safetensors")
    (folder / "heads.json").write_text(json.dumps(layers, ensure_ascii=False, indent=1))


def load_heads(model: nn.ModuleDict, folder: Path) -> None:
    """Fill `model` from `heads.safetensors`."""
    model.load_state_dict(load_file(folder / "heads.safetensors"))
