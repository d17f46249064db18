"""What comes back out of the shipped bundles is what went into them, but for the rounding."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rasad.enrich.reading import documents, score_words
from rasad.enrich.stance import Pair, StanceModel
from rasad.inference.bundle import Bundle, BundleError, bundled_directory, load_bundle
from rasad.inference.engine import Engine
from tests.training.tiny_corpora import write_corpora

pytestmark = [pytest.mark.training, pytest.mark.timeout(600)]

SEEDS = sorted((Path(__file__).parents[2] / "seeds").glob("*.txt"))[:6]


class TorchGraph:
    """A module of training.export in the place of the graph that was made of it; `names` are those of its outputs."""

    name = "torch"
    batch_invariant = True

    def __init__(self, module: Any, names: Sequence[str]) -> None:
        self._module = module.eval()
        self._names = names

    def run(self, input_ids: np.ndarray, attention_mask: np.ndarray, heads: Sequence[str]) -> Mapping[str, np.ndarray]:
        import torch

        with torch.no_grad():
            outputs = self._module(torch.from_numpy(input_ids), torch.from_numpy(attention_mask))
        found = dict(zip(self._names, outputs, strict=True))
        return {name: found[name].numpy() for name in heads}


def restored(name: str, folder: Path) -> Bundle:
    from training import restore

    bundle = load_bundle(bundled_directory(name), task=None)
    restore.restore(bundle, folder)
    return bundle


def articles() -> list[tuple[str, str]]:
    return [(title, body) for title, _, body in (path.read_text().partition("\n") for path in SEEDS)]


@pytest.mark.parametrize("name", ["ner", "ner-fast"])
def test_a_restored_tagger_labels_as_its_bundle_does(name: str, tmp_path: Path) -> None:
    from training.export import TaggerGraph
    from training.tagger import load_relations, load_tagger

    bundle = restored(name, tmp_path)
    tagger = load_tagger(tmp_path)
    relations = load_relations(tagger, tmp_path)
    layers = [*tagger.layers, *(["stances"] if relations else [])]
    assert set(layers) == set(bundle.manifest.heads)
    heads = ["news", "quotes", *layers[len(tagger.layers) :]]
    ours, theirs = (
        score_words(engine, documents(engine, articles()), heads)
        for engine in (
            Engine(bundle, TorchGraph(TaggerGraph(tagger, relations), layers)),
            Engine.open(bundle),
        )
    )
    for head in heads:
        values, wanted = (
            np.concatenate([field.scores[head] for fields in each for field in fields]) for each in (ours, theirs)
        )
        if head == "stances":
            assert np.corrcoef(values.ravel(), wanted.ravel())[0, 1] > 0.98
        else:
            assert (values.argmax(axis=1) == wanted.argmax(axis=1)).mean() > 0.99


def test_a_restored_stance_model_judges_as_its_bundle_does(tmp_path: Path) -> None:
    from training.export import StanceGraph
    from training.finetune_stance import load_model

    bundle = restored("stance", tmp_path)
    model = load_model(tmp_path)
    assert model.heads.keys() == bundle.manifest.heads.keys()
    pairs = [Pair(claim=title, body=body) for title, body in articles()]
    ours, theirs = (
        StanceModel(engine, "news").classify(pairs)
        for engine in (Engine(bundle, TorchGraph(StanceGraph(model), list(model.heads))), Engine.open(bundle))
    )
    for one, other in zip(ours, theirs, strict=True):
        assert one.probs == pytest.approx(other.probs, abs=0.1)


def test_a_converted_bundle_is_refused(tmp_path: Path) -> None:
    from benchmarks.weights import TINY, random_ner
    from training import restore

    with pytest.raises(BundleError, match=r"training\.export did not write its graph"):
        restore.restore(random_ner(TINY, tmp_path).bundle, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_fine_tuning_goes_on_from_a_bundle_with_partly_labelled_news_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training import finetune_ner
    from training.tagger import load_tagger

    restored("ner-fast", tmp_path / "restored")
    write_corpora(tmp_path / "all")
    own = tmp_path / "own"
    own.mkdir()
    (tmp_path / "all/news").rename(own / "news")
    train = own / "news/train.jsonl"
    articles = [json.loads(line) for line in train.read_text().splitlines()]
    for number, article in enumerate(articles):
        del article["stances"], article["quotes" if number % 2 else "mentions"]
        article["labelled"] = ["mentions" if number % 2 else "quotes"]
    train.write_text("".join(json.dumps(article, ensure_ascii=False) + "\n" for article in articles))
    out = tmp_path / "tuned"
    command = ["finetune_ner", str(tmp_path / "restored"), str(own), str(out), "--rounds", "1", "--passes", "news=2"]
    monkeypatch.setattr("sys.argv", command)
    finetune_ner.main()
    (row,) = map(json.loads, (out / "log.jsonl").read_text().splitlines())
    assert {"average/news", "average/quotes"} <= row.keys()
    assert not any("anercorp" in key for key in row)
    assert load_tagger(out).layers == load_tagger(tmp_path / "restored").layers


def test_a_corpus_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from training import finetune_ner

    restored("ner-fast", tmp_path / "restored")
    for passes, message in (("news=1", "train.jsonl: no such file; --passes asks for it"), ("radio=1", "radio; there")):
        monkeypatch.setattr(
            "sys.argv",
            ["finetune_ner", str(tmp_path / "restored"), str(tmp_path), str(tmp_path / "out"), "--passes", passes],
        )
        with pytest.raises(SystemExit):
            finetune_ner.main()
        assert message in capsys.readouterr().err
