"""`rasad models`: what it refuses, in one line."""

from __future__ import annotations

from pathlib import Path

from tests.unit.test_cli import rasad


def test_a_broken_corpus_is_one_line(tmp_path: Path) -> None:
    news = tmp_path / "news"
    news.mkdir()
    dev = news / "dev.jsonl"
    dev.write_text('{"id": "a", "title": "عنوان", "body": "نص"}\n', encoding="utf-8")
    shown = rasad("models", "eval", "--data", str(tmp_path), "--task", "ner")
    assert shown.exit_code == 1
    assert shown.stderr.strip() == f"rasad: {dev} line 1: mentions: Field required"


def test_a_graph_of_one_bundle_is_held_against_no_other(tmp_path: Path) -> None:
    shown = rasad("models", "verify", "--fp32", str(tmp_path / "model.onnx"))
    assert shown.exit_code == 2
    assert shown.output.splitlines() == ["rasad: --fp32 is a graph of one bundle: name the bundle"]


def test_a_bundle_is_shown_with_its_licence_and_figures() -> None:
    shown = rasad("models", "show", "fast")
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert lines[0].startswith("bundle:       rasad-ner-fast 1, ner, ")
    assert "heads:        news: PER, ORG, GPE, LOC, FAC, NORP, EVENT, MISC" in lines
    assert "licence:      CC BY-SA 4.0" in lines
    assert any(line.removeprefix("measured:").strip().startswith("news dev, 8 types: gold ") for line in lines)


def test_all_bundled_ones_are_shown_without_a_name() -> None:
    shown = rasad("models", "show")
    assert [line.split()[1] for line in shown.stdout.splitlines() if line.startswith("bundle:")] == [
        *("rasad-ner", "rasad-ner-fast", "rasad-stance")
    ]


def test_a_bundle_that_is_not_there_is_one_line() -> None:
    shown = rasad("models", "show", "nowhere")
    assert shown.exit_code == 1
    assert shown.stderr.splitlines() == ["rasad: nowhere: no such directory"]
