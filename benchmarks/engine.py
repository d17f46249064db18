"""Rasad's engine beside the ways in which one runs such a model otherwise, on the same weights and whole articles."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import torch
import transformers
import typer

from benchmarks import articles, weights
from benchmarks.gemm import dtypes_of
from benchmarks.machine import cpuinfo
from benchmarks.measuring import Timings, interleaved
from benchmarks.options import DataOption, QuickOption, err, run
from benchmarks.tables import Report, figure, percent, times, whole
from benchmarks.weights import Weights
from rasad.enrich.ner import Name, names
from rasad.enrich.reading import documents, score_words
from rasad.inference.backend import Logits, available_cores
from rasad.inference.bundle import bundled_directory, load_bundle
from rasad.inference.engine import TOKEN_BUDGET, Engine
from rasad.inference.packing import pack

Text = tuple[str, str]
"""Title and body."""

RASAD: Final = "Rasad, ONNX int8"
FAST: Final = "Rasad, the fast bundle"
SLOWEST: Final = "pipeline, batch 1"
SECONDS: Final = 120.0
"""For the rounds of each model, where seven take less."""


class TorchBackend:
    """transformers' own model behind Rasad's engine: what is left is the difference of the two runtimes."""

    batch_invariant = True

    def __init__(self, model: Path, dtype: torch.dtype) -> None:
        self.name = f"torch {dtype}"
        with weights.quiet():
            self._model = transformers.AutoModelForTokenClassification.from_pretrained(model, dtype=dtype).eval()

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def run(self, input_ids: Any, attention_mask: Any, heads: Sequence[str]) -> Mapping[str, Logits]:  # noqa: ANN401
        """See rasad.inference.backend.Backend; the model has one head."""
        logits = self._model(torch.from_numpy(input_ids), attention_mask=torch.from_numpy(attention_mask)).logits
        return {heads[0]: logits.float().numpy()}


@dataclass(frozen=True, slots=True)
class Way:
    """One way to find the names in all articles: `tokens` of them are read, in `windows`, `padding` of the work is
    for padding (a share of 1).
    """

    run: Callable[[], object]
    tokens: int
    windows: int
    padding: float


def mentions(engine: Engine, texts: Sequence[Text]) -> list[list[Name]]:
    """From text to names, as the worker does it."""
    head, _ = engine.bundle.head()
    return [names(engine, each, head) for each in score_words(engine, documents(engine, texts), [head])]


def bucketed(engine: Engine, texts: Sequence[Text]) -> Way:
    """Rasad's windows and batches."""
    read = documents(engine, texts)
    room = engine.tokenizer.template.single_room
    lengths = [end - start + room for each in read for start, end in each.windows]
    padded = sum(lengths[batch[0]] * len(batch) for batch in pack(lengths, TOKEN_BUDGET))
    return Way(
        lambda: mentions(engine, texts), sum(each.tokens for each in read), len(lengths), 1 - sum(lengths) / padded
    )


def pipeline(model: Path, texts: Sequence[Text], batch: int) -> Way:
    """The pipeline of transformers, which reads the first 512 pieces of each article."""
    with weights.quiet():
        run = transformers.pipeline(
            "token-classification", model=str(model), aggregation_strategy="simple", batch_size=batch, device="cpu"
        )
    joined = [f"{title}\n{body}" for title, body in texts]
    lengths = [len(ids) for ids in run.tokenizer(joined, truncation=True)["input_ids"]]
    groups = [lengths[start : start + batch] for start in range(0, len(lengths), batch)]
    padded = sum(max(group) * len(group) for group in groups)
    special = run.tokenizer.num_special_tokens_to_add()
    return Way(lambda: run(joined), sum(lengths) - special * len(lengths), len(lengths), 1 - sum(lengths) / padded)


def ways(subject: Weights, texts: Sequence[Text], dtypes: Sequence[torch.dtype]) -> dict[str, Way]:
    """All ways to run these weights."""
    found = {RASAD: bucketed(Engine.open(subject.bundle), texts)}
    for batch in (1, 8):
        found[f"pipeline, batch {batch}"] = pipeline(subject.model, texts, batch)
    for dtype in dtypes:
        engine = Engine(subject.bundle, TorchBackend(subject.model, dtype))
        found[f"torch {str(dtype).removeprefix('torch.')}, bucketed"] = bucketed(engine, texts)
    return found


