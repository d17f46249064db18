"""The worker on a real Kafka: what is left of the engine's speed, and how long an article takes at a given load."""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
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
from benchmarks.tables import Report, figure, percent, times, whole
from rasad.demo import cluster
from rasad.enrich.enricher import Enricher
from rasad.inference.bundle import load_bundle
from rasad.inference.tokenization import TextTokenizer
from rasad.messages import RawArticle, Record
from rasad.settings import TopicSettings, WorkerSettings
from rasad.streams.batching import Limits, Waiting
from rasad.streams.connection import Connection

ENGINE: Final = "engine alone"
FAUST: Final = "Faust"
TRANSACTIONAL: Final = "transactional"
NAMES_ALONE: Final = "Faust, names alone"
FIRST_TRY: Final = "first try, names alone"
FIRST_TRY_STANCE: Final = "first try"
LATENCIES_OF: Final = (FAUST, TRANSACTIONAL, FIRST_TRY)
LOADS: Final = (0.25, 0.5, 0.9)
"""Shares of what a worker was measured to take."""
FIRST_TRY_READS: Final = weights.POSITIONS - 2
"""Tokens of an article, special ones not counted."""
MEDIAN_LOAD: Final = 0.5
"""Of what the engine alone takes of the median article."""
ALONE: Final = 9
"""Times that the engine is given the median article before and after each load, while the workers sleep."""
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
    """The articles in batches as large as a worker ever takes them, without a broker."""
    waiting: Waiting[Record] = Waiting(Limits.of(WorkerSettings()))
    for record in _numbered(played):
        waiting.add(record, len(record.value))
    while batch := waiting.take(behind=sys.maxsize):
        enricher.enrich(batch)


def seconds_alone(enricher: Enricher, article: RawArticle) -> list[float]:
    """What the engine takes for one article with nothing beside it, a few times."""
    seconds = []
    for record in _numbered([article] * (ALONE + 1)):
        begun = time.perf_counter()
        enricher.enrich([record])
        seconds.append(time.perf_counter() - begun)
    return seconds[1:]


def tokens_of(played: Sequence[RawArticle]) -> list[int]:
    """Of title and body together, in the NER model's pieces."""
    tokenizer = TextTokenizer(load_bundle(None, task="ner"))
    read = tokenizer.tokenize([text for each in played for text in (each.title, each.body)])
    return [len(title.ids) + len(body.ids) for title, body in zip(read[::2], read[1::2], strict=True)]


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
        names = weights.bundled_ner(scratch).model
        small = weights.random_stance(weights.TINY, scratch).directory
        pairs = weights.random_pair_classifier(weights.bundled_shape(load_bundle(None, task="stance")), scratch)
        yield {
            FAUST: started(lambda topics: rasad_worker(connection, topics, scratch)),
            TRANSACTIONAL: started(
                lambda topics: rasad_worker(connection, topics, scratch, group="bench-once", exactly_once=True)
            ),
            NAMES_ALONE: started(
                lambda topics: rasad_worker(connection, topics, scratch, group="bench-names", stance=small)
            ),
            FIRST_TRY_STANCE: started(
                lambda topics: first_try_worker(connection, topics, scratch, names, stance=pairs)
            ),
            FIRST_TRY: started(lambda topics: first_try_worker(connection, topics, scratch, names)),
        }


