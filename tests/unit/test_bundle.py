from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from rasad.inference.backend import OnnxBackend
from rasad.inference.bundle import (
    BUNDLED,
    MAX_OPSET,
    Bundle,
    BundleError,
    bundled_directory,
    default_opset,
    load_bundle,
)


def onnx_bytes(opset: int) -> bytes:
    """The head of an ONNX model: IR version 8, an empty graph, the default operator set."""
    imported = b"\x0a\x00\x10" + bytes([opset])
    return b"\x08\x08" + b"\x3a\x00" + b"\x42" + bytes([len(imported)]) + imported


FILES: dict[str, bytes] = {
    "model.onnx": onnx_bytes(17),
    "tokenizer.json": orjson.dumps({"model": {"type": "Unigram", "vocab": []}}),
    "config.json": orjson.dumps({"model_type": "bert"}),
}


def manifest(**changes: Any) -> dict[str, Any]:
    return {
        "format": 1,
        "name": "tiny",
        "version": "1",
        "task": "ner",
        "default_head": "news",
        "max_tokens": 64,
        "heads": {"news": {"kind": "token", "labels": ["O", "B-PER", "I-PER"], "temperature": 1.0}},
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()},
    } | changes


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "bundle.json").write_bytes(orjson.dumps(manifest()))
    return tmp_path


def rewrite(directory: Path, name: str, data: bytes) -> None:
    """Change a file, and its hash in the manifest with it."""
    (directory / name).write_bytes(data)
    files = {each: hashlib.sha256((directory / each).read_bytes()).hexdigest() for each in FILES}
    (directory / "bundle.json").write_bytes(orjson.dumps(manifest(files=files)))


def head(**changes: Any) -> dict[str, Any]:
    return {"news": {"kind": "token", "labels": ["O", "B-PER", "I-PER"], "temperature": 1.0} | changes}


def test_a_whole_bundle_loads(directory: Path) -> None:
    bundle = load_bundle(directory, task="ner")
    assert bundle.head() == ("news", bundle.manifest.heads["news"])
    assert bundle.manifest.batch_invariant is False
    assert bundle.sha256 == hashlib.sha256((directory / "bundle.json").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 2"),
        ({"task": "stance"}, "for task 'stance', but 'ner' is wanted"),
        ({"task": "poetry"}, "task: Input should be"),
        ({"default_head": "sport"}, "'sport' is not among heads"),
        ({"headline_head": "radio"}, "'radio' is not among heads"),
        ({"headline_weights": {"PER": 2.0}}, "headline_weights.PER: no such label; known are O, B-PER, I-PER"),
        ({"claim_weights": {"LOC": 2.0}}, "claim_weights.LOC: no such label; known are O, B-PER, I-PER"),
        ({"headline_weights": {"O": 0}}, "headline_weights.O: 0.0 is not a positive number"),
        ({"max_tokens": 4}, "max_tokens 4"),
        ({"files": {}}, "no hash for model.onnx"),
        ({"files": manifest()["files"] | {"../config.json": "0"}}, "not a plain file name"),
        ({"files": manifest()["files"] | {"extra.txt": "0"}}, "extra.txt: missing"),
        ({"files": manifest()["files"] | {"model.onnx": "0" * 64}}, "the file was changed or copied badly"),
        ({"heads": head(kind="sequence")}, "must be of kind 'token'"),
        ({"heads": head(labels=["O", "PER"])}, "neither O, B-TYPE nor I-TYPE"),
        ({"heads": head(labels=["O", "I-PER"])}, "has no B-PER"),
        ({"heads": head(labels=["B-PER", "I-PER"])}, "need an 'O'"),
        ({"heads": head(labels=["O", "O"])}, "all different"),
        ({"heads": head(temperature=0)}, "not positive"),
        ({"heads": head(outside="much")}, "heads.news.outside: Input should be a valid number"),
        (
            {"heads": head() | {"stances": {"kind": "relation", "labels": ["support", "oppose"], "outside": 1}}},
            "outside is for heads of kind 'token', and this is of kind 'relation'",
        ),
        ({"thresholds": {"mention": 0.4, "mentions": 0.5}}, "thresholds.mentions: a ner bundle has no such threshold"),
        ({"stance_odds": {"scale": 1, "support": 0, "oppose": 0}}, "stance_odds.rival: Field required"),
        ({"heads": {"news": {"kind": "token"}}}, "heads.news.labels: Field required"),
    ],
)
def test_a_wrong_manifest_is_named(directory: Path, changes: dict[str, Any], message: str) -> None:
    (directory / "bundle.json").write_bytes(orjson.dumps(manifest(**changes)))
    with pytest.raises(BundleError, match=message) as caught:
        load_bundle(directory, task="ner")
    assert str(directory) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("model.onnx", onnx_bytes(MAX_OPSET + 1), f"opset {MAX_OPSET + 1} is too new"),
        ("model.onnx", b"\x08\x08", "imports no operator set"),
        ("model.onnx", b"PK\x03\x04 not a model", "not an ONNX model"),
        ("model.onnx", onnx_bytes(17)[:-2], "not an ONNX model"),
        ("config.json", b"{", "not valid JSON"),
        ("config.json", b"[]", "not a JSON object"),
        ("config.json", b'{"auto_map": {"AutoModel": "evil.Model"}}', "run code of its own"),
        ("config.json", b'{"id2label": {"0": "O", "1": "B-LOC", "2": "I-LOC"}}', "id2label"),
        ("tokenizer.json", b"{}", "not a Hugging Face fast tokenizer"),
    ],
)
def test_a_wrong_file_is_named(directory: Path, name: str, data: bytes, message: str) -> None:
    rewrite(directory, name, data)
    with pytest.raises(BundleError, match=message) as caught:
        load_bundle(directory, task="ner")
    assert name in str(caught.value)


