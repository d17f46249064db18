"""What the engine gains from larger batches of articles, and what padding they cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks import articles
from benchmarks.measuring import interleaved
from benchmarks.options import DataOption, QuickOption, run
from benchmarks.tables import Report, figure, percent, whole
from rasad.enrich.enricher import Enricher
from rasad.enrich.reading import documents
from rasad.enrich.stance import pair_input
from rasad.inference.backend import available_cores
from rasad.inference.bundle import load_bundle
from rasad.inference.engine import TOKEN_BUDGET, Engine
from rasad.inference.packing import pack
from rasad.messages import RawArticle, Record
from rasad.settings import WorkerSettings
from rasad.streams.batching import Limits, Waiting

SIZES: Final = (1, 2, 4, 8, 16, 32)
"""Articles a batch."""
BUDGETS: Final = (256, 512, 2048)
"""Of tokens a run, beside the one that is set."""
PLANNED: Final = 500
"""Articles that batches are planned for and not run."""


@dataclass(frozen=True, slots=True)
class Sequences:
    """Tokens of each sequence that the models are given for one article."""

    names: Sequence[int]
    stance: Sequence[int]


def sequences(drawn: Sequence[RawArticle]) -> list[Sequences]:
    """Of each article: its windows, and the pair of headline and body."""
    ner, stance = (Engine.open(load_bundle(None, task=task), threads=1) for task in ("ner", "stance"))
    texts = [(each.title, each.body) for each in drawn]
    room, limit = ner.tokenizer.template.single_room, stance.bundle.manifest.max_tokens
    windows = [[end - start + room for start, end in each.windows] for each in documents(ner, texts)]
    pairs = [
        pair_input(each.title.tokenized, (each.body,), stance.tokenizer.template, limit)
        for each in documents(stance, texts)
    ]
    return [Sequences(names, [len(pair.ids)]) for names, pair in zip(windows, pairs, strict=True)]


def in_batches(records: Sequence[Record], most: int) -> Iterator[Sequence[int]]:
    """Indices of `records` as a worker with a backlog takes them, `most` at a time."""
    waiting: Waiting[int] = Waiting(Limits.of(WorkerSettings(batch_max=most, batch_share=1)))
    for index, record in enumerate(records):
        waiting.add(index, len(record.value))
    while batch := waiting.take(behind=len(records)):
        yield batch


def padding(read: Sequence[Sequences], batches: Sequence[Sequence[int]], budget: int) -> tuple[float, int]:
    """The share of padding in all that the models compute, and how many times they run."""
    real = computed = runs = 0
    for batch in batches:
        for lengths in (
            [length for index in batch for length in read[index].names],
            [length for index in batch for length in read[index].stance],
        ):
            packed = pack(lengths, budget)
            real += sum(lengths)
            computed += sum(max(lengths[index] for index in each) * len(each) for each in packed)
            runs += len(packed)
    return 1 - real / computed, runs


def main(data: DataOption = None, quick: QuickOption = False) -> None:
    """Articles a second by the size of a batch and by the token budget, and the padding of each.

    A worker publishes nothing of a batch before all of it is done, so a large one must gain something. The same
    articles are enriched in turns, without a broker; padding is reckoned from the lengths of the sequences of more
    articles, in the order in which they come.

    Example: `python -m benchmarks.batches --data DIR`
    """
    count, rounds, sizes, budgets = (8, 1, (1, 8), ()) if quick else (32, 5, SIZES, BUDGETS)
    report = Report(
        f"Batches: {count} articles of {articles.origin(data)} on {available_cores()} cores, medians over {rounds} "
        "rounds",
        ("articles a batch", "token budget", "articles/s", "of one at a time", "padding", "runs an article"),
        numeric=0,
    )
    drawn = articles.load(data, PLANNED)
    planned = list(articles.as_records(drawn, "planned"))
    read = sequences(drawn)
    shapes = [(size, TOKEN_BUDGET) for size in sizes] + [(sizes[-1], budget) for budget in budgets]
    enrichers = {budget: Enricher.open(token_budget=budget) for budget in {budget for _, budget in shapes}}
    given = planned[:count]

    def enriching(size: int, budget: int) -> Callable[[], object]:
        return lambda: [
            enrichers[budget].enrich([given[index] for index in batch]) for batch in in_batches(given, size)
        ]

    timings = interleaved({str(each): enriching(*each) for each in shapes}, rounds, name="batches")
    for size, budget in shapes:
        share, runs = padding(read, list(in_batches(planned, size)), budget)
        report.add(
            whole(size),
            whole(budget),
            figure(count / timings.median(str((size, budget)))),
            percent(timings.times_as_fast(str((size, budget)), str(shapes[0]))),
            f"{100 * share:.1f} %",
            figure(runs / PLANNED),
        )
    report.notes += [
        f"`padding`, `runs an article`: of both models, planned for {PLANNED} articles in the order of their arrival.",
        "A batch also ends where it passes `worker.batch_tokens`.",
    ]
    report.print()


if __name__ == "__main__":
    run(main)
