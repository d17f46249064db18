"""`rasad dlq`: what could not be enriched, why, and sending it back."""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, get_args

import typer
from rich.console import RenderableType

from rasad.cli.options import (
    BootstrapOption,
    ConfigOption,
    PipedConsole,
    clear_errors,
    connection_of,
    err,
    fail,
    out,
    progress_bar,
    settings_of,
)
from rasad.presentation import visible

if TYPE_CHECKING:
    from rasad.settings import TopicSettings
    from rasad.streams.connection import Connection
    from rasad.streams.dead_letters import Place, Selection, StoredLetter
    from rasad.streams.redriving import Plan

app = typer.Typer(
    help="Dead letters: the records that could not be enriched. List, show and count them, and send them back.",
    no_args_is_help=True,
)

_BEGINNING: Final = "beginning"
_NOW: Final = "now"
_WIDEST: Final = 10_000
_PLANNED: Final = 20
"""How many letters a plan lists."""

ReasonOption = Annotated[
    list[str] | None, typer.Option("--reason", help="Only of this reason; may be repeated.", show_default=False)
]
SinceOption = Annotated[
    str, typer.Option("--since", help="Only given up since: 2026-01-31T12:00:00Z, a date, or 2h, 7d for so long ago.")
]
UntilOption = Annotated[str, typer.Option("--until", help="Only given up before: the same forms.")]
SourceOption = Annotated[
    str | None, typer.Option("--source", help="Only of this source, where the value tells it.", show_default=False)
]
LimitOption = Annotated[
    int | None, typer.Option("--limit", min=1, help="Only so many, the newest.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON in place of a table.")]
LetterArgument = Annotated[str, typer.Argument(metavar="PARTITION:OFFSET", help="Where it lies; `list` says it.")]


@dataclass(frozen=True, slots=True)
class _Cluster:
    """What every verb works with. `patience_s` is how long it waits for a broker."""

    connection: Connection
    topics: TopicSettings
    patience_s: float


def _cluster(bootstrap_servers: str | None, config: Path | None) -> _Cluster:
    from rasad.streams.connection import wait_for_broker

    loaded = settings_of(config, kafka__bootstrap_servers=bootstrap_servers)
    cluster = _Cluster(connection_of(loaded), loaded.settings.topics, loaded.settings.worker.broker_wait_s)
    wait_for_broker(cluster.connection, cluster.patience_s)
    return cluster


def _selection(reasons: list[str] | None, since: str, until: str, source: str | None) -> Selection:
    from rasad.messages import DeadLetterReason
    from rasad.streams.dead_letters import Selection
    from rasad.streams.replay_plan import instant

    known = get_args(DeadLetterReason)
    for reason in reasons or ():
        if reason not in known:
            fail(f"--reason {reason!r} is none: the reasons are {', '.join(known)}", 2)
    now = datetime.now(UTC)
    try:
        begin, end = instant(since, now), instant(until, now)
    except ValueError as error:
        fail(error, 2)
    return Selection(reasons=frozenset(reasons or ()), source=source, begin=begin, end=end)


def _place(text: str) -> Place:
    from rasad.streams.dead_letters import Place

    try:
        return Place.parse(text)
    except ValueError as error:
        fail(error, 2)


@contextmanager
def _read(cluster: _Cluster, selection: Selection) -> Iterator[Iterator[StoredLetter]]:
    """The letters that are meant, with a bar while they are read, and a word on records that are no dead letters."""
    from rasad.streams.dead_letters import Seen, selected

    topic = cluster.topics.dead_letters
    seen = Seen()
    with progress_bar(f"reading {topic}") as told:
        yield selected(cluster.connection, topic, selection, seen, told=told, patience_s=cluster.patience_s)
    if seen.foreign:
        err.print(f"left out of {topic}: {seen.foreign} that are no dead letters of Rasad", markup=False)


def _print(shown: RenderableType) -> None:
    """Print, uncut: on a narrow terminal lines run over, where there is none they are as long as need be."""
    wide = PipedConsole(highlight=False, width=_WIDEST)
    needed = wide.measure(shown)
    wide.width = max(out.width, needed.minimum) if out.is_terminal else max(1, needed.maximum)
    wide.print(shown)


