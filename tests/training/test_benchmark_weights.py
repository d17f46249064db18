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


@pytest.mark.parametrize(("flag", "count"), [("avx512_bf16", 2), ("amx_bf16", 2), ("avx512_vnni", 1)])
def test_bfloat16_is_measured_where_the_processor_has_it(flag: str, count: int) -> None:
    import torch

    from benchmarks.gemm import dtypes_of

    assert dtypes_of(f"flags\t\t: fpu {flag}\n") == [torch.float32, torch.bfloat16][:count]


def test_a_layer_is_counted_as_its_products() -> None:
    from benchmarks.gemm import Gemm, layer_gemms, token_operations
    from benchmarks.weights import BERT_BASE

    assert Gemm(2, 3, 4, 1).operations == 48
    parameters = sum(each.inner * each.columns * each.count for each in layer_gemms(BERT_BASE, 1))
    assert parameters == 4 * 768 * 768 + 2 * 768 * 3072
    assert token_operations(BERT_BASE, 0) == 12 * 2 * parameters


def test_packing_changes_no_mention_and_a_difference_is_told() -> None:
    from benchmarks import articles
    from benchmarks.reference import Found, OneWindow, differences, read
    from rasad.enrich.reading import documents
    from rasad.inference.backend import OnnxBackend
    from rasad.inference.bundle import load_bundle
    from rasad.inference.engine import Engine

    bundle = load_bundle(None, task="ner")
    engine = Engine.open(bundle)
    given = documents(engine, [(each.title, each.body) for each in articles.load(None, 3)])
    found = read(engine, given, lambda _: None)
    plain = read(OneWindow(bundle, OnnxBackend(bundle)), given, lambda _: None)
    assert list(differences(found, plain)) == []
    assert all((one.labels == other.labels).all() for one, other in zip(found, plain, strict=True))
    place, name = next(iter(found[0].mentions.items()))
    less = [Found(found[0].labels, {key: each for key, each in found[0].mentions.items() if key != place}), *found[1:]]
    assert list(differences(less, found)) == [(0, None, name)]
    assert list(differences(found, less)) == [(0, name, None)]
