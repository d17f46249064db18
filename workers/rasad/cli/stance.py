"""`rasad stance`: claims against articles, without a broker."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from rasad.cli.options import (
    STDOUT_FD,
    BackendOption,
    ConfigOption,
    StanceOption,
    amount,
    clear_errors,
    counted,
    err,
    settings_of,
)


def stance(
    pairs: Annotated[str, typer.Argument(metavar="PAIRS.jsonl|-", help="Lines of {id, claim, title, body}.")],
    head: Annotated[
        str | None, typer.Option(help='Output layer; `target` judges favor, against or none towards "claim".')
    ] = None,
    stance_bundle: StanceOption = None,
    backend: BackendOption = None,
    config: ConfigOption = None,
) -> None:
    """Judge claims against articles: a line of {id, label, probs, evidence} for each pair.

    A line that cannot be read is named on standard error and makes the exit code 1; the others go on.
    """
    loaded = settings_of(config, models__stance=stance_bundle, models__backend=backend)
    with clear_errors():
        from rasad.enrich.stance import StanceModel
        from rasad.inference.bundle import load_bundle
        from rasad.inference.engine import Engine
        from rasad.streams.files import file_id, sources
        from rasad.streams.pairs import judged

        found = sources([pairs], [file_id(STDOUT_FD)])
        models = loaded.settings.models
        bundle = load_bundle(models.stance, task="stance")
        engine = Engine.open(bundle, threads=models.threads, backend=models.backend)
        done = bad = 0
        with counted("judging") as told:
            for done, (line, problem) in enumerate(judged(StanceModel(engine, head), found.read), 1):
                if problem is not None:
                    err.print(f"rasad: {problem}", style="red", markup=False, soft_wrap=True)
                    bad += 1
                else:
                    sys.stdout.buffer.write(line)
                told(done)
            sys.stdout.flush()
        if done > 1:
            err.print(f"{amount(done - bad, 'pair')} judged, {amount(bad, 'line')} not read")
    if bad:
        raise typer.Exit(1)
