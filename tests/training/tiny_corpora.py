"""Corpora of a few sentences of our own, in the layout and formats that training reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import zstandard

NAMES = ("سلمى حداد", "كريم منصور", "ليلى عثمان", "ياسر قاسم")
PLACES = ("القاهرة", "بيروت", "تونس", "عمان")
BODIES = ("جامعة الدول العربية", "منظمة الصحة العالمية")


def sentence(number: int) -> str:
    return f"قال {NAMES[number % 4]} في {PLACES[number % 4]} إن {BODIES[number % 2]} ستعقد اجتماعا جديدا رقم {number}."


def mention(text: str, field: str, phrase: str, type_: str) -> dict[str, Any]:
    start = text.index(phrase)
    return {"field": field, "start": start, "end": start + len(phrase), "type": type_}


def news_article(number: int) -> dict[str, Any]:
    title = f"اجتماع في {PLACES[number % 4]}"
    first, second = sentence(number), sentence(number + 1)
    body = f"{first}\n{second}"
    content = first.index("ستعقد")
    return {
        "id": f"tiny-{number}",
        "source": "tiny",
        "category": "politics",
        "title": title,
        "body": body,
        "paragraphs": [[0, len(first)], [len(first) + 1, len(body)]],
        "mentions": [
            mention(title, "title", PLACES[number % 4], "GPE"),
            mention(body, "body", NAMES[number % 4], "PER"),
            mention(body, "body", BODIES[number % 2], "ORG"),
        ],
        "quotes": [
            {
                "field": "body",
                "start": content,
                "end": len(first) - 1,
                "kind": "indirect",
                "cue": "قال",
                "speaker": NAMES[number % 4],
            }
        ],
        "stances": [
            {
                "holder": NAMES[number % 4],
                "target": BODIES[number % 2],
                "stance": "support",
                "evidence": {"field": "body", "start": 0, "end": 3},
            }
        ],
        "claims": [
            {"text": f"ينعقد اجتماع في {PLACES[number % 4]}", "label": "agree", "evidence": None},
            {"text": f"ألغي الاجتماع في {PLACES[number % 4]}", "label": "disagree", "evidence": None},
            {"text": "يحضر الاجتماع وفد كبير", "label": "discuss", "evidence": None},
        ],
    }


def write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()
    path.write_bytes(zstandard.compress(data) if path.suffix == ".zst" else data)


def write_conll(path: Path, count: int, names: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(count):
        first, last = NAMES[number % 4].split()
        tagged = [("قال", "O"), (first, f"B-{names['PER']}"), (last, f"I-{names['PER']}"), ("في", "O")]
        tagged += [(PLACES[number % 4], f"B-{names['LOC']}"), (".", "O")]
        lines += [f"{word} {label}" for word, label in tagged] + [""]
    path.write_text("\n".join(lines), encoding="utf-8")


def write_corpora(folder: Path) -> None:
    """Everything that `training.run` reads, a few records of each."""
    raw = [{"id": str(n), "title": f"خبر {n}", "text": " ".join(map(sentence, range(n, n + 4)))} for n in range(60)]
    for name in ("ant_multisource", "ant_jawhara", "egypt_news2013"):
        write_lines(folder / "raw" / f"{name}.jsonl.zst", raw)
    for split, count in (("train", 12), ("dev", 4)):
        write_lines(folder / "news" / f"{split}.jsonl", [news_article(n) for n in range(count)])
        for corpus, names in (
            ("anercorp_camel", {"PER": "PERS", "LOC": "LOC"}),
            ("aqmar", {"PER": "PER", "LOC": "LOC"}),
            ("panx_ar", {"PER": "PER", "LOC": "LOC"}),
            ("wojood_sample", {"PER": "PERS", "LOC": "GPE"}),
        ):
            write_conll(folder / "ner" / corpus / f"{split}.conll", 450 if split == "train" else 8, names)
        for corpus, labels in (
            ("ans", ("agree", "disagree", "other")),
            ("ans_article_DERIVED", ("agree", "disagree", "other")),
            ("unifiedfc", ("agree", "disagree", "discuss", "unrelated")),
            ("nli_arbteds", ("0", "1")),
            ("arabicstancex", ("favor", "against", "none")),
        ):
            records = [
                {
                    "id": str(n),
                    "target_or_claim": sentence(n),
                    "text": sentence(n + 1),
                    "label": labels[n % len(labels)],
                }
                for n in range(20)
            ]
            write_lines(folder / "stance" / corpus / f"{split}.jsonl.zst", records)
