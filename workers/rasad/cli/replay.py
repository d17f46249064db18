"""`rasad replay`: articles of the past enriched again, compared with what was, and put in its place."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from rasad.cli.options import (
    BackendOption,
    BootstrapOption,
    ConfigOption,
    NerOption,
    StanceOption,
    clear_errors,
    connection_of,
    enricher_of,
    err,
    fail,
    out,
    progress_bar,
    require_writable,
    settings_of,
)

if TYPE_CHECKING:
    from rasad.messages import Record
    from rasad.settings import Loaded
    from rasad.streams.connection import Connection
    from rasad.streams.cutover import Cutover, Move
    from rasad.streams.event_pairs import EventPairs, Side
    from rasad.streams.replay import Progress, Report
    from rasad.streams.replay_jobs import Outputs
    from rasad.streams.replay_plan import Instant, PartitionBounds

app = typer.Typer(
    help="Enrich articles of the past again, beside the live worker: plan, run, compare, cut over.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

_TIMES = "ISO 8601 (UTC where it names no zone), `2h` or `7d` ago, `beginning`"
FromOption = Annotated[str | None, typer.Option("--from", help=f"Begin here: {_TIMES}.", show_default=False)]
ToOption = Annotated[
    str | None, typer.Option("--to", help=f"End here: {_TIMES}, or `now`, the default.", show_default=False)
]
SourceOption = Annotated[
    str | None, typer.Option(help="Only articles of this source, as their `source` says.", show_default=False)
]
ContainsOption = Annotated[
    str | None,
    typer.Option(help="Only articles whose title or body holds this; spellings are folded.", show_default=False),
]
SuffixOption = Annotated[
    str | None,
    typer.Option(help="Write to the live topics' names with this at their end; `replay-NAME` by default."),
]
PrefixOption = Annotated[
    str | None, typer.Option("--to-topics", metavar="PREFIX", help="Write to PREFIX.enriched and its like instead.")
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do it; without this, only say what would be done.")]


def _settings(
    config: Path | None, bootstrap_servers: str | None, ner: str | None, stance: str | None, backend: str | None
) -> Loaded:
    """The settings of what enriches, with those of its options that were given over them."""
    return settings_of(
        config,
        kafka__bootstrap_servers=bootstrap_servers,
        models__ner=ner,
        models__stance=stance,
        models__backend=backend,
    )


@app.command("plan")
def plan(
    from_: FromOption = None,
    to: ToOption = None,
    source: SourceOption = None,
    contains: ContainsOption = None,
    topic_suffix: SuffixOption = None,
    to_topics: PrefixOption = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, help="Articles a second to reckon with; measured on a sample by default."),
    ] = None,
    bootstrap_servers: BootstrapOption = None,
    ner: NerOption = None,
    stance: StanceOption = None,
    backend: BackendOption = None,
    config: ConfigOption = None,
) -> None:
    """Say what a replay would read and write, and how long it would take; nothing is written.

    Example: `rasad replay plan --from 7d --contains "مجلس الأمن"`
    """
    loaded = _settings(config, bootstrap_servers, ner, stance, backend)
    connection = connection_of(loaded)
    with clear_errors():
        from rasad.streams.connection import wait_for_broker
        from rasad.streams.replay_jobs import Outputs
        from rasad.streams.replay_plan import SAMPLE, Filters, bounds, matching, measured_rate

        topics, patience_s = loaded.settings.topics, loaded.settings.worker.broker_wait_s
        with _usage_errors():
            begin = _instant(from_ or fail("say from when with --from, such as --from 7d", 2))
            end = _instant(to or "now")
            filters = Filters(source=source, contains=contains)
            outputs = _outputs(loaded, topic_suffix, to_topics) or Outputs.beside(topics, "replay-NAME")
        wait_for_broker(connection, patience_s)
        within = bounds(connection, topics.raw, begin, end)
        total = sum(each.count for each in within)
        sample: list[Record] = []
        count = 0
        with progress_bar("reading") as told:
            reading = matching(
                connection, topics.raw, within, filters, told=lambda done: told(done, total), patience_s=patience_s
            )
            for record in reading:
                count += 1
                if len(sample) < SAMPLE:
                    sample.append(record)
                elif not filters:
                    break
        speed = rate or (measured_rate(enricher_of(loaded).enrich, sample) if sample else None)
    out.print(f"{topics.raw} from {_shown(begin)} to {_shown(end)}", markup=False)
    out.print(_bounds_table(within))
    _say_cut(within)
    matched = count if filters else total
    out.print(f"{total:,} records at most" + (f", of which {count:,} match" if filters else ""))
    if speed and matched:
        how = "as stated" if rate else f"measured on {len(sample)} of them"
        out.print(f"about {_duration(matched / speed)} at {speed:,.1f} articles/s, {how}")
    out.print(f"would write {', '.join(outputs.models(topics))}", markup=False, soft_wrap=True)


@app.command("run")
def run(
    name: Annotated[str, typer.Argument(help="A name of your choice: its group is `rasad-replay-NAME`.")],
    from_: FromOption = None,
    to: ToOption = None,
    source: SourceOption = None,
    contains: ContainsOption = None,
    topic_suffix: SuffixOption = None,
    to_topics: PrefixOption = None,
    throttle: Annotated[
        float | None, typer.Option(min=0.001, metavar="ARTICLES_PER_S", help="Enrich no more articles a second.")
    ] = None,
    max_mb_s: Annotated[
        float | None, typer.Option("--max-mb-s", min=0.001, help="Read no more megabytes a second.")
    ] = None,
    batch_max: Annotated[int, typer.Option(min=1, help="Most articles of a transaction.")] = 32,
    bootstrap_servers: BootstrapOption = None,
    ner: NerOption = None,
    stance: StanceOption = None,
    backend: BackendOption = None,
    config: ConfigOption = None,
) -> None:
    """Enrich the articles of some time again, exactly once, into topics of their own.

    Where it ends and which claims it holds articles against is settled when it begins: what arrives later is the live
    worker's. Stopped or killed, it goes on with the same command, or with `rasad replay run NAME` and the same models.
    Exit code 0 means that it is complete.

    Example: `rasad replay run new-model --from 7d --throttle 5`
    """
    loaded = _settings(config, bootstrap_servers, ner, stance, backend)
    connection = connection_of(loaded)
    with clear_errors():
        from rasad.enrich.claims import ClaimIndex, no_claims
        from rasad.streams.replay import Replay
        from rasad.streams.replay_jobs import Request
        from rasad.streams.replay_plan import Filters

        with _usage_errors():
            Filters(source=source, contains=contains)
            request = Request(
                name=name,
                begin=_instant(from_) if from_ else None,
                end=_instant(to) if to else None,
                source=source,
                contains=contains,
                outputs=_outputs(loaded, topic_suffix, to_topics),
            )
        claims = [no_claims()]
        enricher = enricher_of(loaded, lambda: claims[-1])
        with _stopping() as (stop, received), _replay_progress(name) as told:
            report = Replay(
                connection=connection,
                request=replace(request, pipeline_version=enricher.pipeline.version),
                topics=loaded.settings.topics,
                batch_max=batch_max,
                articles_per_s=throttle,
                bytes_per_s=max_mb_s * 1e6 if max_mb_s else None,
                patience_s=loaded.settings.worker.broker_wait_s,
                stop=stop,
                begun=lambda job: claims.append(ClaimIndex(job.claims)),
                told=told,
            ).run(enricher.enrich)
    _summarise(report)
    if not report.complete:
        models = {"--ner": ner, "--stance": stance, "--backend": backend}
        given = [part for flag, value in models.items() if value for part in (flag, str(value))]
        err.print(f"stopped; go on with `{shlex.join(['rasad', 'replay', 'run', name, *given])}`", markup=False)
        raise typer.Exit(128 + received[0])


@app.command("compare")
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="Topic of enriched events, or a file of `rasad enrich`.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The other one.")],
    html: Annotated[Path | None, typer.Option(help="Write one HTML page here.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
    examples: Annotated[int, typer.Option(min=0, help="Examples of each change.")] = 5,
    bootstrap_servers: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """Say what changed in the articles that two topics (or files) both have, by the last event of each.

    Example: `rasad replay compare news.enriched.v1 news.enriched.v1.replay-new-model --html changes.html`
    """
    loaded = settings_of(config, kafka__bootstrap_servers=bootstrap_servers)
    with clear_errors():
        import orjson

        from rasad import comparison_report
        from rasad.streams.comparison import Comparison
        from rasad.streams.event_pairs import EventPairs, Side

        if html is not None:
            require_writable(html)
        sides = [Side.of(name) for name in (a, b)]
        connection = connection_of(loaded) if any(side.path is None for side in sides) else None
        found = Comparison(a=a, b=b, examples_max=examples)
        with EventPairs() as pairs:
            for number, side in enumerate(sides):
                if not _read(pairs, number, side, connection):
                    fail(f"{side.name} holds no enriched events: nothing to compare")
            total = len(pairs)  # counted over all of the store
            with progress_bar("comparing") as told:
                for done, (before, after) in enumerate(pairs.pairs(), 1):
                    found.add(before, after)
                    told(done, total)
        if html is not None:
            html.write_text(comparison_report.page(found), encoding="utf-8")
            err.print(f"wrote {html}", markup=False)
        if as_json:
            sys.stdout.buffer.write(orjson.dumps(comparison_report.data(found), option=orjson.OPT_APPEND_NEWLINE))
            sys.stdout.flush()
        else:
            comparison_report.show(out, found)


@app.command("cutover")
def cutover(
    name: Annotated[str | None, typer.Argument(help="The replay that takes over.", show_default=False)] = None,
    group: Annotated[
        str | None, typer.Option(help="Group of the live workers; the configured one by default.", show_default=False)
    ] = None,
    revert: Annotated[bool, typer.Option("--revert", help="Lead everyone back to the live topics.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Though the replay has not all of the articles.")] = False,
    yes: YesOption = False,
    bootstrap_servers: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """Put a finished replay in the place of the live topics: for readers by an alias, for workers by their offsets.

    Stop the workers first. Started again, they go on where the replay ended and write to its topics; readers that
    resolve aliases move to them. Readers that do not must be pointed there by hand.

    Example: `rasad replay cutover new-model`, and once it reads right, again with `--yes`
    """
    loaded = settings_of(config, kafka__bootstrap_servers=bootstrap_servers)
    connection = connection_of(loaded)
    if (name is None) != revert:
        fail("say which replay takes over, or --revert alone", 2)
    with clear_errors():
        from rasad.streams import cutover as cutovers
        from rasad.streams.aliases import aliases
        from rasad.streams.connection import wait_for_broker

        topics = loaded.settings.topics
        wait_for_broker(connection, loaded.settings.worker.broker_wait_s)
        if name is None:
            held = aliases(connection, topics.aliases)
            for each in held.values():
                led = f"not for {each.topic}" if each.topic != each.name else "as it does: its cutover was not finished"
                out.print(f"{each.name} would stand for itself again, {led}", markup=False)
            if not held:
                out.print("nothing to revert: no alias stands")
            elif yes:
                cutovers.revert(connection, topics)
                out.print("reverted; start the workers again")
            else:
                out.print("nothing was done; add --yes to do it")
            return
        planned = cutovers.prepare(connection, topics, name, group or loaded.settings.worker.group_id)
        if planned.done:
            out.print(f"group {planned.group} is cut over to {name} already: nothing to do", markup=False)
            return
        _show_cutover(planned)
        lacking = _lacking(planned)
        if lacking and not force:
            fail(f"{'; '.join(lacking)}: finish it, or say --force")
        if not yes:
            out.print("nothing was done; add --yes to do it")
            return
        cutovers.cut_over(connection, topics, planned)
    out.print(f"done; start the workers of group {planned.group} again", markup=False)


@app.command("rewind")
def rewind(
    group: Annotated[str, typer.Argument(help="Consumer group of the live workers.")],
    to: Annotated[str, typer.Option("--to", help=f"Where to go back to: {_TIMES}.")],
    topic: Annotated[str | None, typer.Option(help="Topic; the raw topic by default.", show_default=False)] = None,
    yes: YesOption = False,
    bootstrap_servers: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """Set a group back in time, in place: its workers enrich again into the same topics, with duplicates for readers.

    Only a group without members can be set: stop the workers first. For new models prefer a replay with a cutover.

    Example: `rasad replay rewind rasad --to 2h`
    """
    loaded = settings_of(config, kafka__bootstrap_servers=bootstrap_servers)
    connection = connection_of(loaded)
    with clear_errors():
        from rasad.streams import cutover as cutovers
        from rasad.streams.connection import wait_for_broker

        with _usage_errors():
            when = _instant(to)
        wait_for_broker(connection, loaded.settings.worker.broker_wait_s)
        name = topic or loaded.settings.topics.raw
        moves = cutovers.rewinding(connection, group, name, when)
        out.print(f"group {group} on {name}, back to {_shown(when)}", markup=False)
        out.print(_moves_table(moves))
        out.print(f"{sum(each.again for each in moves):,} records would be read again")
        count = cutovers.members_of(connection, group)
        if count:
            fail(f"group {group} has {count} members: stop them all first")
        if not yes:
            out.print("nothing was done; add --yes to do it")
            return
        cutovers.rewind(connection, group, name, moves)
    out.print("done; start the workers again")


def _read(pairs: EventPairs, number: int, side: Side, connection: Connection | None) -> int:
    with progress_bar(f"reading {side.name}") as told:
        return pairs.read(number, side, connection, lambda done: told(done, None))


@contextmanager
def _usage_errors() -> Iterator[None]:
    """A value that cannot be what a flag means ends with exit code 2."""
    try:
        yield
    except ValueError as error:
        fail(error, 2)


@contextmanager
def _stopping() -> Iterator[tuple[threading.Event, list[int]]]:
    """An event that SIGTERM and Ctrl-C set, and which of them came; the second one ends the process at once."""
    stop, received = threading.Event(), []

    def take(number: int, _frame: object) -> None:
        if stop.is_set():
            sys.exit(128 + number)
        received.append(number)
        err.print("finishing the batch in hand; once more to end at once", style="dim")
        stop.set()

    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, take) for number in numbers]
    try:
        yield stop, received
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def _replay_progress(name: str) -> Iterator[Callable[[Progress], None]]:
    with progress_bar(f"replay {name}") as told:
        yield lambda progress: told(progress.done, progress.total)


def _instant(text: str) -> Instant:
    from rasad.streams.replay_plan import instant

    return instant(text, datetime.now(UTC))


def _outputs(loaded: Loaded, suffix: str | None, prefix: str | None) -> Outputs | None:
    from rasad.streams.replay_jobs import Outputs

    if suffix is not None and prefix is not None:
        fail("--topic-suffix and --to-topics both name the topics: say one of them", 2)
    if prefix is not None:
        return Outputs.under(prefix)
    return None if suffix is None else Outputs.beside(loaded.settings.topics, suffix)


def _shown(when: Instant) -> str:
    if when.text in ("beginning", "now"):
        return when.text
    return datetime.fromtimestamp(when.ms / 1000, UTC).isoformat(timespec="seconds")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _bounds_table(within: tuple[PartitionBounds, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("partition", "from offset", "to offset", "at most"):
        table.add_column(column, justify="right")
    for each in within:
        table.add_row(*(f"{number}" for number in (each.partition, each.start, each.end, each.count)))
    return table


def _say_cut(within: tuple[PartitionBounds, ...]) -> None:
    cut = [str(each.partition) for each in within if each.cut]
    if cut:
        err.print(
            f"retention has removed the oldest records of partition {', '.join(cut)}: what lay before is not read",
            style="yellow",
        )


def _summarise(report: Report) -> None:
    tally, job = report.tally, report.job
    state = "complete" if report.complete else "not complete"
    out.print(f"replay {job.name} into {job.outputs.enriched}: {state}", markup=False, soft_wrap=True)
    out.print(f"{tally.articles:,} articles: {tally.events:,} events, {tally.dead_letters:,} dead letters")
    if tally.skipped:
        out.print(f"{tally.skipped:,} records do not match and were left out")
    if tally.removed:
        err.print(f"{tally.removed:,} records were removed by retention before they were read", style="yellow")
    _say_cut(job.bounds)
    if report.articles:
        rate = report.articles / max(report.seconds, 1e-6)
        out.print(f"{report.articles:,} of them now, in {_duration(report.seconds)}: {rate:,.1f} articles/s")


def _moves_table(moves: tuple[Move, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("partition", "committed", "set to", "read again"):
        table.add_column(column, justify="right")
    for each in moves:
        committed = "-" if each.committed is None else str(each.committed)
        table.add_row(str(each.partition), committed, str(each.target), str(each.again))
    return table


def _show_cutover(planned: Cutover) -> None:
    for alias in planned.aliases:
        out.print(f"{alias.name} would lead to {alias.topic}", markup=False, soft_wrap=True)
    out.print(f"group {planned.group} would go on where the replay ended:", markup=False)
    out.print(_moves_table(planned.moves))
    for each in planned.readers:
        out.print(f"group {each.group} reads {each.topic} and is {each.count:,} behind", markup=False, soft_wrap=True)
    if planned.members:
        err.print(f"group {planned.group} has {planned.members} members: stop them first", style="yellow", markup=False)


def _lacking(planned: Cutover) -> list[str]:
    """What readers would miss in the replay's topics."""
    job = planned.job
    lacking = []
    if job.finished_at is None:
        lacking.append(f"replay {job.name} is not complete, {planned.remaining:,} offsets remain")
    if job.filters:
        lacking.append("it was filtered, and holds no other articles")
    return lacking
