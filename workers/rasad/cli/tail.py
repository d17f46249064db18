"""`rasad tail`: a topic as it comes."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rasad.cli.options import BootstrapOption, ConfigOption, clear_errors, err, fail, out, settings_of

if TYPE_CHECKING:
    from rasad.messages import Record
    from rasad.streams.subscriber import Options, Received, Subscription
    from rasad.streams.topic_reader import Start


def tail(
    topic: Annotated[str | None, typer.Argument(help="Topic; the enriched one by default.", show_default=False)] = None,
    from_: Annotated[
        str,
        typer.Option(
            "--from",
            help="`beginning`, `end`, a number (so many before each partition's end), so long ago (`30m`, `2h`, `7d`), "
            "or an ISO 8601 time, UTC where it names no zone.",
        ),
    ] = "end",
    type_: Annotated[
        list[str] | None, typer.Option("--type", help="Only with an entity of this type or subtype: PER, GPE, ...")
    ] = None,
    entity: Annotated[
        list[str] | None, typer.Option(help="Only with an entity of this name, in any spelling of it.")
    ] = None,
    source: Annotated[list[str] | None, typer.Option(help="Only from this source.")] = None,
    stance: Annotated[
        list[str] | None, typer.Option(help="Only with such a stance: `headline:disagree`, `entity`, or `oppose`.")
    ] = None,
    claim: Annotated[
        list[str] | None, typer.Option(help="Only stances towards the claim of this id; of the stances topic.")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after so many records.", show_default=False)] = None,
    follow: Annotated[bool, typer.Option(help="Wait for records to come.")] = True,
    pretty: Annotated[bool, typer.Option("--pretty", help="Show events and dead letters readably.")] = False,
    bootstrap_servers: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """Print a topic's values, one a line, as they come.

    Filters may be repeated: a value of each one that is given must be met.

    Example: `rasad tail --from 2h --type PER --stance headline:disagree --pretty`
    """
    loaded = settings_of(config, kafka__bootstrap_servers=bootstrap_servers)
    options: Options = {
        "settings": loaded.settings,
        "start": _start(from_),
        "until": None if follow else "end",
        "types": type_ or (),
        "entities": entity or (),
        "sources": source or (),
        "stances": stance or (),
        "claims": claim or (),
        "remembered": 0,
    }
    with clear_errors():
        from rasad.streams.log_limits import limit_repeats

        limit_repeats("kafka")  # while no broker answers, it says so ten times a second
        name = topic or loaded.settings.topics.enriched
        filtered = any((type_, entity, source, stance, claim))
        with _subscription(name, options, filtered=filtered, decoded=pretty) as subscription:
            for received in islice(subscription.received(), count):
                _print(received, pretty=pretty)


def _start(text: str) -> Start:
    """What `--from` says."""
    from rasad.streams.replay_plan import instant

    if text.isdecimal():
        return int(text)
    if text == "beginning":
        return "beginning"
    if text == "end":
        return "end"
    try:
        return datetime.fromtimestamp(instant(text, datetime.now(UTC)).ms / 1000, UTC)
    except ValueError as error:
        fail(f"--from {error}; end, or a number of records before it", 2)


def _subscription(topic: str, options: Options, *, filtered: bool, decoded: bool) -> Subscription[Any]:
    """What to read: typed messages to be filtered or decoded, else, and where they are invalid, records as they are."""
    from rasad.messages import Record
    from rasad.settings import Settings
    from rasad.streams.subscriber import subscribe
    from rasad.streams.typed_records import type_of_topic

    topics = (options.get("settings") or Settings()).topics
    type_ = type_of_topic(topic, topics)
    if filtered and type_ is None:
        fail(f"{topic} is none of Rasad's output topics, so nothing is known to filter it by", 2)
    message = type_ if type_ is not None and (decoded or filtered) else Record
    options["on_invalid"] = _say_invalid if filtered else _write_invalid
    try:
        return subscribe(topic, message=message, **options)
    except ValueError as error:
        fail(error, 2)


def _say_invalid(_record: Record, error: Exception) -> None:
    """What cannot be read cannot be filtered."""
    err.print(f"rasad: {error}", style="red", markup=False, soft_wrap=True)


def _write_invalid(record: Record, _error: Exception) -> None:
    _write(record)


def _print(received: Received[Any], *, pretty: bool) -> None:
    from rasad.messages import DeadLetter, EnrichedEvent
    from rasad.presentation import show

    if pretty and isinstance(received.message, EnrichedEvent | DeadLetter):
        show(out, received.message)
    else:
        _write(received.record)


def _write(record: Record) -> None:
    sys.stdout.buffer.write(record.value + b"\n")
    sys.stdout.flush()
