"""Record bytes to articles or dead letters: every reason by example, and totality by property."""

from __future__ import annotations

import time
from typing import Any, get_args

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rasad.enrich.decode import FIELD_NAMES, MAX_BYTES, MAX_DEPTH, decode, too_deep
from rasad.messages import DeadLetter, DeadLetterReason, RawArticle, Record, derived_id, to_bytes
from rasad.settings import Settings

TITLE = "سعي أممي لاستئناف المحادثات الليبية بجنيف "
BODY = 'الأمم المتحدة، اليوم الأربعاء، طرفي النزاع في ليبيا إلى العودة., كما طالبت\nبعثة الأمم المتحدة بـ"وقف التصعيد".'


def read(value: bytes | str | dict[str, Any] | list[Any], **options: Any) -> RawArticle | DeadLetter:
    if isinstance(value, (dict, list)):
        value = orjson.dumps(value)
    if isinstance(value, str):
        value = value.encode()
    return decode(Record(value=value, key=b"k", topic="t", offset=7), pipeline_version="p", **options)


def article(value: bytes | str | dict[str, Any], **options: Any) -> RawArticle:
    read_ = read(value, **options)
    assert isinstance(read_, RawArticle), read_
    return read_


def refusal(value: bytes | str | dict[str, Any] | list[Any], **options: Any) -> DeadLetter:
    read_ = read(value, **options)
    assert isinstance(read_, DeadLetter), read_
    return read_


# Plain text


def test_plain_text_keeps_every_character_of_headline_and_body():
    got = article(f"{TITLE}\n\n{BODY}\n")
    assert (got.title, got.body) == (TITLE, BODY + "\n")
    assert got.id == derived_id("", "", got.title, got.body)
    assert got.url is None
    assert got.extra == {}


@pytest.mark.parametrize("blank", ["\n", "\n\n", "\r\n\r\n", "\r", "\n \t\u00a0\n\n"])
def test_blank_lines_after_the_headline_belong_to_neither(blank: str):
    got = article(f"{TITLE}{blank}  {BODY}")
    assert (got.title, got.body) == (TITLE, "  " + BODY)


def test_blank_lines_before_the_headline_are_passed_over():
    assert article(f" \r\n\n {TITLE}\n{BODY}").title == " " + TITLE
    got = article(f"\u200f\n\ufeff\u200b \n{TITLE}\n\u200f\n{BODY}")
    assert (got.title, got.body) == (TITLE, BODY)


def test_a_headline_alone_is_an_article():
    got = article(TITLE)
    assert (got.title, got.body) == (TITLE, "")


def test_byte_order_mark_is_no_text():
    assert article(f"\ufeff{TITLE}\n{BODY}") == article(f"{TITLE}\n{BODY}")
    assert article(b"\xef\xbb\xbf" + orjson.dumps({"title": TITLE})).title == TITLE


@pytest.mark.parametrize(
    "title", ["[فيديو] وزير الخارجية يصل إلى جنيف", "«الوفاق» تعلق مشاركتها", '"الوفاق" تعلق مشاركتها']
)
def test_text_that_only_begins_like_json_is_text(title: str):
    assert article(f"{title}\n{BODY}").title == title


# JSON


def test_json_fields_stand_where_they_belong():
    got = article(
        {
            "id": "a-1",
            "url": "https://news.example/1",
            "source": "وكالة",
            "title": TITLE,
            "body": BODY,
            "published_at": "2026-01-31",
            "fetched_at": None,
            "tags": ["x", {"y": 1}],
        }
    )
    assert got == RawArticle(
        id="a-1",
        title=TITLE,
        body=BODY,
        url="https://news.example/1",
        source="وكالة",
        published_at="2026-01-31",
        extra={"tags": ["x", {"y": 1}]},
    )


@pytest.mark.parametrize(("field", "name"), [(field, name) for field, names in FIELD_NAMES.items() for name in names])
def test_every_name_of_a_field_is_read(field: str, name: str):
    value = f"{TITLE} {name}"
    record = {"title": TITLE, "body": BODY, field: None, name: value}
    got = article(record)
    assert getattr(got, field) == value
    assert got.extra == {}


