from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import orjson
import pytest

from rasad.inference.bundle import bundled_directory
from rasad.inference.verification import parity, verify


@pytest.mark.parametrize("task", ["ner", "stance"])
def test_the_shipped_bundles_hold(task: str) -> None:
    checks = verify(bundled_directory(task), fp32=bundled_directory(task) / "model.onnx")
    assert [check.detail for check in checks if not check.passed] == []
    assert [check.name for check in checks] == ["files", "graph", "runs", "repeats", "batch_invariant", "parity"]
    assert checks[-1].detail.startswith("100.00 %")
    assert checks[2].detail.endswith("pieces, 192 in the longest")


def test_a_spoilt_bundle_fails_its_first_check(tmp_path: Path) -> None:
    copy = shutil.copytree(bundled_directory("ner"), tmp_path / "ner")
    (copy / "tokenizer.json").write_bytes(b"{}")
    (check,) = verify(copy)
    assert (check.name, check.passed) == ("files", False)
    assert "changed or copied badly" in check.detail


def test_a_graph_without_a_promised_head_fails(tmp_path: Path) -> None:
    copy = shutil.copytree(bundled_directory("ner"), tmp_path / "ner")
    manifest = orjson.loads((copy / "bundle.json").read_bytes())
    manifest["heads"]["sport"] = manifest["heads"]["news"]
    (copy / "bundle.json").write_bytes(orjson.dumps(manifest))
    checks = verify(copy)
    assert [(check.name, check.passed) for check in checks] == [("files", True), ("graph", False)]
    assert "no output logits_sport" in checks[-1].detail


def test_a_bundle_that_promises_more_pieces_than_its_graph_reads_does_not_run(tmp_path: Path) -> None:
    copy = shutil.copytree(bundled_directory("ner"), tmp_path / "ner")
    manifest = orjson.loads((copy / "bundle.json").read_bytes())
    manifest["max_tokens"] = 513
    (copy / "bundle.json").write_bytes(orjson.dumps(manifest))
    checks = verify(copy)
    assert [(check.name, check.passed) for check in checks] == [("files", True), ("graph", True), ("runs", False)]
    assert "its longest text of 513 pieces, does not run: " in checks[-1].detail
    assert "\n" not in checks[-1].detail


def test_a_missing_fp32_graph_fails_parity_alone(tmp_path: Path) -> None:
    checks = verify(None, fp32=tmp_path / "model.fp32.onnx")
    assert [check.name for check in checks if not check.passed] == ["parity"]


def test_parity_counts_labels_and_the_largest_difference() -> None:
    one = {"news": np.array([[1.0, 0.0], [0.0, 1.0]], np.float32), "stances": np.array([[1.0, 0.0]], np.float32)}
    other = {"news": np.array([[0.5, 0.0], [0.6, 0.5]], np.float32), "stances": np.array([[1.0, 2.0]], np.float32)}
    found = parity([one], [other], ["news"])
    assert (found.agreement, found.labels) == (50, 2)
    assert found.largest_difference == pytest.approx(2.0)
