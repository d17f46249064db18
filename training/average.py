"""The mean of several models that were tuned alike (Wortsman et al., "Model soups", 2022), taggers or for stance.

They must share a vocabulary, a shape and their layers' labels, come from one line of encoders and have begun with the
same seed or at a model of that line: means of weights that began apart are worth nothing. What `training.relations`
wrote beside each is averaged too, where all have it.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

SAME = ("tokenizer.json", "heads.json", "relations.json")
"""Files that must be alike in all folders."""

WEIGHTS = ("model.safetensors", "heads.safetensors", "relations.safetensors")


def mean(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each tensor. Raises ValueError where names or shapes differ."""
    first = states[0]
    for state in states[1:]:
        if {name: each.shape for name, each in state.items()} != {name: each.shape for name, each in first.items()}:
            raise ValueError("the weights differ in names or shapes")
    return {
        name: torch.stack([state[name].float() for state in states]).mean(dim=0).to(each.dtype).contiguous()
        for name, each in first.items()
    }


def average(folders: Sequence[Path], out: Path) -> None:
    """Write the mean of the models in `folders` to `out`. Raises ValueError where they do not go together."""
    for name in SAME:
        contents = [path.read_bytes() if (path := folder / name).exists() else None for folder in folders]
        if len(set(contents)) > 1:
            raise ValueError(f"{name} is not the same in {', '.join(map(str, folders))}")
    out.mkdir(parents=True, exist_ok=True)
    for name in WEIGHTS:
        if (folders[0] / name).exists():
            save_file(mean([load_file(folder / name) for folder in folders]), out / name, metadata={"format": "pt"})
    for name in ("config.json", *SAME):
        if (folders[0] / name).exists():
            shutil.copyfile(folders[0] / name, out / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", type=Path, nargs="+", help="directories written by one fine-tuning program")
    parser.add_argument("out", type=Path, help="directory to write")
    arguments = parser.parse_args()
    try:
        average(arguments.models, arguments.out)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(json.dumps({"averaged": len(arguments.models), "out": str(arguments.out)}))


if __name__ == "__main__":
    main()
