from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard

from rasad.enrich.stance import Pair, StanceModel
from rasad.evaluation.claims import gated_claims
from rasad.evaluation.corpora import (
    ClaimArticle,
    CorpusError,
    MentionArticle,
    QuoteArticle,
    Shape,
    TaggedSentence,
    read_checked,
    read_conll,
    read_jsonl,
)
from rasad.evaluation.figures import bundle_metrics, figures
from rasad.evaluation.ner import (
    FOLDED,
    Found,
    expected_calibration_error,
    find_in_articles,
    find_in_sentences,
    mention_surfaces,
    ner_result,
    sentence_surfaces,
)
from rasad.evaluation.report import EvaluationError, Report, SpanRow, StanceRow, evaluate
from rasad.evaluation.stance import (
    Example,
    claim_classifier,
    classify,
    majority,
    news_claims,
    own_and_other_headlines,
    stance_records,
    stance_result,
    without_text,
)
from rasad.evaluation.tables import Table, tables
from rasad.inference.bundle import Bundle, bundled_directory
from rasad.inference.engine import Engine

TITLE = "وزيرة التعليم التونسية تفتتح مدرسة في صفاقس"
BODY = 'قالت وزيرة التعليم سلوى العباسي إن المدرسة "تتسع لألف تلميذ".\nورحب اتحاد الشغل بالخطوة.'


def article(number: int = 0, category: str = "politics") -> dict[str, Any]:
    """A record in the shape of the news corpus, its spans found in its own text."""

    def span(field: str, words: str) -> dict[str, Any]:
        text = TITLE if field == "title" else BODY
        return {"field": field, "start": text.index(words), "end": text.index(words) + len(words)}

    return {
        "id": f"a{number}",
        "category": category,
        "title": TITLE,
        "body": BODY,
        "paragraphs": [[0, BODY.index("\n")], [BODY.index("\n") + 1, len(BODY)]],
        "mentions": [
            span("title", "صفاقس") | {"type": "GPE"},
            span("body", "سلوى العباسي") | {"type": "PER"},
            span("body", "اتحاد الشغل") | {"type": "ORG", "debatable": True},
        ],
        "quotes": [
            span("body", "تتسع لألف تلميذ") | {"kind": "direct", "cue": "قالت", "speaker": "سلوى العباسي"},
        ],
        "stances": [
            {
                "holder": "اتحاد الشغل",
                "target": "بالخطوة",
                "stance": "support",
                "evidence": span("body", "ورحب اتحاد الشغل"),
            }
        ],
        "claims": [{"text": f"ادعاء {number} {label}", "label": label} for label in ("agree", "disagree", "discuss")],
    }


def found(**changes: Any) -> Found:
    whole = Found(
        gold=((0, 2, "GPE"), (4, 5, "PER")),
        predicted=((0, 2, "LOC"), (4, 5, "PER"), (6, 8, "ORG")),
        probs=(0.9, 0.8, 0.7),
        surfaces={(0, 2): "شمال أفريقيا", (4, 5): "السراج", (6, 8): "مجلس الأمن"},
        debatable=((7, 8, "ORG"),),
    )
    return replace(whole, **changes)


def test_debatable_spans_count_neither_way() -> None:
    result = ner_result([found()], known=frozenset())
    assert (result.score().correct, result.score().predicted, result.score().gold) == (1, 2, 2)
    assert result.score("ORG").predicted == 0


def test_eight_types_fold_into_four() -> None:
    assert ner_result([found().retyped(FOLDED)], known=frozenset()).score().f1 == 100


def test_words_seen_and_unseen_names_are_scored_apart() -> None:
    result = ner_result([found().retyped(FOLDED)], known=frozenset({"السراج"}))
    assert result.words.score().gold == 3
    assert (result.seen.score().gold, result.unseen.score().gold) == (1, 1)
    wrong = ner_result([found()], known=frozenset({"السراج"}))
    assert (wrong.seen.score().f1, wrong.unseen.score().f1) == (100, 0)