def test_the_first_name_wins_and_the_other_is_kept():
    got = article({"title": TITLE, "body": BODY, "text": 5})
    assert got.body == BODY
    assert got.extra == {"text": 5}


@pytest.mark.parametrize(("given_id", "read_id"), [(17, "17"), (-1, "-1"), (2**64 - 1, str(2**64 - 1)), (17.0, "17")])
def test_a_whole_number_is_an_id(given_id: float, read_id: str):
    assert article({"id": given_id, "body": BODY}).id == read_id


@pytest.mark.parametrize("missing", [{}, {"id": None}, {"id": ""}, {"id": "  "}])
def test_without_an_id_one_is_derived_from_the_content(missing: dict[str, Any]):
    record = {"source": "s", "url": "u", "title": TITLE, "body": BODY}
    assert article(record | missing).id == derived_id("s", "u", TITLE, BODY)
    assert article(record | {"url": "other"}).id != article(record).id


def test_the_last_of_duplicate_keys_holds():
    assert article(f'{{"title": 5, "title": "{TITLE}"}}').title == TITLE


def test_a_written_article_reads_back():
    first = article({"id": "a", "title": TITLE, "body": BODY, "tags": [1], "extra": {"inner": 2}})
    assert first.extra == {"tags": [1], "inner": 2}
    assert article(to_bytes(first)) == first


# Refusals

LONE_SURROGATE = b'{"title": "\\ud800"}'


@pytest.mark.parametrize(
    ("value", "reason", "told"),
    [
        (b"", "empty", "tombstone"),
        (b" \r\n\t", "empty", "white space"),
        ("\ufeff\u00a0\u2003", "empty", "white space"),
        (TITLE.encode("cp1256"), "invalid_utf8", "windows-1256"),
        (TITLE.encode("utf-16"), "invalid_utf8", "UTF-16"),
        (TITLE.encode()[:-2], "invalid_utf8", "cut on its way"),
        ("خبر".encode() + b"\xff" + TITLE.encode(), "invalid_utf8", "byte 6"),
        (b'{"title": "\xed\xa0\x80"}', "invalid_utf8", "byte 11"),
        (b'{"title": "x"', "invalid_json", "line 1 column 14"),
        (b'{"title": NaN}', "invalid_json", "line 1 column 11"),
        (b'{"id": 1e999}', "invalid_json", "infinity"),
        (b'{"id": 1' + b"0" * 5000 + b"}", "invalid_json", "infinity"),
        (b'{"title": "a\nb"}', "invalid_json", "control character"),
        (b"{'title': 'x'}", "invalid_json", "plain text"),
        (LONE_SURROGATE, "invalid_json", "half of a surrogate pair"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "too_deep", "64 levels"),
        (b"[" * 500_000, "too_deep", "64 levels"),
        ([{"title": TITLE}], "wrong_type", "an array"),
        (b'"\\u0627"', "wrong_type", "a string"),
        (b"12", "wrong_type", "a number"),
        (b"null", "wrong_type", "null"),
        (b"true", "wrong_type", "a boolean"),
        ({"title": 5}, "wrong_type", 'field "title" is a number'),
        ({"title": TITLE, "text": [BODY]}, "wrong_type", 'field "text" is an array'),
        ({"title": TITLE, "source": {"name": "x"}}, "wrong_type", 'field "source" is an object'),
        ({"title": TITLE, "date": 1700000000}, "wrong_type", "ISO 8601"),
        ({"title": TITLE, "id": True}, "wrong_type", 'field "id" is a boolean'),
        (b'{"id": 123456789012345678901234567890}', "wrong_type", "64 bits"),
        ({}, "missing_text", "no fields at all"),
        ({"title": None, "body": " \n"}, "missing_text", "'title', 'body'"),
        ({"heading": TITLE}, "missing_text", "'heading'"),
        ("Talks resume in Geneva\n\nThe two sides met on Wednesday.", "not_arabic", "0%"),
        ("12:30 - 14:45 !!!", "not_arabic", "0%"),
        ({"title": "Talks resume in Geneva"}, "not_arabic", "Arabic"),
    ],
)
def test_each_reason(value: Any, reason: str, told: str):
    got = refusal(value)
    assert got.reason == reason, got
    assert told in got.detail
    assert got.stage == "decode"
    assert got.pipeline_version == "p"
    assert (got.record.key, got.record.topic, got.record.offset) == (b"k", "t", 7)


