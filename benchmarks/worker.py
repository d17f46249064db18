"""The worker on a real Kafka: what is left of the engine's speed, and how long an article takes at a given load."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import articles, weights
from benchmarks.cluster import (
    Arrivals,
    Worker,
    first_try_worker,
    fresh_topics,
    rasad_worker,
    send,
    send_at,
    wait_until_ready,
)
from benchmarks.measuring import Timings, interleaved, percentile
from benchmarks.options import DataOption, QuickOption, err, progress, run
from benchmarks.tables import Report, figure, percent, whole
from rasad.demo import cluster
from rasad.enrich.enricher import Enricher
from rasad.messages import RawArticle, Record
from rasad.settings import TopicSettings, WorkerSettings
from rasad.streams.batching import Limits, Waiting
from rasad.streams.connection import Connection

ENGINE: Final = "engine alone"
FIRST_TRY: Final = "first try"
LOADS: Final = (0.25, 0.5, 0.9)
"""Shares of what a worker was measured to take."""
POOL: Final = 300
"""Different articles, where the data has as many."""
_FRESH: Final = itertools.count()


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A worker that runs, its topics, and who reads what it writes."""

    connection: Connection
    worker: Worker
    topics: TopicSettings
    arrivals: Arrivals

    def saturated(self, played: Sequence[RawArticle]) -> None:
        """All articles at once; returns when the outcome of the last one can be read."""
        records = list(_numbered(played))
        send(self.connection, self.topics.raw, records)
        self.arrivals.wait_for(_keys(records), self.worker)

    def latencies(self, played: Sequence[RawArticle], rate: float, told: Callable[[float], None]) -> list[float]:
        """Seconds from each record's timestamp to the arrival of its outcome, at `rate` articles a second."""
        due = send_at(self.connection, self.topics.raw, list(_numbered(played)), rate, told)
        self.arrivals.wait_for(due, self.worker)
        return [self.arrivals.times[key] - at for key, at in due.items()]


def _numbered(played: Sequence[RawArticle]) -> Iterator[Record]:
    return articles.as_records(played, f"load-{next(_FRESH)}")


def _keys(records: Sequence[Record]) -> list[bytes]:
    return [each.key or b"" for each in records]


def enrich_all(enricher: Enricher, played: Sequence[RawArticle]) -> None:
    """The articles in the batches that a worker takes from a backlog, without a broker."""
    waiting: Waiting[Record] = Waiting(Limits.of(WorkerSettings()))
    for record in _numbered(played):
        waiting.add(record, len(record.value))
    while batch := waiting.take():
        enricher.enrich(batch)


@contextmanager
def subjects(connection: Connection, scratch: Path) -> Iterator[dict[str, Subject]]:
    """The workers to compare, all running: whichever has no article to work on sleeps."""
    with ExitStack() as stack:

        def started(run: Callable[[TopicSettings], AbstractContextManager[Worker]]) -> Subject:
            topics = stack.enter_context(fresh_topics(connection))
            worker = stack.enter_context(run(topics))
            wait_until_ready(worker)
            return Subject(connection, worker, topics, stack.enter_context(Arrivals(connection, topics)))

        err.print("starting the workers ...", style="dim")
        model = weights.bundled_ner(scratch).model
        yield {
            "Faust": started(lambda topics: rasad_worker(connection, topics, scratch)),
            "transactional": started(
                lambda topics: rasad_worker(connection, topics, scratch, group="bench-once", exactly_once=True)
            ),
            FIRST_TRY: started(lambda topics: first_try_worker(connection, topics, scratch, model)),
        }


def throughput(
    running: Mapping[str, Subject], played: Sequence[RawArticle], few: Sequence[RawArticle], rounds: int
) -> Timings:
    """Seconds of each subject, and of the engine alone, for `played`; the first try gets `few`."""
    enricher = Enricher.open()
    ways: dict[str, Callable[[], object]] = {ENGINE: lambda: enrich_all(enricher, played)}
    for name, subject in running.items():
        given = few if name == FIRST_TRY else played
        ways[name] = lambda subject=subject, given=given: subject.saturated(given)  # type: ignore[misc]
    return interleaved(ways, rounds, name="throughput")


def main(data: DataOption = None, quick: QuickOption = False) -> None:
    """Articles a second and latencies of both of Rasad's workers, and of the one that people write first.

    Throughput: all articles are put on the raw topic at once, and the time is taken until the last outcome can be read;
    in turns with the engine alone, which gets the same articles in the same batches without a broker. Latency: articles
    are sent at a fixed rate, a share of that throughput, whether or not the worker keeps up; an article's latency runs
    from its record's timestamp, when it was due, to when a subscriber has its outcome. Everything shares this machine's
    cores, the broker too.

    Example: `python -m benchmarks.worker --data ../shared/data`
    """
    count, few, rounds, seconds, least = (12, 4, 1, 5.0, 6) if quick else (40, 16, 3, 20.0, 15)
    pool = articles.load(data, POOL)
    played = articles.repeated(pool, count)
    report = Report(
        f"Worker: {count} articles of {articles.origin(data)}, medians over {rounds} rounds",
        ("worker", "articles/s", "of the engine", "load", "sent/s", "articles", "p50 ms", "p95 ms", "p99 ms"),
        numeric=1,
    )
    with (
        tempfile.TemporaryDirectory(prefix="rasad-bench-") as folder,
        cluster(err) as connection,
        subjects(connection, Path(folder)) as running,
    ):
        timings = throughput(running, played, played[:few], rounds)
        engine = count / timings.median(ENGINE)
        report.add(ENGINE, figure(engine), *[""] * 7)
        for name, subject in running.items():
            capacity = (few if name == FIRST_TRY else count) / timings.median(name)
            told = [figure(capacity), percent(capacity / engine)]
            for load in LOADS:
                rate = load * capacity
                sent = articles.repeated(pool, max(round(rate * seconds), least))
                with progress(f"{name} at {percent(load)}", len(sent)) as done:
                    taken = [1000 * each for each in subject.latencies(sent, rate, done)]
                found = [whole(percentile(taken, share)) for share in (0.5, 0.95, 0.99)]
                report.add(name, *told, percent(load), figure(rate), whole(len(taken)), *found)
                told = ["", ""]
    report.notes += [
        "`of the engine`: share of what the engine alone does in the same run.",
        "`load`: share of the worker's own throughput at which articles were sent.",
        "Latencies are from a record's timestamp to its outcome's arrival; of fewer than 100, p99 is the slowest.",
        f"{FIRST_TRY} (benchmarks/first_try_worker.py): the NER weights in fp32 alone, at most 512 tokens an article.",
        f"Its throughput is that for the first {few} of the articles.",
    ]
    report.print()


if __name__ == "__main__":
    run(main)