def test_calibration_is_how_far_probabilities_are_from_the_truth() -> None:
    assert expected_calibration_error([], []) == 0
    assert expected_calibration_error([1.0, 1.0], [True, False]) == pytest.approx(50)
    assert expected_calibration_error([0.75, 0.75, 0.75, 0.75], [True, True, True, False]) == pytest.approx(0)
    # Two bins whose gaps, +20 and -20, must not cancel out.
    assert expected_calibration_error([0.8, 0.2], [True, False]) == pytest.approx(20)


def test_whole_articles_are_read_in_both_fields(ner_engine: Engine) -> None:
    title, body = find_in_articles(ner_engine, [article()], head="news")
    assert [kind for _, _, kind in title.gold] == ["GPE"]
    assert [kind for _, _, kind in body.gold] == ["PER"]
    assert [kind for _, _, kind in body.debatable] == ["ORG"]
    start, end, _ = body.gold[0]
    assert body.surfaces[start, end] == "سلوى العباسي"
    assert end - start == 2
    assert all(0 <= prob <= 1 for each in (title, body) for prob in each.probs)


def test_surfaces_of_training_mentions_leave_out_the_debatable() -> None:
    assert mention_surfaces([article()]) == {"صفاقس", "سلوى العباسي"}
    sentence = TaggedSentence(("زار", "فايز", "السّراج", "جنيف"), ("O", "B-PERS", "I-PERS", "B-LOC"))
    assert sentence_surfaces([sentence]) == {"فايز السراج", "جنيف"}


def test_sentences_are_scored_on_the_corpus_own_words(ner_engine: Engine) -> None:
    words = ("زار", "د.محمد", "ـًـ", "القاهرة", "(", "مصر", ")", ".")
    sentence = TaggedSentence(words, ("O", "B-PERS", "O", "B-LOC", "O", "B-MIS", "O", "O"))
    (one,) = find_in_sentences(ner_engine, [sentence], head="anercorp")
    assert one.gold == ((1, 2, "PER"), (3, 4, "LOC"), (5, 6, "MISC"))
    assert all(0 <= start < end <= len(words) for start, end, _ in one.predicted)
    assert len(one.predicted) == len(one.probs)


def test_neighbours_are_read_together_and_no_span_leaves_its_sentence(ner_engine: Engine) -> None:
    first = TaggedSentence(("التقى", "فايز"), ("O", "B-PERS"))
    second = TaggedSentence(("السراج", "وصل", "إلى", "جنيف", "."), ("B-PERS", "O", "O", "B-LOC", "O"))
    (one,) = find_in_sentences(ner_engine, [first, second], head="anercorp", together=2)
    assert one.gold == ((1, 2, "PER"), (2, 3, "PER"), (5, 6, "LOC"))
    assert {span[:2] for span in one.predicted} >= {(1, 2), (5, 6)}
    assert all(end <= 2 or start >= 2 for start, end, _ in one.predicted)
    apart = find_in_sentences(ner_engine, [first, second, first], head="anercorp", together=2)
    assert [len(each.gold) for each in apart] == [3, 1]
    assert apart[0] == one


def test_headlines_are_paired_with_their_own_and_other_bodies() -> None:
    articles = [{"title": f"عنوان {number}", "body": f"نص {number}"} for number in range(3)]
    pairs = [(each.pair.claim, each.pair.body, each.label) for each in own_and_other_headlines(articles)]
    assert pairs[:3] == [
        ("عنوان 0", "نص 0", "agree"),
        ("عنوان 1", "نص 0", "unrelated"),
        ("عنوان 1", "نص 1", "agree"),
    ]
    assert pairs[-1] == ("عنوان 0", "نص 2", "unrelated")
    assert [each.label for each in own_and_other_headlines(articles[:1])] == ["agree"]


