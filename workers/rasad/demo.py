"""The demonstration: everything real, on one machine, ending by itself and leaving nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from rasad import broker
from rasad.messages import EnrichedEvent, Record, StanceRecord, from_bytes
from rasad.presentation import isolated, show, stance_line, visible
from rasad.settings import CONFIG_VARIABLE, TopicSettings
from rasad.streams import claims, topics
from rasad.streams.connection import Connection
from rasad.streams.driver import DriverError
from rasad.streams.files import records
from rasad.streams.producing import produce
from rasad.streams.tailing import Tail

_READY_WITHIN_S = 60.0
_SILENT_WITHIN_S = 120.0
_STANCES_WITHIN_S = 1.0


def inputs(article: Path | None, seeds: Path) -> list[str]:
    """The file to play, or the seed articles with the flawed ones last. Raises DriverError where there are none."""
    if article is not None:
        return [str(article)]
    found = [str(path) for path in sorted(seeds.glob("[0-9]*")) if path.is_file()]
    if not found:
        raise DriverError(f"{seeds}: no seed articles there; run from the checkout, or name one with --article")
    flawed = sorted(str(path) for path in (seeds / "flawed").glob("*") if path.is_file())
    return found + flawed


@contextmanager
def cluster(console: Console) -> Iterator[Connection]:
    """A broker of the demonstration's own, whatever cluster the settings name: the seeds' news are invented."""
    with broker.embedded(progress=lambda line: console.print(Text(line, style="dim"))) as running:
        console.print(f"Kafka {broker.KAFKA_VERSION} on {running.bootstrap}")
        yield Connection(bootstrap_servers=(running.bootstrap,))


def worker_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """What the worker process inherits, less all settings: those of a cluster elsewhere do not fit this broker."""
    kept = {name: value for name, value in inherited.items() if not name.upper().startswith(("KAFKA_", "RASAD_"))}
    # An empty file in place of the rasad.toml that the worker would find in the working directory.
    return {**kept, CONFIG_VARIABLE: os.devnull, "RASAD_LOGS__FORMAT": "json", "RASAD_LOGS__LEVEL": "info"}


@contextmanager
def worker(connection: Connection, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process, ready; stopped at the end of the block. Raises DriverError with its log's end if it fails."""
    env = worker_environment(os.environ)
    servers = ",".join(connection.bootstrap_servers)
    command = [sys.executable, "-m", "rasad.cli", "worker", "--group", "rasad-demo", "--bootstrap-servers", servers]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=env)  # noqa: S603
    try:
        deadline = time.monotonic() + _READY_WITHIN_S
        while b"worker ready" not in log.read_bytes():
            if process.poll() is not None or time.monotonic() > deadline:
                end = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
                raise DriverError(f"the worker did not become ready; the end of its log:\n{end}")
            time.sleep(0.05)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


@contextmanager
def claims_watched(connection: Connection, topic: str, seeds: Path) -> Iterator[int]:
    """The seeds' claims watched within, beside those that are watched already; gives how many are in all."""
    file = seeds / "claims.jsonl"
    held = claims.watched(connection, topic)
    new = [claim for claim in claims.read_claims(file) if claim.id not in held] if file.is_file() else []
    claims.add(connection, topic, new)
    try:
        yield len(held) + len(new)
    finally:
        claims.remove(connection, topic, [claim.id for claim in new])


def run(console: Console, article: Path | None, seeds: Path) -> None:
    """Declare topics, start a worker, publish the articles, show each outcome as it arrives, stop everything."""
    played = list(records(inputs(article, seeds)))
    names = TopicSettings()
    with ExitStack() as stack:
        connection = stack.enter_context(cluster(console))
        topics.declare(connection, topics.specs(names))
        console.print(f"topics declared: {', '.join(spec.name for spec in topics.specs(names))}")
        watched = stack.enter_context(claims_watched(connection, names.claims, seeds))
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rasad-demo-")))
        began = time.monotonic()
        stack.enter_context(worker(connection, scratch / "worker.log"))
        console.print(f"worker ready after {time.monotonic() - began:.1f} s")
        enriched = stack.enter_context(Tail(connection, names.enriched, "end"))
        letters = stack.enter_context(Tail(connection, names.dead_letters, "end"))
        stances = stack.enter_context(Tail(connection, names.stances, "end"))
        produced = produce(connection, names.raw, played)
        console.print(f"{produced.taken} records published to {names.raw}\n")
        events, dead = _watch(console, enriched, letters, produced.taken)
        _show_claims(console, stances, watched)
    console.print(f"\n{events} events and {dead} dead letters from {produced.taken} records; everything is stopped.")
    console.print(
        "Try next:\n"
        "  make demo ARTICLE=seeds/09-disasters-wave-drill-alexandria.txt\n"
        "  .venv/bin/rasad enrich seeds/01-politics-kites-geneva.txt --pretty\n"
        "  .venv/bin/rasad broker start && .venv/bin/rasad topics declare && .venv/bin/rasad worker",
        markup=False,
    )


def _watch(console: Console, enriched: Tail, letters: Tail, wanted: int) -> tuple[int, int]:
    """Show outcomes until there is one for each record; how many were events and dead letters."""
    events = dead = 0
    heard = time.monotonic()
    while events + dead < wanted:
        for record in enriched.records(idle_s=0.2):
            show(console, from_bytes(EnrichedEvent, record.value))
            events += 1
            heard = time.monotonic()
            if events + dead >= wanted:
                return events, dead
        for record in letters.records(idle_s=0.2):
            console.print(_letter_line(record))
            dead += 1
            heard = time.monotonic()
            if events + dead >= wanted:
                return events, dead
        if time.monotonic() - heard > _SILENT_WITHIN_S:
            raise DriverError(
                f"only {events + dead} of {wanted} outcomes arrived, then {_SILENT_WITHIN_S:.0f} s nothing"
            )
    return events, dead


def _show_claims(console: Console, stances: Tail, watched: int) -> None:
    """Where the articles stand towards the claims that are watched."""
    found = [from_bytes(StanceRecord, record.value) for record in stances.records(idle_s=_STANCES_WITHIN_S)]
    console.print(Rule(style="dim"))
    console.print(f"{watched} claims were watched; these articles speak of them:")
    for record in (record for record in found if record.stance.kind == "claim"):
        console.print(Text(isolated(record.title), style="bold", justify="right"))
        console.print(stance_line(record.stance))


def _letter_line(record: Record) -> Text:
    headers = {key: value.decode("utf-8", "replace") for key, value in record.headers}
    line = Text("\ndead letter ", style="bold red")
    line.append(next((value for key, value in headers.items() if key.endswith("reason")), ""), style="red")
    detail = next((value for key, value in headers.items() if key.endswith("detail")), "")
    line.append(f"  {visible(detail)}", style="default")
    return line
