"""PyTorch gives the logits that ONNX Runtime gives, on bundles of random weights with both."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import orjson
import pytest

from rasad.enrich.stance import Pair, StanceModel
from rasad.inference.backend import Backend, OnnxBackend
from rasad.inference.bundle import Bundle, BundleError, Task, load_bundle
from rasad.inference.engine import Engine
from tests.training.test_conversion import BODY, TITLE, sentence_pieces

pytestmark = pytest.mark.training

HEADS: dict[Task, dict[str, tuple[str, ...]]] = {
    "ner": {"news": ("O", "B-PER", "I-PER", "B-LOC", "I-LOC"), "quotes": ("O", "B-cue", "I-cue")},
    "stance": {"news": ("agree", "disagree", "discuss", "unrelated"), "target": ("favor", "against", "none")},
}


@dataclass(frozen=True)
class Made:
    bundle: Bundle
    fp32: Path


def write_bundle(folder: Path, task: Task) -> Made:
    """A bundle with graph and weights of a tiny model as training makes them, its weights random."""
    import torch
    from transformers import BertConfig, BertModel

    from rasad.inference.quantisation import quantise
    from training.export import StanceGraph, TaggerGraph, export_fp32
    from training.finetune_stance import StanceModel as StanceNet
    from training.tagger import Tagger, save_heads

    torch.manual_seed(1)
    tokenizer, _ = sentence_pieces()
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=128,
        initializer_range=0.15,
        layer_norm_eps=1e-12,
        attn_implementation="eager",
    )
    encoder = BertModel(config, add_pooling_layer=False)
    heads = HEADS[task]
    if task == "ner":
        net = Tagger(encoder, heads).eval()
        graph = TaggerGraph(net)
    else:
        net = StanceNet(encoder, heads).eval()
        graph = StanceGraph(net)
    for head in net.heads.values():
        torch.nn.init.normal_(head.weight, std=0.3)
    folder.mkdir()
    fp32 = folder.parent / f"{folder.name}.fp32.onnx"
    export_fp32(graph, list(heads), 3 if task == "ner" else 2, fp32, heads=4, hidden=64)
    quantise(fp32, folder / "model.onnx")
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_bytes(orjson.dumps(config.to_dict() | {"id2label": None}))
    encoder.save_pretrained(folder / "saved")
    (folder / "saved" / "model.safetensors").rename(folder / "model.safetensors")
    if task == "ner":
        save_heads(net.heads, heads, folder)
    else:
        from safetensors.torch import save_file

        rest = {name: value for name, value in net.state_dict().items() if not name.startswith("encoder.")}
        save_file(rest, folder / "heads.safetensors")
    files = ("config.json", "model.onnx", "tokenizer.json", "model.safetensors", "heads.safetensors")
    kind = "token" if task == "ner" else "sequence"
    manifest = {
        "format": 1,
        "name": f"tiny-{task}",
        "version": "1",
        "task": task,
        "default_head": "news",
        "max_tokens": 96,
        "heads": {name: {"kind": kind, "labels": labels} for name, labels in heads.items()},
        "files": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files},
        "batch_invariant": True,
    }
    (folder / "bundle.json").write_bytes(orjson.dumps(manifest))
    return Made(load_bundle(folder, task=task), fp32)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[Task, Made]:
    root = tmp_path_factory.mktemp("bundles")
    return {task: write_bundle(root / task, task) for task in HEADS}


def batch(engine: Engine, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Sequences of three lengths, padded; pairs for a stance bundle."""
    template = engine.tokenizer.template
    texts = engine.tokenizer.tokenize([TITLE, BODY, "عمان", "بدأت الحملة في الزرقاء."])
    if task == "ner":
        sequences = [template.single(text.ids[:90]) for text in texts]
    else:
        sequences = [template.pair(texts[0].ids, text.ids[:60]) for text in texts[1:]]
    length = max(map(len, sequences))
    mask = np.array([[int(position < len(each)) for position in range(length)] for each in sequences])
    ids = np.array([[*each, *[0] * (length - len(each))] for each in sequences])
    return ids, mask


def largest_difference(one: Backend, other: Backend, ids: np.ndarray, mask: np.ndarray, heads: list[str]) -> float:
    first, second = one.run(ids, mask, heads), other.run(ids, mask, heads)
    shown = mask.astype(bool)
    return max(
        float(np.abs(first[name] - second[name])[shown if first[name].ndim == 3 else slice(None)].max())
        for name in heads
    )


@pytest.mark.parametrize("task", ["ner", "stance"])
def test_every_backend_gives_the_same_logits(made: dict[Task, Made], task: Task) -> None:
    from rasad.inference.torch_backend import TorchBackend

    bundle, heads = made[task].bundle, list(HEADS[task])
    engine = Engine.open(bundle, threads=1)
    ids, mask = batch(engine, task)
    exact = OnnxBackend(bundle, threads=1, graph=made[task].fp32)
    size = max(float(np.abs(values).max()) for values in exact.run(ids, mask, heads).values())
    torch_fp32 = TorchBackend(bundle, threads=1, precision="fp32", device="cpu")
    torch_bf16 = TorchBackend(bundle, threads=1, precision="bf16", device="cpu")
    assert largest_difference(exact, torch_fp32, ids, mask, heads) < 1e-4 * max(size, 1)
    assert largest_difference(exact, torch_bf16, ids, mask, heads) < 0.1 * max(size, 1)
    assert largest_difference(exact, OnnxBackend(bundle, threads=1), ids, mask, heads) < 0.1 * max(size, 1)
    assert torch_fp32.name == "torch cpu fp32"
    assert not torch_fp32.batch_invariant


