"""Entity stances beside one another."""

from __future__ import annotations

import math
from typing import Literal

import pytest

from rasad.enrich.rivalry import LEAST_RIVAL, log_odds, rivalry, weighed
from rasad.inference.bundle import StanceOdds
from rasad.messages import Span, Stance, StanceHolder, StanceTarget

FLOOR = math.log(LEAST_RIVAL / (1 - LEAST_RIVAL))
UNCHANGED = StanceOdds(scale=1, support=0, oppose=0, rival=0)


def stance(
    holder: str,
    target: str,
    prob: float,
    *,
    label: Literal["support", "oppose"] = "oppose",
    ids: tuple[str | None, str | None] = (None, None),
) -> Stance:
    other = "support" if label == "oppose" else "oppose"
    return Stance(
        kind="entity",
        holder=StanceHolder(text=holder, entity_id=ids[0]),
        target=StanceTarget(text=target, entity_id=ids[1]),
        label=label,
        probs={label: prob, other: round(1 - prob, 4)},
        evidence=(Span(field="body", start=0, end=4),),
    )


GOVERNMENT = stance("الأردن", "اتفاق الهدنة", 0.9)


@pytest.mark.parametrize(
    ("other", "rivals"),
    [
        (stance("جمانة غنيمات", "أي اتفاق للهدنة", 0.5), True),
        (stance("الأردن", "السماح للاجئين", 0.5), True),
        (stance("الأردن", "الهدنة", 0.5), False),
        (stance("جمانة غنيمات", "السماح للاجئين", 0.5), False),
        (stance("جمانة غنيمات", "أي اتفاق للهدنة", 0.5, label="support"), False),
        (stance("جمانة غنيمات", "أي اتفاق للهدنة", 0.02), False),
    ],
)
def test_rivals_share_one_of_holder_and_target(other: Stance, rivals: bool) -> None:
    mine, theirs = rivalry([GOVERNMENT, other])
    assert mine == pytest.approx(log_odds(other) - FLOOR if rivals else 0)
    assert (theirs > 0) is (rivals or other.probs[other.label] < LEAST_RIVAL)


def test_an_entity_is_the_same_under_two_names() -> None:
    one = stance("واشنطن", "الاتفاق", 0.5, ids=("us", None))
    other = stance("الإدارة الأمريكية", "طهران", 0.5, ids=("us", None))
    assert rivalry([one, other]) == pytest.approx([-FLOOR, -FLOOR])


def test_the_likeliest_rival_counts() -> None:
    others = [stance("جمانة غنيمات", "الهدنة", prob) for prob in (0.1, 0.6, 0.3)]
    assert rivalry([GOVERNMENT, *others])[0] == pytest.approx(log_odds(others[1]) - FLOOR)


def test_odds_change_the_probability_alone() -> None:
    spokeswoman = stance("جمانة غنيمات", "الهدنة", 0.5)
    assert weighed([GOVERNMENT, spokeswoman], UNCHANGED) == [GOVERNMENT, spokeswoman]
    odds = StanceOdds(scale=0.5, support=9, oppose=-1, rival=0.25)
    first, second = weighed([GOVERNMENT, spokeswoman], odds)
    score = 0.5 * math.log(9) - 1 - 0.25 * -FLOOR
    assert first.probs["oppose"] == pytest.approx(1 / (1 + math.exp(-score)), abs=1e-4)
    assert first.probs["support"] == GOVERNMENT.probs["support"]
    (surer,) = weighed([GOVERNMENT], StanceOdds(scale=2, support=0, oppose=0, rival=0))
    assert sum(surer.probs.values()) == pytest.approx(1)
    assert second.probs["oppose"] < 0.5
    assert (first.holder, first.target, first.evidence) == (
        GOVERNMENT.holder,
        GOVERNMENT.target,
        GOVERNMENT.evidence,
    )


@pytest.mark.parametrize("prob", [0.0, 1.0])
def test_certainty_has_finite_odds(prob: float) -> None:
    assert math.isfinite(log_odds(stance("الأردن", "الهدنة", prob)))
    sure = StanceOdds(scale=1e300, support=0, oppose=0, rival=0)
    (made,) = weighed([stance("الأردن", "الهدنة", prob)], sure)
    assert made.probs["oppose"] == prob


def test_no_stances_have_no_rivals() -> None:
    assert rivalry([]) == []
    assert weighed([], UNCHANGED) == []
