"""A run of fine-tuning goes on where it ended, and is not taken for another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.training


def run(folder: Path, rounds: int, lr: float = 0.1) -> dict[str, Any]:
    """Teach a single number to be one, a batch a round."""
    import copy

    import torch

    from training.optimisation import Optimisation
    from training.rounds import train_in_rounds

    torch.manual_seed(0)
    model = torch.nn.Linear(1, 1)
    optimisation = Optimisation(model, copy.deepcopy(model), lr=lr, head_lr=lr)
    return train_in_rounds(
        optimisation,
        folder,
        rounds,
        groups=lambda number: [number],
        loss=lambda number, generator: (model(torch.ones(1)) - 1).square().sum(),
        scores=lambda number: {"score": number},
        seed=0,
    )


def test_a_run_that_is_done_gives_its_last_scores_again(tmp_path: Path) -> None:
    row = run(tmp_path, 3)
    assert (row["round"], row["score"]) == (3, 2)
    assert run(tmp_path, 3) == row
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 3


def test_another_number_of_rounds_or_another_rate_is_another_run(tmp_path: Path) -> None:
    run(tmp_path, 2)
    with pytest.raises(SystemExit, match="a run of 2 rounds, not 3"):
        run(tmp_path, 3)
    with pytest.raises(SystemExit, match=r"with the rates 0\.1 and 0\.1, not 0\.2 and 0\.2"):
        run(tmp_path, 2, lr=0.2)
