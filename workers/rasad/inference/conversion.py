"""Bundles out of any Hugging Face token- or sequence-classification model.

Needs the `training` extra (torch, onnx), imported where it is used. Only safetensors weights are read and no
code of a model is ever run.

The graph speaks Rasad's labels: label columns that mean the same (`B-GPE` and `B-LOC`, `S-PER` and `B-PER`) become one
by adding up their probabilities. A sequence-classification model is given the claim first and the article's sentences
second, with token types where it was trained with them; one for natural language inference, which its labels tell, the
sentences first: they are the premise that entails the claim.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import numpy as np
import orjson

from rasad.inference.backend import OnnxBackend
from rasad.inference.bundle import FORMAT, Bundle, BundleError, Task, load_bundle
from rasad.inference.quantisation import quantise

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

Scheme = Literal["iob2", "iob1"]
Loaded = TypeVar("Loaded")

OPSET: Final = 17
HEAD: Final = "default"
"""The one head of a converted bundle."""

MAX_TOKENS: Final = 256
"""Pieces a sequence where the model allows as many: attention costs grow with the square."""

OUTSIDE: Final = "O"

NEWS_TYPES: Final = ("PER", "ORG", "GPE", "LOC", "FAC", "NORP", "EVENT", "MISC")
"""The types of a model that tells states (GPE) and peoples (NORP) apart; others have the four."""

FOUR_TYPES: Final = ("PER", "LOC", "ORG", "MISC")

_TYPE_NAMES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("PER", "PERS", "PERSON", "PEOPLE"), "PER"),
    **dict.fromkeys(("ORG", "ORGANIZATION", "ORGANISATION", "CORPORATION", "GROUP"), "ORG"),
    **dict.fromkeys(("LOC", "LOCATION"), "LOC"),
    **dict.fromkeys(("GPE",), "GPE"),
    **dict.fromkeys(("FAC", "FACILITY"), "FAC"),
    **dict.fromkeys(("NORP",), "NORP"),
    **dict.fromkeys(("EVENT", "EVE"), "EVENT"),
    **dict.fromkeys(("MISC", "MIS", "MISCELLANEOUS", "LAW", "PRODUCT", "LANGUAGE", "WEBSITE", "WORK_OF_ART"), "MISC"),
    **dict.fromkeys(("DATE", "TIME", "OCC", "CARDINAL", "ORDINAL", "PERCENT", "QUANTITY", "UNIT", "MONEY"), OUTSIDE),
    **dict.fromkeys(("CURR", "CURRENCY", "NUMBER", "NUM", OUTSIDE), OUTSIDE),
}
_FOLDED: Final[Mapping[str, str]] = {"GPE": "LOC", "FAC": "LOC", "NORP": "MISC", "EVENT": "MISC"}

CLAIM_LABELS: Final = ("agree", "disagree", "discuss", "unrelated")
_INFERENCE: Final = frozenset(("entailment", "contradiction"))
"""Labels of models that read premise and hypothesis (Bowman et al., EMNLP 2015)."""
_CLAIM_NAMES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("agree", "agrees", "agreed", "support", "supports", "entailment", "favor", "for"), "agree"),
    **dict.fromkeys(("disagree", "disagrees", "disagreed", "refute", "refutes", "contradiction"), "disagree"),
    **dict.fromkeys(("against", "deny", "oppose"), "disagree"),
    **dict.fromkeys(("discuss", "discusses", "neutral", "other", "comment"), "discuss"),
    **dict.fromkeys(("unrelated",), "unrelated"),
}

_PREFIXED: Final = re.compile(r"(?P<prefix>[BIESLU])[-_](?P<type>.+)")
_SUFFIXED: Final = re.compile(r"(?P<type>.+)[-_](?P<prefix>[BIESLU])")
_OPENING: Final = frozenset("BSU")

_REMOTE_CODE: Final = "has auto_map, so the model wants to run code of its own; Rasad never does that"

SHADE: Final = 1e-3
"""By how much the beginning of a name scores below its inside where a model does not tell the two apart."""

_NO_LIMIT: Final = 1_000_000
"""Tokenizers without a limit of their own give a far larger number."""

_ALIKE: Final = 1e-3
"""The largest difference of a logit for which a fused graph still counts as the plain one's equal."""


