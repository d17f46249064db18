"""Model bundles: a directory with a manifest, checked whole before anything of it is trusted.

A bundle is a Hugging Face directory (`config.json`, `tokenizer.json`) with `model.onnx` and `bundle.json`, which
names the task, the heads with their labels, and the SHA-256 of every file. No pickle is ever read and no code of a
bundle is ever run.

A bundle may have fp32 weights beside the graph for PyTorch, which takes those of the graph else (see
rasad.inference.torch_backend), named in the manifest's `files` like the rest: `model.safetensors`, the encoder under
the names of transformers' `BertModel`, and `heads.safetensors`. There a token head NAME is `NAME.weight` and
`NAME.bias`; sequence heads are `heads.NAME.weight` and `heads.NAME.bias` over the features of a pair, which
`projection.weight` and `projection.bias` make.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal

import orjson
from pydantic import TypeAdapter, ValidationError

Task = Literal["ner", "stance"]
HeadKind = Literal["token", "sequence", "relation"]

FORMAT: Final = 1
MAX_OPSET: Final = 21
"""The newest operator set of the default ONNX domain that every supported ONNX Runtime (1.22 on) runs."""

WEIGHTS: Final = "model.safetensors"
HEAD_WEIGHTS: Final = "heads.safetensors"
"""The optional weights for PyTorch."""
REQUIRED_FILES: Final = ("model.onnx", "tokenizer.json", "config.json")
_PICKLES: Final = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
_THRESHOLDS: Final[Mapping[str, frozenset[str]]] = {
    "ner": frozenset({"mention", "quote", "stance"}),
    "stance": frozenset(),
}
"""What may have a least probability in `thresholds`."""
_KIND_OF_TASK: Final[Mapping[str, HeadKind]] = {"ner": "token", "stance": "sequence"}
_HUB_ID: Final = re.compile(r"[\w.-]+/[\w.-]+")


class BundleError(Exception):
    """A bundle that cannot be used; the message names the directory, what is wrong and what mends it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """An output layer: graph output `logits_NAME`, its labels in order, the temperature that calibrates its softmax.

    `outside` is added to the score of `O` in a layer of kind "token": above 0, fewer words are in spans.
    A layer of kind "relation" gives each piece vectors instead, from which pairs of words get a score for each label
    (rasad.enrich.relations).
    """

    kind: HeadKind
    labels: tuple[str, ...]
    temperature: float = 1.0
    outside: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StanceOdds:
    """Log-odds of an entity stance: `scale` times the relation head's, plus its side's, less `rival` times how far
    those of its likeliest rival reach (`rasad.enrich.rivalry`)."""

    scale: float
    support: float
    oppose: float
    rival: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """`bundle.json` as written. `files` maps file names to SHA-256 in hexadecimal.

    `batch_invariant` states that a sequence's logits are the same bits in any batch and under any padding, so
    sequences of different articles may share a batch. Per-tensor dynamic quantisation does not have that property.
    `headline_head` judges an article's body against its own headline; the default head does where it is None.
    `headline_weights`, by label, are multiplied into that head's probabilities: headlines agree with their articles far
    more often than claims do (prior shift: Saerens et al., Neural Computation 14(1), 2002). `claim_weights` are so
    for the default head and watched claims: many that pass the gate are unrelated.
    `stance_odds` make the probabilities of entity stances from those of the relation head; None leaves them.
    `text_first` says that a pair's sequence begins with the article's sentences and not with the claim, as those of
    models for natural language inference do.
    `trained_on` are the sets of sentences, as `rasad models eval` names them, whose labels the weights have seen.
    """

    format: int
    name: str
    version: str
    task: Task
    default_head: str
    max_tokens: int
    heads: Mapping[str, Head]
    files: Mapping[str, str]
    pooling: Literal["word-mean"] = "word-mean"
    batch_invariant: bool = False
    headline_head: str | None = None
    headline_weights: Mapping[str, float] = field(default_factory=dict)
    claim_weights: Mapping[str, float] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    stance_odds: StanceOdds | None = None
    text_first: bool = False
    licence: str = ""
    training_data: tuple[Mapping[str, Any], ...] = ()
    trained_on: tuple[str, ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A checked bundle. `sha256`, of the bytes of `bundle.json`, is the model's identity."""

    directory: Path
    sha256: str
    manifest: Manifest

    @property
    def model(self) -> Path:
        """The ONNX graph."""
        return self.directory / "model.onnx"

    @property
    def tokenizer(self) -> Path:
        """The Hugging Face fast tokenizer."""
        return self.directory / "tokenizer.json"

    def head(self, name: str | None = None) -> tuple[str, Head]:
        """Name and head; the default one for None. Raises BundleError if there is none of that name."""
        chosen = name or self.manifest.default_head
        if chosen not in self.manifest.heads:
            known = ", ".join(sorted(self.manifest.heads))
            raise BundleError(f"{self.directory}: no head {chosen!r}; this bundle has {known}")
        return chosen, self.manifest.heads[chosen]


def bundled_directory(name: str) -> Path:
    """Where a bundle that ships with the package lies: `ner`, `stance`, or a variant such as `ner-fast`."""
    return Path(str(files("rasad"))) / "models" / name


BUNDLED: Final = ("ner", "ner-fast", "stance")
"""The bundles that ship with the package."""


def load_bundle(path_or_hub_id: str | Path | None, *, task: Task | None) -> Bundle:
    """The bundle at a directory, checked: manifest, hashes, labels, operator set.

    None or "default" is the one shipped for the task; where there is no such directory, a name of BUNDLED is that
    bundle, and what is behind its task is enough of it, as "fast" for `ner-fast`. With `task` None the bundle may be
    for any task. Raises BundleError.
    """
    directory = _directory(path_or_hub_id, task or "ner")
    manifest_bytes = _manifest_bytes(directory)
    manifest = _manifest(directory, manifest_bytes)
    if task is not None and manifest.task != task:
        raise BundleError(f"{directory}: a bundle for task {manifest.task!r}, but {task!r} is wanted here")
    _check_heads(directory, manifest)
    _check_thresholds(directory, manifest)
    _check_files(directory, manifest)
    return Bundle(directory=directory, sha256=hashlib.sha256(manifest_bytes).hexdigest(), manifest=manifest)


def _directory(path_or_hub_id: str | Path | None, task: Task) -> Path:
    if path_or_hub_id is None or path_or_hub_id == "default":
        directory = bundled_directory(task)
        if not directory.is_dir():
            raise BundleError(f"{directory}: the {task} bundle is missing from this installation; install rasad again")
        return directory
    directory = Path(path_or_hub_id)
    if directory.is_dir():
        return directory
    if directory.exists():
        raise BundleError(f"{directory}: not a directory; a bundle is a directory with bundle.json in it")
    for name in (str(path_or_hub_id), f"{task}-{path_or_hub_id}"):
        if name in BUNDLED:
            return bundled_directory(name)
    if isinstance(path_or_hub_id, str) and _HUB_ID.fullmatch(path_or_hub_id):
        raise BundleError(
            f"{path_or_hub_id}: no such directory; if it is a Hub id, make a bundle of it first: "
            f"rasad models convert {path_or_hub_id} OUT"
        )
    raise BundleError(f"{directory}: no such directory")


def _manifest_bytes(directory: Path) -> bytes:
    path = directory / "bundle.json"
    if path.is_file():
        return path.read_bytes()
    _refuse_remote_code(directory)
    pickles = sorted(found.name for pattern in _PICKLES for found in directory.glob(pattern))
    if pickles and not any(directory.glob("*.safetensors")) and not any(directory.glob("*.onnx")):
        raise BundleError(
            f"{directory}: its weights are pickled ({pickles[0]}), and unpickling runs whatever code the file holds; "
            "save the model as safetensors, then run: rasad models convert"
        )
    if (directory / "config.json").is_file():
        raise BundleError(
            f"{directory}: a plain Hugging Face model without bundle.json; make a bundle of it first: "
            f"rasad models convert {directory}"
        )
    raise BundleError(f"{directory}: bundle.json is missing, so this is no model bundle")


def _refuse_remote_code(directory: Path) -> None:
    path = directory / "config.json"
    if path.is_file() and "auto_map" in json_object(path):
        raise BundleError(f"{path}: has auto_map, so the model wants to run code of its own; Rasad never does that")


def _manifest(directory: Path, data: bytes) -> Manifest:
    try:
        manifest = TypeAdapter(Manifest).validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"{directory / 'bundle.json'}: {place}: {first['msg']}") from error
    if manifest.format != FORMAT:
        raise BundleError(
            f"{directory / 'bundle.json'}: format {manifest.format}, but this version of Rasad reads {FORMAT}"
        )
    return manifest


