"""Labels of our own find their words again in the raw article, and nowhere else."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from pathlib import Path

import pytest

pytestmark = pytest.mark.training

TITLE = "الوزير حازم الراوي يفتتح الجسر"
BODY = "قال حازم الراوي إن الجسر جاهز.\nورفض الراوي مطالب النقابة."
ARTICLE = {"id": "own-1", "title": TITLE, "text": BODY, "source": "own", "category": "politics"}
LABELS = Path(__file__).parents[2] / "training" / "labels" / "articles.jsonl"


def span(text: str, words: str, field: str = "body") -> list[object]:
    start = text.index(words)
    return [field, start, start + len(words)]


def label(title: str = TITLE) -> dict[str, object]:
    return {
        "id": "own-1",
        "raw": "own",
        "sha256": hashlib.sha256(f"{title}\xff{BODY}".encode()).hexdigest()[:16],
        "mentions": [[*span(TITLE, "حازم الراوي", "title"), "PER"], [*span(BODY, "حازم الراوي"), "PER"]],
        "quotes": [[*span(BODY, "الجسر جاهز"), "indirect", span(BODY, "قال"), span(BODY, "حازم الراوي")]],
        "stances": [[span(BODY, "الراوي"), span(BODY, "مطالب النقابة"), "oppose", span(BODY, "ورفض")]],
        "claims": [["افتتح الراوي الجسر", "agree"]],
    }


def test_spans_become_the_words_of_the_article() -> None:
    from training.labels import joined

    article = joined(ARTICLE, label())
    assert article["quotes"][0]["cue"] == "قال"
    assert article["quotes"][0]["speaker"] == "حازم الراوي"
    assert (article["stances"][0]["holder"], article["stances"][0]["target"]) == ("الراوي", "مطالب النقابة")
    assert article["claims"] == [{"text": "افتتح الراوي الجسر", "label": "agree", "evidence": None}]
    assert article["labelled"] == ["mentions", "quotes", "stances", "claims"]


def test_another_text_is_refused() -> None:
    from training.labels import joined

    with pytest.raises(ValueError, match="own-1 is not the one that was labelled"):
        joined({**ARTICLE, "text": BODY + " "}, label())


def test_a_layer_that_was_not_labelled_teaches_nothing() -> None:
    from training.labels import joined
    from training.tagging import LAYERS, news_document

    article = joined(ARTICLE, {key: value for key, value in label().items() if key != "quotes"})
    document = news_document(article)
    assert {layer for unit in document.units for layer in unit.labels} == {"news", "stance_evidence", "stance_roles"}
    roles = [LAYERS["stance_roles"][number] for number in document.units[2].labels["stance_roles"]]
    assert roles == ["O", "B-HOLDER", "B-OPPOSED", "I-OPPOSED", "O"]


def test_several_files_teach_the_tagger_and_a_source_held_out_does_not(tmp_path: Path) -> None:
    import zstandard

    from training.finetune_ner import own_labels

    articles = [{**ARTICLE, "id": f"own-{number}", "source": f"paper-{number}"} for number in range(3)]
    lines = "".join(json.dumps(article) + "\n" for article in articles)
    (tmp_path / "own.jsonl.zst").write_bytes(zstandard.ZstdCompressor().compress(lines.encode()))
    files = [tmp_path / "first.jsonl", tmp_path / "second.jsonl"]
    files[0].write_text("".join(json.dumps({**label(), "id": f"own-{number}"}) + "\n" for number in (0, 1)))
    unquoted = {key: value for key, value in label().items() if key != "quotes"}
    files[1].write_text(json.dumps({**unquoted, "id": "own-2"}) + "\n")
    documents = own_labels(files, tmp_path, {"paper-1"})
    assert ["quotes" in document.units[0].labels for document in documents] == [True, False]


def test_a_changed_headline_is_contradicted_and_a_whole_one_is_not() -> None:
    from training.finetune_stance import headlines
    from training.labels import joined

    titles = [f"{TITLE} {number}" for number in range(100, 140)]
    articles = [joined({**ARTICLE, "title": title}, label(title)) for title in titles]
    made = list(headlines(articles, random.Random(0)))
    assert made == list(headlines(articles, random.Random(0)))
    assert {each.label for each in made} == {"agree", "disagree"}
    assert all((each.pair.claim in titles) == (each.label == "agree") for each in made)
    assert all(each.pair.title == "" for each in made)


@pytest.mark.parametrize("name", ["articles", "claims", "stances"])
def test_the_labels_in_the_repository_are_whole(name: str) -> None:
    from training.tagging import LAYERS

    for line in LABELS.with_name(f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        article = json.loads(line)
        assert len(article["sha256"]) == 16
        places = [tuple(mention[:3]) for mention in article["mentions"]]
        assert all(one[0] != two[0] or one[2] <= two[1] for one, two in itertools.pairwise(places))
        for *spans, side, evidence in article["stances"]:
            assert side in ("support", "oppose")
            assert all(field in ("title", "body") and 0 <= start < end for field, start, end in (*spans, evidence))
        for field, start, end, kind, *rest in article["mentions"]:
            assert field in ("title", "body")
            assert 0 <= start < end
            assert f"B-{kind}" in LAYERS["news"]
            assert rest in ([], [True])
        for text, side in article.get("claims", ()):
            assert text.strip()
            assert side in ("agree", "disagree", "discuss")
