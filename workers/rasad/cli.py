"""The `rasad` command: one function a verb, each thin; what takes long to import is imported where it is used."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from rasad import __version__
from rasad.settings import Loaded, SettingsError, load

if TYPE_CHECKING:
    from rich.progress import TaskID

    from rasad.enrich.enricher import Enricher
    from rasad.messages import Outcome
    from rasad.streams.connection import Connection

STARTED = time.monotonic()
"""When the process began, for "ready after" figures."""

app = typer.Typer(
    help="Rasad (رصد): raw Arabic news articles in, enriched events out, on Kafka.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
broker_app = typer.Typer(help="A real single-node Kafka for development and tests.", no_args_is_help=True)
topics_app = typer.Typer(
    help="Rasad's topics: declare them, compare them with what they must be.", no_args_is_help=True
)
models_app = typer.Typer(help="Model bundles: evaluate, convert, verify.", no_args_is_help=True)
app.add_typer(broker_app, name="broker")
app.add_typer(topics_app, name="topics")
app.add_typer(models_app, name="models")

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="TOML file; else RASAD_CONFIG, or rasad.toml here.", show_default=False)
]
BootstrapOption = Annotated[
    str | None,
    typer.Option(
        "--bootstrap-servers",
        help="host:port,... of the cluster; else KAFKA_BOOTSTRAP_SERVERS, or the broker of `rasad broker start`.",
        show_default=False,
    ),
]
NerOption = Annotated[
    str | None, typer.Option("--ner", help="NER bundle: a folder; the bundled one by default.", show_default=False)
]
StanceOption = Annotated[
    str | None,
    typer.Option("--stance", help="Stance bundle: a folder; the bundled one by default.", show_default=False),
]


def fail(message: object, code: int = 1) -> NoReturn:
    """Say what went wrong on standard error and end the process with `code`."""
    err.print(f"rasad: {message}", style="red", markup=False, soft_wrap=True)
    raise typer.Exit(code)


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn the errors that a user can act on into one line and an exit code: 2 for configuration, 1 otherwise."""
    from rasad.broker import BrokerError
    from rasad.inference.bundle import BundleError
    from rasad.streams.connection import BrokerUnavailable
    from rasad.streams.driver import DriverError

    try:
        yield
    except SettingsError as error:
        fail(error, 2)
    except (BundleError, BrokerError, BrokerUnavailable, DriverError) as error:
        fail(error)
    except BrokenPipeError:
        # The reader (head, less) has what it wanted; closing quietly is what a filter does.
        sys.stderr.close()
        raise typer.Exit(0) from None
    except KeyboardInterrupt:
        raise typer.Exit(128 + signal.SIGINT) from None


def settings_of(config: Path | None, **flags: object) -> Loaded:
    """The settings with `flags` (`group__key`) over them, and logging as they say."""
    from rasad.logs import configure

    try:
        loaded = load(config, {key.replace("__", "."): value for key, value in flags.items()})
    except SettingsError as error:
        fail(error, 2)
    configure(loaded.settings.logs.level, loaded.settings.logs.format)
    return loaded


def connection_of(loaded: Loaded) -> Connection:
    """How to reach the cluster that the settings name, or else the embedded broker where one runs."""
    from rasad import broker
    from rasad.streams.connection import Connection

    running = broker.status()
    try:
        return Connection.of(loaded.settings.kafka, running.bootstrap if running else None)
    except ValueError as error:
        fail(error, 2)


