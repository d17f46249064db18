"""The view for a terminal: foreign text steers nothing, and Arabic runs from right to left."""

from __future__ import annotations

import io
import unicodedata
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from rasad.messages import DeadLetter, EnrichedEvent, Record, Stance, StanceHolder, StanceTarget
from rasad.presentation import brief, dead_letter, entity_rows, full, headline, highlighted, isolated, quote_line
from tests.unit.test_schemas import EVENT

UNSEEN = ["\x1b[2J", "\x9b2J", "\x1b]0;owned\x07", "\r", "\x08", "\u202e", "\u2066", "\u2069", "\u200b", "\U000e0041"]
OBEYED = {*"".join(UNSEEN)} - {*"[2J]0;owned"} - {"\u2069"}


def rendered(shown: RenderableType, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(shown)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def event_with(text: str) -> EnrichedEvent:
    """An event that has `text` in all of its texts."""
    (entity,), (quote,), (mention,) = EVENT.entities, EVENT.quotes, EVENT.mentions
    return replace(
        EVENT,
        article=replace(EVENT.article, title=text, body=text),
        entities=(replace(entity, canonical=text),),
        mentions=(replace(mention, start=0, end=len(text)),),
        quotes=(replace(quote, end=len(text), cue=text, speaker=text),),
        stances=(
            Stance(
                kind="entity",
                holder=StanceHolder(text=text),
                target=StanceTarget(text=text),
                label="support",
                probs={"support": 1.0},
                evidence=(),
            ),
        ),
    )


@pytest.mark.parametrize("unseen", UNSEEN)
def test_foreign_text_does_not_steer_the_terminal(unseen: str) -> None:
    event = event_with(f"خبر{unseen}عاجل")
    letter = DeadLetter(
        record=Record(value=b"", topic=f"a{unseen}.txt"), reason="empty", detail=unseen, stage="decode",
        pipeline_version="1",
    )  # fmt: skip
    for shown in (brief(event), full(event), brief(replace(event, article=replace(event.article, title="")))):
        text = rendered(shown)
        assert not OBEYED & {*text}
        assert text.count("\u2067") == text.count("\u2069")
    assert not (OBEYED | {"\u2069"}) & {*rendered(dead_letter(letter))}


def test_highlights_stand_where_mentions_are_whatever_is_not_seen() -> None:
    (mention,) = EVENT.mentions
    text = "\x07\u202eفي\r\n\tجنيف\x1b[0m"
    start = text.index("جنيف")
    shown = highlighted(text, [replace(mention, start=start, end=start + 4)])
    assert shown.plain == "\ufffd\ufffdفي \n جنيف\ufffd[0m"
    assert [shown.plain[span.start : span.end] for span in shown.spans] == ["جنيف"]


def is_right_to_left(line: str) -> bool:
    """Whether a line is blanks and then one right-to-left unit, with all that is strong inside."""
    depth, outside = 0, []
    for number, char in enumerate(line.strip()):
        kind = unicodedata.bidirectional(char)
        depth -= kind == "PDI"
        if depth == 0 and not (number == 0 and kind == "RLI") and kind != "PDI":
            outside.append(char)
        depth += kind == "RLI"
    return depth == 0 and not outside and line.strip()[:1] == "\u2067"


@pytest.mark.parametrize("width", [12, 20, 80])
def test_each_line_of_arabic_is_one_right_to_left_unit_at_the_right(width: int) -> None:
    (entity,), (quote,), (mention,) = EVENT.entities, EVENT.quotes, EVENT.mentions
    name = "محطة CNN التلفزيونية BBC ورويترز"
    text = f"CNN قالت {name} إن الاجتماع انتهى أمس في جنيف"
    event = replace(EVENT, article=replace(EVENT.article, title=text))
    said = quote_line(replace(quote, start=0, end=len(text), speaker=name, cue="قالت", kind="direct"), text)
    names = entity_rows([replace(entity, canonical=name, mention_count=count, salience=count) for count in (3, 2, 1)])
    whole = full(replace(event, entities=(), quotes=(), stances=(), mentions=(mention,)))
    for shown in (headline(event), said, names, whole):
        lines = rendered(shown, width).replace("places", "      ").splitlines()
        arabic = [line for line in lines if any(unicodedata.bidirectional(char) == "AL" for char in line)]
        assert arabic
        assert all(map(is_right_to_left, arabic))
        assert {cell_len(line) for line in arabic} == {width}


def test_what_is_wrapped_is_all_there() -> None:
    (entity,) = EVENT.entities
    names = [f"{word} واحد" for word in ("جنيف", "لندن", "القاهرة", "بيروت")]
    shown = rendered(entity_rows([replace(entity, canonical=name) for name in names]), 24).replace("places", "")
    assert "".join(shown.translate({0x2067: None, 0x2069: None}).split()) == "،".join(sorted(names)).replace(" ", "")


def test_a_direction_mark_is_left_off_where_an_override_is_shown() -> None:
    assert isolated("\u200fغبار\u200f") == isolated("غبار")
    assert highlighted("\u200fغبار\u202e", ()).plain == "\u200fغبار\ufffd"
    assert "\\u202e" in isolated("\u202eغبار")
    marked = replace(EVENT, article=replace(EVENT.article, title="\u200fغبار\u200f"))
    assert "u200f" not in rendered(headline(marked), 40)