class ConversionError(BundleError):
    """A model that cannot become a bundle; the message says what is wrong and what mends it."""


@dataclass(frozen=True, slots=True)
class Column:
    """A label of the bundle: the model's labels whose probabilities it adds up.

    It scores at least as high as `fallback` together, less SHADE: a name may then begin with such a label, while one
    that goes on prefers it.
    """

    label: str
    sources: tuple[int, ...]
    fallback: tuple[int, ...] = ()


def token_columns(
    labels: Sequence[str], *, renamed: Mapping[str, str] | None = None, scheme: Scheme = "iob2"
) -> tuple[Column, ...]:
    """The BIO labels of a bundle out of a token-classification model's own.

    Reads IOB (`B-PER`, `B_PER`, `PER-B`), IOBES and BILOU, and plain types (`PER`), whose neighbouring words of one
    type are one name. With scheme "iob1" an I- label may begin a name. `renamed` says what a label or type of the
    model means: one of Rasad's types, or "O". Raises ConversionError for a label that nothing is known of.
    """
    parsed = [_parse(label, renamed or {}) for label in labels]
    unknown = sorted({label for label, each in zip(labels, parsed, strict=True) if each is None})
    if unknown:
        example = unknown[0]
        raise ConversionError(
            f"no type of Rasad's is known for label {', '.join(unknown)}; say what each means, one of "
            f"{', '.join(NEWS_TYPES)} or O: --label {example}=MISC"
        )
    known = [each for each in parsed if each is not None]
    kinds = {kind for _, kind in known}
    fine = {"GPE", "NORP"} <= kinds
    sources: dict[str, list[int]] = defaultdict(list)
    fallback: dict[str, list[int]] = defaultdict(list)
    for index, (prefix, kind) in enumerate(known):
        folded = kind if fine else _FOLDED.get(kind, kind)
        if folded == OUTSIDE:
            sources[OUTSIDE].append(index)
        elif prefix in _OPENING:
            sources[f"B-{folded}"].append(index)
        else:
            sources[f"I-{folded}"].append(index)
            if not prefix or scheme == "iob1":
                fallback[f"B-{folded}"].append(index)
    for label in list(sources):
        opening = f"B-{label[2:]}"
        if label.startswith("I-") and opening not in sources and opening not in fallback:
            raise ConversionError(
                f"label {label} has no {opening} beside it; if the model was trained in the IOB1 scheme, where I- may "
                "begin a name, convert it with --scheme iob1"
            )
    types = NEWS_TYPES if fine else FOUR_TYPES
    ordered = [OUTSIDE, *(f"{position}-{kind}" for kind in types for position in "BI")]
    columns = tuple(
        Column(label, tuple(sources.get(label, ())), tuple(fallback.get(label, ())))
        for label in ordered
        if label in sources or label in fallback
    )
    if OUTSIDE not in sources or len(columns) == 1:
        raise ConversionError(f"labels {', '.join(labels)} have no O, or nothing but O: this is no NER model")
    return columns


def _parse(label: str, renamed: Mapping[str, str]) -> tuple[str, str] | None:
    """`(prefix, type)` of a label, the prefix empty where it has none; None if the type is unknown."""
    if label in renamed:
        return _parse(renamed[label], {})
    match = _PREFIXED.fullmatch(label) or _SUFFIXED.fullmatch(label)
    prefix, kind = (match["prefix"], match["type"]) if match else ("", label)
    known = _TYPE_NAMES.get(renamed.get(kind, kind).upper())
    return None if known is None else (prefix, known)


def claim_columns(labels: Sequence[str], renamed: Mapping[str, str] | None = None) -> tuple[Column, ...]:
    """The stance labels of a bundle out of a sequence-classification model's own; `renamed` as in token_columns.

    Entailment, contradiction and neutral are agree, disagree and discuss. Raises ConversionError.
    """
    meant = _meant(labels, renamed)
    unknown = [label for label, name in zip(labels, meant, strict=True) if name not in _CLAIM_NAMES]
    if unknown:
        raise ConversionError(
            f"labels {', '.join(labels)} do not say what {', '.join(unknown)} means for a claim; say it, each one of "
            f"{', '.join(CLAIM_LABELS)}: {' '.join(f'--label {label}=agree' for label in unknown[:1])}"
        )
    names = [_CLAIM_NAMES[name] for name in meant]
    columns = [
        Column(label, tuple(index for index, name in enumerate(names) if name == label)) for label in CLAIM_LABELS
    ]
    kept = tuple(column for column in columns if column.sources)
    if len(kept) < 2:
        raise ConversionError(f"labels {', '.join(labels)} all mean {kept[0].label}: there is nothing to tell apart")
    return kept


