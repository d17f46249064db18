"""`rasad enrich`: files in, outcomes out, without a broker."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rasad.cli.options import (
    STDOUT_FD,
    BackendOption,
    ConfigOption,
    NerOption,
    StanceOption,
    amount,
    clear_errors,
    counted,
    enricher_of,
    err,
    out,
    require_writable,
    settings_of,
)

if TYPE_CHECKING:
    from rasad.messages import Outcome


def enrich(
    inputs: Annotated[
        list[str], typer.Argument(metavar="FILE|DIR|-", help="Articles: .txt, .json or .jsonl, also gzip or zstd.")
    ],
    dead_letters: Annotated[
        Path | None, typer.Option(help="Write dead letters to this file instead of standard output.")
    ] = None,
    claims: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.jsonl", help="Hold articles against these claims, lines of {id, text}.", show_default=False
        ),
    ] = None,
    pretty: Annotated[bool, typer.Option("--pretty", help="A readable right-to-left view in place of JSON.")] = False,
    ner: NerOption = None,
    stance: StanceOption = None,
    backend: BackendOption = None,
    config: ConfigOption = None,
) -> None:
    """Enrich files without a broker: one JSON line an outcome, events and dead letters alike.

    With --claims, stances towards them stand among an event's own, marked by their kind; a worker publishes them apart.
    How many there were of each stands on standard error, where there were several.

    Example: `rasad enrich seeds/01-politics-kites-geneva.txt --claims seeds/claims.jsonl --pretty`
    """
    loaded = settings_of(config, models__ner=ner, models__stance=stance, models__backend=backend)
    with clear_errors():
        from rasad.enrich.claims import ClaimIndex
        from rasad.messages import DeadLetter
        from rasad.presentation import show
        from rasad.streams.claims import read_claims
        from rasad.streams.files import FileDriver, file_id, outcome_line, sources

        if dead_letters is not None:
            require_writable(dead_letters)
        index = ClaimIndex(read_claims(claims) if claims else ())
        enricher = enricher_of(loaded, lambda: index)
        found = sources(inputs, [file_id(STDOUT_FD), None if dead_letters is None else file_id(dead_letters)])
        for name in found.left_out:
            err.print(f"rasad: {name} is not read: it takes what is written", markup=False, soft_wrap=True)
        counts: Counter[str] = Counter()
        opened = dead_letters.open("wb") if dead_letters is not None else nullcontext()
        with opened as apart, counted("enriching") as told:

            def write(outcome: Outcome) -> None:
                letter = isinstance(outcome, DeadLetter)
                counts["dead letter" if letter else "event"] += 1
                told(counts.total())
                if apart is not None and letter:
                    apart.write(outcome_line(outcome))
                elif pretty:
                    show(out, outcome, whole=True)
                else:
                    sys.stdout.buffer.write(outcome_line(outcome))

            FileDriver(inputs=found.read, write=write).run(enricher.enrich)
            sys.stdout.flush()
        if counts.total() > 1:
            err.print(", ".join(amount(counts[kind], kind) for kind in ("event", "dead letter")))
