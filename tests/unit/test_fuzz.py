"""Whatever a record holds, it has one outcome that can be published, in bounded time and memory."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rasad.enrich.decode import decode
from rasad.enrich.enricher import Enricher
from rasad.messages import DeadLetter, EnrichedEvent, Outcome, RawArticle, Record, from_bytes, to_bytes
from rasad.settings import TopicSettings
from rasad.streams.publication import publications, verified
from tests.unit.articles import REPORT

TOPICS = TopicSettings()
TITLE, BODY = REPORT
WORDS = "قالت الأمم المتحدة في جنيف "

ODD = st.sampled_from(
    [
        *("\u200f", "\u200e", "\u202b", "\u202e", "\u2067", "\u2069", "\u061c", "\ufeff", "\u200d", "\u00ad", "\u0640"),
        *("\u064e\u0651", "\u0654\u0655", "\u0301" * 40, "\U0001f468\u200d\U0001f469", "\ufdfa", "\ufefb", "\ufffe"),
        *(
            "\x00",
            "\x1b[31m",
            "\x80",
            "\u2028",
            "\r",
            "\n., ",
            "«",
            '"',
            "قال: ",
            "#",
            "٣٫٥٪",
            "\ud800",
            "\udfff\ud83d",
        ),
    ]
)
TEXTS = st.lists(st.sampled_from(WORDS.split()) | ODD | st.text(max_size=8), max_size=24).map(" ".join) | st.text()
"""Arabic words among what breaks readers: bidi controls, stacked marks, halves of surrogate pairs, escapes."""

TOKENS = st.sampled_from(
    [
        *(
            "NaN",
            "-Infinity",
            "1e999",
            "-0",
            "9" * 400,
            "1" + "0" * 30 + ".5",
            "true",
            "null",
            '"\\ud800"',
            '"\\u0000"',
        ),
        *('"' + "\u064e" * 300 + '"', "[" * 70 + "]" * 70, "{}", "[]", '{"title": {"title": "x"}}', '"', "'x'", "//"),
    ]
)
KEYS = st.sampled_from(["id", "title", "body", "text", "url", "source", "published_at", "extra", "", "\\ud800"])
MEMBERS = st.tuples(KEYS, TOKENS | TEXTS.map(lambda text: f'"{text}"'))
JSON = st.lists(MEMBERS, max_size=8).map(lambda all_: "{" + ",".join(f'"{key}":{value}' for key, value in all_) + "}")
"""Objects by hand, so that keys repeat and numbers and strings are what no writer writes."""


def _spoilt(value: bytes, edits: Sequence[tuple[int, int, bytes]]) -> bytes:
    """`value` with stretches of it replaced; an edit is where, how many bytes, and by what."""
    for where, length, by in edits:
        at = where % (len(value) + 1)
        value = value[:at] + by + value[at + length :]
    return value


GOOD = f'{{"id": "a1", "title": "{TITLE}", "body": "{BODY[:300]}"}}'.replace("\n", " ").encode()
EDITS = st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 40), st.binary(max_size=12)), max_size=4)
VALUES = st.one_of(
    st.binary(max_size=200),
    TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")),
    JSON.map(lambda text: text.encode("utf-8", "surrogatepass")),
    EDITS.map(lambda edits: _spoilt(GOOD, edits)),
    st.tuples(st.sampled_from([b"[", b'{"a":', b'"', b"\\", b"\xd9", b"\n", b" "]), st.integers(0, 4_000)).map(
        lambda pair: pair[0] * pair[1]
    ),
)


def check_decoding(value: bytes) -> None:
    got = decode(Record(value=value, key=b"k", headers=(("h", b"\xff"),)), pipeline_version="fuzz")
    if isinstance(got, RawArticle):
        assert (got.title + got.body).strip()
        assert to_bytes(got)
    else:
        check_publishing(got, got.record)


def check_publishing(outcome: Outcome, record: Record) -> None:
    """The outcome can be written, and reads back as what it is."""
    assert verified(outcome, record) is outcome
    first, *others = publications(outcome, record, TOPICS)
    assert all(each.value for each in others)
    if isinstance(outcome, DeadLetter):
        assert (first.key, first.value) == (record.key, record.value)
        assert first.headers[: len(record.headers)] == record.headers
        assert others == []
    else:
        assert first.value is not None
        assert from_bytes(EnrichedEvent, first.value).article == outcome.article


def check_enrichment(enricher: Enricher, values: Sequence[bytes]) -> None:
    records = [Record(value=value, topic="raw", offset=offset) for offset, value in enumerate(values)]
    outcomes = enricher.enrich(records)
    assert len(outcomes) == len(records)
    for outcome, record in zip(outcomes, records, strict=True):
        if isinstance(outcome, DeadLetter):
            assert outcome.record is record
            assert outcome.stage == "decode"
        check_publishing(outcome, record)


QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]


@settings(max_examples=300, deadline=None, suppress_health_check=QUIET)
@given(VALUES)
def test_any_value_is_an_article_or_a_dead_letter(value: bytes) -> None:
    check_decoding(value)


@settings(max_examples=15, deadline=None, suppress_health_check=QUIET)
@given(st.lists(VALUES, min_size=1, max_size=6))
def test_any_batch_has_one_outcome_a_record(enricher: Enricher, values: list[bytes]) -> None:
    check_enrichment(enricher, values)


@pytest.mark.soak
@settings(max_examples=100_000, deadline=None, suppress_health_check=QUIET)
@given(VALUES, st.integers(0, 99))
def test_a_hundred_thousand_values(enricher: Enricher, value: bytes, hundredth: int) -> None:
    check_decoding(value)
    if hundredth == 0:
        check_enrichment(enricher, [value, GOOD])


UNITS = {
    "a word": "م",
    "marks on one letter": "\u064e",
    "ligatures": "\ufdfa",
    "bidi controls": "\u202b\u202c",
    "quotation marks": '"',
    "open guillemets": "«",
    "line ends": "\n",
    "sentence ends": ". ",
    "reporting verbs": "قال: ",
    "one-letter words": "و ",
    "emoji": "\U0001f468\u200d",
}
"""What articles of one repeated thing are made of: where an algorithm is worse than linear, it shows."""
PAIRS = "بن سلمان\n\nالعالمية المتحدة\n\nمحمد أحمد\n\nالمتحدة فايز\n\n"
"""Halves of names, whose labels are seldom legal as they stand."""


def one_thing(unit: str, size: int) -> str:
    """`unit` again and again."""
    return unit * (size // len(unit.encode()))


def one_long_paragraph(unit: str, size: int) -> str:
    """After a title one paragraph for half of the size, then one for each pair: padding to the longest shows."""
    return "\n\n".join(("", one_thing(unit.replace("\n\n", " "), size // 2), one_thing(unit, size // 2)))


LONG = {name: partial(one_thing, unit) for name, unit in UNITS.items()} | {
    "a long paragraph and many short ones": partial(one_long_paragraph, PAIRS)
}
"""Bodies by their size in bytes."""


def used(text: str) -> tuple[float, float]:
    """Seconds of processor time and mebibytes that an article takes, measured in a process of its own.

    The peak of a process only grows: in one that has run other tests, nothing would show.
    """
    enricher = Enricher.open(threads=1)
    check_enrichment(enricher, [GOOD])
    begun, resident = time.process_time(), _peak_mebibytes()
    check_enrichment(enricher, [text.encode()])
    return time.process_time() - begun, _peak_mebibytes() - resident


def _peak_mebibytes() -> float:
    """Of this process so far; Linux counts in KiB and macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def check_length(body: Callable[[int], str], size: int, seconds: float, mebibytes: int) -> None:
    """An article of `size` bytes takes no more processor time and memory than that."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as apart:
        took, grown = apart.submit(used, WORDS + body(size)).result()
    assert took < seconds
    assert grown < mebibytes


@pytest.mark.parametrize("body", LONG.values(), ids=LONG.keys())
def test_long_articles_of_one_thing(body: Callable[[int], str]) -> None:
    check_length(body, 2_000, seconds=20, mebibytes=200)


@pytest.mark.soak
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("body", LONG.values(), ids=LONG.keys())
def test_the_longest_articles_of_one_thing(body: Callable[[int], str]) -> None:
    check_length(body, 1_000_000, seconds=1_500, mebibytes=4_000)