def _check_heads(directory: Path, manifest: Manifest) -> None:
    where = directory / "bundle.json"
    if manifest.default_head not in manifest.heads:
        raise BundleError(f"{where}: default_head {manifest.default_head!r} is not among heads")
    if manifest.headline_head is not None and manifest.headline_head not in manifest.heads:
        raise BundleError(f"{where}: headline_head {manifest.headline_head!r} is not among heads")
    for field_name, judging, weights in (
        ("headline_weights", manifest.headline_head, manifest.headline_weights),
        ("claim_weights", None, manifest.claim_weights),
    ):
        labels = manifest.heads[judging or manifest.default_head].labels
        for label, weight in weights.items():
            if label not in labels:
                raise BundleError(f"{where}: {field_name}.{label}: no such label; known are {', '.join(labels)}")
            if not 0 < weight < math.inf:
                raise BundleError(f"{where}: {field_name}.{label}: {weight} is not a positive number")
    kind = _KIND_OF_TASK[manifest.task]
    if manifest.heads[manifest.default_head].kind != kind:
        raise BundleError(f"{where}: the default head of a {manifest.task} bundle must be of kind {kind!r}")
    if not 16 <= manifest.max_tokens <= 8192:
        raise BundleError(f"{where}: max_tokens {manifest.max_tokens} is not between 16 and 8192")
    for name, head in manifest.heads.items():
        for problem in _label_problems(head):
            raise BundleError(f"{where}: heads.{name}: {problem}")