def reads_text_first(labels: Sequence[str], renamed: Mapping[str, str] | None = None) -> bool:
    """Whether a sequence-classification model's labels are those of natural language inference."""
    return not _INFERENCE.isdisjoint(_meant(labels, renamed))


def _meant(labels: Sequence[str], renamed: Mapping[str, str] | None) -> list[str]:
    return [(renamed or {}).get(label, label).lower() for label in labels]


@dataclass(frozen=True, slots=True, eq=False)
class _Subject:
    """A model as it was loaded, and what it is to become."""

    source: str
    task: Task
    columns: tuple[Column, ...]
    config: PretrainedConfig
    tokenizer: PreTrainedTokenizerFast
    model: PreTrainedModel
    text_first: bool

    @property
    def separator(self) -> int | None:
        """The piece between claim and article; None for a model of single texts."""
        return self.tokenizer.sep_token_id if self.task == "stance" else None


def convert(
    source: str | Path,
    out: Path,
    *,
    task: Task | None = None,
    labels: Mapping[str, str] | None = None,
    scheme: Scheme = "iob2",
    max_tokens: int | None = None,
    licence: str = "",
    fp32: Path | None = None,
) -> Bundle:
    """Make a bundle at `out` of the model at a directory or Hub id, quantised to int8.

    `task` is read off the model's architecture where it is None. `labels` renames labels or types of the model (see
    token_columns and claim_columns). `max_tokens` is at most what the model has positions for. `fp32` is where to keep
    the graph as it was before quantisation. `out` must not exist yet. Raises BundleError.
    """
    _require_extra()
    if out.exists():
        raise ConversionError(f"{out}: exists already; remove it, or choose another directory")
    _refuse_unsafe(source)
    subject = _load(str(source), task, labels or {}, scheme)
    room = _positions(subject)
    if max_tokens is not None and max_tokens > room:
        raise ConversionError(f"{source}: has positions for {room} tokens, fewer than the {max_tokens} asked for")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        made = Path(scratch) / out.name
        made.mkdir()
        exact = fp32 or Path(scratch) / "model.fp32.onnx"
        exact.parent.mkdir(parents=True, exist_ok=True)
        _export(subject, exact)
        quantise(exact, made / "model.onnx")
        _write_rest(subject, made, max_tokens=min(max_tokens or MAX_TOKENS, room), licence=licence)
        OnnxBackend(load_bundle(made, task=subject.task), threads=1)
        made.rename(out)
    return load_bundle(out, task=subject.task)


def _require_extra() -> None:
    for name in ("torch", "safetensors", "onnx"):
        if importlib.util.find_spec(name) is None:
            raise ConversionError(f"converting a model needs {name}: pip install 'rasad[training]'")


def _load(source: str, task: Task | None, labels: Mapping[str, str], scheme: Scheme) -> _Subject:
    import torch
    from transformers import (
        AutoConfig,
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
        AutoTokenizer,
    )

    config = _loaded(source, lambda: AutoConfig.from_pretrained(source, trust_remote_code=False))
    if getattr(config, "auto_map", None):
        raise ConversionError(f"{source}: {_REMOTE_CODE}")
    chosen = task or _task_of(source, config)
    names = [str(config.id2label[index]) for index in range(len(config.id2label))]
    columns = token_columns(names, renamed=labels, scheme=scheme) if chosen == "ner" else claim_columns(names, labels)
    tokenizer = _loaded(source, lambda: AutoTokenizer.from_pretrained(source, trust_remote_code=False))
    if not tokenizer.is_fast:
        raise ConversionError(f"{source}: has no fast tokenizer (tokenizer.json), and Rasad needs its offsets")
    family = AutoModelForTokenClassification if chosen == "ner" else AutoModelForSequenceClassification
    model, read = _loaded(
        source,
        lambda: family.from_pretrained(
            source,
            config=config,
            trust_remote_code=False,
            use_safetensors=True,
            attn_implementation="eager",
            dtype=torch.float32,
            output_loading_info=True,
        ),
    )
    if missing := sorted(read["missing_keys"]):
        raise ConversionError(
            f"{source}: its weights lack {', '.join(missing[:3])}, which would be random; fine-tune the model for the "
            f"{chosen} task first"
        )
    text_first = chosen == "stance" and reads_text_first(names, labels)
    return _Subject(source, chosen, columns, config, tokenizer, model.eval(), text_first)


