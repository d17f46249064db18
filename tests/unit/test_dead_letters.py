"""Dead letters read back, chosen, counted, shown, and as they are sent back; all of it without a broker."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, get_args

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, RenderableType
from typer.testing import CliRunner

from rasad.cli import app
from rasad.dead_letter_presentation import (
    SHOWN_BYTES,
    counts_line,
    counts_view,
    letter_line,
    letter_table,
    letter_view,
    value_view,
)
from rasad.messages import (
    ATTEMPT_HEADER,
    REDRIVEN_FROM_HEADER,
    DeadLetter,
    DeadLetterReason,
    Record,
    Redrive,
    from_bytes,
)
from rasad.presentation import visible
from rasad.settings import TopicSettings
from rasad.streams.dead_letters import (
    ADVICE,
    Place,
    Selection,
    StoredLetter,
    advice,
    counted,
    source_of,
    stored_letter,
)
from rasad.streams.publication import Headers, dead_letter_publication
from rasad.streams.redriving import Notes, note_of, outputs, planned, sent_back, standing, with_copies

TOPICS = TopicSettings()
NOON = 1_795_003_200_000
"""2026-11-18T12:00:00Z."""
NAMES = st.text(min_size=1, max_size=8) | st.sampled_from(
    ["rasad_reason", "rasad_topic", "__connect.errors.topic", "traceparent", ATTEMPT_HEADER, REDRIVEN_FROM_HEADER]
)
HEADERS = st.lists(st.tuples(NAMES, st.binary(max_size=8)), max_size=6).map(tuple)


def dead(record: Record, reason: DeadLetterReason = "enrichment_failed", detail: str = "why") -> DeadLetter:
    return DeadLetter(record=record, reason=reason, detail=detail, stage="enrich", pipeline_version="p1")


def on_topic(letter: DeadLetter, offset: int = 17, *, with_value: bool = True, timestamp: int | None = NOON) -> Record:
    """The letter's record as the dead-letter topic gives it back."""
    written = dead_letter_publication(letter, TOPICS, with_value=with_value)
    return Record(
        value=written.value or b"",
        key=written.key,
        headers=written.headers,
        topic=written.topic,
        partition=2,
        offset=offset,
        timestamp=timestamp,
    )


def stored(record: Record, reason: DeadLetterReason = "enrichment_failed", offset: int = 17) -> StoredLetter:
    letter = stored_letter(on_topic(dead(record, reason), offset))
    assert letter is not None
    return letter


def failed_again(letter: StoredLetter) -> StoredLetter:
    """The dead letter of a redriven record."""
    sent = sent_back(letter)
    record = Record(value=sent.value or b"", key=sent.key, headers=sent.headers, topic=sent.topic, partition=1)
    return stored(record)


def note(letter: StoredLetter) -> Redrive:
    _, noted = outputs(letter, TOPICS, datetime.now(UTC))
    return from_bytes(Redrive, noted.publication.value or b"")


def known(*letters: StoredLetter) -> Notes:
    keys = (outputs(each, TOPICS, datetime.now(UTC))[1].publication.key or b"" for each in letters)
    return with_copies(dict(zip(keys, map(note, letters), strict=True)))


def without_redrive(headers: Headers) -> bool:
    return [key for key, _ in headers[-2:]] != [REDRIVEN_FROM_HEADER, ATTEMPT_HEADER]


@given(st.binary(max_size=40), st.none() | st.binary(max_size=8), HEADERS, st.integers(0, 2**62))
def test_what_was_written_is_read_back(value: bytes, key: bytes | None, headers: Headers, offset: int) -> None:
    record = Record(value=value, key=key, headers=headers, topic="news.raw.ar", partition=3, offset=offset)
    letter = stored_letter(on_topic(dead(record, detail="كذا \udcff".encode("utf-8", "replace").decode())))
    assert letter is not None
    assert letter.record == record
    assert (letter.place, letter.topic, letter.timestamp) == (Place(2, 17), TOPICS.dead_letters, NOON)
    assert (letter.reason, letter.stage, letter.pipeline_version) == ("enrichment_failed", "enrich", "p1")
    assert (letter.attempt, letter.value_bytes, letter.value_omitted) == (record.attempt, len(value), False)
    assert letter.without_value() == replace(letter, record=replace(record, value=b""))


