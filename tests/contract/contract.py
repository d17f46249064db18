"""What every driver must do, written once. A driver's test class gives `deliver`; the tests are inherited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import orjson
import pytest

from rasad.enrich.decode import MAX_BYTES, MAX_DEPTH
from rasad.messages import DeadLetter, DeadLetterReason, EnrichedEvent, Outcome, Record, to_bytes
from rasad.streams.driver import Enrich
from tests.kafka.plain_enrichment import enrich

BAD: dict[DeadLetterReason, bytes] = {
    "empty": "\u00a0\u00a0".encode(),
    "too_large": "خبر طويل جدا ".encode() * (MAX_BYTES // 20),
    "invalid_utf8": "دعت الأمم المتحدة".encode("windows-1256"),
    "invalid_json": '{"title": "الأمم المتحدة", "body": '.encode(),
    "too_deep": b'{"title": ' + b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1) + b"}",
    "wrong_type": '{"title": "الأمم المتحدة", "body": 7}'.encode(),
    "missing_text": b'{"id": "no-text", "url": "https://example.org/1"}',
    "not_arabic": b"The United Nations calls for talks in Geneva on Wednesday.",
}
"""One value for each reason that decoding can give. On one line each, so that every driver can carry them."""


def good(number: int) -> bytes:
    """A good article as a JSON record; each number gives another one."""
    return orjson.dumps(
        {
            "id": f"article-{number}",
            "title": f"الأمم المتحدة تدعو إلى محادثات للمرة {number}",
            "body": "دعت الأمم المتحدة أطراف النزاع في ليبيا إلى محادثات في جنيف. " * (1 + number % 3),
        }
    )


@dataclass(frozen=True, slots=True)
class Delivery:
    """An outcome as it came out of a driver: which value it belongs to, and its event or the dead letter's parts."""

    index: int
    event: EnrichedEvent | None = None
    reason: str | None = None
    detail: str = ""
    value: bytes = b""


class DriverContract:
    """Inherited by the tests of each driver."""

    def deliver(self, values: Sequence[bytes], enrichment: Enrich = enrich) -> list[Delivery]:
        """Run the driver once over `values`; what it wrote, in the order of its outputs."""
        raise AssertionError("each driver's test class says how it is run")

    def test_one_outcome_a_record_in_order(self) -> None:
        deliveries = self.deliver([good(number) for number in range(70)])
        assert [delivery.index for delivery in deliveries] == list(range(70))
        assert [delivery.event.article.id for delivery in deliveries if delivery.event] == [
            f"article-{number}" for number in range(70)
        ]

    def test_bad_input_among_good(self) -> None:
        values = [value for number, bad in enumerate(BAD.values()) for value in (good(number), bad)]
        deliveries = sorted(self.deliver([*values, good(99)]), key=lambda delivery: delivery.index)
        assert [delivery.index for delivery in deliveries] == list(range(len(values) + 1))
        assert [delivery.reason for delivery in deliveries] == [reason for bad in BAD for reason in (None, bad)] + [
            None
        ]
        for delivery, value in zip(deliveries, values, strict=False):
            if delivery.reason is not None:
                assert delivery.value == value
                assert delivery.detail

    def test_the_same_input_gives_the_same_bytes_but_for_run(self) -> None:
        values = [good(number) for number in range(5)]
        first, second = self.deliver(values), self.deliver(values)
        assert [_without_run(delivery) for delivery in first] == [_without_run(delivery) for delivery in second]
        assert all(delivery.event and delivery.event.run for delivery in first)

    def test_title_and_body_leave_as_they_arrived(self) -> None:
        body = "قال \u200fمحمد: «نعم»\u0640، ٣٫٥ ٪ ﷺ\nثم سطر آخر., وفقرة\ufeff أخرى في جنيف."
        (delivery,) = self.deliver([orjson.dumps({"id": "odd", "title": "  عنوان في جنيف ", "body": body})])
        assert delivery.event
        assert (delivery.event.article.title, delivery.event.article.body) == ("  عنوان في جنيف ", body)
        for mention in delivery.event.mentions:
            field = {"title": delivery.event.article.title, "body": body}[mention.field]
            assert field[mention.start : mention.end] == mention.surface

    def test_a_span_that_does_not_hold_its_surface_never_leaves(self) -> None:
        def misplacing(records: Sequence[Record]) -> list[Outcome]:
            return [_misplaced(outcome) for outcome in enrich(records)]

        deliveries = self.deliver([good(0), good(1), good(2)], misplacing)
        reasons = {delivery.index: delivery.reason for delivery in deliveries}
        assert reasons == {0: None, 1: "enrichment_failed", 2: None}
        (letter,) = (delivery for delivery in deliveries if delivery.reason)
        assert letter.value == good(1)
        assert "does not hold its surface" in letter.detail

    def test_an_enrichment_that_breaks_its_promise_ends_the_run(self) -> None:
        def forgetful(records: Sequence[Record]) -> list[Outcome]:
            return enrich(records)[1:]

        with pytest.raises(Exception, match=r"shorter|longer"):
            self.deliver([good(0), good(1)], forgetful)


def _without_run(delivery: Delivery) -> bytes:
    assert delivery.event
    return to_bytes(replace(delivery.event, run={}))


def _misplaced(outcome: Outcome) -> Outcome:
    """Article 1 with its mentions one character off."""
    if isinstance(outcome, DeadLetter) or outcome.article.id != "article-1":
        return outcome
    return replace(
        outcome,
        mentions=tuple(
            replace(mention, start=mention.start + 1, end=mention.end + 1, core_start=mention.start + 1)
            for mention in outcome.mentions
        ),
    )
