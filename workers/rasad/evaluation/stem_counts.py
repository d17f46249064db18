"""The table of `rasad.enrich.stem_rarity`: in how many of many articles each light stem occurs, by steps of one half.

`python -m rasad.evaluation.stem_counts --first 6000 FILE.jsonl.zst ...` prints it.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from rasad.enrich.evidence import stems
from rasad.enrich.stem_rarity import RAREST
from rasad.evaluation.corpora import read_jsonl


def by_rarity(texts: Iterable[str]) -> list[list[str]]:
    """Stems that occur in more than every second text, in more than every fourth of the others, and so on.

    There are `RAREST` lists, each from the most frequent on. Numbers are left out: their time passes.
    """
    frequency: Counter[str] = Counter()
    count = 0
    for text in texts:
        frequency.update(set(stems(text)))
        count += 1
    found: list[list[str]] = [[] for _ in range(RAREST)]
    for stem, occurs in sorted(frequency.items(), key=lambda item: (-item[1], item[0])):
        rarity = math.floor(math.log2(count / occurs))
        if rarity < RAREST and not stem.isdigit():
            found[rarity].append(stem)
    return found


def main(
    files: Annotated[list[Path], typer.Argument(help="Articles, lines of {title, text}.")],
    first: Annotated[int | None, typer.Option(min=1, help="Only so many of each file.", show_default=False)] = None,
) -> None:
    """Print the stems of articles by how rare they are, one line a step."""
    articles = itertools.chain.from_iterable(itertools.islice(read_jsonl(file), first) for file in files)
    for line in by_rarity(f"{each.get('title') or ''}\n{each['text']}" for each in articles):
        typer.echo(" ".join(line))


if __name__ == "__main__":
    typer.run(main)
