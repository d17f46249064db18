"""Which words of a paragraph a labelled stance's holder and target are."""

from __future__ import annotations

from typing import Any

import pytest

from rasad.text.normalise import normalise
from rasad.text.words import word_spans

pytestmark = pytest.mark.training


def article(body: str, holder: str, target: str, evidence: str) -> dict[str, Any]:
    start = body.index(evidence)
    cut = body.index("\n")
    return {
        "title": "خلاف على الميزانية",
        "body": body,
        "paragraphs": [[0, cut], [cut + 1, len(body)]],
        "stances": [
            {
                "holder": holder,
                "target": target,
                "stance": "oppose",
                "evidence": {"field": "body", "start": start, "end": start + len(evidence)},
            }
        ],
    }


BODY = "وصل حيدر العبادي إلى البصرة.\nوانتقد العبادي مشروع الميزانية، وقال العبادي إن المشروع معيب."


@pytest.mark.parametrize(
    ("holder", "target", "words"),
    [
        ("العبادي", "مشروع الميزانية", ("العبادي", "مشروع الميزانية")),
        ("حيدر العبادي", "الميزانية", ("العبادي", "الميزانية")),
        ("حيدر العبادي", "مشروع قانون الميزانية", ("العبادي", "مشروع الميزانية")),
    ],
)
def test_holder_and_target_are_found_by_the_part_that_stands_there(
    holder: str, target: str, words: tuple[str, str]
) -> None:
    from training.relations import golds

    labelled = article(BODY, holder, target, "وانتقد")
    texts = [normalise(labelled[field]).text for field in ("title", "body")]
    every = [text[start:end] for text in texts for start, end in word_spans(text)]
    (gold,) = golds(labelled)
    assert [" ".join(every[a:b]) for a, b in (gold.holder, gold.target)] == list(words)
    assert every[gold.holder[0] - 1] == "وانتقد"
    assert every[slice(*gold.evidence)] == ["وانتقد"]


def test_a_holder_whom_only_another_paragraph_names_is_none() -> None:
    from training.relations import golds

    assert list(golds(article(BODY, "البصرة", "الميزانية", "وانتقد"))) == []


def test_average_precision_counts_what_was_not_found() -> None:
    from training.relations import Judged, average_precision

    found = [Judged(0.1, True), Judged(2.0, True), Judged(1.0, False)]
    assert average_precision(found, 2) == pytest.approx(100 * (1 + 2 / 3) / 2, abs=0.1)
    assert average_precision(found, 4) == pytest.approx(100 * (1 + 2 / 3) / 4, abs=0.1)
    assert average_precision([], 4) == 0