@app.command("list")
def list_(
    reason: ReasonOption = None,
    since: SinceOption = _BEGINNING,
    until: UntilOption = _NOW,
    source: SourceOption = None,
    limit: LimitOption = None,
    json: JsonOption = False,
    bootstrap_servers: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """Dead letters, oldest first: a table, or one JSON object a line.

    Example: `rasad dlq list --reason not_arabic --reason invalid_utf8 --since 2h`
    """
    selection = _selection(reason, since, until, source)
    with clear_errors():
        from rasad.dead_letter_presentation import letter_line, letter_table
        from rasad.streams.redriving import note_of, notes

        cluster = _cluster(bootstrap_servers, config)
        with _read(cluster, selection) as meant:
            letters = list(deque((letter.without_value() for letter in meant), maxlen=limit))
        known = notes(cluster.connection, cluster.topics)
        rows = [(letter, note_of(letter, known)) for letter in letters]
        if json:
            for letter, note in rows:
                typer.echo(letter_line(letter, note))
        elif rows:
            _print(letter_table(rows))
        else:
            err.print("no dead letters")


@app.command("show")
def show(
    letter: LetterArgument,
    raw: Annotated[bool, typer.Option("--raw", help="Write the original value to standard output, untouched.")] = False,
    bootstrap_servers: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """Everything of one dead letter, and what to do about it.

    Example: `rasad dlq show 2:17 --raw > article.txt`
    """
    place = _place(letter)
    with clear_errors():
        from rasad.dead_letter_presentation import letter_view, value_view
        from rasad.streams.dead_letters import letters_at
        from rasad.streams.redriving import note_of, notes, original

        cluster = _cluster(bootstrap_servers, config)
        topic = cluster.topics.dead_letters
        (found,) = letters_at(cluster.connection, topic, [place], patience_s=cluster.patience_s)
        if raw:
            record = original(cluster.connection, found) if found.value_omitted else found.record
            sys.stdout.buffer.write(record.value)
            sys.stdout.flush()
            return
        _print(letter_view(found, note_of(found, notes(cluster.connection, cluster.topics))))
        if not found.value_omitted:
            out.print(value_view(found.record.value), soft_wrap=True)


@app.command("stats")
def stats(
    reason: ReasonOption = None,
    since: SinceOption = _BEGINNING,
    until: UntilOption = _NOW,
    source: SourceOption = None,
    json: JsonOption = False,
    bootstrap_servers: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """How many dead letters there are by reason, stage, source, and hour or day.

    Example: `rasad dlq stats --since 7d`
    """
    selection = _selection(reason, since, until, source)
    with clear_errors():
        from rasad.dead_letter_presentation import counts_line, counts_view
        from rasad.streams.dead_letters import counted

        with _read(_cluster(bootstrap_servers, config), selection) as letters:
            counts = counted(letters)
        if json:
            typer.echo(counts_line(counts))
        else:
            _print(counts_view(counts))


@app.command("redrive")
def redrive(
    letters: Annotated[
        list[str] | None,
        typer.Argument(metavar="PARTITION:OFFSET", help="These, in place of filters.", show_default=False),
    ] = None,
    reason: ReasonOption = None,
    since: SinceOption = _BEGINNING,
    until: UntilOption = _NOW,
    source: SourceOption = None,
    limit: LimitOption = None,
    max_attempts: Annotated[
        int, typer.Option("--max-attempts", min=1, help="Leave alone what failed so often already.")
    ] = 3,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and stop.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    bootstrap_servers: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """Send dead letters back to the topic they came from: key, value and headers as they were, each letter once.

    Says what it would do and asks, then does it in transactions that also note what was sent; killed at any time, it
    may be run again and sends nothing twice. Exit code 1 where a letter that was meant could not be sent.

    Example: `rasad dlq redrive --reason enrichment_failed --since 1d`
    """
    selection = _selection(reason, since, until, source)
    places = [_place(each) for each in letters or ()]
    if places and (reason or source or limit or (since, until) != (_BEGINNING, _NOW)):
        fail("name letters or filters, not both", 2)
    with clear_errors():
        from rasad.streams.dead_letters import letters_at
        from rasad.streams.redriving import notes, planned

        cluster = _cluster(bootstrap_servers, config)
        known = notes(cluster.connection, cluster.topics)
        if places:
            named = letters_at(cluster.connection, cluster.topics.dead_letters, places, patience_s=cluster.patience_s)
            plan = planned(named, known, max_attempts)
        else:
            with _read(cluster, selection) as meant:
                plan = planned(meant, known, max_attempts, limit)
        _say(plan, max_attempts)
        complete = not plan.exhausted
        if plan.pending and not dry_run:
            if not yes:
                typer.confirm(f"Send {len(plan.pending)} back?", abort=True, err=True)
            complete = _send(cluster, plan.pending, max_attempts) and complete
    if not complete:
        raise typer.Exit(1)


def _say(plan: Plan, max_attempts: int) -> None:
    """What a redrive will do, and what of it is in vain unless something was changed first."""
    from rasad.dead_letter_presentation import letter_table
    from rasad.streams.dead_letters import advice

    if plan.pending:
        _print(letter_table((letter, None) for letter in plan.pending[:_PLANNED]))
    if len(plan.pending) > _PLANNED:
        out.print(f"... and {len(plan.pending) - _PLANNED} more")
    for topic, count in Counter(letter.record.topic for letter in plan.pending).items():
        out.print(f"{count} to send back to {visible(topic)}", markup=False)
    if plan.already:
        out.print(f"{plan.already} sent back earlier: left out")
    if plan.exhausted:
        places = ", ".join(str(letter.place) for letter in plan.exhausted[:_PLANNED])
        more = ", ..." if len(plan.exhausted) > _PLANNED else ""
        out.print(f"{len(plan.exhausted)} failed {max_attempts} times or more: left out ({places}{more})")
    if not (plan.pending or plan.already or plan.exhausted):
        out.print("no dead letters")
    for reason, count in Counter(letter.reason for letter in plan.pending).items():
        if not advice(reason).unchanged:
            err.print(f"warning: {count} {reason}: {advice(reason).text}", style="yellow", markup=False, soft_wrap=True)


def _send(cluster: _Cluster, chosen: Sequence[StoredLetter], max_attempts: int) -> bool:
    """Send, and say what became of it; whether all were sent."""
    from rasad.streams.redriving import redrive

    with progress_bar("sending") as told:
        done = redrive(
            cluster.connection,
            cluster.topics,
            chosen,
            max_attempts=max_attempts,
            told=lambda count: told(count, len(chosen)),
            patience_s=cluster.patience_s,
        )
    for refusal in done.refused:
        told_why = visible(f"{refusal.place} not sent: {refusal.why}")
        err.print(f"rasad: {told_why}", style="red", markup=False, soft_wrap=True)
    meanwhile = f", {done.already} were sent by another redrive meanwhile" if done.already else ""
    out.print(f"sent {done.sent} of {len(chosen)}{meanwhile}", markup=False)
    return not done.refused
