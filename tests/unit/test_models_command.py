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
