"""Bundles out of tiny models of four architectures, with random weights, made on the spot."""

from __future__ import annotations

import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from rasad.enrich.ner import names
from rasad.enrich.reading import documents, score_words
from rasad.enrich.stance import Pair, StanceModel
from rasad.inference.backend import OnnxBackend
from rasad.inference.bundle import Bundle, BundleError, load_bundle
from rasad.inference.conversion import MAX_TOKENS, SHADE, ConversionError, claim_columns, convert, token_columns
from rasad.inference.engine import Engine
from rasad.inference.verification import SENTENCES, verify

pytestmark = pytest.mark.training

LETTERS = [*"ابتثجحخدذرزسشصضطظعغفقكلمنهويىةءأإآؤئ", *string.ascii_lowercase, *string.digits, *".,،:;!؟\"'()[]-"]
IOB = ["O", "B-PERS", "I-PERS", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-MISC", "I-MISC"]
NLI = ["entailment", "neutral", "contradiction"]
TITLE, BODY = "وزير الصحة يزور عمان", "قال الوزير إن الحملة بدأت في الزرقاء.\nوشكر منظمة الصحة العالمية."


def word_pieces() -> Any:
    """A BERT tokenizer that knows letters alone."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return tokenizer, special


def sentence_pieces() -> Any:
    """An XLM-R tokenizer that knows letters alone."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(letter, -3.0) for letter in LETTERS] + [(f"▁{letter}", -3.0) for letter in LETTERS]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<s>", "sep_token": "</s>"}
    return tokenizer, special