@pytest.mark.parametrize("task", ["ner", "stance"])
def test_int8_logits_are_the_same_bits_in_any_batch_and_under_any_padding(made: dict[Task, Made], task: Task) -> None:
    bundle, heads = made[task].bundle, list(HEADS[task])
    backend = OnnxBackend(bundle, threads=1)
    ids, mask = batch(Engine.open(bundle, threads=1), task)
    alone = [
        backend.run(row[None, :length], np.ones((1, length), np.int64), heads)
        for row, length in zip(ids, mask.sum(axis=1), strict=True)
    ]
    for columns in (0, 1, 7, 40):
        wider = [np.pad(each, ((0, 0), (0, columns))) for each in (ids, mask)]
        together = backend.run(wider[0], wider[1], heads)
        for index, single in enumerate(alone):
            for name, logits in single.items():
                shown = together[name][index, : logits.shape[1]] if logits.ndim == 3 else together[name][index]
                assert np.array_equal(shown, logits[0])


def test_attention_over_jagged_tensors_is_attention_by_sequence() -> None:
    import torch

    from rasad.inference.torch_backend import attention_by_sequence, varlen_attention

    torch.manual_seed(0)
    lengths = [7, 1, 30, 12]
    query, key, value = torch.randn(3, sum(lengths), 4, 16).unbind(0)
    with torch.no_grad():
        one, other = (attend(query, key, value, lengths) for attend in (attention_by_sequence, varlen_attention))
    assert torch.allclose(one, other, atol=1e-5)


def test_an_engine_on_torch_judges_as_one_on_onnx(made: dict[Task, Made]) -> None:
    bundle = made["stance"].bundle
    pairs = [Pair(claim=TITLE, body=BODY), Pair(claim="بدأت الحملة", body=BODY, title=TITLE)]
    onnx, torch = (
        StanceModel(Engine.open(bundle, threads=1, backend=kind)).classify(pairs)
        for kind in ("onnx", "torch")  # type: ignore[arg-type]
    )
    for one, other in zip(onnx, torch, strict=True):
        assert one.probs == pytest.approx(other.probs, abs=0.15)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("avx512f avx512vl avx512_bf16 vaes", True),
        ("avx2 amx_bf16 amx_tile", True),
        ("avx512f avx512vl avx512_vnni avx_vnni", False),
        ("", False),
    ],
)
def test_the_processor_says_whether_bf16_is_faster(flags: str, expected: bool) -> None:
    from rasad.inference.torch_backend import has_bf16

    other = "processor\t: 0\nmodel name\t: avx512_bf16\n"
    assert has_bf16(f"{other}flags\t\t: fpu vme {flags}\nbogomips\t: 5200\n{other}") is expected


@pytest.mark.parametrize("task", ["ner", "stance"])
def test_the_shipped_bundles_run_by_the_weights_of_their_graphs(task: Task) -> None:
    from rasad.inference.torch_backend import TorchBackend

    bundle = load_bundle(None, task=task)
    ids, mask = batch(Engine.open(bundle, threads=1), task)
    int8, fp32 = OnnxBackend(bundle, threads=1), TorchBackend(bundle, threads=1, precision="fp32", device="cpu")
    for name in bundle.manifest.heads:
        size = float(np.abs(int8.run(ids, mask, [name])[name]).max())
        assert largest_difference(int8, fp32, ids, mask, [name]) < 0.15 * size, name


def test_an_article_reads_alike_on_torch() -> None:
    from rasad.enrich.enricher import Enricher
    from rasad.messages import RawArticle

    article = RawArticle(id="1", title=TITLE, body=BODY)
    ((one,), (other,)) = (Enricher.open(threads=1, backend=kind).annotate([article]) for kind in ("onnx", "torch"))
    assert [each.surface for each in one.mentions] == [each.surface for each in other.mentions]
    assert len(one.mentions) > 2
    assert one.pipeline.version != other.pipeline.version


def test_a_model_that_torch_does_not_run_is_a_clear_error() -> None:
    from rasad.inference.torch_backend import TorchBackend

    with pytest.raises(BundleError, match=r"a electra model .*models\.backend to onnx"):
        TorchBackend(load_bundle("fast", task="ner"), threads=1)


def test_a_bundle_with_neither_weights_nor_a_known_graph_is_a_clear_error(made: dict[Task, Made]) -> None:
    from rasad.inference.torch_backend import TorchBackend

    bundle = load_bundle(None, task="ner")
    other = replace(bundle.manifest, heads={"other": bundle.manifest.heads["news"]}, default_head="other")
    with pytest.raises(BundleError, match=r"carries no weights for torch .*models\.backend to onnx"):
        TorchBackend(replace(bundle, manifest=other), threads=1)