def enricher_of(loaded: Loaded) -> Enricher:
    """The enricher with the settings' models."""
    from rasad.enrich.enricher import Enricher

    models = loaded.settings.models
    return Enricher.open(
        ner=models.ner,
        stance=models.stance,
        threads=models.threads,
        token_budget=models.token_budget,
        max_bytes=loaded.settings.input.max_bytes,
    )


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rasad {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Rasad (رصد): raw Arabic news articles in, enriched events out, on Kafka."""


@app.command()
def enrich(
    inputs: Annotated[list[str], typer.Argument(metavar="FILE|DIR|-", help="Articles: .txt, .json or .jsonl.")],
    dead_letters: Annotated[
        Path | None, typer.Option(help="Write dead letters to this file instead of standard output.")
    ] = None,
    pretty: Annotated[bool, typer.Option("--pretty", help="A readable right-to-left view in place of JSON.")] = False,
    ner: NerOption = None,
    stance: StanceOption = None,
    config: ConfigOption = None,
) -> None:
    """Enrich files without a broker: one JSON line an outcome, events and dead letters alike.

    Example: `rasad enrich seeds/01-politics-kites-geneva.txt --pretty`
    """
    loaded = settings_of(config, models__ner=ner, models__stance=stance)
    with clear_errors():
        from rasad.messages import DeadLetter
        from rasad.presentation import show
        from rasad.streams.files import FileDriver, outcome_line

        apart = dead_letters.open("wb") if dead_letters else None

        def write(outcome: Outcome) -> None:
            if apart is not None and isinstance(outcome, DeadLetter):
                apart.write(outcome_line(outcome))
            elif pretty:
                show(out, outcome, whole=True)
            else:
                sys.stdout.buffer.write(outcome_line(outcome))

        try:
            FileDriver(inputs=tuple(inputs), write=write).run(enricher_of(loaded).enrich)
            sys.stdout.flush()
        finally:
            if apart is not None:
                apart.close()


@app.command()
def stance(
    pairs: Annotated[str, typer.Argument(metavar="PAIRS.jsonl|-", help="Lines of {id, claim, title, body}.")],
    head: Annotated[
        str | None, typer.Option(help='Output layer; `target` judges favor, against or none towards "claim".')
    ] = None,
    stance_bundle: StanceOption = None,
    config: ConfigOption = None,
) -> None:
    """Judge claims against articles: a line of {id, label, probs, evidence} for each pair.

    A line that cannot be read is named on standard error and makes the exit code 1; the others go on.
    """
    loaded = settings_of(config, models__stance=stance_bundle)
    with clear_errors():
        from rasad.enrich.stance import StanceModel
        from rasad.inference.bundle import load_bundle
        from rasad.inference.engine import Engine
        from rasad.streams.pairs import judged

        models = loaded.settings.models
        engine = Engine.open(load_bundle(models.stance, task="stance"), threads=models.threads)
        bad = 0
        for line, problem in judged(StanceModel(engine, head), pairs):
            if problem is not None:
                err.print(f"rasad: {problem}", style="red", markup=False, soft_wrap=True)
                bad += 1
            else:
                sys.stdout.buffer.write(line)
        sys.stdout.flush()
    if bad:
        raise typer.Exit(1)


@app.command()
def worker(
    group: Annotated[str | None, typer.Option("--group", help="Consumer group.", show_default=False)] = None,
    bootstrap_servers: BootstrapOption = None,
    batch_max: Annotated[int | None, typer.Option(help="Most articles enriched at a time.", show_default=False)] = None,
    ner: NerOption = None,
    stance: StanceOption = None,
    config: ConfigOption = None,
) -> None:
    """Work as a member of a consumer group: raw articles in, enriched events and dead letters out, at least once.

    Stops on SIGTERM or Ctrl-C after the batch in hand; run more of them to share the partitions.
    """
    loaded = settings_of(
        config,
        kafka__bootstrap_servers=bootstrap_servers,
        worker__group_id=group,
        worker__batch_max=batch_max,
        models__ner=ner,
        models__stance=stance,
    )
    connection = connection_of(loaded)
    with clear_errors():
        from rasad.streams.faust_worker import FaustWorker

        enricher = enricher_of(loaded)
        driver = FaustWorker(
            connection=connection,
            topics=loaded.settings.topics,
            worker=loaded.settings.worker,
            started=STARTED,
        )
        driver.run(enricher.enrich)


@app.command()
def produce(
    inputs: Annotated[list[str], typer.Argument(metavar="FILE|DIR|-", help="Articles to publish.")],
    topic: Annotated[str | None, typer.Option(help="Topic; the raw topic by default.", show_default=False)] = None,
    bootstrap_servers: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """Publish files to the raw topic, keyed by article id."""
    loaded = settings_of(config, kafka__bootstrap_servers=bootstrap_servers)
    connection = connection_of(loaded)
    with clear_errors():
        from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        from rasad.streams.files import records
        from rasad.streams.producing import produce as publish

        name = topic or loaded.settings.topics.raw
        columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=err, transient=True) as progress:
            task = progress.add_task(f"to {name}", total=None)
            done = publish(connection, name, records(inputs), lambda n: progress.update(task, completed=n))
        for record in done.refused:
            place = f"{record.topic} record {record.offset}"
            err.print(f"rasad: {place}: {len(record.value):,} bytes are too many for {name}", style="red", markup=False)
        err.print(f"{done.taken} records to {name}")
    if done.refused:
        raise typer.Exit(1)


@app.command()
def tail(
    topic: Annotated[str | None, typer.Argument(help="Topic; the enriched one by default.", show_default=False)] = None,
    from_: Annotated[
        str, typer.Option("--from", help="`beginning`, `end`, or a number: so many before each partition's end.")
    ] = "end",
    count: Annotated[int | None, typer.Option(min=1, help="Stop after so many records.", show_default=False)] = None,
    follow: Annotated[bool, typer.Option(help="Wait for records to come.")] = True,
    pretty: Annotated[bool, typer.Option("--pretty", help="Show enriched events readably.")] = False,
    bootstrap_servers: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """Print a topic's values, one a line, as they come.

    Example: `rasad tail news.enriched.v1 --from beginning --count 3 --pretty`
    """
    loaded = settings_of(config, kafka__bootstrap_servers=bootstrap_servers)
    connection = connection_of(loaded)
    start: str | int = int(from_) if from_.isdecimal() else from_
    if start not in ("beginning", "end") and not isinstance(start, int):
        fail(f"--from {from_!r}: say beginning, end or a number", 2)
    with clear_errors():
        from pydantic import ValidationError

        from rasad.messages import EnrichedEvent, from_bytes
        from rasad.presentation import show
        from rasad.streams.connection import wait_for_broker
        from rasad.streams.tailing import Tail

        wait_for_broker(connection, loaded.settings.worker.broker_wait_s)
        with Tail(connection, topic or loaded.settings.topics.enriched, start) as reading:  # type: ignore[arg-type]
            for record in reading.records(count=count, follow=follow):
                if pretty:
                    try:
                        show(out, from_bytes(EnrichedEvent, record.value))
                        continue
                    except ValidationError:
                        pass  # not an enriched event: shown as it is
                sys.stdout.buffer.write(record.value + b"\n")
                sys.stdout.flush()


@app.command()
def config(
    config: ConfigOption = None,
) -> None:
    """Print every setting, its value and where it came from; secrets are masked.

    A TOML file is weaker than RASAD_GROUP__KEY in the environment, and that is weaker than a flag.
    """
    loaded = settings_of(config)
    table = Table(box=None, pad_edge=False)
    for column in ("setting", "value", "from"):
        table.add_column(column, overflow="fold")
    for row in loaded.rows():
        table.add_row(row.key, row.value, row.origin)
    out.print(table)


@app.command()
def schemas(
    folder: Annotated[Path, typer.Argument(help="Folder of the schemas.")] = Path("schemas"),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if the files are not current.")] = False,
) -> None:
    """Write JSON Schemas of every message and the AsyncAPI document of every topic."""
    from rasad import schemas as generated

    if not check:
        generated.write(folder)
        err.print(f"schemas written to {folder}")
        return
    problems = [*generated.drift(folder), *generated.breaks(folder)]
    for problem in problems:
        err.print(problem, markup=False, soft_wrap=True)
    if problems:
        fail("the schemas differ from the messages: run `rasad schemas`, and keep released fields as they are")


@broker_app.command("start")
def broker_start(
    port: Annotated[int | None, typer.Option(help="Port; a free one by default.", show_default=False)] = None,
) -> None:
    """Fetch Apache Kafka with Maven (once, 54 MB) and start one node on loopback; it runs until `stop`."""
    with clear_errors():
        from rasad import broker

        running = broker.start(port=port, progress=lambda line: err.print(line, style="dim", markup=False))
        out.print(f"Kafka {broker.KAFKA_VERSION} on {running.bootstrap} (pid {running.pid})")
        err.print(f"export KAFKA_BOOTSTRAP_SERVERS={running.bootstrap}   # for other tools; rasad finds it by itself")


@broker_app.command("stop")
def broker_stop() -> None:
    """Stop the broker and remove all that it wrote."""
    with clear_errors():
        from rasad import broker

        out.print("stopped" if broker.stop() else "no broker was running")


@broker_app.command("status")
def broker_status() -> None:
    """Say whether the broker runs and where; exit code 1 if it does not."""
    from rasad import broker

    running = broker.status()
    if running is None:
        out.print("no broker is running; start one with `rasad broker start`", markup=False)
        raise typer.Exit(1)
    out.print(f"Kafka {broker.KAFKA_VERSION} on {running.bootstrap} (pid {running.pid}), log {running.log_file}")


@topics_app.command("declare")
def topics_declare(bootstrap_servers: BootstrapOption = None, config: ConfigOption = None) -> None:
    """Create the topics that are missing, then compare all of them; exit code 1 if one differs."""
    _topics(bootstrap_servers, config, declare=True)


@topics_app.command("check")
def topics_check(bootstrap_servers: BootstrapOption = None, config: ConfigOption = None) -> None:
    """Compare the cluster's topics with what they must be; exit code 1 if one differs."""
    _topics(bootstrap_servers, config, declare=False)


def _topics(bootstrap_servers: str | None, config: Path | None, *, declare: bool) -> None:
    loaded = settings_of(config, kafka__bootstrap_servers=bootstrap_servers)
    connection = connection_of(loaded)
    with clear_errors():
        from rasad.streams import topics
        from rasad.streams.connection import wait_for_broker

        wait_for_broker(connection, loaded.settings.worker.broker_wait_s)
        wanted = topics.specs(loaded.settings.topics)
        for name in topics.declare(connection, wanted) if declare else ():
            out.print(f"created {name}", markup=False)
        differences = topics.drift(connection, wanted)
    for difference in differences:
        err.print(str(difference), style="red", markup=False, soft_wrap=True)
    if differences:
        raise typer.Exit(1)
    out.print(f"{len(wanted)} topics are as they must be")


@topics_app.command("lag")
def topics_lag(
    group: Annotated[str | None, typer.Option("--group", help="Consumer group.", show_default=False)] = None,
    bootstrap_servers: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """How far the consumer group is behind in each partition of the raw topic."""
    loaded = settings_of(config, kafka__bootstrap_servers=bootstrap_servers, worker__group_id=group)
    connection = connection_of(loaded)
    with clear_errors():
        from rasad.streams.tailing import lag

        rows = lag(connection, loaded.settings.worker.group_id, loaded.settings.topics.raw)
    table = Table(box=None, pad_edge=False)
    for column in ("partition", "committed", "end", "behind"):
        table.add_column(column, justify="right")
    for row in rows:
        committed = "-" if row.committed is None else str(row.committed)
        table.add_row(str(row.partition), committed, str(row.end), str(row.behind))
    out.print(table)


@models_app.command("eval")
def models_eval(
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
) -> None:
    """Measure bundles on labelled corpora: strict F1, calibration, stance, quotes; int8 beside fp32 with `--fp32`."""
    if task not in ("ner", "quotes", "stance", "all"):
        fail(f"--task {task!r}: say ner, quotes, stance or all", 2)
    with clear_errors():
        from rich.progress import Progress

        from rasad.evaluation import report

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
            except report.EvaluationError as error:
                fail(error)
    for each in report.tables(found):
        table = Table(title=each.title, title_justify="left", box=None, pad_edge=False)
        for column in each.columns:
            table.add_column(column)
        for row in each.rows:
            table.add_row(*row)
        out.print(table, soft_wrap=False)
        for note in each.notes:
            out.print(note, style="dim", markup=False)
        out.print()
    for line in found.left_out:
        err.print(f"not measured: {line}", markup=False)


@models_app.command("convert")
def models_convert(
    source: Annotated[
        str, typer.Argument(metavar="HUB_ID_OR_PATH", help="A Hugging Face model: a folder or a Hub id.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Bundle directory to write; must not exist yet.")],
    label: Annotated[
        list[str] | None, typer.Option(help="OLD=NEW: rename a label or type of the model; may be repeated.")
    ] = None,
    fp32: Annotated[Path | None, typer.Option(help="Keep the fp32 graph here.", show_default=False)] = None,
    licence: Annotated[str, typer.Option(help="Licence of the weights, for the manifest.")] = "",
) -> None:
    """Make a bundle from any Hugging Face token-classification or sequence-classification model.

    Needs the extra: `pip install 'rasad[training]'`. Reads safetensors only and never runs a model's own code.
    """
    renamed = dict(pair.partition("=")[::2] for pair in label or [])
    with clear_errors():
        from rasad.inference.conversion import convert

        made = convert(source, folder, labels=renamed, licence=licence, fp32=fp32)
    out.print(f"{folder}: {made.manifest.task} bundle {made.manifest.name}, {made.sha256[:12]}", markup=False)


@models_app.command("verify")
def models_verify(
    bundle: Annotated[
        str | None, typer.Argument(help="Bundle directory; both bundled ones by default.", show_default=False)
    ] = None,
    fp32: Annotated[
        Path | None, typer.Option(help="fp32 graph to compare the int8 one with.", show_default=False)
    ] = None,
) -> None:
    """Check a bundle: hashes, labels, operator set, that it runs, that equal input gives equal bits."""
    with clear_errors():
        from rasad.inference.bundle import bundled_directory
        from rasad.inference.verification import verify

        wanted = [bundle] if bundle else [str(bundled_directory(task)) for task in ("ner", "stance")]
        failed = 0
        for each in wanted:
            out.print(each, style="bold", markup=False)
            for check in verify(each, fp32=fp32):
                mark = "[green]pass[/]" if check.passed else "[red]fail[/]"
                out.print(f"  {mark}  {check.name}: ", end="")
                out.print(check.detail, markup=False, soft_wrap=True)
                failed += not check.passed
    if failed:
        raise typer.Exit(1)


@app.command()
def demo(
    article: Annotated[Path | None, typer.Option(help="Play this file in place of the seeds.")] = None,
    seeds: Annotated[Path, typer.Option(help="Folder of the seed articles.")] = Path("seeds"),
) -> None:
    """The main job on a real Kafka: broker, topics, a worker, articles published, events shown as they arrive."""
    from rasad.logs import configure

    configure("error", "auto")
    with clear_errors():
        from rasad.demo import run

        run(out, article, seeds)


def _terminated(_number: int, _frame: object) -> NoReturn:
    """End on SIGTERM as on an error, so that what was started is stopped on the way out."""
    sys.exit(128 + signal.SIGTERM)


def main() -> None:
    """The console script."""
    signal.signal(signal.SIGTERM, _terminated)
    app()


if __name__ == "__main__":
    main()