def tokenizer_of(architecture: str) -> Any:
    """The tokenizer that models of an architecture are saved with: of a class of its own, or of none."""
    import transformers

    tokenizer, special = sentence_pieces() if architecture == "xlm-roberta" else word_pieces()
    pieces = orjson.loads(tokenizer.to_str())["model"]["vocab"]
    if architecture == "bert":
        return transformers.BertTokenizer(vocab=pieces, do_lower_case=False, strip_accents=False)
    if architecture == "xlm-roberta":
        return transformers.XLMRobertaTokenizer(vocab=[tuple(piece) for piece in pieces])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def write_model(directory: Path, architecture: str, labels: list[str], *, tokens: bool, seed: int = 0) -> Path:
    """A tiny model with random weights and the tokenizer that its architecture is used with, as transformers saves."""
    import torch
    import transformers

    torch.manual_seed(seed)
    tokenizer = tokenizer_of(architecture)
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
        "initializer_range": 0.5,
    }
    if architecture == "distilbert":
        shape |= {"dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 128, "max_position_embeddings": 128}
    elif architecture == "xlnet":
        shape |= {"d_model": 64, "n_layer": 2, "n_head": 4, "d_inner": 128}
    else:
        shape |= {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
        shape["max_position_embeddings"] = 130 if architecture == "xlm-roberta" else 128
    if architecture == "electra":
        shape["embedding_size"] = 32
    if architecture == "xlm-roberta":
        shape |= {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "type_vocab_size": 1}
    config = transformers.AutoConfig.for_model(architecture, **shape)
    family = transformers.AutoModelForTokenClassification if tokens else transformers.AutoModelForSequenceClassification
    family.from_config(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def reference(directory: Path, ids: np.ndarray, *, tokens: bool) -> np.ndarray:
    """Logits of the model itself, its token types as its own tokenizer gives them."""
    import torch
    import transformers

    family = transformers.AutoModelForTokenClassification if tokens else transformers.AutoModelForSequenceClassification
    model = family.from_pretrained(directory).eval()
    inputs = {"input_ids": torch.tensor(ids[None]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
    if not tokens and model.config.model_type in ("bert", "electra"):
        first = int(np.flatnonzero(ids == 3)[0])
        inputs["token_type_ids"] = torch.tensor([[0] * (first + 1) + [1] * (len(ids) - first - 1)])
    with torch.no_grad():
        return model(**inputs).logits[0].numpy()


ARCHITECTURES = ["bert", "electra", "xlm-roberta", "distilbert"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_token_classifier_becomes_an_ner_bundle(tmp_path: Path, architecture: str) -> None:
    source = write_model(tmp_path / "source", architecture, IOB, tokens=True)
    fp32 = tmp_path / "fp32.onnx"
    bundle = convert(source, tmp_path / "bundle", fp32=fp32)
    head, layer = bundle.head()
    assert head == "default"
    assert layer.labels == ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-MISC", "I-MISC")
    assert bundle.manifest.max_tokens == 128
    exact = Engine(bundle, OnnxBackend(bundle, threads=1, graph=fp32))
    ids = exact.tokenizer.template.single(exact.tokenizer.tokenize([SENTENCES[0]])[0].ids)
    (logits,) = exact.run([ids], [head], groups=[0])
    assert np.allclose(logits[head], reference(source, ids, tokens=True), atol=1e-3)
    engine = Engine.open(bundle, threads=1)
    found = names(engine, score_words(engine, documents(engine, [(TITLE, BODY)]), [head])[0], head)
    assert {each.type for each in found} <= {"PER", "LOC", "ORG", "MISC"}
    assert {each.subtype for each in found} <= {None}
    checks = {check.name: check for check in verify(tmp_path / "bundle", fp32=fp32)}
    assert [name for name, check in checks.items() if not check.passed and name != "parity"] == []
    assert checks["runs"].detail.endswith("128 in the longest")
    assert percent(checks["parity"].detail) > 50  # random weights tell labels apart by less than trained ones


def percent(detail: str) -> float:
    """The labels that int8 has as in fp32, out of what `verify` says."""
    share, _, rest = detail.partition(" % of ")
    assert "labels as in fp32" in rest
    return float(share)


def test_the_graph_of_another_model_fails_parity(tmp_path: Path) -> None:
    for seed in range(2):
        source = write_model(tmp_path / f"source{seed}", "bert", IOB, tokens=True, seed=seed)
        convert(source, tmp_path / f"bundle{seed}", fp32=tmp_path / f"{seed}.onnx")
    failed = [check for check in verify(tmp_path / "bundle0", fp32=tmp_path / "1.onnx") if not check.passed]
    assert [check.name for check in failed] == ["parity"]
    assert percent(failed[0].detail) < 25


def test_an_fp32_graph_that_reads_less_than_the_bundle_fails_parity(tmp_path: Path) -> None:
    long, short = (write_model(tmp_path / name, "bert", IOB, tokens=True) for name in ("long", "short"))
    _shorten(short, 64)
    convert(long, tmp_path / "bundle")
    convert(short, tmp_path / "other", fp32=tmp_path / "short.onnx")
    failed = [check for check in verify(tmp_path / "bundle", fp32=tmp_path / "short.onnx") if not check.passed]
    assert [check.name for check in failed] == ["parity"]
    assert failed[0].detail.startswith("onnx short.onnx: a batch of 1, its longest text of ")


def _shorten(directory: Path, positions: int) -> None:
    """Leave a BERT that many of its positions."""
    from safetensors.numpy import load_file, save_file

    path = directory / "model.safetensors"
    weights = load_file(path)
    name = "bert.embeddings.position_embeddings.weight"
    save_file(weights | {name: weights[name][:positions].copy()}, path, metadata={"format": "pt"})
    _edit(directory, max_position_embeddings=positions)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_sequence_classifier_becomes_a_stance_bundle(tmp_path: Path, architecture: str) -> None:
    source = write_model(tmp_path / "source", architecture, NLI, tokens=False)
    fp32 = tmp_path / "fp32.onnx"
    bundle = convert(source, tmp_path / "bundle", max_tokens=96, fp32=fp32)
    assert bundle.manifest.task == "stance"
    assert bundle.head()[1].labels == ("agree", "disagree", "discuss")
    assert bundle.manifest.max_tokens == 96
    exact = Engine(bundle, OnnxBackend(bundle, threads=1, graph=fp32))
    claim, text = exact.tokenizer.tokenize([TITLE, "بدأت الحملة في عمان."])
    ids = exact.tokenizer.template.pair(claim.ids, text.ids)
    (logits,) = exact.run([ids], ["default"], groups=[0])
    assert np.allclose(logits["default"], reference(source, ids, tokens=False)[[0, 2, 1]], atol=1e-3)
    (result,) = StanceModel(Engine.open(bundle, threads=1)).classify([Pair(claim=TITLE, body=BODY)])
    assert result.label in ("agree", "disagree", "discuss")
    assert list(result.probs) == ["agree", "disagree", "discuss"]
    checks = {check.name: check for check in verify(tmp_path / "bundle")}
    assert all(check.passed for check in checks.values())
    assert checks["runs"].detail.endswith("96 in the longest")


def test_a_model_without_a_limit_reads_as_much_as_others(tmp_path: Path) -> None:
    source = write_model(tmp_path / "source", "xlnet", IOB, tokens=True)
    fp32 = tmp_path / "fp32.onnx"
    bundle = convert(source, tmp_path / "bundle", fp32=fp32)
    assert bundle.manifest.max_tokens == MAX_TOKENS
    ids = np.arange(5, 45)
    logits = OnnxBackend(bundle, threads=1, graph=fp32).run(ids[None], np.ones((1, 40), np.int64), ["default"])
    assert np.allclose(logits["default"][0], reference(source, ids, tokens=True), atol=1e-3)


def test_padding_does_not_reach_the_logits(tmp_path: Path) -> None:
    source = write_model(tmp_path / "source", "xlm-roberta", IOB, tokens=True)
    fp32 = tmp_path / "fp32.onnx"
    bundle = convert(source, tmp_path / "bundle", fp32=fp32)
    backend = OnnxBackend(bundle, threads=1, graph=fp32)
    ids = np.array([[0, 5, 6, 7, 2], [0, 8, 2, 0, 0]])
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    padded = backend.run(ids, mask, ["default"])["default"][1, :3]
    alone = backend.run(ids[1:, :3], mask[1:, :3], ["default"])["default"][0]
    assert np.allclose(padded, alone, atol=1e-4)


def test_labels_that_mean_the_same_add_up_their_probabilities(tmp_path: Path) -> None:
    labels = ["O", "B-GPE", "B-LOC", "I-GPE", "I-LOC", "B-DATE", "I-DATE"]
    source = write_model(tmp_path / "source", "bert", labels, tokens=True)
    bundle = convert(source, tmp_path / "bundle", fp32=tmp_path / "fp32.onnx")
    assert bundle.head()[1].labels == ("O", "B-LOC", "I-LOC")
    ids = np.array([2, 6, 7, 8, 3])
    backend = OnnxBackend(bundle, threads=1, graph=tmp_path / "fp32.onnx")
    logits = backend.run(ids[None], np.ones((1, 5), np.int64), ["default"])["default"][0]
    own = np.exp(reference(source, ids, tokens=True))
    wanted = own[:, [0, 1, 3]] + own[:, [5, 2, 4]]
    wanted[:, 0] += own[:, 6]
    assert np.allclose(np.exp(logits), wanted, rtol=1e-2)


def test_words_of_a_plain_type_stay_one_name(tmp_path: Path) -> None:
    source = write_model(tmp_path / "source", "bert", ["O", "PER", "LOC"], tokens=True)
    bundle = convert(source, tmp_path / "bundle", fp32=tmp_path / "fp32.onnx")
    assert bundle.head()[1].labels == ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    ids = np.array([2, 6, 7, 8, 3])
    backend = OnnxBackend(bundle, threads=1, graph=tmp_path / "fp32.onnx")
    logits = backend.run(ids[None], np.ones((1, 5), np.int64), ["default"])["default"][0]
    own = reference(source, ids, tokens=True)
    assert np.allclose(logits[:, [0, 2, 4]], own, atol=1e-3)
    assert np.allclose(logits[:, [1, 3]], own[:, 1:] - SHADE, atol=1e-3)
    assert (logits[:, [1, 3]] < logits[:, [2, 4]]).all()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: (path / "config.json").unlink(), "config.json is missing"),
        (lambda path: (path / "config.json").write_bytes(b"{"), "not valid JSON"),
        (lambda path: _edit(path, auto_map={"AutoModel": "evil.Model"}), "run code of its own"),
        (lambda path: (path / "model.safetensors").rename(path / "pytorch_model.bin"), "pickled"),
        (lambda path: (path / "model.safetensors").unlink(), "no weights"),
        (lambda path: (path / "model.safetensors").write_bytes(b"short"), "cannot load"),
        (lambda path: _edit(path, model_type="unheard-of"), "cannot load"),
        (lambda path: _edit(path, architectures=["BertModel"]), "cannot make up"),
        (lambda path: _edit(path, id2label={str(i): f"LABEL_{i}" for i in range(9)}), "--label LABEL_0="),
        (lambda path: _edit(path, id2label={str(i + 1): label for i, label in enumerate(IOB)}), "none of number 0"),
        (lambda path: _add_piece(path, "كلمة"), "gives 'كلمة' the number"),
    ],
)
def test_a_model_that_cannot_be_converted_is_explained(
    tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    source = write_model(tmp_path / "source", "bert", IOB, tokens=True)
    spoil(source)
    with pytest.raises(ConversionError, match=message):
        convert(source, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def _add_piece(directory: Path, piece: str) -> None:
    from tokenizers import Tokenizer

    path = str(directory / "tokenizer.json")
    tokenizer = Tokenizer.from_file(path)
    tokenizer.add_tokens([piece])
    tokenizer.save(path)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_model_without_its_tokenizer_is_refused(tmp_path: Path, architecture: str) -> None:
    source = write_model(tmp_path / "source", architecture, IOB, tokens=True)
    for path in source.glob("*token*.json"):
        path.unlink()
    with pytest.raises(ConversionError, match="has no tokenizer: "):
        convert(source, tmp_path / "bundle")


def test_the_bundle_reads_as_the_models_own_file_says(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    source = write_model(tmp_path / "source", "bert", IOB, tokens=True)
    (source / "tokenizer_config.json").unlink()
    bundle = convert(source, tmp_path / "bundle")
    assert Tokenizer.from_file(str(bundle.tokenizer)).encode("أب").tokens == ["[CLS]", "أ", "##ب", "[SEP]"]


def test_a_list_of_pieces_is_a_tokenizer_too(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    source = write_model(tmp_path / "source", "bert", IOB, tokens=True)
    pieces = tokenizer_of("bert").get_vocab()
    (source / "tokenizer.json").unlink()
    (source / "vocab.txt").write_text("\n".join(sorted(pieces, key=pieces.__getitem__)) + "\n", encoding="utf-8")
    bundle = convert(source, tmp_path / "bundle")
    assert Tokenizer.from_file(str(bundle.tokenizer)).encode("أب").tokens == ["[CLS]", "أ", "##ب", "[SEP]"]


def test_the_two_tokenizers_agree_on_the_separator(tmp_path: Path) -> None:
    source = write_model(tmp_path / "source", "bert", NLI, tokens=False)
    path = source / "tokenizer.json"
    path.write_bytes(path.read_bytes().replace(b"[SEP]", b"[END]"))
    (source / "tokenizer_config.json").unlink()
    with pytest.raises(ConversionError, match=r"separates texts by \[SEP\]"):
        convert(source, tmp_path / "bundle")


def test_a_model_that_onnx_cannot_express_is_explained(tmp_path: Path) -> None:
    source = write_model(tmp_path / "source", "fnet", IOB, tokens=True)
    with pytest.raises(ConversionError, match="a fnet model that cannot be exported to ONNX: "):
        convert(source, tmp_path / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_head_that_was_never_trained_is_refused(tmp_path: Path) -> None:
    source = write_model(tmp_path / "source", "bert", NLI, tokens=False)
    with pytest.raises(ConversionError, match="would be random"):
        convert(_headless(source), tmp_path / "bundle")


def _headless(directory: Path) -> Path:
    from safetensors.numpy import load_file, save_file

    path = directory / "model.safetensors"
    kept = {name: values for name, values in load_file(path).items() if not name.startswith("classifier")}
    save_file(kept, path, metadata={"format": "pt"})
    return directory


def _edit(directory: Path, **changes: Any) -> None:
    path = directory / "config.json"
    path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) | changes))


def test_what_is_asked_for_must_be_possible(tmp_path: Path) -> None:
    source = write_model(tmp_path / "source", "bert", IOB, tokens=True)
    with pytest.raises(ConversionError, match="positions for 128"):
        convert(source, tmp_path / "bundle", max_tokens=512)
    with pytest.raises(ConversionError, match=r"is in the bundle's own directory; keep the fp32 graph elsewhere"):
        convert(source, tmp_path / "bundle", fp32=tmp_path / "bundle" / "model.fp32.onnx")
    with pytest.raises(ConversionError, match="name the file"):
        convert(source, tmp_path / "bundle", fp32=tmp_path)
    (tmp_path / "bundle").mkdir()
    with pytest.raises(ConversionError, match="exists already"):
        convert(source, tmp_path / "bundle")
    with pytest.raises(ConversionError, match="not a directory"):
        convert(source / "config.json", tmp_path / "other")
    with pytest.raises(BundleError, match="rasad models convert"):
        load_bundle(source, task="ner")


def test_labels_can_be_renamed(tmp_path: Path) -> None:
    source = write_model(tmp_path / "source", "distilbert", ["LABEL_0", "LABEL_1"], tokens=False)
    bundle: Bundle = convert(source, tmp_path / "bundle", labels={"LABEL_0": "disagree", "LABEL_1": "agree"})
    assert bundle.head()[1].labels == ("agree", "disagree")


@pytest.mark.parametrize("operator", ["Gather", "Gemm"])
def test_a_large_table_is_shrunk(operator: str) -> None:
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime import InferenceSession

    from rasad.inference.quantisation import shrink_tables

    rng = np.random.default_rng(0)
    table = rng.normal(size=(40, 16)).astype(np.float32)
    if operator == "Gather":
        node = helper.make_node("Gather", ["table", "given"], ["made"])
        given, kind, wanted = np.array([3, 39]), TensorProto.INT64, table[[3, 39]]
    else:
        node = helper.make_node("Gemm", ["given", "table"], ["made"], transB=1)
        given, kind = rng.normal(size=(2, 16)).astype(np.float32), TensorProto.FLOAT
        wanted = given @ table.T
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("given", kind, given.shape)],
        [helper.make_tensor_value_info("made", TensorProto.FLOAT, wanted.shape)],
        [numpy_helper.from_array(table, "table")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    shrink_tables(model, smallest=1)
    assert {tensor.name: tensor.data_type for tensor in model.graph.initializer} == {
        "table_int8": TensorProto.INT8,
        "table_scale": TensorProto.FLOAT,
    }
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (made,) = session.run(None, {"given": given})
    step = np.abs(table).max() / 127
    assert np.abs(made - wanted).max() <= (step if operator == "Gather" else step * np.abs(given).sum(axis=1).max() / 2)


def test_the_label_readers_agree_with_the_shapes_they_name() -> None:
    assert [column.label for column in token_columns(IOB)][:3] == ["O", "B-PER", "I-PER"]
    assert [column.label for column in claim_columns(NLI)] == ["agree", "disagree", "discuss"]