def _check_thresholds(directory: Path, manifest: Manifest) -> None:
    known = _THRESHOLDS[manifest.task]
    for name in sorted(manifest.thresholds.keys() - known):
        raise BundleError(
            f"{directory / 'bundle.json'}: thresholds.{name}: a {manifest.task} bundle has no such threshold; "
            f"known are {', '.join(sorted(known)) or 'none'}"
        )


def _label_problems(head: Head) -> Iterator[str]:
    labels = head.labels
    if len(labels) < 2 or len(set(labels)) != len(labels):
        yield "labels must be two or more, all different"
    if head.temperature <= 0:
        yield f"temperature {head.temperature} is not positive"
    if not math.isfinite(head.outside):
        yield f"outside {head.outside} is not a finite number"
    if head.outside and head.kind != "token":
        yield f"outside is for heads of kind 'token', and this is of kind {head.kind!r}"
    if head.kind == "token":
        if "O" not in labels:
            yield "token labels need an 'O'"
        for label in labels:
            if label != "O" and label[:2] not in ("B-", "I-"):
                yield f"label {label!r} is neither O, B-TYPE nor I-TYPE"
            if label.startswith("I-") and f"B-{label[2:]}" not in labels:
                yield f"label {label!r} has no B-{label[2:]}"


def _check_files(directory: Path, manifest: Manifest) -> None:
    for name in REQUIRED_FILES:
        if name not in manifest.files:
            raise BundleError(f"{directory / 'bundle.json'}: files has no hash for {name}")
    for name, expected in sorted(manifest.files.items()):
        if Path(name).name != name:
            raise BundleError(f"{directory / 'bundle.json'}: files names {name!r}, which is not a plain file name")
        path = directory / name
        if not path.is_file():
            raise BundleError(f"{path}: missing, though bundle.json lists it; copy the bundle again")
        data = path.read_bytes()
        actual = hashlib.sha256(data).hexdigest()
        if actual != expected.lower():
            raise BundleError(
                f"{path}: SHA-256 is {actual[:12]}..., bundle.json says {expected[:12]}...; "
                "the file was changed or copied badly"
            )
        if name == "model.onnx":
            _check_graph(path, data)
    _refuse_remote_code(directory)
    _check_config_labels(directory, manifest)
    if not isinstance(json_object(directory / "tokenizer.json").get("model"), dict):
        raise BundleError(f"{directory / 'tokenizer.json'}: not a Hugging Face fast tokenizer (no model in it)")


