"""`rasad models`: bundles."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from rasad.cli.options import clear_errors, err, fail, out

if TYPE_CHECKING:
    from rich.progress import TaskID

    from rasad.inference.bundle import Bundle

app = typer.Typer(help="Model bundles: show, evaluate, convert, verify.", no_args_is_help=True)


@app.command("show")
def show(
    bundle: Annotated[
        str | None,
        typer.Argument(help="Bundle directory, or ner, ner-fast, stance; those three by default.", show_default=False),
    ] = None,
) -> None:
    """Show what a bundle is: labels, licences, what it was trained on and how well it measured.

    Example: `rasad models show ner`. Figures are those of the manifest; `rasad models eval` measures them anew.
    """
    with clear_errors():
        from rasad.inference.bundle import load_bundle

        found = [load_bundle(each, task=None) for each in _one_or_bundled(bundle)]
    for number, each in enumerate(found):
        if number:
            out.print()
        for name, lines in _described(each):
            out.print(f"{name + ':':<14}{lines[0]}", markup=False, soft_wrap=True)
            for line in lines[1:]:
                out.print(f"{'':<14}{line}", markup=False, soft_wrap=True)


def _one_or_bundled(bundle: str | None) -> list[str]:
    """What to load for a bundle that was named, or for none: all that ship."""
    from rasad.inference.bundle import BUNDLED, bundled_directory

    return [bundle] if bundle else [str(bundled_directory(name)) for name in BUNDLED]


def _described(bundle: Bundle) -> Iterator[tuple[str, list[str]]]:
    """Names of what a manifest states, and the lines that say it."""
    manifest = bundle.manifest
    size = sum(each.stat().st_size for each in bundle.directory.iterdir() if each.is_file())
    yield "bundle", [f"{manifest.name} {manifest.version}, {manifest.task}, {size / 1e6:.1f} MB"]
    yield "directory", [str(bundle.directory)]
    yield "identity", [f"sha256 {bundle.sha256}"]
    yield "heads", [f"{name}: {', '.join(_kinds(head.labels))}" for name, head in manifest.heads.items()]
    yield "licence", [manifest.licence or "not stated"]
    if manifest.training_data:
        yield "trained on", [" | ".join(str(value) for value in each.values()) for each in manifest.training_data]
    if manifest.metrics:
        yield "measured", [f"{name}: {_measured(values)}" for name, values in manifest.metrics.items()]


def _kinds(labels: Iterable[str]) -> dict[str, None]:
    """The labels of a head in their order, those of BIO tagging without their prefix and `O`."""
    return dict.fromkeys(label.partition("-")[2] or label for label in labels if label != "O")


def _measured(values: object) -> str:
    """A corpus's figures on one line; other programs may have written other things there."""
    if not isinstance(values, Mapping):
        return str(values)
    single = {str(name).replace("_", " "): each for name, each in values.items() if isinstance(each, int | float)}
    return ", ".join(f"{name} {each}" for name, each in single.items())


