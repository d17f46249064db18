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