@given(HEADERS.filter(without_redrive), st.integers(1, 5))
def test_redrives_change_nothing_but_their_own_headers_and_do_not_pile_up(headers: Headers, times: int) -> None:
    record = Record(value=b"v", key=b"k", headers=headers, topic="news.raw.ar", partition=1)
    letter = stored(record)
    first = letter.attempt
    for _ in range(times):
        letter = failed_again(letter)
    assert letter.attempt == first + times
    assert letter.record.headers == (
        *headers,
        (REDRIVEN_FROM_HEADER, b"news.raw.ar.dlq:2:17"),
        (ATTEMPT_HEADER, str(first + times).encode()),
    )
    assert (letter.record.key, letter.record.value) == (b"k", b"v")


@pytest.mark.parametrize(
    ("headers", "attempt"),
    [
        ((), 1),
        (((ATTEMPT_HEADER, b"3"),), 3),
        (((ATTEMPT_HEADER, b"3"), ("x", b""), (ATTEMPT_HEADER, b"4")), 4),
        (((ATTEMPT_HEADER, b"0"),), 1),
        (((ATTEMPT_HEADER, b"-2"),), 1),
        (((ATTEMPT_HEADER, "٣".encode()),), 1),
        (((ATTEMPT_HEADER, b"9" * 5000),), 1),
        (((ATTEMPT_HEADER, b"\xff"),), 1),
    ],
)
def test_attempts_are_what_the_last_header_says_if_it_is_a_number(headers: Headers, attempt: int) -> None:
    record = Record(value=b"", headers=headers)
    assert record.attempt == dead(record).attempt == stored(record).attempt == attempt


def test_what_rasad_did_not_write_is_no_dead_letter() -> None:
    written = on_topic(dead(Record(value=b"")))
    assert stored_letter(Record(value=b"foreign", headers=(("x", b"1"),))) is None
    for name in ("rasad_partition", "rasad_offset"):
        others = tuple(header for header in written.headers if header[0] != name)
        assert stored_letter(replace(written, headers=others)) is None
        assert stored_letter(replace(written, headers=(*others, (name, b"many")))) is None


def test_a_value_that_was_left_out_is_told_from_an_empty_one() -> None:
    letter = dead(Record(value=b"", topic="news.raw.ar"))
    assert [stored_letter(on_topic(letter, with_value=each)).value_omitted for each in (True, False)] == [False, True]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("value", "source"),
    [
        ('{"source": "الجزيرة", "body": 7}'.encode(), "الجزيرة"),
        ('\ufeff{"source": "a"}'.encode(), "a"),
        (b'{"source": 7}', None),
        (b'{"source": " "}', None),
        (b'["source"]', None),
        (b'{"source": "a"', None),
        (b"\xff", None),
        (b"[" * 5000, None),
        (b"", None),
    ],
)
def test_a_source_is_what_the_value_says(value: bytes, source: str | None) -> None:
    assert source_of(value) == source


def test_selections_take_reasons_and_sources_as_they_are_spelled() -> None:
    letter = stored(Record(value='{"source": "الأهرام"}'.encode()), "wrong_type")
    assert Selection().takes(letter)
    assert Selection(reasons=frozenset({"empty", "wrong_type"}), source="الاهرام").takes(letter)
    assert not Selection(reasons=frozenset({"empty"})).takes(letter)
    assert not Selection(source="الجزيرة").takes(letter)
    assert not Selection(source="الجزيرة").takes(stored(Record(value=b"plain")))


def test_places_are_read_as_they_are_written() -> None:
    assert Place.parse(str(Place(2, 17))) == Place(2, 17)
    for wrong in ("", "2", "2:", ":7", "2:-1", "2:1:3", "٢:٣", "2: 3", f"1:{'9' * 30}"):
        with pytest.raises(ValueError, match="PARTITION:OFFSET"):
            Place.parse(wrong)


def test_the_note_of_a_redrive_holds_for_its_letter_alone() -> None:
    letter = stored(Record(value=b"v", topic="news.raw.ar", partition=1))
    notes = known(letter)
    record, noted = outputs(letter, TOPICS, datetime.now(UTC))
    assert (record.publication.topic, record.partition) == ("news.raw.ar", 1)
    assert (noted.publication.topic, noted.publication.key) == (TOPICS.redriven, b"news.raw.ar.dlq:2:17")
    assert note_of(letter, notes) == notes[b"news.raw.ar.dlq:2:17"]
    other = stored(Record(value=b"w", topic="news.raw.ar", partition=1))
    assert other.place == letter.place
    assert note_of(replace(other, timestamp=NOON + 1), notes) is None, "of a topic that was made anew"
    assert note_of(replace(other, place=Place(2, 18)), notes) is None
    assert note_of(replace(other, topic="other.dlq"), notes) is None


