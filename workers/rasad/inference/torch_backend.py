"""PyTorch behind the Backend Protocol: a bundle's weights on a GPU in bf16, or on the CPU.

They are its fp32 ones where it carries them, or else those of its int8 graph, dequantised. Needs the `torch` extra, and
is imported only where `models.backend` says so. Only tokens are computed, never padding: the linear layers run over the
tokens of all sequences in one row, attention over each sequence by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from rasad.inference.backend import Logits, available_cores
from rasad.inference.bundle import HEAD_WEIGHTS, WEIGHTS, Bundle, BundleError, json_object
from rasad.inference.dequantisation import HEADS, PROJECTION, RELATIONS, dequantised, is_dequantised

Precision = Literal["fp32", "bf16"]
Weights = Mapping[str, Tensor]
_Layer = tuple[tuple[Tensor, Tensor], ...]

_CLOSING: Final = 2
_FIRST_ORDINARY: Final = 5
"""Pieces below this one are special in the bundled vocabulary; `_CLOSING` ends a text and stands between two."""
_PROCESSOR: Final = Path("/proc/cpuinfo")
_BF16: Final = re.compile(r"^flags\s*:.*\b(?:avx512_bf16|amx_bf16)\b", re.MULTILINE)
"""An x86 processor that multiplies matrices in bf16, as Linux names what it has."""


class TorchBackend:
    """A BERT encoder and its heads, from `model.safetensors` and `heads.safetensors` of a bundle or from its graph.

    `precision` None is bf16 on a GPU and on a CPU with instructions for it, without which it is several times slower
    there than fp32. It is part of the pipeline's version, so nothing is timed: equal processors choose alike.
    `threads` as for OnnxBackend; PyTorch has one setting for the whole process, and the last backend's holds. Raises
    BundleError where the bundle carries no such weights, and its graph is not one of Rasad's training.
    """

    batch_invariant = False
    """Matrix products of another size may add up in another order, and do on GPUs."""

    def __init__(
        self, bundle: Bundle, *, threads: int = 0, precision: Precision | None = None, device: str | None = None
    ) -> None:
        torch.set_num_threads(threads or available_cores())
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        chosen = precision or ("bf16" if self._device.type == "cuda" or has_bf16(_processor()) else "fp32")
        self._dtype = torch.bfloat16 if chosen == "bf16" else torch.float32
        self.name = f"torch {self._device.type} {chosen}"
        parameters = _Parameters(bundle, _weights(bundle), self._device, self._dtype)
        self._heads = _heads(parameters)
        self._encoder = _Encoder(parameters)
        self._relations = _relations(parameters, self._encoder)

    def run(
        self, input_ids: npt.NDArray[np.int64], attention_mask: npt.NDArray[np.int64], heads: Sequence[str]
    ) -> Mapping[str, Logits]:
        """See Backend.run."""
        with torch.no_grad():  # jagged tensors do not work in inference mode
            ids = torch.from_numpy(input_ids).to(self._device)
            keep = torch.from_numpy(attention_mask).to(self._device).bool()
            lengths = attention_mask.sum(axis=1).tolist()
            pairs = self._heads.projection is not None
            types = shared_pieces(ids, keep) if pairs else torch.zeros_like(ids)
            states = self._encoder.run(ids[keep], types[keep], lengths)
            packed = states.last.float()
            if pairs:
                hidden = packed.new_zeros((*ids.shape, packed.shape[-1]))
                hidden[keep] = packed
                features = self._heads.pair_features(ids, keep, types, hidden)
                return {name: self._heads.logits(name, features).cpu().numpy() for name in heads}
            found = {}
            for name in heads:
                relations = self._relations.get(name)
                values = relations.run(states.before, lengths) if relations else self._heads.logits(name, packed)
                found[name] = _padded(values, keep).cpu().numpy()
            return found


def _padded(packed: Tensor, keep: Tensor) -> Tensor:
    rows = packed.new_zeros((*keep.shape, packed.shape[-1]))
    rows[keep] = packed
    return rows


def _processor() -> str:
    """What Linux says of this processor; nothing elsewhere, where fp32 is safe."""
    return _PROCESSOR.read_text(errors="replace") if _PROCESSOR.is_file() else ""


def has_bf16(processor: str) -> bool:
    """Whether `/proc/cpuinfo` tells of instructions that make bf16 faster than fp32."""
    return _BF16.search(processor) is not None


def shared_pieces(ids: Tensor, keep: Tensor) -> Tensor:
    """Token types of pairs, `[rows, length]`: 1 on a piece that also occurs on the other side of its pair."""
    second, content = _sides(ids, keep)
    same = (ids[:, :, None] == ids[:, None, :]) & (second[:, :, None] != second[:, None, :])
    return (same & content[:, :, None] & content[:, None, :]).any(dim=2).long()


def _sides(ids: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """Which pieces lie behind the first closing one, and which are ordinary pieces."""
    return (ids == _CLOSING).long().cumsum(dim=1) > 0, keep & (ids >= _FIRST_ORDINARY)


class _Heads:
    """Linear layers by name; with `projection`, over features of a pair, else over each piece."""

    def __init__(self, layers: Mapping[str, tuple[Tensor, Tensor]], projection: tuple[Tensor, Tensor] | None) -> None:
        self._layers = layers
        self.projection = projection

    def logits(self, name: str, features: Tensor) -> Tensor:
        """`[..., hidden]` to `[..., labels]`."""
        return functional.linear(features, *self._layers[name])

    def pair_features(self, ids: Tensor, keep: Tensor, types: Tensor, hidden: Tensor) -> Tensor:
        """What the sides of each pair have in common and apart, `[rows, hidden]`.

        Those of Conneau et al. (2017) over a cross-encoder's vectors: the first piece, the mean of each side, their
        absolute difference and their product, and the share of each side's pieces that the other has too.
        """
        assert self.projection is not None
        second, content = _sides(ids, keep)
        sides = torch.stack([content & ~second, content & second], dim=1).float()
        sizes = sides.sum(dim=2).clamp(min=1)
        one, other = ((sides @ hidden) / sizes[:, :, None]).unbind(dim=1)
        shared = (sides @ types[:, :, None].float())[:, :, 0] / sizes
        joined = torch.cat([hidden[:, 0], one, other, (one - other).abs(), one * other, shared], dim=1)
        return torch.tanh(functional.linear(joined, *self.projection))


def _heads(parameters: _Parameters) -> _Heads:
    """The layers of all heads but those of kind relation, in fp32. Raises BundleError."""
    bundle, exact = parameters.bundle, replace(parameters, dtype=torch.float32)
    pairs = f"{PROJECTION}weight" in parameters.weights
    layers: dict[str, tuple[Tensor, Tensor]] = {}
    for name, head in bundle.manifest.heads.items():
        if head.kind == "relation":
            continue
        if (head.kind == "sequence") != pairs:
            raise BundleError(f"{bundle.directory}: its weights have no layers for head {name!r} of kind {head.kind}")
        layer = exact.linear(f"{HEADS}{name}")
        if len(layer[0]) != len(head.labels):
            raise BundleError(
                f"{bundle.directory}: its weights give head {name!r} {len(layer[0])} labels, bundle.json lists "
                f"{len(head.labels)}"
            )
        layers[name] = layer
    return _Heads(layers, exact.linear("projection") if pairs else None)


def _weights(bundle: Bundle) -> Weights:
    """All parameters by name: the encoder's as transformers has them, those of heads behind `heads.`."""
    if WEIGHTS in bundle.manifest.files:
        encoder, layers = _loaded(bundle, WEIGHTS), _loaded(bundle, HEAD_WEIGHTS)
        if f"{PROJECTION}weight" in layers:
            return encoder | layers
        return encoder | {f"{HEADS}{name}": value for name, value in layers.items()}
    labelled = [name for name, head in bundle.manifest.heads.items() if head.kind != "relation"]
    try:
        arrays = dequantised(bundle.model)
    except (KeyError, ValueError):
        arrays = {}
    if not is_dequantised(arrays, labelled):
        raise BundleError(
            f"{bundle.directory}: carries no weights for torch ({WEIGHTS}), and training.export did not write its "
            "graph; set models.backend to onnx, or name a bundle that has them"
        )
    return {name: torch.from_numpy(value) for name, value in arrays.items()}


