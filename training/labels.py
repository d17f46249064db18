"""Join the labels of `training/labels/` with the raw articles that they mark."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rasad.evaluation.corpora import read_jsonl

LABELS = Path(__file__).parent / "labels" / "articles.jsonl"
CLAIMS = LABELS.with_name("claims.jsonl")
"""Further articles, with mentions, quotes, stances and claims."""
STANCES = LABELS.with_name("stances.jsonl")
"""Articles chosen for their stances, with mentions and stances."""
CORRECTED = (CLAIMS, STANCES)
"""Files whose mentions are a tagger's, corrected by a reader who saw them."""

_LINE = re.compile(r"[^\n]*\S[^\n]*")


def digest(title: str, body: str) -> str:
    """The first 16 digits of the SHA-256 of title and body, parted by U+00FF."""
    return hashlib.sha256(f"{title}\xff{body}".encode()).hexdigest()[:16]


def paragraphs(body: str) -> list[list[int]]:
    """The lines of a raw article that are not blank, as `[start, end)` in code points."""
    return [list(match.span()) for match in _LINE.finditer(body)]


def labelled_articles(labels: Path, raw: Path) -> list[dict[str, Any]]:
    """The labelled articles in the format of `news/*.jsonl`; `labelled` names the layers that were labelled.

    `raw` is the folder of the raw corpora; one that is missing costs its articles. Raises ValueError where an
    article is not the one that was labelled.
    """
    wanted = {label["id"]: label for label in read_jsonl(labels)}
    made = []
    for name in sorted({label["raw"] for label in wanted.values()}):
        path = raw / f"{name}.jsonl.zst"
        if not path.exists():
            continue
        left = {key for key, label in wanted.items() if label["raw"] == name}
        for article in tqdm(read_jsonl(path), desc=path.name, unit=" articles", mininterval=5):
            if article["id"] in left:
                made.append(joined(article, wanted[article["id"]]))
                left.remove(article["id"])
                if not left:
                    break
    return sorted(made, key=lambda article: str(article["id"]))


def joined(article: Mapping[str, Any], label: Mapping[str, Any]) -> dict[str, Any]:
    """One raw article with its labels. Raises ValueError where it is another text than the labelled one."""
    title, body = article["title"], article["text"]
    if digest(title, body) != label["sha256"]:
        raise ValueError(f"{label['raw']}: article {article['id']} is not the one that was labelled")
    texts = {"title": title, "body": body}

    def words(span: Sequence[Any] | None) -> str | None:
        return texts[span[0]][span[1] : span[2]] if span else None

    return {
        "id": article["id"],
        "source": article.get("source") or label["raw"],
        "category": article.get("category"),
        "title": title,
        "body": body,
        "paragraphs": paragraphs(body),
        "labelled": [layer for layer in ("mentions", "quotes", "stances", "claims") if layer in label],
        "mentions": [
            {"field": field, "start": start, "end": end, "type": kind, "debatable": bool(rest)}
            for field, start, end, kind, *rest in label.get("mentions", ())
        ],
        "quotes": [
            {"field": field, "start": start, "end": end, "kind": kind, "cue": words(cue), "speaker": words(speaker)}
            for field, start, end, kind, cue, speaker in label.get("quotes", ())
        ],
        "stances": [
            {
                "holder": words(holder),
                "target": words(target),
                "stance": side,
                "evidence": {"field": evidence[0], "start": evidence[1], "end": evidence[2]},
            }
            for holder, target, side, evidence in label.get("stances", ())
        ],
        "claims": [{"text": text, "label": side, "evidence": None} for text, side in label.get("claims", ())],
    }