def test_the_note_of_an_earlier_version_holds_for_its_letter() -> None:
    letter = stored(Record(value=b"v", topic="news.raw.ar", partition=1))
    _, noted = outputs(letter, TOPICS, datetime.now(UTC))
    told = {key: value for key, value in orjson.loads(noted.publication.value or b"").items() if key != "identity"}
    notes = with_copies({noted.publication.key or b"": from_bytes(Redrive, orjson.dumps(told))})
    assert note_of(letter, notes) is not None
    assert note_of(replace(letter, place=Place(2, 18)), notes) is None


def test_of_the_copies_of_a_letter_one_is_sent_and_all_count_as_sent() -> None:
    record = Record(value=b"v", key=b"k", headers=(("x", b"1"),), topic="news.raw.ar", partition=1, offset=5)
    first, second = stored(record, offset=17), stored(record, offset=20)
    assert planned([first, second], {}, 3).pending == (first.without_value(),)
    notes = known(first)
    assert note_of(second.without_value(), notes) is not None
    assert note_of(second.without_value(), notes) == note_of(first.without_value(), notes)
    plan = planned([second], known(first), 3)
    assert (plan.pending, plan.already) == ((), 1)


@pytest.mark.parametrize(
    "changed",
    [{"offset": 6}, {"partition": 2}, {"topic": "other"}, {"value": b"w"}, {"key": None}, {"headers": (("x", b"2"),)}],
    ids=str,
)
def test_letters_of_other_records_are_no_copies(changed: dict[str, Any]) -> None:
    record = Record(value=b"v", key=b"k", headers=(("x", b"1"),), topic="news.raw.ar", partition=1, offset=5)
    first, other = stored(record), stored(replace(record, **changed), offset=20)
    assert len(planned([first, other], {}, 3).pending) == 2
    assert note_of(other, known(first)) is None


def test_the_letter_of_another_attempt_is_no_copy() -> None:
    record = Record(value=b"v", topic="news.raw.ar", partition=1, offset=5)
    first = stored(record)
    again = stored(replace(record, headers=((ATTEMPT_HEADER, b"2"),)), offset=20)
    assert note_of(again, known(first)) is None


def test_letters_wait_for_a_redrive_until_they_had_one_or_failed_too_often() -> None:
    fresh, other = stored(Record(value=b"1"), offset=1), stored(Record(value=b"2"), offset=2)
    third = failed_again(failed_again(stored(Record(value=b"3"))))
    notes = known(other)
    assert [standing(each, notes, 3) for each in (fresh, other, third)] == ["pending", "redriven", "exhausted"]
    assert standing(third, notes, 4) == "pending"
    newest = stored(Record(value=b"4"), offset=9)
    plan = planned([fresh, other, third, newest], notes, 3, limit=1)
    assert (plan.pending, plan.exhausted, plan.already) == ((newest.without_value(),), [third.without_value()], 1)


def test_every_reason_comes_with_what_to_do() -> None:
    assert set(ADVICE) == set(get_args(DeadLetterReason))
    assert {reason for reason in ADVICE if advice(reason).unchanged} == {"enrichment_failed"}
    assert "detail" in advice("of_a_later_version").text


def letters() -> list[StoredLetter]:
    hour = 3_600_000
    return [
        replace(stored(Record(value=b'{"source": "a"}'), "wrong_type", offset=1), timestamp=NOON),
        replace(stored(Record(value=b"x"), "not_arabic", offset=2), timestamp=NOON + hour),
        replace(stored(Record(value=b"y"), "not_arabic", offset=3), timestamp=NOON + 30 * hour),
    ]


def test_counts_by_kind_and_time() -> None:
    counts = counted(letters())
    assert (counts.total, counts.reasons, counts.stages) == (3, {"not_arabic": 2, "wrong_type": 1}, {"enrich": 3})
    assert counts.sources == {"": 2, "a": 1}
    assert counts.days == {"2026-11-18": 2, "2026-11-19": 1}
    assert counts.hours == {"2026-11-18T12:00Z": 1, "2026-11-18T13:00Z": 1, "2026-11-19T18:00Z": 1}
    assert json.loads(counts_line(counts))["reasons"] == {"not_arabic": 2, "wrong_type": 1}
    assert counted([]).total == 0
    assert "not told" in printed(counts_view(counts))


