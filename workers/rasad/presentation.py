"""Events for the eye: a readable right-to-left view in a terminal.

Arabic stands between isolates (U+2067 ... U+2069, Unicode Bidirectional Algorithm), so a terminal that knows the
algorithm orders it rightly among Latin labels and numbers. A terminal takes each line for a paragraph, so each line of
Arabic that was wrapped is isolated as a whole, and is aligned to the right.

What articles hold is foreign text, which may try to steer the terminal that shows it: none is shown but as visible.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from rasad.messages import DeadLetter, EnrichedEvent, Entity, Mention, Outcome, Quote, Stance

_TYPE_NAMES = {"PER": "people", "LOC": "places", "ORG": "organisations", "MISC": "other names"}
_STYLES = {"PER": "bold cyan", "LOC": "bold green", "ORG": "bold magenta", "MISC": "bold yellow"}
_LABEL_STYLES = {
    "agree": "green",
    "support": "green",
    "disagree": "red",
    "oppose": "red",
    "discuss": "yellow",
    "unrelated": "dim",
}
_ENTITIES_SHOWN = 12

_ISOLATE: Final = "\u2067"
_POP: Final = "\u2069"

# Control characters, and those that are not seen but move, hide or reorder what is: a terminal would obey them. The
# joiners U+200C and U+200D stay, for words are spelled with them. Half a surrogate pair cannot be written at all.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e0fff]"
)


_DIRECTION_MARKS = re.compile("[\u061c\u200e\u200f]")
"""Which news is full of, and which steer nothing outside the unit that they stand in."""


def visible(text: str) -> str:
    """`text` on one line, with what a terminal would obey written as JSON writes it: `\\n`, `\\u202e`, `\\u001b`."""
    return _UNSEEN.sub(lambda match: json.dumps(match[0])[1:-1], text)


def without_marks(text: str) -> str:
    """`text` without direction marks: what stands in a right-to-left unit of its own needs none."""
    return _DIRECTION_MARKS.sub("", text)


def isolated(text: str) -> str:
    """`text`, visible, without direction marks, as one right-to-left unit within whatever stands around it."""
    return f"{_ISOLATE}{visible(without_marks(text))}{_POP}"


@dataclass(frozen=True, slots=True)
class RightToLeft:
    """Text whose every line, once it is wrapped, is one right-to-left unit, aligned to the right.

    The isolates within it are closed at a line's end and opened again on the next.
    """

    text: Text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The lines that fit the console."""
        opened = 1
        for line in self.text.wrap(console, options.max_width):
            line.rstrip()
            start = _ISOLATE * opened
            opened += line.plain.count(_ISOLATE) - line.plain.count(_POP)
            whole = Text.assemble(start, line, _POP * opened)
            whole.align("right", options.max_width)
            yield whole

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """As wide as the text."""
        return Measurement.get(console, options, self.text)


def _in_place(match: re.Match[str]) -> str:
    """One harmless character for one that a terminal would obey, so that offsets hold."""
    if match[0] == "\n" or _DIRECTION_MARKS.match(match[0]):
        return match[0]
    return " " if match[0].isspace() else "\ufffd"


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


def headline(event: EnrichedEvent) -> RenderableType:
    """The title, or the beginning of the body where there is none."""
    text = event.article.title.strip() or event.article.body.strip()[:90]
    return RightToLeft(Text(visible(without_marks(_on_one_line(text))), style="bold"))