def agreement(subject: Weights, texts: Sequence[Text]) -> float:
    """The share of words that the bundle and the model in fp32 give the same label."""
    head, _ = subject.bundle.head()
    labels: list[Any] = []
    for engine in (Engine.open(subject.bundle), Engine(subject.bundle, TorchBackend(subject.model, torch.float32))):
        scored = score_words(engine, documents(engine, texts), [head])
        labels.append(np.concatenate([each.scores[head].argmax(axis=1) for fields in scored for each in fields]))
    return float((labels[0] == labels[1]).mean())


def add_rows(report: Report, subject: Weights, found: Mapping[str, Way], timings: Timings, count: int) -> None:
    """A row for each way, compared by the tokens that were read in a second."""
    total = found[RASAD].tokens
    for name, way in found.items():
        seconds = timings.median(name)
        ratio = timings.times_as_fast(RASAD, name) * total / way.tokens
        report.add(
            subject.name,
            name,
            whole(way.tokens / seconds),
            figure(count / seconds),
            "" if name == RASAD else times(ratio),
            percent(way.tokens / total),
            whole(way.windows),
            percent(way.padding),
            percent(timings.spread(name)),
        )


def main(
    data: DataOption = None,
    quick: QuickOption = False,
    fp32: Annotated[
        Path | None,
        typer.Option(
            help="Directory of the bundled NER model's fp32 weights (model.safetensors, heads.safetensors), as "
            "training.finetune_ner writes it; without it the int8 graph's numbers are taken.",
            file_okay=False,
            exists=True,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Tokens and articles a second from text to names: Rasad, the pipeline of transformers, torch in sorted batches.

    All run the same weights on the same articles in turns, on all cores. The pipeline cuts an article at 512 tokens and
    does not say so: what it never read is no speed, so ways are compared by the tokens that they read.

    Example: `python -m benchmarks.engine --data DIR`
    """
    torch.set_num_threads(available_cores())
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    count, rounds, seconds = (8, 1, 0.0) if quick else (12, 7, SECONDS)
    texts = [(each.title, each.body) for each in articles.load(data, count)]
    report = Report(
        f"Engine: {count} articles of {articles.origin(data)}, medians over {rounds} rounds or more",
        ("weights", "way", "tokens/s", "articles/s", "Rasad is", "tokens read", "windows", "padding", "spread"),
        numeric=2,
    )
    dtypes = dtypes_of(cpuinfo())
    with tempfile.TemporaryDirectory(prefix="rasad-bench-") as scratch:
        made: list[tuple[Callable[[Path], Weights], int]] = [
            (lambda folder: weights.bundled_ner(folder, weights=fp32), count),
            (lambda folder: weights.random_ner(weights.SIX_LAYERS, folder), count),
            (lambda folder: weights.random_ner(weights.BERT_BASE, folder), count // 2),
        ]
        for make, given in made[:2] if quick else made:
            err.print("making the two forms of the weights ...", style="dim")
            subject = make(Path(scratch))
            found = ways(subject, texts[:given], dtypes)
            if subject.bundle.directory == bundled_directory("ner"):
                found[FAST] = bucketed(Engine.open(load_bundle("fast", task="ner")), texts[:given])
            runs = {name: way.run for name, way in found.items()}
            timings = interleaved(runs, rounds, name=subject.name, seconds=seconds)
            add_rows(report, subject, found, timings, given)
            if FAST in found:
                ratio = timings.times_as_fast(FAST, SLOWEST) * found[FAST].tokens / found[SLOWEST].tokens
                report.notes.append(f"{FAST} beside {SLOWEST}, of {subject.name}: {times(ratio)} by tokens read.")
            same = agreement(subject, texts[:given])
            report.notes.append(
                f"{subject.name}: {len(timings.each_round())} rounds; {subject.origin}; int8 and fp32 label "
                f"{100 * same:.1f} % of words alike."
            )
    report.notes += [
        "`Rasad is`: how many times as many tokens Rasad read in a second, the median over the rounds.",
        "`tokens read`: of all tokens of the articles; a pipeline cuts each at 512.",
        "`padding`: share of the positions computed. `spread`: slowest less fastest round, of the median.",
    ]
    if not quick:
        report.notes.append("BERT-base was given the first half of the articles.")
    if torch.bfloat16 not in dtypes:
        report.notes.append("bfloat16 was left out: this processor has no instructions for it, so fp32 is faster.")
    report.print()


if __name__ == "__main__":
    run(main)