@app.command("eval")
def evaluate(
    data: Annotated[Path, typer.Option(help="Folder of the corpora: news/, ner/, stance/.")],
    task: Annotated[str, typer.Option(help="`ner`, `quotes` (and entity stances), `stance`, or `all`.")] = "all",
    bundle: Annotated[
        str | None, typer.Option(help="Bundle to measure; the bundled ones by default.", show_default=False)
    ] = None,
    fp32: Annotated[
        Path | None, typer.Option(help="Another graph of that bundle to measure beside it.", show_default=False)
    ] = None,
    dev_only: Annotated[bool, typer.Option("--dev-only", help="Leave the test sets alone.")] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only so many texts of each corpus.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line in place of tables.")] = False,
) -> None:
    """Measure bundles on labelled corpora: strict F1, calibration, stance, quotes; int8 beside fp32 with `--fp32`."""
    if task not in ("ner", "quotes", "stance", "all"):
        fail(f"--task {task!r}: say ner, quotes, stance or all", 2)
    with clear_errors():
        from rich.progress import Progress

        from rasad.evaluation import report
        from rasad.evaluation.corpora import CorpusError
        from rasad.evaluation.figures import figures
        from rasad.evaluation.tables import tables

        with Progress(console=err, transient=True) as progress:
            tasks: dict[str, TaskID] = {}

            def told(what: str, done: int, total: int) -> None:
                if what not in tasks:
                    tasks[what] = progress.add_task(what, total=total)
                progress.update(tasks[what], completed=done)

            try:
                found = report.evaluate(
                    data,
                    task=task,  # type: ignore[arg-type]
                    bundle=bundle,
                    fp32=fp32,
                    dev_only=dev_only,
                    limit=limit,
                    progress=told,
                )
            except (report.EvaluationError, CorpusError) as error:
                fail(error)
        if as_json:
            for figure in figures(found):
                typer.echo(json.dumps(figure, ensure_ascii=False))
            return
    for each in tables(found):
        table = Table(title=each.title, title_justify="left", box=None, pad_edge=False)
        for column in each.columns:
            table.add_column(column)
        for row in each.rows:
            table.add_row(*row)
        out.print(table, soft_wrap=False)
        for note in each.notes:
            out.print(note, style="dim", markup=False)
        out.print()


@app.command("convert")
def make_bundle(
    source: Annotated[
        str, typer.Argument(metavar="HUB_ID_OR_PATH", help="A Hugging Face model: a folder or a Hub id.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Bundle directory to write; must not exist yet.")],
    label: Annotated[
        list[str] | None, typer.Option(help="OLD=NEW: rename a label or type of the model; may be repeated.")
    ] = None,
    scheme: Annotated[
        str, typer.Option(help="How names are labelled: iob2, or iob1, where I- may begin one.")
    ] = "iob2",
    fp32: Annotated[Path | None, typer.Option(help="Keep the fp32 graph here.", show_default=False)] = None,
    licence: Annotated[str, typer.Option(help="Licence of the weights, for the manifest.")] = "",
) -> None:
    """Make a bundle from any Hugging Face token-classification or sequence-classification model.

    Needs the extra: `pip install 'rasad[training]'`. Reads safetensors only and never runs a model's own code.
    Labels named entailment, neutral and contradiction say that a model is one for natural language inference, which
    reads the article as the premise; where its labels have no names, give it those with --label.
    """
    renamed = dict(pair.partition("=")[::2] for pair in label or [])
    if scheme not in ("iob2", "iob1"):
        fail(f"--scheme {scheme!r}: say iob2 or iob1", 2)
    with clear_errors():
        from rasad.inference.conversion import convert

        made = convert(
            source,
            folder,
            labels=renamed,
            scheme=scheme,  # type: ignore[arg-type]
            licence=licence,
            fp32=fp32,
        )
    out.print(f"{folder}: {made.manifest.task} bundle {made.manifest.name}, {made.sha256[:12]}", markup=False)


@app.command("verify")
def check(
    bundle: Annotated[
        str | None, typer.Argument(help="Bundle directory; all bundled ones by default.", show_default=False)
    ] = None,
    fp32: Annotated[
        Path | None, typer.Option(help="fp32 graph to compare the int8 one with.", show_default=False)
    ] = None,
) -> None:
    """Check a bundle: hashes, labels, operator set, that it runs, that equal input gives equal bits."""
    if fp32 is not None and bundle is None:
        fail("--fp32 is a graph of one bundle: name the bundle", 2)
    with clear_errors():
        from rasad.inference.verification import verify

        failed = 0
        for each in _one_or_bundled(bundle):
            out.print(each, style="bold", markup=False)
            for check in verify(each, fp32=fp32):
                mark = "[green]pass[/]" if check.passed else "[red]fail[/]"
                out.print(f"  {mark}  {check.name}: ", end="")
                out.print(check.detail, markup=False, soft_wrap=True)
                failed += not check.passed
    if failed:
        raise typer.Exit(1)
