"""Cost and memory as the backlog grows: ten times the articles must not make one of them dearer."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer
from kafka import KafkaConsumer

from benchmarks import articles, weights
from benchmarks.cluster import (
    Worker,
    WorkerError,
    fresh_topics,
    outcome_partitions,
    rasad_worker,
    send,
    wait_until_ready,
)
from benchmarks.options import DataOption, QuickOption, err, progress, run
from benchmarks.tables import Report, figure, times, whole
from rasad.demo import cluster
from rasad.messages import RawArticle
from rasad.settings import TopicSettings
from rasad.streams.connection import Connection

LONGEST: Final = 400
"""Code points of an article here: with long ones a run of thousands would take an hour."""
POOL: Final = 1_000
"""Different texts; a backlog repeats them under ids of their own."""
REPEATED: Final = 3
"""Runs of a backlog up to `SMALL`, of which the median one counts: a slow moment falls on all of a short run."""
SMALL: Final = 1_000
WARM_UP: Final = 32
"""Outcomes, or a quarter of a small backlog, before the time runs: the first ones cost more, whatever comes after."""
_LOOK_EVERY_S: Final = 0.1
_SILENT_WITHIN_S: Final = 300.0
_MIB: Final = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """A pair of bundles, None for those bundled."""

    name: str
    ner: Path | None = None
    stance: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """A backlog worked off: wall and processor seconds, and bytes of memory by how much was done, a share of 1."""

    seconds: float
    processor_s: float
    resident: Sequence[tuple[float, int]]

    def resident_at(self, share: float) -> int:
        """Bytes when that much was done."""
        return min(self.resident, key=lambda sample: abs(sample[0] - share))[1]


def drain(
    connection: Connection, models: Models, played: Sequence[RawArticle], workers: int, scratch: Path, name: str
) -> Drained:
    """Put a backlog on fresh topics, start workers, and watch them until there is an outcome for every article.

    Several share the cores that one has to itself. Neither the start of the processes is counted, nor `WARM_UP`.
    """
    with ExitStack() as stack:
        topics = stack.enter_context(fresh_topics(connection))
        send(connection, topics.raw, articles.as_records(played, "backlog"))
        running = [
            stack.enter_context(
                rasad_worker(
                    connection,
                    topics,
                    scratch,
                    threads=0 if workers == 1 else 1,
                    ner=models.ner,
                    stance=models.stance,
                )
            )
            for _ in range(workers)
        ]
        for worker in running:
            wait_until_ready(worker)
        return _watched(connection, topics, running, len(played), name)


def _watched(
    connection: Connection, topics: TopicSettings, running: Sequence[Worker], wanted: int, name: str
) -> Drained:
    consumer = KafkaConsumer(**connection.kafka_python(), group_id=None, enable_auto_commit=False)
    partitions = outcome_partitions(topics)
    resident: list[tuple[float, int]] = []

    def follow(least: int, told: Callable[[int], None]) -> int:
        """How many outcomes there are, once there are `least`."""
        done, heard = -1, time.monotonic()
        while True:
            for worker in running:
                worker.check()
            now = sum(consumer.end_offsets(partitions).values())
            heard = time.monotonic() if now > done else heard
            done = now
            resident.append((done / wanted, sum(each.resident() for each in running)))
            told(done)
            if done >= least:
                return done
            if time.monotonic() - heard > _SILENT_WITHIN_S:
                raise WorkerError(f"only {done} of {wanted} outcomes came: {running[0].last_lines()}")
            time.sleep(_LOOK_EVERY_S)

    with progress(name, wanted) as told:
        before = follow(min(WARM_UP, wanted // 4), told)
        begun, used = time.monotonic(), sum(each.seconds() for each in running)
        follow(wanted, told)
    consumer.close()
    if before == wanted:
        raise WorkerError(f"{wanted} articles were done before the last worker was ready: take more")
    # What was done before is not in the time, so nor in the count.
    scale = wanted / (wanted - before)
    return Drained(
        seconds=(time.monotonic() - begun) * scale,
        processor_s=(sum(each.seconds() for each in running) - used) * scale,
        resident=resident,
    )


def measure(
    report: Report,
    connection: Connection,
    models: Models,
    pool: Sequence[RawArticle],
    runs: Iterable[tuple[int, int]],
    scratch: Path,
    repeated: int,
) -> None:
    """A row for each `(workers, backlog)`; costs are compared with those of the first."""
    first: Drained | None = None
    first_count = 1
    for workers, count in runs:
        played = articles.repeated(pool, count)
        name = f"{models.name}, {workers} worker(s), {count:,} articles"
        drained = [
            drain(connection, models, played, workers, scratch, name) for _ in range(repeated if count <= SMALL else 1)
        ]
        found = sorted(drained, key=lambda each: each.seconds)[len(drained) // 2]
        if first is None:
            first, first_count = found, count
        report.add(
            models.name,
            str(workers),
            whole(count),
            figure(count / found.seconds),
            _compared(found.seconds / count, first.seconds / first_count),
            _compared(found.processor_s / count, first.processor_s / first_count),
            *(whole(found.resident_at(share) / _MIB) for share in (0.0, 0.5, 1.0)),
            whole(max(size for _, size in found.resident) / _MIB),
        )


def _compared(seconds: float, first: float) -> str:
    """Milliseconds, and how many times those of the first row they are."""
    return f"{figure(1000 * seconds)} ({times(seconds / first)})"


def main(
    data: DataOption = None,
    quick: QuickOption = False,
    only: Annotated[str | None, typer.Option(help="bundled or tiny: leave the other models out.")] = None,
) -> None:
    """What an article costs, and what memory a worker holds, as the backlog grows from hundreds to 100,000.

    Each backlog is on the raw topic before the workers start; the time runs from their first outcomes until there is
    one for every article. The bundled models go up to 5,000 articles. A tiny bundle with random weights goes to
    100,000: there it is decoding, sentences, entities, publishing and the broker that cost. Two workers, of one thread
    each, share the cores that one has to itself.

    Example: `python -m benchmarks.scale --data DIR --only tiny`
    """
    bundled = [(1, 40), (1, 120), (2, 120)] if quick else [(1, 100), (1, 500), (1, 5_000), (2, 500)]
    tiny = [(1, 300), (1, 2_000), (2, 2_000)] if quick else [(1, 1_000), (1, 10_000), (1, 100_000), (2, 10_000)]
    repeated = 1 if quick else REPEATED
    report = Report(
        f"Scale: articles of {articles.origin(data)}, of at most {LONGEST} characters",
        (
            *("models", "workers", "backlog", "articles/s", "ms each", "CPU ms each"),
            *("MiB at first", "MiB half-way", "MiB at the end", "MiB at most"),
        ),
        numeric=1,
    )
    with tempfile.TemporaryDirectory(prefix="rasad-bench-") as folder, cluster(err) as connection:
        scratch = Path(folder)
        if only != "tiny":
            pool = articles.load(data, POOL, longest=LONGEST)
            measure(report, connection, Models(name="bundled"), pool, bundled, scratch, repeated)
        if only != "bundled":
            err.print("making the tiny bundles ...", style="dim")
            models = Models(
                name="tiny",
                ner=weights.random_ner(weights.TINY, scratch).bundle.directory,
                stance=weights.random_stance(weights.TINY, scratch).directory,
            )
            pool = articles.load(data, POOL, longest=LONGEST)
            measure(report, connection, models, pool, tiny, scratch, repeated)
    report.notes += [
        f"The time runs from {WARM_UP} outcomes on (a quarter of a backlog where that is fewer).",
        "`ms each`: wall time over articles. `CPU ms each`: processor time of the workers alone.",
        "In brackets: as a multiple of these models' first row.",
        *([f"Backlogs of up to {SMALL:,}: the median of {repeated} runs."] if repeated > 1 else []),
        "Memory is what the workers hold, all of them together, when they are ready and in the course of the backlog.",
        f"The tiny models are {weights.TINY.layers} layer of {weights.TINY.hidden}, with random weights.",
    ]
    report.print()


if __name__ == "__main__":
    run(main)
