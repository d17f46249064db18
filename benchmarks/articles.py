"""The articles that everything is measured on: real news where a corpus is at hand, else the seeds."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import orjson

from rasad.enrich.decode import decode
from rasad.messages import RawArticle, Record
from rasad.streams.driver import DriverError
from rasad.streams.files import records

CORPUS: Final = Path("raw", "saudinewsnet.jsonl.zst")
SEEDS: Final = Path(__file__).parents[1] / "seeds"


def origin(data: Path | None) -> str:
    """Where the articles come from, as a table says it."""
    return "SaudiNewsNet" if data else "the seeds"


def load(data: Path | None, count: int, *, longest: int | None = None) -> list[RawArticle]:
    """`count` articles, the same ones each time, none of more than `longest` code points.

    Texts repeat where there are too few. Raises DriverError where there are none.
    """
    fitting = (each for each in _articles(data) if longest is None or len(each.title) + len(each.body) <= longest)
    drawn = list(itertools.islice(fitting, count))
    if not drawn:
        raise DriverError(f"{origin(data)}: no article of at most {longest} characters")
    return repeated(drawn, count)


def repeated(articles: Iterable[RawArticle], count: int) -> list[RawArticle]:
    """The first `count` of them, over and over where there are fewer."""
    return list(itertools.islice(itertools.cycle(articles), count))


def _articles(data: Path | None) -> Iterator[RawArticle]:
    """All of them, in an order drawn once."""
    paths = [data / CORPUS] if data else sorted(SEEDS.glob("[0-9]*"))
    read = list(records(map(str, paths)))
    random.Random(0).shuffle(read)
    for record in read:
        decoded = decode(record, pipeline_version="")
        if isinstance(decoded, RawArticle) and decoded.title and decoded.body:
            yield decoded


def as_records(articles: Iterable[RawArticle], name: str) -> Iterator[Record]:
    """Raw records under ids that nothing else has: `name` must be new each time. The key is the id."""
    for number, article in enumerate(articles):
        id_ = f"{name}-{number}"
        value = orjson.dumps({"id": id_, "title": article.title, "body": article.body, "source": article.source})
        yield Record(value=value, key=id_.encode())