def _refuse_unsafe(source: str | Path) -> None:
    """Refuse a local directory that cannot or must not be read, before any library opens it."""
    directory = Path(source)
    if not directory.exists():
        return
    if not directory.is_dir():
        raise ConversionError(
            f"{directory}: not a directory; a Hugging Face model is a directory with config.json in it"
        )
    config = directory / "config.json"
    if not config.is_file():
        raise ConversionError(f"{directory}: config.json is missing, so this is no Hugging Face model")
    try:
        written = orjson.loads(config.read_bytes())
    except orjson.JSONDecodeError as error:
        raise ConversionError(f"{config}: not valid JSON: {error}") from error
    if isinstance(written, dict) and "auto_map" in written:
        raise ConversionError(f"{config}: {_REMOTE_CODE}")
    if not any(directory.glob("*.safetensors")):
        pickled = sorted(path.name for path in directory.glob("*.bin"))
        what = f"its weights are pickled ({pickled[0]})" if pickled else "it has no weights"
        raise ConversionError(f"{directory}: {what}; save the model as safetensors first")


def _loaded(source: str, load: Callable[[], Loaded]) -> Loaded:
    from safetensors import SafetensorError

    try:
        return load()
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConversionError(f"{source}: transformers cannot load it: {reason}") from error


def _task_of(source: str, config: PretrainedConfig) -> Task:
    for architecture in config.architectures or []:
        if architecture.endswith("ForTokenClassification"):
            return "ner"
        if architecture.endswith("ForSequenceClassification"):
            return "stance"
    named = ", ".join(config.architectures or ["none named"])
    raise ConversionError(
        f"{source}: its architecture ({named}) classifies neither tokens nor sequences, and conversion cannot make up "
        "a head; fine-tune the model first"
    )


def _positions(subject: _Subject) -> int:
    """How many tokens a sequence may have."""
    room = int(getattr(subject.config, "max_position_embeddings", None) or 512)
    for name, module in subject.model.named_modules():
        # RoBERTa's positions begin behind that of padding.
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            room = int(module.num_embeddings) - int(module.padding_idx) - 1
    limit = subject.tokenizer.model_max_length
    return min(room, int(limit)) if 0 < limit < _NO_LIMIT else room


def _export(subject: _Subject, path: Path) -> None:
    """Write the model at opset 17 with the bundle's inputs and output, fused if that changes nothing."""
    import torch

    ids = torch.randint(5, min(100, subject.config.vocab_size), (2, 16))
    if subject.separator is not None:
        ids[:, 5] = ids[:, 15] = subject.separator
    output = f"logits_{HEAD}"
    axes = {0: "batch", 1: "length"}
    plain = path.with_name(f"{path.name}.plain")
    with torch.no_grad():
        torch.onnx.export(
            _graph(subject),
            (ids, torch.ones_like(ids)),
            str(plain),
            input_names=["input_ids", "attention_mask"],
            output_names=[output],
            dynamic_axes={
                "input_ids": axes,
                "attention_mask": axes,
                output: axes if subject.task == "ner" else {0: "batch"},
            },
            opset_version=OPSET,
            dynamo=False,
        )
    if not _fuse(plain, path, subject.config):
        plain.replace(path)
    plain.unlink(missing_ok=True)