@pytest.mark.parametrize("name", list(FILES))
def test_a_missing_file_is_named(directory: Path, name: str) -> None:
    (directory / name).unlink()
    with pytest.raises(BundleError, match=f"{name}: missing"):
        load_bundle(directory, task="ner")


def test_known_thresholds_are_accepted(directory: Path) -> None:
    (directory / "bundle.json").write_bytes(orjson.dumps(manifest(thresholds={"mention": 0.4, "quote": 0.5})))
    assert load_bundle(directory, task="ner").manifest.thresholds == {"mention": 0.4, "quote": 0.5}


def test_config_labels_that_agree_are_accepted(directory: Path) -> None:
    rewrite(directory, "config.json", b'{"id2label": {"0": "O", "1": "B-PER", "2": "I-PER"}}')
    assert load_bundle(directory, task="ner").manifest.name == "tiny"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: (path / "bundle.json").write_bytes(b"{"), "bundle.json"),
        (lambda path: (path / "bundle.json").unlink(), "rasad models convert"),
        (lambda path: [(path / each).unlink() for each in ("bundle.json", "config.json")], "bundle.json is missing"),
    ],
)
def test_a_directory_that_is_no_bundle_is_refused(
    directory: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(directory)
    with pytest.raises(BundleError, match=message):
        load_bundle(directory, task="ner")


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(BundleError, match="pickled"):
        load_bundle(tmp_path, task="ner")


def test_remote_code_of_a_plain_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b'{"auto_map": {}}')
    with pytest.raises(BundleError, match="run code of its own"):
        load_bundle(tmp_path, task="ner")


def test_places_without_a_bundle_are_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BundleError, match="not a directory"):
        load_bundle(tmp_path / "file", task="ner")
    with pytest.raises(BundleError, match="no such directory"):
        load_bundle(tmp_path / "nothing" / "here", task="ner")
    with pytest.raises(BundleError, match="rasad models convert someone/arabic-ner"):
        load_bundle("someone/arabic-ner", task="ner")


def message(number: int, body: bytes) -> bytes:
    """A protobuf field of at most 127 bytes."""
    return bytes([number << 3 | 2, len(body)]) + body