def _check_config_labels(directory: Path, manifest: Manifest) -> None:
    """`id2label`, where a config has it, must say the same as the default head."""
    path = directory / "config.json"
    names = json_object(path).get("id2label")
    if names is None:
        return
    labels = manifest.heads[manifest.default_head].labels
    if names != {str(index): label for index, label in enumerate(labels)}:
        raise BundleError(
            f"{path}: id2label has {len(names)} labels that are not those of head {manifest.default_head!r} "
            f"in bundle.json ({len(labels)}: {', '.join(labels[:4])}, ...)"
        )


def json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises BundleError where it holds no such thing."""
    try:
        value = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise BundleError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise BundleError(f"{path}: not a JSON object")
    return value


def _check_graph(path: Path, data: bytes) -> None:
    try:
        opset = default_opset(data)
        external = keeps_data_elsewhere(memoryview(data), _MODEL)
    except ValueError as error:
        raise BundleError(f"{path}: not an ONNX model, or a damaged one: {error}") from error
    if opset > MAX_OPSET:
        raise BundleError(f"{path}: opset {opset} is too new; export the model at opset {MAX_OPSET} or below")
    if external:
        raise BundleError(
            f"{path}: keeps weights in another file (ONNX external data), which no hash here is of; save the model "
            "with all of them inside"
        )


def default_opset(model: bytes) -> int:
    """The version of the default operator set that an ONNX model imports.

    Walks the outermost protobuf fields of `ModelProto` (onnx.proto: `opset_import` is field 8, of which field 1 is
    the domain and field 2 the version) without reading the graph. Raises ValueError where the bytes are no such thing.
    """
    for number, value in _protobuf_fields(memoryview(model)):
        if number == 8 and not isinstance(value, int):
            import_ = dict(_protobuf_fields(value))
            domain, version = import_.get(1, b""), import_.get(2)
            if bytes(domain if not isinstance(domain, int) else b"?") in (b"", b"ai.onnx") and isinstance(version, int):
                return version
    raise ValueError("it imports no operator set")


# Of onnx.proto: which fields of a message hold which messages in which a tensor may stand.
_TENSOR: Final[dict[int, Any]] = {}
_ATTRIBUTE: Final[dict[int, Any]] = {5: _TENSOR, 10: _TENSOR}  # t, tensors; g and graphs, below
_SPARSE: Final[dict[int, Any]] = {1: _TENSOR, 2: _TENSOR}  # values, indices
_NODE: Final[dict[int, Any]] = {5: _ATTRIBUTE}
_GRAPH: Final[dict[int, Any]] = {1: _NODE, 5: _TENSOR, 15: _SPARSE}
_ATTRIBUTE.update({6: _GRAPH, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE})
_MODEL: Final[dict[int, Any]] = {7: _GRAPH, 25: {7: _NODE}}
_EXTERNAL_DATA: Final = 13
_DATA_LOCATION: Final = 14


def keeps_data_elsewhere(message: memoryview, holds: Mapping[int, Any]) -> bool:
    """Whether a tensor in an ONNX message says that its numbers are in another file. Raises ValueError as above."""
    for number, value in _protobuf_fields(message):
        if holds is _TENSOR:
            if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0):
                return True
        elif number in holds and not isinstance(value, int) and keeps_data_elsewhere(value, holds[number]):
            return True
    return False


def _protobuf_fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field numbers and values of one message: integers for varints, raw bytes for everything else."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        wire_type = key & 7
        if wire_type == 0:
            number, position = _varint(data, position)
            yield key >> 3, number
            continue
        if wire_type == 2:
            size, position = _varint(data, position)
        elif wire_type in (1, 5):
            size = 8 if wire_type == 1 else 4
        else:
            raise ValueError(f"wire type {wire_type} at byte {position}")
        if position + size > len(data):
            raise ValueError(f"cut short: a field of {size} bytes at byte {position} of {len(data)}")
        yield key >> 3, data[position : position + size]
        position += size


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError(f"a broken integer at byte {position}")