def _graph(subject: _Subject) -> torch.nn.Module:
    """The model with the bundle's labels for its own, and token types worked out from the separators of a pair."""
    import torch

    separator = subject.separator
    wants_types = "token_type_ids" in inspect.signature(subject.model.forward).parameters
    typed = separator is not None and wants_types and (getattr(subject.config, "type_vocab_size", None) or 0) > 1

    def total(logits: torch.Tensor, labels: Sequence[int]) -> torch.Tensor:
        return torch.logsumexp(logits.index_select(-1, torch.tensor(labels)), dim=-1, keepdim=True)

    def score(logits: torch.Tensor, column: Column) -> torch.Tensor:
        if not column.fallback:
            return total(logits, column.sources)
        least = total(logits, column.fallback) - SHADE
        return torch.maximum(total(logits, column.sources), least) if column.sources else least

    class Graph(torch.nn.Module):  # type: ignore[misc]  # torch need not be there when types are checked
        def __init__(self) -> None:
            super().__init__()
            self.model = subject.model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
            if typed:
                closing = (input_ids == separator).long()
                inputs["token_type_ids"] = ((closing.cumsum(1) - closing) > 0).long()
            logits = self.model(**inputs).logits
            return torch.cat([score(logits, column) for column in subject.columns], dim=-1)

    return Graph().eval()


def _fuse(plain: Path, path: Path, config: PretrainedConfig) -> bool:
    """Write the graph with attention and norms fused where that loads and gives the same logits."""
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_model

    heads, hidden = getattr(config, "num_attention_heads", None), getattr(config, "hidden_size", None)
    if not heads or not hidden:
        return False
    options = FusionOptions("bert")
    options.enable_embed_layer_norm = False
    options.use_multi_head_attention = True  # keeps the projections as MatMul nodes, which can be quantised
    fused = optimize_model(str(plain), "bert", num_heads=heads, hidden_size=hidden, optimization_options=options)
    fused.save_model_to_file(str(path))
    return _same_logits(plain, path, int(config.vocab_size))


def _same_logits(one: Path, other: Path, vocabulary: int) -> bool:
    """Whether two graphs agree on a padded batch of random pieces."""
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as runtime_errors

    rng = np.random.default_rng(0)
    ids = rng.integers(min(5, vocabulary - 1), vocabulary, (3, 24))
    mask = np.ones_like(ids)
    mask[1, 9:] = mask[2, 3:] = 0
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        first, second = (
            onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run(
                None, {"input_ids": ids, "attention_mask": mask}
            )[0]
            for path in (one, other)
        )
    except (runtime_errors.Fail, runtime_errors.InvalidGraph, runtime_errors.RuntimeException):
        return False
    shown = mask.astype(bool) if first.ndim == 3 else slice(None)
    return bool(np.abs(first[shown] - second[shown]).max() < _ALIKE)


def _write_rest(subject: _Subject, directory: Path, *, max_tokens: int, licence: str) -> None:
    """Tokenizer, configuration, card and manifest beside `model.onnx`."""
    fast = subject.tokenizer.backend_tokenizer
    fast.no_padding()
    fast.no_truncation()
    fast.save(str(directory / "tokenizer.json"))
    labels = [column.label for column in subject.columns]
    config = {key: value for key, value in subject.config.to_diff_dict().items() if not key.startswith("_")}
    config |= {
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "label2id": {label: index for index, label in enumerate(labels)},
    }
    (directory / "config.json").write_bytes(orjson.dumps(config, option=orjson.OPT_INDENT_2) + b"\n")
    name = Path(subject.source).name
    kind = "token" if subject.task == "ner" else "sequence"
    (directory / "README.md").write_text(
        f"# {name}\n\nConverted by Rasad from `{name}`, a {subject.config.model_type} model, to int8 ONNX at opset "
        f"{OPSET}.\nTask: {subject.task}. Labels: {', '.join(labels)}.\n"
        "Its training data, figures and licence are those of the original.\n",
        encoding="utf-8",
    )
    files = ("config.json", "model.onnx", "tokenizer.json")
    manifest = {
        "format": FORMAT,
        "name": name,
        "version": "1",
        "task": subject.task,
        "default_head": HEAD,
        "max_tokens": max_tokens,
        "heads": {HEAD: {"kind": kind, "labels": labels, "temperature": 1.0}},
        "files": {each: hashlib.sha256((directory / each).read_bytes()).hexdigest() for each in files},
        "pooling": "word-mean",
        # Nobody has shown it of this graph; without it, no two articles share a batch.
        "batch_invariant": False,
        "text_first": subject.text_first,
        "licence": licence,
    }
    (directory / "bundle.json").write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2) + b"\n")
