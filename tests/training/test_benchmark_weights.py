"""What the benchmarks compare Rasad with has the weights that Rasad has."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.training


def test_the_dequantised_model_labels_words_as_the_bundle_does(tmp_path: Path) -> None:
    from benchmarks import articles, weights
    from benchmarks.engine import agreement

    texts = [(each.title, each.body) for each in articles.load(None, 4)]
    assert agreement(weights.bundled_ner(tmp_path), texts) > 0.99


def test_random_bundles_keep_their_bits_in_any_batch(tmp_path: Path) -> None:
    from benchmarks import weights
    from rasad.inference.verification import verify

    made = weights.random_ner(weights.TINY, tmp_path)
    assert made.bundle.manifest.batch_invariant
    assert "batch_invariant" in {check.name for check in verify(made.bundle.directory) if check.passed}
    assert weights.random_stance(weights.TINY, tmp_path).manifest.task == "stance"


def test_a_layer_is_counted_as_its_products() -> None:
    from benchmarks.gemm import Gemm, layer_gemms, token_operations
    from benchmarks.weights import BERT_BASE

    assert Gemm(2, 3, 4, 1).operations == 48
    parameters = sum(each.inner * each.columns * each.count for each in layer_gemms(BERT_BASE, 1))
    assert parameters == 4 * 768 * 768 + 2 * 768 * 3072
    assert token_operations(BERT_BASE, 0) == 12 * 2 * parameters