def printed(shown: RenderableType) -> str:
    console = Console(width=200, highlight=False)
    with console.capture() as capture:
        console.print(shown)
    return capture.get()


HARMFUL = {*map(chr, range(32)), *map(chr, range(0x7F, 0xA0)), *"\u202a\u202e\u2066\u2069\u200f\u061c\u2028\ufeff"}


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(sorted(HARMFUL))))
def test_foreign_text_is_shown_and_obeyed_by_no_terminal(text: str) -> None:
    assert not HARMFUL & set(visible(text))
    assert json.loads(visible(json.dumps(text, ensure_ascii=False))) == text
    # Of a value, line ends stay, and Arabic stands in isolates that are closed where they are opened.
    shown = printed(value_view(text.encode()))
    assert not HARMFUL & (set(shown) - {"\n", "\u2067", "\u2069"})
    assert shown.count("\u2067") == shown.count("\u2069")


def test_half_a_surrogate_pair_is_shown_as_it_is_written() -> None:
    value = rb'{"title": "\ud83d"}'
    assert r"\ud83d" in printed(value_view(value))


def test_a_value_is_json_laid_out_or_text_or_hexadecimal() -> None:
    laid_out = printed(value_view('{"title": "الأمم \u202e", "n": 12345678901234567890123}'.encode()))
    assert laid_out.splitlines() == [
        "{",
        '  "title": \u2067"الأمم \\u202e"\u2069,',
        '  "n": 12345678901234567890123',
        "}",
    ]
    assert printed(value_view("عنوان\r\n\x1b[2Jtext".encode())).splitlines() == ["\u2067عنوان\u2069", "\\u001b[2Jtext"]
    assert printed(value_view(b"abc\xff\x00" * 4)).startswith("00000000  61 62 63 ff 00 61")
    assert f"first {SHOWN_BYTES:,} of {SHOWN_BYTES + 1:,} bytes" in printed(value_view(b"a" * (SHOWN_BYTES + 1)))


def test_a_letter_in_full_and_in_a_line() -> None:
    record = Record(
        value='{"source": "الأهرام"}'.encode(), key=b"k\x1b", headers=(("h\u202e", b"\xfe"),), topic="news.raw.ar"
    )
    letter = stored_letter(on_topic(dead(record, detail="d\u202e" + "e" * 200)))
    assert letter is not None
    whole = printed(letter_view(letter, note(letter)))
    for part in (
        "2:17 on news.raw.ar.dlq",
        "k\\u001b",
        "header h\\u202e",
        "0xfe",
        "upgrade",
        "as attempt 2",
        "الأهرام",
    ):
        assert part in whole
    line = json.loads(letter_line(letter, note(letter)))
    assert (line["letter"], line["key"], line["source"], line["time"]) == (
        "2:17",
        "k\x1b",
        "الأهرام",
        "2026-11-18T12:00:00Z",
    )
    assert line["redriven"]["attempt"] == 2
    assert json.loads(letter_line(letter, None))["redriven"] is None
    table = printed(letter_table([(letter, None), (letter, note(letter))]))
    assert "redriven" in table
    assert "redriven" not in printed(letter_table([(letter, None)]))
    assert "\u202e" not in whole + table


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["list", "--reason", "sad"], "missing_text"),
        (["list", "--since", "yesterday"], "2h"),
        (["stats", "--until", "1066-10-14"], "1970"),
        (["show", "17"], "PARTITION:OFFSET"),
        (["redrive", "2:17", "--reason", "empty"], "not both"),
        (["redrive", "2:17", "2:x"], "2:x"),
        (["redrive", "--max-attempts", "0"], "max-attempts"),
    ],
)
def test_wrong_arguments_are_told_before_any_broker_is_asked(arguments: list[str], told: str) -> None:
    shown = CliRunner().invoke(app, ["dlq", *arguments, "--bootstrap-servers", "127.0.0.1:1"])
    assert shown.exit_code == 2
    assert told in shown.output
    assert "Traceback" not in shown.output


@pytest.mark.parametrize("verb", ["list", "show", "stats", "redrive"])
def test_every_verb_teaches_by_an_example(verb: str) -> None:
    shown = CliRunner().invoke(app, ["dlq", verb, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert f"Example: rasad dlq {verb}" in shown.output