def test_claims_behind_the_gate_are_an_articles_own_or_unrelated() -> None:
    subjects = ("مهرجان الفوانيس في الأقصر", "حملة تطعيم في الزرقاء", "سباق القوارب في دبي", "معرض الكتاب في بيروت")
    articles = [
        {
            "title": subject,
            "body": f"افتتح {subject} اليوم.",
            "claims": [{"text": f"ألغي {subject}", "label": "disagree"}],
        }
        for subject in subjects
    ]
    articles[0]["body"] += " وتزامن مع معرض الكتاب في بيروت."
    found = [(each.pair.title, each.pair.claim, each.label) for each in gated_claims(articles)]
    assert {(title, claim) for title, claim, label in found if label == "disagree"} == {
        (subject, f"ألغي {subject}") for subject in subjects
    }
    assert (subjects[0], f"ألغي {subjects[3]}", "unrelated") in found


def test_stance_scores_by_hand() -> None:
    gold = ["agree"] * 3 + ["disagree"] * 3 + ["other"]
    result = stance_result(gold, ["agree", "agree", "disagree", "disagree", "disagree", "agree", "unrelated"])
    assert result.accuracy == pytest.approx(100 * 4 / 7)
    assert result.f1_by_class == pytest.approx({"agree": 200 / 3, "disagree": 200 / 3, "other": 0})
    assert result.macro_f1 == pytest.approx(400 / 9)
    low, high = result.accuracy_interval
    assert low < result.accuracy < high
    assert stance_result(gold, gold).macro_f1_interval == (100, 100)
    again = stance_result(gold, majority(gold))
    assert again == stance_result(gold, ["agree"] * 7)


def test_unrelated_claims_come_from_the_same_category() -> None:
    records = [article(number, "sport" if number % 2 else "politics") for number in range(6)]
    pairs = list(news_claims(records, random.Random(0), 1))
    assert pairs == list(news_claims(records, random.Random(0), 1))
    assert [each.label for each in pairs[:4]] == ["agree", "disagree", "discuss", "unrelated"]
    for index, pair in enumerate(pairs):
        number = int(pair.pair.claim.split()[1])
        if pair.label == "unrelated":
            assert number != index // 4
            assert number % 2 == index // 4 % 2
        else:
            assert number == index // 4


def test_records_without_a_title_are_bodies_alone(tmp_path: Path) -> None:
    lines = [{"id": "1", "target_or_claim": "ادعاء", "text": "نص", "title": None, "label": "agree"}]
    path = write_zst(tmp_path / "dev.jsonl.zst", lines)
    assert list(stance_records(path)) == [Example(pair=Pair(claim="ادعاء", body="نص"), label="agree")]


def test_a_pair_without_a_label_is_told_by_its_line(tmp_path: Path) -> None:
    path = write_zst(tmp_path / "dev.jsonl.zst", [{"target_or_claim": "ادعاء", "text": "نص"}])
    with pytest.raises(CorpusError, match=r"dev\.jsonl\.zst line 1: label: Field required"):
        list(stance_records(path))


def test_a_conll_file_that_is_not_utf_8_is_named_with_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "dev.conll"
    path.write_bytes("زار O\n".encode() + b"\xff O\n")
    with pytest.raises(CorpusError, match=r"dev\.conll: not UTF-8 from byte 9 on"):
        read_conll(path)


def test_an_article_without_another_that_has_claims_has_no_unrelated_ones() -> None:
    labels = {"agree", "disagree", "discuss"}
    alone, without_claims = article(0), {**article(1), "claims": []}
    assert {each.label for each in news_claims([alone], random.Random(0), 1)} == labels
    *_, last = news_claims([alone, without_claims], random.Random(0), 1)
    assert last.label == "unrelated"
    assert last.pair.claim in {claim["text"] for claim in alone["claims"]}


def test_the_claim_classifier_learns_from_the_claims_alone() -> None:
    train = [
        Example(pair=Pair(claim=f"{word} المشروع رقم {number}", body=""), label=label)
        for number in range(10)
        for word, label in (("نفى", "disagree"), ("أكد", "agree"))
    ]
    assert claim_classifier(train, ["نفى الوزير المشروع", "أكد الوزير المشروع"]) == ["disagree", "agree"]


