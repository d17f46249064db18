"""The whole pipeline, from base weights to bundles; finished steps are skipped."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RAW = ("ant_multisource", "ant_jawhara", "egypt_news2013")
"""Raw corpora that shipped weights may be trained on."""


@dataclass(frozen=True, slots=True)
class Step:
    """A command and the file that is there once it has run."""

    module: str
    arguments: tuple[str, ...]
    made: Path


def steps(data: Path, work: Path, minutes: float) -> Iterator[Step]:
    """Every step in order; `work` holds what they make."""
    raw = tuple(str(data / "raw" / f"{name}.jsonl.zst") for name in RAW)
    base, pruned, encoder = work / "base", work / "pruned", work / "encoder"
    yield Step("base_weights", (str(base),), base / "tokenizer.json")
    yield Step("vocabulary", (str(base), str(pruned), *raw, "--limit", "60000"), pruned / "config.json")
    yield Step("pretrain", (str(pruned), str(encoder), *raw, "--minutes", str(minutes)), encoder / "tokenizer.json")
    for task in ("ner", "stance"):
        tuned, graph, bundle = work / task, work / f"{task}-graph", work / "bundles" / task
        yield Step(f"finetune_{task}", (str(encoder), str(data), str(tuned)), tuned / "tokenizer.json")
        yield Step("export", (task, str(tuned), str(graph)), graph / "model.onnx")
        yield Step("bundle", (task, str(tuned), str(graph / "model.onnx"), str(bundle)), bundle / "bundle.json")
        calibrated = work / f"{task}-calibration.json"
        yield Step("calibrate", (task, str(bundle), str(data), str(calibrated)), calibrated)
        final = work / "calibrated" / task
        arguments = (task, str(tuned), str(graph / "model.onnx"), str(final), "--calibration", str(calibrated))
        yield Step("bundle", arguments, final / "bundle.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpora")
    parser.add_argument("--work", type=Path, default=Path("runs/default"), help="folder for what the steps make")
    parser.add_argument("--minutes", type=float, default=50, help="minutes of pre-training (default: %(default)s)")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        parser.error(f"--data {arguments.data}: no such folder; see training/README.md for what it must hold")
    for step in steps(arguments.data, arguments.work, arguments.minutes):
        command = [sys.executable, "-m", f"training.{step.module}", *step.arguments]
        if step.made.exists():
            print(f"done already: {step.made}", flush=True)
            continue
        print(shlex.join(command[1:]), flush=True)
        subprocess.run(command, check=True)
    print(f"bundles: {arguments.work / 'calibrated'}; copy them to workers/rasad/models to ship them")


if __name__ == "__main__":
    main()
