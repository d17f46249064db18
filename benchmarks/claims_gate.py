"""What watched claims cost an article before any model reads it: `python -m benchmarks.claims_gate --help`."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Final

import typer

from benchmarks import articles, machine
from benchmarks.measuring import interleaved, percentile
from benchmarks.options import DataOption, QuickOption
from benchmarks.tables import Report, figure, whole
from rasad.enrich.claim_stances import article_stems
from rasad.enrich.claims import ClaimIndex, Gate
from rasad.enrich.reading import Document, documents
from rasad.inference.bundle import load_bundle
from rasad.inference.engine import Engine
from rasad.messages import Claim

SIZES: Final = (100, 1_000, 10_000, 100_000)
ARTICLES: Final = 200
REPEATED: Final = 5
_SHORTEST, _LONGEST = 6, 14


def drawn_claims(texts: Sequence[str], count: int) -> list[Claim]:
    """Claims of 6 to 14 words that stand behind one another in a text, the same ones each time."""
    rng = random.Random(0)
    words = [text.split() for text in texts]
    claims = []
    for number in range(count):
        source = rng.choice(words)
        start = rng.randrange(max(len(source) - _LONGEST, 1))
        length = rng.randint(_SHORTEST, _LONGEST)
        claims.append(Claim(id=f"claim-{number}", text=" ".join(source[start : start + length])))
    return claims


def measure(report: Report, size: int, read: Sequence[Document], sources: Sequence[str]) -> None:
    """Build an index of `size` claims, change one of them, and hold it against every article."""
    claims = drawn_claims(sources, size)
    index = ClaimIndex(claims)
    other = {claims[0].id: Claim(id=claims[0].id, text=claims[-1].text, version=2)}
    changed = index.changed(other)
    gate, everything = Gate(), Gate(most=size)
    seconds, passing = [], []
    for document in read:
        before = time.perf_counter()
        changed.matches(article_stems(document), gate)
        seconds.append(time.perf_counter() - before)
        passing.append(len(changed.matches(article_stems(document), everything)))
    ways = {"build": lambda: ClaimIndex(claims), "change": lambda: index.changed(other)}
    timings = interleaved(ways, REPEATED, name=f"{whole(size)} claims")
    report.add(
        whole(size),
        figure(timings.median("build") * 1000),
        figure(timings.median("change") * 1000),
        figure(percentile(seconds, 0.5) * 1000),
        figure(percentile(seconds, 0.99) * 1000),
        figure(sum(passing) / len(passing)),
    )


def main(data: DataOption = None, quick: QuickOption = False) -> None:
    """How long the gate takes over an article, by the number of claims watched; prints one table."""
    drawn = articles.load(data, ARTICLES // 10 if quick else ARTICLES)
    engine = Engine.open(load_bundle(None, task="stance"))
    read = documents(engine, [(each.title, each.body) for each in drawn])
    for document in read:
        # Headlines have asked for the stems of sentences already when claims do.
        article_stems(document)
    sources = [each.body for each in articles.load(data, 2_000)]
    report = Report(
        "Watched claims: the gate before the model",
        ("claims", "build, ms", "change one, ms", "an article, ms: median", "p99", "passing an article"),
        numeric=0,
    )
    sizes = SIZES[:3] if quick else SIZES
    for size in sizes:
        measure(report, size, read, sources)
    report.notes += [
        f"{len(drawn)} articles of {articles.origin(data)}; claims are {_SHORTEST} to {_LONGEST} words of theirs",
        f"build, change one: the median of {REPEATED}; an article: its stems summed up, and its claims found by them",
        f"the {Gate().most} best of those that pass go on to the model (settings: claims.per_article)",
        *machine.description(),
    ]
    report.print()


if __name__ == "__main__":
    typer.run(main)