def test_the_size_limit_is_of_the_value_in_bytes():
    value = f"{TITLE}\n{BODY}".encode()
    assert isinstance(read(value, max_bytes=len(value)), RawArticle)
    got = refusal(value, max_bytes=len(value) - 1)
    assert got.reason == "too_large"
    assert f"{len(value)} bytes" in got.detail
    assert "RASAD_INPUT__MAX_BYTES" in got.detail


def test_the_limit_of_the_settings_is_the_default():
    assert Settings().input.max_bytes == MAX_BYTES


def test_a_deep_field_within_the_limit_is_kept():
    value = f'{{"title": "{TITLE}", "x": ' + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1) + "}"
    assert "x" in article(value).extra


@pytest.mark.parametrize(
    ("value", "deep"),
    [
        (b"[" * MAX_DEPTH, False),
        (b"[" * (MAX_DEPTH + 1), True),
        (b"[]" * 1000, False),
        (b'{"a":"' + b"[" * 1000 + b'"}', False),
        (b'{"a":"\\"' + b"[" * 1000 + b'"}', False),
        (b'{"a":"\\\\"' + b"[" * 1000, True),
        (b'"' + b"[" * 1000, False),
    ],
)
def test_depth_is_counted_outside_strings(value: bytes, deep: bool):
    assert too_deep(value) is deep


@pytest.mark.parametrize("unit", [b'"\\', b'\\"', b'"[', b'{"', b"[", b"\n", b" \n", b'{"a":['])
def test_a_megabyte_of_nonsense_takes_linear_time(unit: bytes):
    value = b"{" + unit * (1_000_000 // len(unit))
    started = time.process_time()
    read(value)
    read(value[1:])
    assert time.process_time() - started < 5


# Properties

BYTES = st.one_of(
    st.binary(max_size=80),
    st.text(max_size=80).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=40).map(lambda data: b"{" + data),
    st.binary(max_size=40).map(lambda data: b'{"title": "' + data + b'"}'),
    st.tuples(st.sampled_from([b"[", b"{", b'{"a":', b'["']), st.integers(0, 3000)).map(lambda pair: pair[0] * pair[1]),
)


@settings(max_examples=300, deadline=None)
@given(BYTES)
@example(b"\xff\xfe")
@example(LONE_SURROGATE)
@example(b'{"a":' * 2000)
@example(b"-" + b"9" * 5000)
def test_any_bytes_give_one_outcome_that_can_be_written(value: bytes):
    got = read(value)
    if isinstance(got, RawArticle):
        assert to_bytes(got)
        assert (got.title + got.body).strip()
    else:
        assert got.record.value == value
        assert got.reason in get_args(DeadLetterReason)
        assert len(got.detail) < 700
        got.detail.encode()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from([name for names in FIELD_NAMES.values() for name in names] + ["extra", "tags", "Title"])
ARABIC = st.text(alphabet="ابتثجحخدذرزسشصضطظعغفقكلمنهويءآأؤإئىة ،.\n\u064b\u0640", min_size=1, max_size=60)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(NAMES, JSON | ARABIC, max_size=8) | JSON)
def test_any_json_gives_one_outcome_and_articles_read_back(value: Any):
    got = read(orjson.dumps(value))
    if isinstance(got, RawArticle):
        assert read(to_bytes(got)) == got
    else:
        assert got.reason in {"wrong_type", "missing_text", "not_arabic"}


@settings(max_examples=150, deadline=None)
@given(ARABIC, ARABIC)
def test_json_text_is_kept_character_for_character(title: str, body: str):
    got = read({"title": title, "body": body})
    if isinstance(got, RawArticle):
        assert (got.title, got.body) == (title, body)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60))
def test_plain_text_loses_only_line_ends_around_the_headline(text: str):
    got = read(f"الخبر {text}".encode("utf-8", "surrogatepass"))
    if isinstance(got, RawArticle):
        assert f"الخبر {text}".startswith(got.title)
        assert text.endswith(got.body)
        assert not f"الخبر {text}"[len(got.title) : len(f"الخبر {text}") - len(got.body)].strip()
