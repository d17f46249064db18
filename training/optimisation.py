"""What both fine-tunings share: batches of like length, the optimiser and its schedule, averaged weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn


class Sequenced(Protocol):
    """Something with piece ids."""

    @property
    def ids(self) -> tuple[int, ...]:
        """Piece ids with special pieces."""
        ...


Item = TypeVar("Item", bound=Sequenced)


def batches(items: Sequence[Item], tokens: int, rng: np.random.Generator | None) -> Iterator[list[Item]]:
    """Items of like length together, at most `tokens` padded pieces a batch; shuffled where `rng` is given."""
    lengths = np.array([len(item.ids) for item in items], dtype=float)
    order = np.argsort(lengths * rng.uniform(0.8, 1.25, len(lengths)) if rng else lengths, kind="stable")
    made: list[list[Item]] = []
    held: list[Item] = []
    longest = 0
    for index in order:
        item = items[index]
        if held and max(longest, len(item.ids)) * (len(held) + 1) > tokens:
            made.append(held)
            held, longest = [], 0
        held.append(item)
        longest = max(longest, len(item.ids))
    if held:
        made.append(held)
    yield from (made[i] for i in (rng.permutation(len(made)) if rng else range(len(made))))


def corrupt(ids: Tensor, mask_id: int, share: float, rng: torch.Generator) -> Tensor:
    """Replace a share of the pieces that are not special by `<mask>`."""
    dice = torch.rand(ids.shape, generator=rng).to(ids.device)
    return torch.where((dice < share) & (ids > 4), torch.full_like(ids, mask_id), ids)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: rounds done of those wanted, the steps of all of them, and the last round's scores."""

    rounds: int = 0
    wanted: int = 0
    steps: int = 0
    row: dict[str, Any] = field(default_factory=dict)


class Optimisation:
    """AdamW over an encoder and, at another rate, the layers on top; weights averaged exponentially in `average`.

    The rate warms up over 8 % of `steps` and falls linearly to zero.
    """

    def __init__(self, model: nn.Module, average: nn.Module, *, lr: float, head_lr: float) -> None:
        encoder = [p for name, p in model.named_parameters() if name.startswith("encoder.")]
        own = [p for name, p in model.named_parameters() if not name.startswith("encoder.")]
        self.model = model
        self.average = average
        self.step = 0
        self._rates = [lr, head_lr]
        self._optimizer = torch.optim.AdamW(
            [{"params": encoder, "lr": lr, "peak": lr}, {"params": own, "lr": head_lr, "peak": head_lr}],
            weight_decay=0.01,
        )

    def save(self, path: Path, progress: Progress) -> None:
        """Write all that the run needs to go on from there."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "step": self.step,
            "steps": progress.steps,
            "rounds": progress.rounds,
            "wanted": progress.wanted,
            "row": progress.row,
            "rates": self._rates,
            "random": torch.get_rng_state(),
        }
        unfinished = path.with_suffix(".part")
        torch.save(state, unfinished)
        unfinished.replace(path)

    def resume(self, path: Path) -> Progress:
        """Take up what `save` wrote, where there is such a file. Raises ValueError where that run had other rates."""
        if not path.exists():
            return Progress()
        state = torch.load(path, weights_only=True)
        if state["rates"] != self._rates:
            was, now = (" and ".join(map(str, each)) for each in (state["rates"], self._rates))
            raise ValueError(f"{path}: a run with the rates {was}, not {now}: go on with these, or in another folder")
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        torch.set_rng_state(state["random"])
        return Progress(state["rounds"], state["wanted"], state["steps"], state["row"])

    def apply(self, loss: Tensor, steps: int) -> float:
        """One step of `steps` in all down the gradient of `loss`; gives its value."""
        progress = self.step / steps
        rate = min(progress / 0.08, max(0.0, (1 - progress) / 0.92)) + 1e-3
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.step += 1
        decay = min(0.998, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            for kept, new in zip(self.average.parameters(), self.model.parameters(), strict=True):
                kept.lerp_(new, 1 - decay)
        return float(loss.item())