def _loaded(bundle: Bundle, name: str) -> dict[str, Tensor]:
    if name not in bundle.manifest.files:
        raise BundleError(f"{bundle.directory}: bundle.json lists {WEIGHTS} and no {name} beside it")
    try:
        weights: dict[str, Tensor] = load_file(bundle.directory / name)
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{bundle.directory / name}: torch cannot load it: {error}") from error
    return weights


@dataclass(frozen=True, slots=True)
class _States:
    """What an encoder's last layer gives, and what it was given; both `[pieces, hidden]`."""

    last: Tensor
    before: Tensor


@dataclass(frozen=True, slots=True)
class _Parameters:
    """A bundle's weights, and where and in which precision they are wanted.

    All raise BundleError where one is missing.
    """

    bundle: Bundle
    weights: Weights
    device: torch.device
    dtype: torch.dtype

    def stacked(self, *names: str) -> Tensor:
        """Tables or vectors, one below the other."""
        try:
            return torch.cat([self.weights[name] for name in names]).to(self.device, self.dtype)
        except KeyError as error:
            raise BundleError(f"{self.bundle.directory}: its weights lack {error}; export the bundle again") from error

    def linear(self, *names: str) -> tuple[Tensor, Tensor]:
        """Weights and biases, one below the other."""
        weight, bias = (self.stacked(*(f"{name}.{part}" for name in names)) for part in ("weight", "bias"))
        return weight, bias

    def layer(self, name: str) -> _Layer:
        """A layer of an encoder."""
        return (
            self.linear(*(f"{name}.attention.self.{part}" for part in ("query", "key", "value"))),
            self.linear(f"{name}.attention.output.dense"),
            self.linear(f"{name}.attention.output.LayerNorm"),
            self.linear(f"{name}.intermediate.dense"),
            self.linear(f"{name}.output.dense"),
            self.linear(f"{name}.output.LayerNorm"),
        )