def entity_rows(entities: Iterable[Entity]) -> Table:
    """One line a type: its entities by salience, each with its number of mentions."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(ratio=1)
    listed = list(entities)
    for type_, name in _TYPE_NAMES.items():
        chosen = sorted((e for e in listed if e.type == type_), key=lambda e: (-e.salience, e.canonical))
        if not chosen:
            continue
        line = Text("، ".join(_counted(e) for e in chosen[:_ENTITIES_SHOWN]), style=_STYLES[type_])
        if len(chosen) > _ENTITIES_SHOWN:
            line.append(f" +{len(chosen) - _ENTITIES_SHOWN}", style="dim")
        table.add_row(name, RightToLeft(line))
    return table


def _counted(entity: Entity) -> str:
    name = isolated(entity.canonical)
    return f"{name} ×{entity.mention_count}" if entity.mention_count > 1 else name


def stance_line(stance: Stance) -> Text:
    """What a stance says: label, its probability, and about what."""
    line = Text()
    line.append(f"{stance.kind:<9}", style="dim")
    line.append(stance.label, style=_LABEL_STYLES[stance.label])
    line.append(f" {stance.probs.get(stance.label, 0.0):.2f}", style="dim")
    if stance.kind == "headline":
        return line
    holder = f"{isolated(stance.holder.text)} → " if stance.holder else ""
    line.append(f"  {holder}{isolated(stance.target.text)}")
    return line


def highlighted(text: str, mentions: Sequence[Mention]) -> Text:
    """A field with its mentions coloured by type, and a sign in the place of each character that is not seen."""
    shown = Text(_UNSEEN.sub(_in_place, text))
    for mention in mentions:
        shown.stylize(_STYLES[mention.type], mention.start, mention.end)
    return shown


def quote_line(quote: Quote, text: str) -> RenderableType:
    """Who said it, with which word, and what."""
    line = Text()
    line.append(isolated(quote.speaker or "؟"), style="cyan")
    line.append(f" ({isolated(quote.cue)})" if quote.cue else "", style="dim")
    line.append(": ")
    mark = '"' if quote.kind == "direct" else ""
    line.append(isolated(f"{mark}{_on_one_line(text[quote.start : quote.end])}{mark}"))
    return RightToLeft(line)


def brief(event: EnrichedEvent) -> RenderableType:
    """A few lines: headline, entities by type, stance of the body towards the headline, milliseconds."""
    footer = Text(style="dim")
    footer.append(f"{event.article.tokens_total} tokens, {event.article.windows} windows")
    if "elapsed_ms" in event.run:
        footer.append(f", {float(event.run['elapsed_ms']):.0f} ms")
    stances = [stance_line(stance) for stance in event.stances]
    return Group(Rule(style="dim"), headline(event), entity_rows(event.entities), *stances, footer)


def full(event: EnrichedEvent) -> RenderableType:
    """The whole article with its mentions coloured, then entities, quotes and stances."""
    texts = {"title": event.article.title, "body": event.article.body}
    parts: list[RenderableType] = [Rule(style="dim")]
    for field in ("title", "body"):
        mentions = [m for m in event.mentions if m.field == field]
        if texts[field].strip():
            parts.append(Padding(RightToLeft(highlighted(texts[field], mentions)), (0, 0, 1, 0)))
    parts.append(entity_rows(event.entities))
    if event.quotes:
        parts.append(Text("\nquotes", style="dim"))
        parts.extend(quote_line(quote, texts[quote.field]) for quote in event.quotes)
    if event.stances:
        parts.append(Text("\nstances", style="dim"))
        parts.extend(stance_line(stance) for stance in event.stances)
    return Group(*parts)


def dead_letter(letter: DeadLetter) -> RenderableType:
    """Where a record came from, and what is wrong with it."""
    line = Text()
    line.append("dead letter ", style="bold red")
    line.append(f"{letter.reason}", style="red")
    line.append(f"  {visible(letter.record.topic)}#{letter.record.offset}  ", style="dim")
    line.append(visible(letter.detail))
    return Group(Rule(style="dim"), line)


def show(console: Console, outcome: Outcome, *, whole: bool = False) -> None:
    """Print one outcome; `whole` shows an event's text too."""
    if isinstance(outcome, DeadLetter):
        console.print(dead_letter(outcome))
    else:
        console.print(full(outcome) if whole else brief(outcome))