def throughput(
    enricher: Enricher, running: Mapping[str, Subject], played: Sequence[RawArticle], rounds: int
) -> Timings:
    """Seconds of each subject, and of the engine alone, for `played`."""
    ways: dict[str, Callable[[], object]] = {ENGINE: lambda: enrich_all(enricher, played)}
    for name, subject in running.items():
        ways[name] = lambda subject=subject: subject.saturated(played)  # type: ignore[misc]
    return interleaved(ways, rounds, name="throughput")


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from when each article was due to its outcome, and of the engine for the median article meanwhile."""

    taken: Sequence[float]
    alone: float

    def cells(self) -> list[str]:
        """Articles, percentiles in milliseconds, and the last one beside the engine."""
        found = [percentile(self.taken, share) for share in (0.5, 0.95, 0.99)]
        return [whole(len(self.taken)), *(whole(1000 * each) for each in found), times(found[-1] / self.alone)]


@dataclass(frozen=True, slots=True)
class Load:
    """What to send of which articles: `rate` a second for `seconds`, but `least` of them."""

    name: str
    rate: float
    given: Sequence[RawArticle]
    least: int

    def put_on(self, subject: Subject, enricher: Enricher, median: RawArticle, name: str, seconds: float) -> Latency:
        """Send them to a worker; the engine has the median article to itself right before and after."""
        sent = articles.repeated(self.given, max(round(self.rate * seconds), self.least))
        before = seconds_alone(enricher, median)
        with progress(f"{name} at {self.name}", len(sent)) as done:
            taken = subject.latencies(sent, self.rate, done)
        return Latency(taken, percentile([*before, *seconds_alone(enricher, median)], 0.5))


def comparison(timings: Timings, name: str, first_try: str, read: Mapping[str, int]) -> str:
    """How many times as fast a worker is as a first try, an article and a token."""
    ratio = timings.times_as_fast(name, first_try)
    return (
        f"{name} beside {first_try}: {times(ratio)} by articles, {times(ratio * read[name] / read[first_try])} by "
        "tokens read for names."
    )


def notes(pool: Sequence[int], played: Sequence[int], median: int, alone: Sequence[float]) -> list[str]:
    """How to read the table; tokens of the articles, of the median one, and its seconds in the engine row by row."""
    long = sum(each > 4 * median for each in pool) / len(pool)
    read = sum(min(each, FIRST_TRY_READS) for each in played) / sum(played)
    tiny = f"{weights.TINY.layers} layer of {weights.TINY.hidden}"
    latencies = "Latencies are from a record's timestamp to its outcome's arrival."
    of_load = (
        "`load`: share of the worker's own throughput at which articles were sent; at `median article` it is one of "
        f"median length, {median} tokens, over and over, and the share one of what the engine alone takes of it."
    )
    of_tokens = (
        f"`tokens/s`: tokens read for names. Rasad reads all of an article, a first try {FIRST_TRY_READS} at most: "
        f"{percent(read)} of these."
    )
    of_p99 = (
        "`p99 is`: so many times what the engine took for the median article alone, right before and after: "
        f"{whole(1000 * min(alone))} to {whole(1000 * max(alone))} ms. {100 * long:.1f} % of all articles are more "
        "than four times as long as that one."
    )
    of_rasad = (
        f"{FAUST} and {TRANSACTIONAL}: all of Rasad, which is names of eight types, quotes, entity stances, and the "
        "headline's stance towards the sentences of the body that decide, in at most 192 tokens."
    )
    of_stance = (
        f"{FIRST_TRY_STANCE}: and one call for headline and body, cut at {weights.POSITIONS} tokens, with a model of "
        "the stance encoder's shape in fp32. Its weights are random, as transformers has no such output layer."
    )
    return [
        "`of the engine`: share of what the engine alone does in the same run, in full batches.",
        of_tokens,
        of_load,
        latencies,
        of_p99,
        of_rasad,
        f"{NAMES_ALONE}: the stance model replaced by one of {tiny}, which takes next to no time.",
        f"{FIRST_TRY} (benchmarks/first_try_worker.py): one pipeline call an article with the NER weights in fp32.",
        of_stance,
    ]


def main(data: DataOption = None, quick: QuickOption = False) -> None:
    """Articles a second and latencies of both of Rasad's workers, and of the one that people write first.

    Throughput: all articles are put on the raw topic at once, and the time is taken until the last outcome can be read;
    in turns with the engine alone, which gets the same articles in full batches without a broker. Latency: articles
    are sent at a fixed rate, a share of that throughput, whether or not the worker keeps up; an article's latency runs
    from its record's timestamp, when it was due, to when a subscriber has its outcome. Everything shares this machine's
    cores, the broker too.

    Example: `python -m benchmarks.worker --data DIR`
    """
    count, rounds, seconds, least, least_median = (12, 1, 5.0, 6, 6) if quick else (120, 5, 20.0, 100, 300)
    pool = articles.load(data, POOL)
    played = articles.repeated(pool, count)
    tokens = tokens_of(played)
    cut = [min(each, FIRST_TRY_READS) for each in tokens]
    in_pool = tokens_of(pool)
    median = sorted(range(len(pool)), key=in_pool.__getitem__)[len(pool) // 2]
    report = Report(
        f"Worker: {count} articles of {articles.origin(data)}, medians over {rounds} rounds",
        (
            *("worker", "articles/s", "tokens/s", "of the engine"),
            *("load", "sent/s", "articles", "p50 ms", "p95 ms", "p99 ms", "p99 is"),
        ),
        numeric=1,
    )
    enricher = Enricher.open()
    with (
        tempfile.TemporaryDirectory(prefix="rasad-bench-") as folder,
        cluster(err) as connection,
        subjects(connection, Path(folder)) as running,
    ):
        timings = throughput(enricher, running, played, rounds)
        engine = count / timings.median(ENGINE)
        one = percentile(seconds_alone(enricher, pool[median]), 0.5)
        alone = []
        read = {name: sum(cut if name in (FIRST_TRY, FIRST_TRY_STANCE) else tokens) for name in (ENGINE, *running)}
        report.add(ENGINE, figure(engine), whole(read[ENGINE] / timings.median(ENGINE)), *[""] * 8)
        for name, subject in running.items():
            capacity = count / timings.median(name)
            share = timings.times_as_fast(name, ENGINE)
            told = [figure(capacity), whole(read[name] / timings.median(name)), percent(share)]
            loads = [Load(percent(load), load * capacity, pool, least) for load in LOADS]
            if name != FIRST_TRY:
                of_one = f"{percent(MEDIAN_LOAD)}, median article"
                loads.append(Load(of_one, MEDIAN_LOAD / one, [pool[median]], least_median))
            for load in loads if name in LATENCIES_OF else ():
                latency = load.put_on(subject, enricher, pool[median], name, seconds)
                alone.append(latency.alone)
                report.add(name, *told, load.name, figure(load.rate), *latency.cells())
                told = ["", "", ""]
            if name not in LATENCIES_OF:
                report.add(name, *told, *[""] * 7)
    report.notes += notes(in_pool, tokens, in_pool[median], alone)
    report.notes += [
        comparison(timings, FAUST, FIRST_TRY_STANCE, read),
        comparison(timings, NAMES_ALONE, FIRST_TRY, read),
    ]
    report.print()


if __name__ == "__main__":
    run(main)
