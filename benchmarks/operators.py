"""Where the time of the bundled models goes, operator by operator, as ONNX Runtime itself measures it."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime
import orjson

from benchmarks import articles
from benchmarks.options import DataOption, QuickOption, run
from benchmarks.tables import Report, figure, percent, whole
from rasad import metrics
from rasad.enrich.enricher import Enricher
from rasad.enrich.stance import StanceModel
from rasad.inference.backend import Logits, available_cores, session_options
from rasad.inference.bundle import Bundle, load_bundle
from rasad.inference.engine import Engine
from rasad.inference.tokenization import Ints

LEAST_SHARE: Final = 0.01
"""Operators below it are one row together."""
AROUND: Final = (
    "Products by weights are MatMulInteger or MatMulIntegerToFloat. Operators that BERT has no name for make int8 rows "
    "of activations before them, and fp32 of what they give."
)
_NODE: Final = "Node"
_SUFFIX: Final = "_kernel_time"


class ProfiledBackend:
    """ONNX Runtime as `rasad.inference.backend.OnnxBackend` sets it, with its profiler on, which costs a little."""

    batch_invariant = True
    name = "onnx, profiled"

    def __init__(self, bundle: Bundle, scratch: Path) -> None:
        options = session_options()
        options.enable_profiling = True
        options.profile_file_prefix = str(scratch / bundle.manifest.task)
        self._session = onnxruntime.InferenceSession(bundle.model, options, providers=["CPUExecutionProvider"])
        self.runs = self.tokens = 0

    def run(self, input_ids: Ints, attention_mask: npt.NDArray[np.int64], heads: Sequence[str]) -> Mapping[str, Logits]:
        """See rasad.inference.backend.Backend."""
        self.runs += 1
        self.tokens += int(attention_mask.sum())
        feed = {"input_ids": input_ids, "attention_mask": attention_mask}
        return dict(zip(heads, self._session.run([f"logits_{name}" for name in heads], feed), strict=True))

    def profile(self) -> Profile:
        """Of all runs so far; ends the profiling."""
        return Profile.of(orjson.loads(Path(self._session.end_profiling()).read_bytes()))


@dataclass(frozen=True, slots=True)
class Profile:
    """By operator: seconds, and how often it was called."""

    seconds: Mapping[str, float]
    calls: Mapping[str, int]

    @classmethod
    def of(cls, events: Sequence[Mapping[str, Any]]) -> Profile:
        """From ONNX Runtime's trace, in the format of Chrome's: `dur` is in microseconds."""
        seconds: Counter[str] = Counter()
        calls: Counter[str] = Counter()
        for event in events:
            if event.get("cat") == _NODE and event["name"].endswith(_SUFFIX):
                operator = event["args"]["op_name"]
                seconds[operator] += event["dur"] / 1e6
                calls[operator] += 1
        return cls(seconds, calls)


def stages() -> dict[str, float]:
    """Seconds in each stage of enrichment so far."""
    (family,) = metrics.STAGE_SECONDS.collect()
    return {each.labels["stage"]: each.value for each in family.samples if each.name.endswith("_sum") and each.value}


def add_rows(report: Report, task: str, backend: ProfiledBackend) -> None:
    """A row for each operator that takes its time, the dearest first."""
    found = backend.profile()
    total = sum(found.seconds.values())
    dear = [name for name, seconds in Counter(found.seconds).most_common() if seconds >= LEAST_SHARE * total]
    rows = [([name], name) for name in dear] + [([*found.seconds.keys() - set(dear)], "all others")]
    for names, shown in rows:
        seconds = sum(found.seconds[name] for name in names)
        calls = sum(found.calls[name] for name in names)
        report.add(
            task,
            shown,
            whole(calls / backend.runs),
            figure(1e6 * seconds / backend.tokens),
            percent(seconds / total),
        )


def main(data: DataOption = None, quick: QuickOption = False) -> None:
    """Operators of both bundled graphs by their share of the time, and the stages of an article's enrichment.

    Articles are enriched as a worker does it; the profiler is ONNX Runtime's own, and its cost is in the figures. The
    profile is of the graph after ONNX Runtime's own rewriting, so operators may be fused ones.

    Example: `python -m benchmarks.operators --data DIR`
    """
    count = 4 if quick else 40
    records = list(articles.as_records(articles.load(data, count), "profiled"))
    report = Report(
        f"Operators: {count} articles of {articles.origin(data)} on {available_cores()} cores",
        ("model", "operator", "calls a run", "us a token", "share"),
        numeric=2,
    )
    with tempfile.TemporaryDirectory(prefix="rasad-bench-") as folder:
        bundles = {task: load_bundle(None, task=task) for task in ("ner", "stance")}
        backends = {task: ProfiledBackend(bundle, Path(folder)) for task, bundle in bundles.items()}
        ner, stance = (Engine(bundle, backends[task]) for task, bundle in bundles.items())
        enricher = Enricher(ner, StanceModel(stance))
        before = stages()
        enricher.enrich(records)
        spent = {name: seconds - before.get(name, 0.0) for name, seconds in stages().items()}
        for task, backend in backends.items():
            add_rows(report, task, backend)
    total = sum(spent.values())
    shares = ", ".join(f"{name} {100 * seconds / total:.1f} %" for name, seconds in spent.items())
    runs = ", ".join(f"{task} {each.runs} runs of {whole(each.tokens / each.runs)}" for task, each in backends.items())
    report.notes += [
        f"Stages of an article's time: {shares}; `encode` is the models.",
        f"Tokens, padding not counted: {runs}.",
        AROUND,
    ]
    report.print()


if __name__ == "__main__":
    run(main)
