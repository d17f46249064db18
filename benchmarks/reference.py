"""Whether speed changes what is found: the engine beside the plainest way to run the same model."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
import torch
import typer

from benchmarks import articles, weights
from benchmarks.engine import Text, TorchBackend
from benchmarks.options import DataOption, QuickOption, progress, run
from benchmarks.tables import Report, whole
from rasad.enrich.ner import Name, names
from rasad.enrich.reading import Document, documents, score_words
from rasad.enrich.stance import StanceModel
from rasad.inference.backend import Backend, Logits, OnnxBackend, available_cores
from rasad.inference.bundle import load_bundle
from rasad.inference.engine import Engine
from rasad.inference.tokenization import Ints
from rasad.settings import WorkerSettings

ENGINE: Final = "engine"
UNPACKED: Final = "int8, one window at a time"
REFERENCE: Final = "fp32, one window at a time"
MISSED: Final = (
    "`missed`, `added`: mentions of the other way that this one has not, and the reverse, by field, start and end; one "
    "that is longer or shorter counts as one of each."
)
EXAMPLES: Final = 6
"""Differences in the table's notes."""


class OneWindow(Engine):
    """An engine that runs a window at a time, with no padding and no neighbours."""

    def run(
        self, sequences: Sequence[Ints], heads: Sequence[str], *, groups: Sequence[int]
    ) -> list[Mapping[str, Logits]]:
        """As in the base class."""
        assert len(groups) == len(sequences)
        return [Engine.run(self, [sequence], heads, groups=[0])[0] for sequence in sequences]


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Of one article: the label of each word of title and body, and its mentions by where they stand."""

    labels: npt.NDArray[np.int64]
    mentions: Mapping[tuple[str, int, int], Name]


def read(engine: Engine, documents: Sequence[Document], told: Callable[[float], None]) -> list[Found]:
    """What is found in each article, in batches as large as a worker's."""
    head, _ = engine.bundle.head()
    threshold = engine.bundle.manifest.thresholds.get("mention", 0.0)
    found: list[Found] = []
    size = WorkerSettings().batch_max
    for start in range(0, len(documents), size):
        for scored in score_words(engine, documents[start : start + size], [head]):
            labels = np.concatenate([each.scores[head].argmax(axis=1) for each in scored])
            known = names(engine, scored, head, threshold=threshold)
            found.append(Found(labels, {(each.field, each.start, each.end): each for each in known}))
        told(len(found))
    return found


def differences(found: Sequence[Found], reference: Sequence[Found]) -> Iterator[tuple[int, Name | None, Name | None]]:
    """Article, and the mention in `found` and in `reference`: one is missing, or they are of different types."""
    for article, (one, other) in enumerate(zip(found, reference, strict=True)):
        for place in sorted(one.mentions.keys() | other.mentions.keys()):
            mine, theirs = one.mentions.get(place), other.mentions.get(place)
            if mine is None or theirs is None or _type(mine) != _type(theirs):
                yield article, mine, theirs


def _type(name: Name) -> tuple[str, str | None]:
    return name.type, name.subtype


def add_row(report: Report, way: str, beside: str, found: Mapping[str, Sequence[Found]]) -> None:
    """How far one way is from another."""
    one, other = found[way], found[beside]
    words = sum(len(each.labels) for each in other)
    labels = sum(int((mine.labels != theirs.labels).sum()) for mine, theirs in zip(one, other, strict=True))
    differing = list(differences(one, other))
    report.add(
        way,
        beside,
        whole(words),
        f"{whole(labels)} ({100 * labels / words:.3f} %)",
        whole(sum(len(each.mentions) for each in other)),
        whole(sum(mine is None for _, mine, _ in differing)),
        whole(sum(theirs is None for _, _, theirs in differing)),
        whole(sum(mine is not None and theirs is not None for _, mine, theirs in differing)),
        whole(len({article for article, _, _ in differing})),
    )


