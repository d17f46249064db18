"""The whole pipeline, from base weights to bundles; finished steps are skipped."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rasad.evaluation.report import ANERCORP_DEV_NAME

RAW = ("ant_multisource", "ant_jawhara", "egypt_news2013")
"""Raw corpora that shipped weights may be trained on."""

FIRST = "news=7,labels=5,anercorp=5,aqmar=4,panx=0.3,wojood=0.8"
"""Passes of the first tagger, which reads the labels of our own that were made from scratch alone."""

FURTHER = (
    "news=2.8,labels=1,corrected=0.4,anercorp=2.4,aqmar=1.6,panx=0.12,wojood=0.32",
    "news=2.4,labels=1,corrected=0.4,anercorp=3.6,aqmar=2.2,panx=0.12,wojood=0.32",
)
"""Passes of the two taggers that go on from the mean of the first two."""

LAST = (
    "news=1.6,labels=1,anercorp=2.4,aqmar=1,panx=0.06,wojood=0.16",
    "news=1.6,corrected=0.3,anercorp=2.4,aqmar=1,panx=0.06,wojood=0.16",
)
"""Passes of the two that go on from the mean of all four, once what ANERcorp's dev set is for has been chosen."""

OUTSIDE = "anercorp=0.25"
"""What `training.calibrate` chose on ANERcorp's dev set before the last two taggers were trained on it."""

LONGER = 2.09
"""Minutes of the second encoder's pre-training, the first one's among them, as a multiple of those."""

AGAIN = "news=3,labels=0.2,claims=0.7,headlines=0.2,ans=1.2,ans_article=0.02,unifiedfc=1.6,nli=0.3,target=1.2"
"""Passes with which a run for stance goes on: claims told in other words, which it took for contradictions."""


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
    longer = work / "encoder-longer"
    more = (str(pruned), str(longer), *raw, "--minutes", str(minutes * LONGER), "--after", str(encoder))
    yield Step("pretrain", more, longer / "tokenizer.json")
    one, other, tagger = work / "ner-first", work / "ner-second", work / "ner"
    mean, mean_of_four = work / "ner-mean", work / "ner-mean-of-four"
    related_to_four, related_to_six = work / "relations-of-four", work / "relations-of-six"
    related, small = work / "relations", work / "ner-small"
    yield Step("finetune_ner", (str(encoder), str(data), str(one), "--passes", FIRST), one / "tokenizer.json")
    yield Step("finetune_ner", (str(longer), str(data), str(other)), other / "tokenizer.json")
    yield Step("average", (str(one), str(other), str(mean)), mean / "tokenizer.json")
    further = [work / "ner-third", work / "ner-fourth"]
    yield from gone_on(mean, data, further, FURTHER, "--rounds", "4", seed=1)
    four = (str(one), str(other), *map(str, further))
    yield Step("average", (*four, str(mean_of_four)), mean_of_four / "tokenizer.json")
    last = [work / "ner-fifth", work / "ner-sixth"]
    yield from gone_on(mean_of_four, data, last, LAST, "--rounds", "2", "--whole-anercorp", seed=3)
    yield Step("average", (*four, *map(str, last), str(tagger)), tagger / "tokenizer.json")
    yield Step("relations", (str(mean_of_four), str(data), str(related_to_four)), related_to_four / "relations.json")
    slower = ("--rounds", "4", "--lr", "1e-4", "--head-lr", "1e-3")
    more = ("--relations", str(related_to_four), *slower, "--seed", "1")
    made = related_to_six / "relations.json"
    yield Step("relations", (str(tagger), str(data), str(related_to_six), *more), made)
    guided = {seed: work / f"relations-guided-{seed}" for seed in (4, 5, 6)}
    for seed, folder in guided.items():
        more = ("--relations", str(related_to_six), "--guided", *slower, "--dropout", "0.35", "--seed", str(seed))
        yield Step("relations", (str(tagger), str(data), str(folder), *more), folder / "relations.json")
    together = work / "relations-mean"
    yield Step("average", (*map(str, guided.values()), str(together)), together / "relations.json")
    yield Step("relations", (str(together), str(data), str(related), "--rounds", "0"), related / "relations.json")
    yield Step("distil", (str(tagger), str(data), str(small)), small / "tokenizer.json")
    stance = work / "stance"
    ended = [work / "stance-first-again", work / "stance-second-again"]
    for source, begun, again in zip((encoder, longer), ("stance-first", "stance-second"), ended, strict=True):
        yield Step("finetune_stance", (str(source), str(data), str(work / begun)), work / begun / "tokenizer.json")
        more = (str(work / begun), str(data), str(again), "--passes", AGAIN, "--lr", "6e-5", "--head-lr", "6e-4")
        yield Step("finetune_stance", more, again / "tokenizer.json")
    yield Step("average", (*map(str, ended), str(stance)), stance / "tokenizer.json")
    seen = ("--trained-on", ANERCORP_DEV_NAME, "--outside", OUTSIDE)
    yield from bundled("ner", related, data, work, *seen)
    yield from bundled("ner-fast", small, data, work)
    yield from bundled("stance", stance, data, work)


def gone_on(
    tagger: Path, data: Path, folders: Sequence[Path], passes: Sequence[str], *more: str, seed: int
) -> Iterator[Step]:
    """Runs for NER that go on from `tagger` at a lower rate, one a folder, seeds from `seed` on."""
    for number, (folder, each) in enumerate(zip(folders, passes, strict=True), start=seed):
        options = ("--passes", each, "--lr", "2e-4", "--head-lr", "1e-3", "--seed", str(number), *more)
        yield Step("finetune_ner", (str(tagger), str(data), str(folder), *options), folder / "tokenizer.json")


def bundled(name: str, tuned: Path, data: Path, work: Path, *more: str) -> Iterator[Step]:
    """From a fine-tuned model to the bundle of that name that ships; `more` are options of `training.bundle`."""
    task, _, _ = name.partition("-")
    graph, bundle = work / f"{name}-graph", work / "bundles" / name
    yield Step("export", (task, str(tuned), str(graph), str(data)), graph / "model.onnx")
    made = (task, str(tuned), str(graph / "model.onnx"))
    called = ("--name", f"rasad-{name}", *more)
    yield Step("bundle", (*made, str(bundle), *called), bundle / "bundle.json")
    calibration, final = work / f"{name}-calibration.json", work / "calibrated" / name
    yield Step("calibrate", (task, str(bundle), str(data), str(calibration)), calibration)
    yield Step("bundle", (*made, str(final), *called, "--calibration", str(calibration)), final / "bundle.json")
    figures = work / f"{name}-figures.jsonl"
    yield Step("measure", (str(final), str(data), str(figures)), figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpora")
    parser.add_argument("--work", type=Path, default=Path("runs/default"), help="folder for what the steps make")
    parser.add_argument("--minutes", type=float, default=100, help="minutes of pre-training (default: %(default)s)")
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
