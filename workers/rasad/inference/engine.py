"""A bundle at work: sequences in any number, packed, run, and handed back in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from rasad import metrics
from rasad.inference.backend import Backend, BackendKind, Logits, open_backend
from rasad.inference.bundle import Bundle
from rasad.inference.packing import pack
from rasad.inference.tokenization import Ints, TextTokenizer

TOKEN_BUDGET: Final = 1024
"""Padded tokens a batch: between 512 and 2,048 two cores are at their fastest, beyond that caches overflow."""

_PADDING: Final = 0
"""Any piece will do as padding: the attention mask hides it, and its own logits are cut off."""


class Engine:
    """Runs token sequences of one bundle.

    `token_budget` bounds the padded tokens of a batch. Where the backend's logits depend on what shares a batch
    (`batch_invariant` false), only sequences of one group are batched together, under a budget that no setting
    changes: the same group then always makes the same batches, and so the same bytes.
    """

    def __init__(self, bundle: Bundle, backend: Backend, *, token_budget: int = TOKEN_BUDGET) -> None:
        self.bundle = bundle
        self.tokenizer = TextTokenizer(bundle)
        self.backend = backend
        self._mixes = backend.batch_invariant
        self._budget = token_budget if self._mixes else TOKEN_BUDGET

    @classmethod
    def open(
        cls, bundle: Bundle, *, threads: int = 0, token_budget: int = TOKEN_BUDGET, backend: BackendKind = "onnx"
    ) -> Engine:
        """The bundle on a backend of that kind. Raises BundleError."""
        return cls(bundle, open_backend(backend, bundle, threads=threads), token_budget=token_budget)

    def run(
        self, sequences: Sequence[Ints], heads: Sequence[str], *, groups: Sequence[int]
    ) -> list[Mapping[str, Logits]]:
        """Logits of each sequence by head: `[pieces, labels]` of a token head, `[labels]` of a sequence head.

        Sequences hold their special pieces, and so do the logits. `groups` says which sequences belong together,
        one number a sequence (the article's).
        """
        with metrics.stage("encode"):
            return self._run(sequences, heads, groups)

    def _run(
        self, sequences: Sequence[Ints], heads: Sequence[str], groups: Sequence[int]
    ) -> list[Mapping[str, Logits]]:
        task = self.bundle.manifest.task
        results: list[Mapping[str, Logits]] = [{}] * len(sequences)
        for batch in self._batches([len(sequence) for sequence in sequences], groups):
            lengths = np.array([len(sequences[index]) for index in batch])
            mask = (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64)
            ids = np.full(mask.shape, _PADDING, np.int64)
            ids[mask.astype(bool)] = np.concatenate([sequences[index] for index in batch])
            logits = self.backend.run(ids, mask, heads)
            metrics.REAL_TOKENS.labels(task=task).inc(int(lengths.sum()))
            metrics.PADDED_TOKENS.labels(task=task).inc(mask.size)
            for row, index in enumerate(batch):
                results[index] = {name: _row(values, row, int(lengths[row])) for name, values in logits.items()}
        return results

    def _batches(self, lengths: Sequence[int], groups: Sequence[int]) -> list[list[int]]:
        if self._mixes:
            return pack(lengths, self._budget)
        members: dict[int, list[int]] = {}
        for index, group in enumerate(groups):
            members.setdefault(group, []).append(index)
        return [
            [indices[position] for position in batch]
            for indices in members.values()
            for batch in pack([lengths[index] for index in indices], self._budget)
        ]


def _row(values: Logits, row: int, length: int) -> Logits:
    return values[row, :length] if values.ndim == 3 else values[row]