def test_the_model_labels_claims_with_and_without_their_text(stance_model: StanceModel) -> None:
    pairs = [Pair(claim="افتتحت مدرسة في صفاقس", title=TITLE, body=BODY)]
    assert set(classify(stance_model, pairs) + classify(stance_model, without_text(pairs))) <= set(stance_model.labels)


def write_zst(path: Path, records: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(zstandard.compress("\n".join(map(json.dumps, records)).encode()))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of corpora of a few lines each, in the layout that is published; some are not there."""
    news = tmp_path / "news"
    news.mkdir()
    for split in ("train", "dev"):
        records = "\n".join(json.dumps(article(number)) for number in range(3))
        (news / f"{split}.jsonl").write_text(records, encoding="utf-8")
    anercorp = tmp_path / "ner" / "anercorp_camel"
    anercorp.mkdir(parents=True)
    (anercorp / "train.conll").write_text("زار O\nفايز B-PERS\nالسراج I-PERS\nجنيف B-LOC\n\n" * 500, encoding="utf-8")
    (anercorp / "test.conll").write_text("وصل O\nالسراج B-PERS\n. O\n\n", encoding="utf-8")
    pairs = [
        {"id": str(number), "target_or_claim": TITLE, "text": BODY, "label": label}
        for number, label in enumerate(("agree", "disagree", "other"))
    ]
    for split in ("train", "dev", "test"):
        write_zst(tmp_path / "stance" / "ans" / f"{split}.jsonl.zst", pairs)
    return tmp_path


def rows_of(report: Report, kind: type[SpanRow | StanceRow]) -> list[Any]:
    return [row for row in report.rows if isinstance(row, kind)]


def test_a_report_measures_what_is_there_and_names_what_is_not(data: Path, ner_bundle: Bundle) -> None:
    told: list[tuple[str, int, int]] = []
    report = evaluate(data, limit=2, threads=1, progress=lambda *step: told.append(step))
    spans, stances = rows_of(report, SpanRow), rows_of(report, StanceRow)
    alone = {"ANERcorp dev", "ANERcorp test"} - set(ner_bundle.manifest.trained_on)
    assert {row.corpus for row in spans} == {"news dev"} | alone | {f"{each}, 40 sentences a text" for each in alone}
    assert {row.types for row in spans if row.corpus == "news dev"} == {"4 types", "8 types"}
    assert {row.corpus for row in stances} == {"news dev claims", "news dev headlines", "ANS dev", "ANS test"}
    assert {"int8", "majority", "claim alone: linear"} < {row.by for row in stances}
    assert any(each.startswith("AQMAR dev: no ") for each in report.left_out)
    assert told[0] == ("news dev, int8", 0, 2)
    assert told[-1][1] == told[-1][2]
    assert evaluate(data, limit=2, threads=1) == report
    titles = [table.title for table in tables(report)]
    assert "news dev, 8 types (head news): strict, micro-averaged" in titles
    assert titles[-1] == "not measured"
    for table in tables(report):
        assert all(len(row) == len(table.columns) for row in table.rows)


def test_figures_are_those_of_the_tables(data: Path, ner_bundle: Bundle) -> None:
    report = evaluate(data, limit=2, threads=1)
    lines = [json.loads(json.dumps(each)) for each in figures(report)]
    assert {each["measure"] for each in lines} == {
        *("spans", "calibration", "stance", "claim gate", "quotes", "entity stances", "not measured")
    }
    (whole,) = (
        each
        for each in lines
        if (each.get("types"), each.get("level"), each.get("group")) == ("8 types", "mentions", "all")
        and each["corpus"] == "news dev"
    )
    row = next(table for table in tables(report) if table.title.startswith("news dev, 8 types")).rows[0]
    assert row[1:5] == (str(whole["gold"]), *(f"{whole[name]:.1f}" for name in ("precision", "recall", "f1")))
    metrics = bundle_metrics(report)
    assert metrics["news dev, 8 types"]["f1"] == whole["f1"]
    assert metrics["news dev, 8 types"]["calibration_error"] >= 0
    assert {"news dev, quotes", "news dev, entity stances", "news dev claims", "ANS test"} <= set(metrics)
    assert set(metrics["ANS test"]) > {"accuracy", "macro_f1", "f1_by_class"}


@pytest.mark.parametrize("trained_on", [[], ["ANERcorp dev"]])
def test_a_set_that_the_bundle_was_trained_on_is_left_out(data: Path, tmp_path: Path, trained_on: list[str]) -> None:
    copy = shutil.copytree(bundled_directory("ner"), tmp_path / "copy")
    manifest = json.loads((copy / "bundle.json").read_text(encoding="utf-8")) | {"trained_on": trained_on}
    (copy / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    report = evaluate(data, task="ner", bundle=copy, limit=1, threads=1)
    measured = {row.corpus for row in rows_of(report, SpanRow)}
    assert "ANERcorp test" in measured
    assert ("ANERcorp dev" in measured) is not bool(trained_on)
    assert ("ANERcorp dev: the bundle was trained on it" in report.left_out) is bool(trained_on)


def test_another_graph_stands_beside_the_bundles_own(data: Path, ner_engine: Engine) -> None:
    graph = ner_engine.bundle.model
    report = evaluate(data, task="ner", fp32=graph, dev_only=True, limit=1, threads=1)
    assert "ANERcorp test" not in {row.corpus for row in rows_of(report, SpanRow)}
    first: Table = tables(report)[0]
    assert first.columns[-2:] == ("F1 fp32", "int8 less fp32")
    assert {row[-1] for row in first.rows} == {"+0.00"}


def test_what_cannot_be_measured_is_explained(tmp_path: Path, data: Path) -> None:
    with pytest.raises(EvaluationError, match=r"nothing there to measure \(news dev claims: no news/dev"):
        evaluate(tmp_path / "nowhere", task="stance")
    with pytest.raises(EvaluationError, match="name the bundle or the task"):
        evaluate(data, fp32=tmp_path / "model.onnx")
    with pytest.raises(EvaluationError, match="no such file"):
        evaluate(data, task="ner", fp32=tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        (b'{"id": "b"', r"no JSON \(Expecting ',' delimiter, column 11\)"),
        (b"[1, 2]", "no JSON object"),
        (b'{"id": "\xff"}', "not UTF-8"),
    ],
)
@pytest.mark.parametrize("name", ["dev.jsonl", "dev.jsonl.zst"])
def test_a_broken_line_is_told_by_file_and_number(line: bytes, wrong: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    held = b'{"id": "a"}\n\n' + line + b"\n"
    path.write_bytes(zstandard.compress(held) if path.suffix == ".zst" else held)
    read = read_jsonl(path)
    assert next(read) == {"id": "a"}
    with pytest.raises(CorpusError, match=rf"{name} line 3: {wrong}"):
        next(read)


@pytest.mark.parametrize(
    ("shape", "missing"),
    [(MentionArticle, "mentions"), (QuoteArticle, "paragraphs"), (ClaimArticle, "category")],
)
def test_an_article_without_what_is_scored_is_told_by_its_line(shape: Shape, missing: str, tmp_path: Path) -> None:
    path = tmp_path / "dev.jsonl"
    short = {key: value for key, value in article(1).items() if key != missing}
    path.write_text("\n".join(map(json.dumps, (article(0), short))), encoding="utf-8")
    read = read_checked(path, shape)
    assert next(read) == article(0)
    with pytest.raises(CorpusError, match=rf"dev\.jsonl line 2: {missing}: Field required"):
        next(read)


def test_a_field_within_a_label_is_told_by_its_place(tmp_path: Path) -> None:
    path = tmp_path / "dev.jsonl"
    path.write_text(json.dumps(article() | {"claims": [{"text": "ادعاء"}]}), encoding="utf-8")
    with pytest.raises(CorpusError, match=r"line 1: claims\.0\.label: Field required"):
        list(read_checked(path, ClaimArticle))
