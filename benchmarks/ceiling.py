"""How much of what this processor can multiply Rasad's engine makes use of."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch

from benchmarks import articles, weights
from benchmarks.gemm import Gemm, layer_gemms, onnx_gemm, token_operations, torch_gemm
from benchmarks.measuring import interleaved
from benchmarks.options import DataOption, QuickOption, err, run
from benchmarks.tables import Report, percent, whole
from benchmarks.weights import Shape, bundled_shape
from rasad.enrich.reading import documents
from rasad.inference.backend import available_cores
from rasad.inference.bundle import Bundle, load_bundle
from rasad.inference.engine import TOKEN_BUDGET, Engine
from rasad.inference.tokenization import Ints

FORMATS: Final = ("int8", "fp32", "bf16")
_DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16}
_ENGINE: Final = "engine"
_REPEATS: Final = 8
"""Products in one measurement: one alone takes less than a millisecond."""
SECONDS: Final = 60.0
"""For the rounds of each encoder, where seven take less."""


def windows(engine: Engine, texts: Sequence[tuple[str, str]]) -> list[Ints]:
    """The sequences that the engine is given for these articles."""
    template = engine.tokenizer.template
    return [
        template.single(ids[start:end])
        for each in documents(engine, texts)
        for ids in [np.concatenate((each.title.tokenized.ids, each.body.tokenized.ids))]
        for start, end in each.windows
    ]


def measure(
    shape: Shape, bundle: Bundle, texts: Sequence[tuple[str, str]], rounds: int, seconds: float, report: Report
) -> None:
    """Rows for an encoder: each product alone, those of a layer together, and the engine beside them."""
    gemms = layer_gemms(shape, TOKEN_BUDGET)
    engine = Engine.open(bundle)
    sequences = windows(engine, texts)
    head, _ = bundle.head()
    ways = {_key(gemm, kind): _repeated(gemm, kind) for gemm in gemms for kind in FORMATS}
    ways[_ENGINE] = lambda: engine.run(sequences, [head], groups=[0] * len(sequences))
    timings = interleaved(ways, rounds, name=shape.name, seconds=seconds)
    for gemm in gemms:
        rates = [_REPEATS * gemm.operations / timings.median(_key(gemm, kind)) / 1e9 for kind in FORMATS]
        report.add(shape.name, f"{gemm}, {gemm.count} a layer", *map(whole, rates), "")
    layer = [statistics.median(_layer_rate(gemms, kind, times) for times in timings.each_round()) for kind in FORMATS]
    report.add(shape.name, "a layer's products together", *map(whole, layer), "100 %")
    lengths = [len(each) for each in sequences]
    # Attention's cost grows with the square of a window, so it is the longer windows that most tokens sit in.
    window = sum(length**2 for length in lengths) / sum(lengths)
    operations = sum(lengths) * token_operations(shape, window)
    share = statistics.median(
        operations / times[_ENGINE] / 1e9 / _layer_rate(gemms, "int8", times) for times in timings.each_round()
    )
    rate = operations / timings.median(_ENGINE) / 1e9
    report.add(shape.name, "Rasad's engine, padding not counted", whole(rate), "", "", percent(share))


def _key(gemm: Gemm, kind: str) -> str:
    return f"{kind} {gemm}"


def _repeated(gemm: Gemm, kind: str) -> Callable[[], object]:
    call = onnx_gemm(gemm) if kind == "int8" else torch_gemm(gemm, _DTYPES[kind])

    def repeat() -> None:
        for _ in range(_REPEATS):
            call()

    return repeat


def _layer_rate(gemms: Sequence[Gemm], kind: str, times: Mapping[str, float]) -> float:
    """Gigaoperations a second over the products of a layer: the ceiling of an encoder made of nothing else."""
    seconds = sum(gemm.count * times[_key(gemm, kind)] / _REPEATS for gemm in gemms)
    return sum(gemm.count * gemm.operations for gemm in gemms) / seconds / 1e9


def main(data: DataOption = None, quick: QuickOption = False) -> None:
    """Gigaoperations a second of the encoder's matrix products alone, and of Rasad's engine as a share of them.

    The products are those of a batch of 1,024 tokens, the engine's budget: int8 in ONNX Runtime (MatMulInteger, as
    the bundles' graphs have it), fp32 and bf16 in torch. The engine's figure counts the encoder's operations on real
    tokens, from its configuration, and the time includes all that is no product: attention's softmax, norms, the
    quantising of activations, padding.

    Example: `python -m benchmarks.ceiling --data DIR`
    """
    torch.set_num_threads(available_cores())
    count, rounds, seconds = (4, 3, 0.0) if quick else (12, 7, SECONDS)
    texts = [(each.title, each.body) for each in articles.load(data, count)]
    report = Report(
        f"Ceiling: Gop/s on {available_cores()} cores, {count} articles of {articles.origin(data)}, "
        f"medians over {rounds} rounds or more",
        ("encoder", "work", "int8", "fp32", "bf16", "of the int8 ceiling"),
        numeric=2,
    )
    bundle = load_bundle(None, task="ner")
    measure(bundled_shape(bundle), bundle, texts, rounds, seconds, report)
    if not quick:
        with tempfile.TemporaryDirectory(prefix="rasad-bench-") as scratch:
            err.print("making a bundle of random weights ...", style="dim")
            base = weights.random_ner(weights.BERT_BASE, Path(scratch))
            measure(weights.BERT_BASE, base.bundle, texts[: count // 2], rounds, seconds, report)
    report.print()


if __name__ == "__main__":
    run(main)