def add_stance_row(report: Report, graph: Path | None, texts: Sequence[Text]) -> None:
    """Stances of headlines, a pair at a time and in batches; `graph` is run in place of the bundle's own one."""
    bundle = load_bundle(None, task="stance")
    head = bundle.manifest.headline_head
    engines = Engine.open(bundle), OneWindow(bundle, OnnxBackend(bundle, graph=graph))
    given = documents(engines[0], texts)
    size = WorkerSettings().batch_max
    one, other = (
        [
            result.label
            for start in range(0, len(given), size)
            for result in StanceModel(engine, head).classify_headlines(given[start : start + size])
        ]
        for engine in engines
    )
    differing = sum(mine != theirs for mine, theirs in zip(one, other, strict=True))
    report.add(
        f"{ENGINE}, stances of headlines",
        f"{'fp32' if graph else 'int8'}, one pair at a time",
        whole(len(one)),
        f"{whole(differing)} ({100 * differing / len(one):.3f} %)",
        *[""] * 5,
    )


def example(article: int, mine: Name | None, theirs: Name | None) -> str:
    """One difference in a line."""
    name = mine or theirs
    assert name is not None
    return (
        f"Article {article + 1}, {name.field} {name.start} to {name.end}, {name.surface!r}: {ENGINE} {_told(mine)}, "
        f"reference {_told(theirs)}."
    )


def _told(name: Name | None) -> str:
    return "nothing" if name is None else f"{name.subtype or name.type} ({name.prob:.2f})"


def main(
    data: DataOption = None,
    quick: QuickOption = False,
    fp32: Annotated[
        Path | None,
        typer.Option(
            help="The bundled NER model's fp32 graph, as training.export writes it; without it the int8 graph's "
            "numbers are taken in fp32.",
            dir_okay=False,
            exists=True,
            show_default=False,
        ),
    ] = None,
    stance_fp32: Annotated[
        Path | None,
        typer.Option(
            help="The bundled stance model's fp32 graph; without it stances are held against the int8 graph alone.",
            dir_okay=False,
            exists=True,
            show_default=False,
        ),
    ] = None,
    differing: Annotated[
        Path | None,
        typer.Option(
            "--differences", help="List every mention that the two do not share here, a line each.", show_default=False
        ),
    ] = None,
) -> None:
    """Labels of words and mentions that the engine and a plain reference do not share.

    The reference runs the same windows of the bundled models one at a time in fp32, without padding. Beside it the int8
    graph is run in the same way: whatever differs between that and the engine would be packing's doing.

    Example: `python -m benchmarks.reference --data DIR --differences differences.txt`
    """
    torch.set_num_threads(available_cores())
    count = 8 if quick else 500
    texts: list[Text] = [(each.title, each.body) for each in articles.load(data, count)]
    bundle = load_bundle(None, task="ner")
    report = Report(
        f"Reference: {count} articles of {articles.origin(data)}",
        (
            *("way", "beside", "labels", "of them differ", "mentions"),
            *("missed", "added", "of another type", "articles concerned"),
        ),
        numeric=2,
    )
    with tempfile.TemporaryDirectory(prefix="rasad-bench-") as scratch:
        if fp32 is None:
            plain: Backend = TorchBackend(weights.bundled_ner(Path(scratch)).model, torch.float32)
            origin = "the int8 graph's numbers in fp32, in torch: what differs is the rounding of activations"
        else:
            plain = OnnxBackend(bundle, graph=fp32)
            origin = f"{fp32.name}, the weights as trained, in ONNX Runtime"
        engines = {
            ENGINE: Engine.open(bundle),
            UNPACKED: OneWindow(bundle, OnnxBackend(bundle)),
            REFERENCE: OneWindow(bundle, plain),
        }
        given = documents(engines[ENGINE], texts)
        found = {}
        for name, engine in engines.items():
            with progress(name, count) as told:
                found[name] = read(engine, given, told)
    add_row(report, ENGINE, UNPACKED, found)
    add_row(report, ENGINE, REFERENCE, found)
    for graph in [None, stance_fp32] if stance_fp32 else [None]:
        add_stance_row(report, graph, texts)
    listed: list[Any] = list(differences(found[ENGINE], found[REFERENCE]))
    if differing is not None:
        differing.write_text("".join(f"{example(*each)}\n" for each in listed), encoding="utf-8")
    report.notes += [
        f"fp32: {origin}.",
        MISSED,
        f"{min(EXAMPLES, len(listed))} of the {len(listed)}; --differences lists all:",
        *(example(*each) for each in listed[:: max(len(listed) // EXAMPLES, 1)][:EXAMPLES]),
    ]
    report.print()


if __name__ == "__main__":
    run(main)