class _Encoder:
    """BERT (Devlin et al. 2018) over the pieces of many sequences in one row."""

    def __init__(self, parameters: _Parameters) -> None:
        directory = parameters.bundle.directory
        config = json_object(directory / "config.json")
        if config.get("model_type") != "bert" or config.get("hidden_act") != "gelu":
            raise BundleError(
                f"{directory}: a {config.get('model_type')} model with {config.get('hidden_act')}; torch runs "
                "BERT with gelu alone: set models.backend to onnx"
            )
        self._attend: Callable[[Tensor, Tensor, Tensor, list[int]], Tensor] = (
            varlen_attention if parameters.device.type == "cuda" else attention_by_sequence
        )
        self._heads = int(config["num_attention_heads"])
        self._epsilon = float(config["layer_norm_eps"])
        tables = ("word", "position", "token_type")
        self._embeddings = [parameters.stacked(f"embeddings.{name}_embeddings.weight") for name in tables]
        self._norm = parameters.linear("embeddings.LayerNorm")
        layers = range(int(config["num_hidden_layers"]))
        self._layers = [parameters.layer(f"encoder.layer.{number}") for number in layers]

    def run(self, ids: Tensor, types: Tensor, lengths: list[int]) -> _States:
        """The vectors of sequences that lie one after the other in `ids`."""
        positions = torch.cat([torch.arange(length, device=ids.device) for length in lengths])
        word, position, token_type = self._embeddings
        before = hidden = self._normalised(word[ids] + position[positions] + token_type[types], self._norm)
        for layer in self._layers:
            before, hidden = hidden, self.through(layer, hidden, lengths)
        return _States(hidden, before)

    def through(self, layer: _Layer, hidden: Tensor, lengths: list[int]) -> Tensor:
        """What a layer makes of `[pieces, hidden]`."""
        projections, output, output_norm, wide, narrow, norm = layer
        query, key, value = functional.linear(hidden, *projections).unflatten(-1, (3, self._heads, -1)).unbind(1)
        attended = self._attend(query, key, value, lengths).flatten(1)
        hidden = self._normalised(functional.linear(attended, *output) + hidden, output_norm)
        inner = functional.gelu(functional.linear(hidden, *wide))
        return self._normalised(functional.linear(inner, *narrow) + hidden, norm)

    def _normalised(self, hidden: Tensor, norm: tuple[Tensor, Tensor]) -> Tensor:
        return functional.layer_norm(hidden, hidden.shape[-1:], *norm, eps=self._epsilon)


class _Relations:
    """What reads stances: a layer of its own beside the encoder's last one, and two linear layers (training.tagger)."""

    def __init__(self, parameters: _Parameters, encoder: _Encoder) -> None:
        self._encoder = encoder
        self._layer = parameters.layer(f"{RELATIONS}encoder")
        self._inner, self._outer = parameters.linear(f"{RELATIONS}inner"), parameters.linear(f"{RELATIONS}outer")

    def run(self, before: Tensor, lengths: list[int]) -> Tensor:
        """`[pieces, values]` of what the encoder's last layer was given."""
        states = self._encoder.through(self._layer, before, lengths)
        inner = functional.gelu(functional.linear(states, *self._inner))
        return functional.linear(inner, *self._outer).float()


def _relations(parameters: _Parameters, encoder: _Encoder) -> Mapping[str, _Relations]:
    bundle = parameters.bundle
    names = [name for name, head in bundle.manifest.heads.items() if head.kind == "relation"]
    if names and f"{RELATIONS}inner.weight" not in parameters.weights:
        raise BundleError(
            f"{bundle.directory}: its weights have none for head {names[0]!r} of kind relation; leave {WEIGHTS} out of "
            "bundle.json, and torch reads those of the graph"
        )
    return {name: _Relations(parameters, encoder) for name in names}


def attention_by_sequence(query: Tensor, key: Tensor, value: Tensor, lengths: list[int]) -> Tensor:
    """Each sequence by itself; all are `[pieces, heads, size]`. On a CPU faster than any kernel over all of them."""
    parts = zip(*(each.transpose(0, 1).split(lengths, dim=1) for each in (query, key, value)), strict=True)
    attended = [functional.scaled_dot_product_attention(*(each[None] for each in part))[0] for part in parts]
    return torch.cat(attended, dim=1).transpose(0, 1)


def varlen_attention(query: Tensor, key: Tensor, value: Tensor, lengths: list[int]) -> Tensor:
    """The same in one kernel over jagged tensors: on a GPU the variable-length flash attention."""
    offsets = torch.tensor([0, *lengths], device=query.device).cumsum(0)
    jagged = (
        torch.nested.nested_tensor_from_jagged(
            each.contiguous(), offsets, min_seqlen=min(lengths), max_seqlen=max(lengths)
        ).transpose(1, 2)
        for each in (query, key, value)
    )
    return functional.scaled_dot_product_attention(*jagged).transpose(1, 2).values()
