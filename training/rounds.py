"""The shape that all fine-tunings share: rounds of batches, each logged, scored and saved, so that a run goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from training.optimisation import Optimisation, Progress

Group = TypeVar("Group")


def no_keeping(_: dict[str, Any]) -> None:
    """Keeps nothing."""


def train_in_rounds(
    optimisation: Optimisation,
    folder: Path,
    rounds: int,
    *,
    groups: Callable[[int], Sequence[Group]],
    loss: Callable[[Group, torch.Generator], Tensor],
    scores: Callable[[int], dict[str, Any]],
    keep: Callable[[dict[str, Any]], None] = no_keeping,
    seed: int,
) -> dict[str, Any]:
    """Train until `rounds` rounds are done, after those that `folder` has already; gives the last round's row.

    Rounds count from 0. `groups` makes the batches of one, `loss` gets a batch and what to draw from, `scores` measures
    what there is after one. A row of `log.jsonl` is the round, its mean loss and the scores; `keep` gets it, before the
    checkpoint is written. The rate falls to nothing over all rounds, so a run is of as many as it was begun with: ends
    the program where `folder` has one of other rounds or rates.
    """
    checkpoint = folder / "checkpoint.pt"
    try:
        before = optimisation.resume(checkpoint)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    if before.rounds and before.wanted != rounds:
        raise SystemExit(f"{checkpoint}: a run of {before.wanted} rounds, not {rounds}; begin one in another folder")
    steps, row = before.steps, before.row
    for number in range(before.rounds, rounds):
        generator = torch.Generator().manual_seed(seed * 1000 + number)
        made = groups(number)
        steps = steps or len(made) * rounds
        bar = tqdm(made, desc=f"round {number + 1}/{rounds}", unit=" batches", mininterval=10)
        losses = [optimisation.apply(loss(group, generator), steps) for group in bar]
        row = {"round": number + 1, "loss": round(float(np.mean(losses)), 4), **scores(number)}
        with (folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(row) + "\n")
        tqdm.write(json.dumps(row))
        keep(row)
        optimisation.save(checkpoint, Progress(number + 1, rounds, steps, row))
    return row