IN_ANOTHER_FILE = (b"\x70\x01", message(13, message(1, b"location") + message(2, b"weights.data")))


@pytest.mark.parametrize("tensor", IN_ANOTHER_FILE)
@pytest.mark.parametrize(
    "path", [(7, 5), (7, 15, 1), (7, 1, 5, 5), (7, 1, 5, 10), (7, 1, 5, 6, 5), (7, 1, 5, 11, 1, 5, 5)]
)
def test_weights_in_a_file_without_a_hash_are_refused(directory: Path, path: tuple[int, ...], tensor: bytes) -> None:
    graph = tensor
    for number in reversed(path):
        graph = message(number, graph)
    rewrite(directory, "model.onnx", graph + onnx_bytes(17))
    with pytest.raises(BundleError, match="external data"):
        load_bundle(directory, task="ner")


def test_weights_inside_the_graph_are_read(directory: Path) -> None:
    inside = message(7, message(5, b"\x70\x00" + message(9, b"\x6a\x02ab")))
    rewrite(directory, "model.onnx", inside + onnx_bytes(17))
    assert load_bundle(directory, task="ner").manifest.name == "tiny"


def test_the_opset_is_that_of_the_default_domain() -> None:
    other = b"\x0a\x03com\x10\x01"
    assert default_opset(b"\x42" + bytes([len(other)]) + other + onnx_bytes(17)) == 17


def test_the_shipped_graph_must_have_the_heads_of_its_manifest(ner_bundle: Bundle) -> None:
    name, news = ner_bundle.head()

    def with_heads(**heads: Any) -> Bundle:
        return replace(ner_bundle, manifest=replace(ner_bundle.manifest, heads=heads))

    with pytest.raises(BundleError, match="no output logits_absent"):
        OnnxBackend(with_heads(absent=news), threads=1)
    with pytest.raises(BundleError, match=r"bundle\.json lists"):
        OnnxBackend(with_heads(**{name: replace(news, labels=news.labels[:-2])}), threads=1)
    with pytest.raises(BundleError, match="dimensions"):
        OnnxBackend(with_heads(**{name: replace(news, kind="sequence")}), threads=1)
    with pytest.raises(BundleError, match="no 4 vectors and 2 scores"):
        OnnxBackend(with_heads(**{name: replace(news, kind="relation", labels=("support", "oppose"))}), threads=1)
    with pytest.raises(BundleError, match=r"no head 'sport'; this bundle has .*news"):
        ner_bundle.head("sport")


def test_a_graph_that_does_not_load_is_named(directory: Path) -> None:
    with pytest.raises(BundleError, match="ONNX Runtime cannot load it"):
        OnnxBackend(load_bundle(directory, task="ner"), threads=1)


def test_a_shipped_graph_that_was_cut_short_is_named(directory: Path, ner_bundle: Bundle) -> None:
    whole = ner_bundle.model.read_bytes()
    rewrite(directory, "model.onnx", whole[: len(whole) // 2])
    with pytest.raises(BundleError, match="not an ONNX model, or a damaged one"):
        load_bundle(directory, task="ner")


def test_another_graph_must_be_there_and_fit(directory: Path, ner_bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="ONNX Runtime cannot load it"):
        OnnxBackend(ner_bundle, threads=1, graph=directory / "absent.onnx")


def test_a_bundle_may_be_loaded_for_whatever_task_it_has(directory: Path) -> None:
    assert load_bundle(directory, task=None).manifest.task == "ner"


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundle_that_ships_has_its_card_and_its_name(name: str) -> None:
    task, _, variant = name.partition("-")
    bundle = load_bundle(variant or None, task=None if variant else task)
    assert bundle.directory == bundled_directory(name)
    assert bundle.manifest.name == f"rasad-{name}"
    assert {"README.md", "LICENSE-base.txt"} <= {path.name for path in bundle.directory.iterdir()}


def test_the_bundles_that_ship_take_64_megabytes_at_most() -> None:
    folder = bundled_directory("")
    assert {path.name for path in folder.iterdir()} == set(BUNDLED)
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 64_000_000
