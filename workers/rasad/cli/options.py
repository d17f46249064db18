"""What the verbs share: options, settings, the cluster, and how an error reads."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer
from rich.console import Console

from rasad.settings import Loaded, SettingsError, load

if TYPE_CHECKING:
    from rasad.enrich.claims import ClaimIndex
    from rasad.enrich.enricher import Enricher
    from rasad.streams.connection import Connection

STARTED = time.monotonic()
"""When the process began, for "ready after" figures."""


class PipedConsole(Console):
    """A console whose reader may go."""

    def on_broken_pipe(self) -> None:
        """End as a filter whose reader (head, less) has what it wanted; in rich that is an error."""
        _let_go_of_output()
        raise SystemExit(0)


out = PipedConsole(highlight=False)
err = Console(stderr=True, highlight=False)

STDOUT_FD: Final = 1

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

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
    str | None,
    typer.Option(
        "--ner",
        "--model",
        help="NER bundle: a folder, or fast for the small bundled one, for backfills; the large one by default.",
        show_default=False,
    ),
]
StanceOption = Annotated[
    str | None,
    typer.Option("--stance", help="Stance bundle: a folder; the bundled one by default.", show_default=False),
]
BackendOption = Annotated[
    str | None,
    typer.Option(
        "--backend",
        help="What runs the models: onnx, or torch (on a GPU where there is one), which does not run fast.",
        show_default="onnx",
    ),
]


def fail(message: object, code: int = 1) -> NoReturn:
    """Say what went wrong on standard error and end the process with `code`."""
    err.print(f"rasad: {message}", style="red", markup=False, soft_wrap=True)
    raise typer.Exit(code)


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn the errors that a user can act on into one line and an exit code: 2 for configuration, 1 otherwise."""
    from kafka.errors import KafkaError

    from rasad.broker import BrokerError
    from rasad.inference.bundle import BundleError
    from rasad.streams.access import refusal
    from rasad.streams.connection import BrokerUnavailable
    from rasad.streams.driver import DriverError

    try:
        yield
    except SettingsError as error:
        fail(error, 2)
    except (BundleError, BrokerError, BrokerUnavailable, DriverError) as error:
        fail(error)
    except KafkaError as error:
        fail(refusal(error))
    except BrokenPipeError:
        # The reader (head, less) has what it wanted; closing quietly is what a filter does.
        _let_go_of_output()
        sys.stderr.close()
        raise typer.Exit(0) from None
    except OSError as error:
        if error.errno in _FULL:
            _let_go_of_output()
            place = "" if error.filename is None else f"{error.filename}: "
            fail(f"{place}{error.strerror}: what was written is cut short; make room, or write elsewhere")
        if error.filename is None:
            raise
        fail(f"{error.filename}: {error.strerror}; make its folder, see to its permissions, or name another path")
    except KeyboardInterrupt:
        raise typer.Exit(128 + signal.SIGINT) from None


def _let_go_of_output() -> None:
    """Send what standard output cannot take nowhere, or the interpreter would fail over it once more at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def require_writable(path: Path) -> None:
    """Raise OSError where `path` cannot be written, before the work whose result it is to take; it stays as it was."""
    if path.is_fifo():
        # To open and close one tells its reader that all is written.
        return
    new = not path.exists()
    path.open("ab").close()
    if new:
        path.resolve().unlink()


@contextmanager
def counted(doing: str, *, results: bool = True) -> Iterator[Callable[[int], None]]:
    """Show how many are done on standard error, where that is a terminal and the results do not pass by on one.

    `results` False where none are written to standard output.
    """
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    idle = (results and sys.stdout.isatty()) or not sys.stderr.isatty()
    with Progress(*columns, console=err, transient=True, redirect_stdout=False, disable=idle) as progress:
        task = progress.add_task(doing, total=None)
        yield lambda done: progress.update(task, completed=done)


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar on standard error while the block lasts, and what moves it: how much is done, and of how much, if known."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def amount(count: int, noun: str) -> str:
    """`count` of something, in the plural where there is not one."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


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


def enricher_of(loaded: Loaded, claims: Callable[[], ClaimIndex] | None = None) -> Enricher:
    """The enricher with the settings' models; `claims` gives those to hold articles against, none by default."""
    from rasad.enrich.claims import Gate, no_claims
    from rasad.enrich.enricher import Enricher

    models, gate = loaded.settings.models, loaded.settings.claims
    return Enricher.open(
        ner=models.ner,
        stance=models.stance,
        threads=models.threads,
        token_budget=models.token_budget,
        max_bytes=loaded.settings.input.max_bytes,
        backend=models.backend,
        claims=claims or no_claims,
        gate=Gate(threshold=gate.threshold, most=gate.per_article),
    )


@contextmanager
def watching_enricher_of(loaded: Loaded, connection: Connection) -> Iterator[Enricher]:
    """The enricher, holding articles against the claims that the cluster's topic has at any time within."""
    from rasad.streams.claims import ClaimWatch

    settings = loaded.settings
    if not settings.claims.per_article:
        yield enricher_of(loaded)
        return
    with ClaimWatch(connection, settings.topics.claims, patience_s=settings.worker.broker_wait_s) as watch:
        yield enricher_of(loaded, watch.index)
