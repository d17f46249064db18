"""The gate of watched claims on labelled articles: does it let an article's own claims through, and what besides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from rasad.enrich.claims import THRESHOLD, ClaimIndex, Gate
from rasad.enrich.evidence import stem_counts
from rasad.enrich.stance import UNRELATED, Pair
from rasad.evaluation.stance import Example
from rasad.messages import Claim

THRESHOLDS: Final = (0.5, THRESHOLD, 0.8, 1.0, 1.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """All claims of a corpus watched at once; figures in percent but for `judged`.

    `own` of the articles' own claims and `others` of the pairs with another article's score the threshold; `own_judged`
    and `others_judged` are also among the best that the gate takes for one article, `judged` claims each.
    """

    threshold: float
    claims: int
    own: float
    others: float
    own_judged: float
    others_judged: float
    judged: float


def gate_results(articles: Sequence[Mapping[str, Any]]) -> list[GateResult]:
    """The gate at each of `THRESHOLDS`. Articles are as in the news corpus, at least two, with claims."""
    claims = [
        Claim(id=f"{number:06}-{position}", text=claim["text"])
        for number, article in enumerate(articles)
        for position, claim in enumerate(article["claims"])
    ]
    index = ClaimIndex(claims)
    counted = [stem_counts(f"{article['title']}\n{article['body']}") for article in articles]
    scores = np.array([index.scores(article) for article in counted])
    number_of = {claim.id: number for number, claim in enumerate(index.claims)}
    own = np.array([[int(claim.id[:6]) == number for claim in index.claims] for number in range(len(articles))])
    results = []
    for threshold in THRESHOLDS:
        judged = np.zeros_like(own)
        for row, article in enumerate(counted):
            matches = index.matches(article, Gate(threshold=threshold))
            judged[row, [number_of[match.claim.id] for match in matches]] = True
        results.append(
            GateResult(
                threshold=threshold,
                claims=len(claims),
                own=_percent(scores[own] >= threshold),
                others=_percent(scores[~own] >= threshold),
                own_judged=_percent(judged[own]),
                others_judged=_percent(judged[~own]),
                judged=float(judged.sum() / len(articles)),
            )
        )
    return results


def gated_claims(articles: Sequence[Mapping[str, Any]]) -> list[Example]:
    """What the gate lets through where all claims of all articles are watched; others' claims are unrelated."""
    claims = {
        f"{number:06}-{position}": claim
        for number, article in enumerate(articles)
        for position, claim in enumerate(article["claims"])
    }
    index = ClaimIndex([Claim(id=key, text=claim["text"]) for key, claim in claims.items()])
    return [
        Example(
            pair=Pair(claim=match.claim.text, title=article["title"], body=article["body"]),
            label=claims[match.claim.id]["label"] if int(match.claim.id[:6]) == number else UNRELATED,
        )
        for number, article in enumerate(articles)
        for match in index.matches(stem_counts(f"{article['title']}\n{article['body']}"), Gate())
    ]


def _percent(passed: np.ndarray[Any, np.dtype[np.bool_]]) -> float:
    return float(100 * passed.mean())
