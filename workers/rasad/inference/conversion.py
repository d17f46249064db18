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
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import numpy as np
import orjson
from tokenizers import Tokenizer

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

UNSTATED_POSITIONS: Final = 512
"""Tokens a sequence may have where a configuration does not say: as many as those of nearly every encoder."""

LARGEST_GRAPH: Final = 2**31 - 2**24
"""Bytes of weights in one ONNX file: a protobuf message ends at 2 GiB, and the graph itself wants room."""


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
        _, example = _split(unknown[0])
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
    """`(prefix, type)` of a label, the prefix empty where it has none; None if the type is unknown.

    A label that is renamed to one without a prefix keeps its own.
    """
    prefix, kind = _split(label)
    if label in renamed:
        meant, kind = _split(renamed[label])
        prefix = meant or prefix
    else:
        kind = renamed.get(kind, kind)
    known = _TYPE_NAMES.get(kind.upper())
    return None if known is None else (prefix, known)


def _split(label: str) -> tuple[str, str]:
    """Prefix and type as a label spells them, the prefix empty where it has none."""
    match = _PREFIXED.fullmatch(label) or _SUFFIXED.fullmatch(label)
    return (match["prefix"], match["type"]) if match else ("", label)


def claim_columns(labels: Sequence[str], renamed: Mapping[str, str] | None = None) -> tuple[Column, ...]:
    """The stance labels of a bundle out of a sequence-classification model's own; `renamed` as in token_columns.

    Entailment, contradiction and neutral are agree, disagree and discuss. Raises ConversionError.
    """
    meant = _meant(labels, renamed)
    unknown = [label for label, name in zip(labels, meant, strict=True) if name not in _CLAIM_NAMES]
    if unknown:
        raise ConversionError(
            f"labels {', '.join(labels)} do not say what {', '.join(unknown)} means for a claim; say it, each one of "
            f"{', '.join(CLAIM_LABELS)}: --label {unknown[0]}=agree; those of a model for natural language inference "
            "are named entailment, neutral and contradiction instead, since it reads the article as the premise"
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


def label_names(source: str, id2label: Mapping[int, object]) -> list[str]:
    """A model's labels in the order of their numbers. Raises ConversionError unless those are 0, 1, 2 and so on."""
    count = len(id2label)
    if lacking := set(range(count)) - id2label.keys():
        raise ConversionError(
            f"{source}: id2label in config.json has {count} labels, but none of number {min(lacking)}; number them "
            f"from 0 to {count - 1}"
        )
    return [str(id2label[number]) for number in range(count)]


def check_size(source: str, parameters: int) -> None:
    """Raises ConversionError for a model of so many parameters that one ONNX file cannot hold its fp32 graph."""
    if 4 * parameters > LARGEST_GRAPH:
        raise ConversionError(
            f"{source}: has {parameters / 1e6:.0f} million parameters, and an ONNX file holds "
            f"{LARGEST_GRAPH // 4 / 1e6:.0f} million in fp32; convert a smaller model of its family"
        )


def check_vocabulary(source: str, vocabulary: Mapping[str, int], size: int) -> None:
    """Raises ConversionError for pieces that cannot be those of a model with `size` embeddings.

    Where a model lies without its tokenizer, transformers makes one up that knows special pieces alone: none of
    letters or digits.
    """
    if not any(piece.strip("▁#").isalnum() for piece in vocabulary):
        raise ConversionError(
            f"{source}: has no tokenizer: all {len(vocabulary)} pieces of its vocabulary are special ones; save the "
            "model's tokenizer beside it (tokenizer.save_pretrained)"
        )
    last = max(vocabulary, key=vocabulary.__getitem__)
    if vocabulary[last] >= size:
        raise ConversionError(
            f"{source}: its tokenizer gives {last!r} the number {vocabulary[last]}, but the model knows {size} pieces, "
            "from 0 on; save the tokenizer that the model was trained with"
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Subject:
    """A model as it was loaded, and what it is to become.

    `tokenizer` is the bundle's, and `longest` the tokens a sequence may have by the model's own. `separator` is the
    piece between claim and article; None for a model of single texts.
    """

    source: str
    task: Task
    columns: tuple[Column, ...]
    config: PretrainedConfig
    tokenizer: Tokenizer
    longest: int
    separator: int | None
    model: PreTrainedModel
    text_first: bool


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
    the graph as it was before quantisation: a file outside of `out`, which must not exist yet. Raises BundleError.
    """
    _require_extra()
    _refuse_places(out, fp32)
    _refuse_unsafe(source)
    subject = _load(str(source), task, labels or {}, scheme)
    room = _positions(subject)
    if max_tokens is not None and max_tokens > room:
        raise ConversionError(f"{source}: has positions for {room} tokens, fewer than the {max_tokens} asked for")
    for place in (out, fp32 or out):
        place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        made = Path(scratch) / out.name
        made.mkdir()
        exact = Path(scratch) / "model.fp32.onnx"
        with _explained(subject.source, f"a {subject.config.model_type} model that cannot be exported to ONNX"):
            _export(subject, exact)
        with _explained(subject.source, "its graph cannot be quantised"):
            quantise(exact, made / "model.onnx")
        _write_rest(subject, made, max_tokens=min(max_tokens or MAX_TOKENS, room), licence=licence)
        OnnxBackend(load_bundle(made, task=subject.task), threads=1)
        if fp32 is not None:
            shutil.move(exact, fp32)
        made.rename(out)
    return load_bundle(out, task=subject.task)


def _require_extra() -> None:
    for name in ("torch", "safetensors", "onnx"):
        if importlib.util.find_spec(name) is None:
            raise ConversionError(f"converting a model needs {name}: pip install 'rasad[training]'")


def _load(source: str, task: Task | None, labels: Mapping[str, str], scheme: Scheme) -> _Subject:
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoModelForTokenClassification

    config = _loaded(source, lambda: AutoConfig.from_pretrained(source, trust_remote_code=False))
    if getattr(config, "auto_map", None):
        raise ConversionError(f"{source}: {_REMOTE_CODE}")
    chosen = task or _task_of(source, config)
    names = label_names(source, config.id2label)
    columns = token_columns(names, renamed=labels, scheme=scheme) if chosen == "ner" else claim_columns(names, labels)
    read_by, tokenizer = _tokenizers(source, config)
    separator = _separator(source, read_by, tokenizer) if chosen == "stance" else None
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
    check_size(source, sum(each.numel() for each in model.parameters()))
    return _Subject(
        source=source,
        task=chosen,
        columns=columns,
        config=config,
        tokenizer=tokenizer,
        longest=int(read_by.model_max_length),
        separator=separator,
        model=model.eval(),
        text_first=chosen == "stance" and reads_text_first(names, labels),
    )


def _tokenizers(source: str, config: PretrainedConfig) -> tuple[PreTrainedTokenizerFast, Tokenizer]:
    """A model's tokenizer as transformers has it, and the one for the bundle: the model's tokenizer.json, if any.

    transformers builds tokenizers of some classes anew, and then with the class's normaliser in place of the file's.
    Raises ConversionError.
    """
    from transformers import AutoTokenizer
    from transformers.utils import cached_file

    known = _loaded(source, lambda: AutoTokenizer.from_pretrained(source, trust_remote_code=False))
    if not known.is_fast:
        raise ConversionError(f"{source}: has no fast tokenizer (tokenizer.json), and Rasad needs its offsets")
    try:
        path = cached_file(source, "tokenizer.json", revision=getattr(config, "_commit_hash", None))
    except OSError:
        path = None
    with _explained(source, "its tokenizer.json cannot be read"):
        tokenizer = known.backend_tokenizer if path is None else Tokenizer.from_file(path)
    check_vocabulary(source, tokenizer.get_vocab(), int(config.vocab_size))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return known, tokenizer


def _separator(source: str, known: PreTrainedTokenizerFast, tokenizer: Tokenizer) -> int | None:
    """The number of the separator, on which both tokenizers must agree; None where there is none.

    Raises ConversionError.
    """
    number: int | None = known.sep_token_id
    if number is not None and tokenizer.token_to_id(str(known.sep_token)) != number:
        raise ConversionError(
            f"{source}: transformers separates texts by {known.sep_token}, number {number}, which is not so in "
            "tokenizer.json; save the model's tokenizer beside it again (tokenizer.save_pretrained)"
        )
    return number


def _refuse_places(out: Path, fp32: Path | None) -> None:
    """Refuse places that cannot be written to when all is done."""
    if out.exists():
        raise ConversionError(f"{out}: exists already; remove it, or choose another directory")
    if fp32 is None:
        return
    if fp32.resolve().is_relative_to(out.resolve()):
        raise ConversionError(f"{fp32}: is in the bundle's own directory; keep the fp32 graph elsewhere")
    if fp32.is_dir():
        raise ConversionError(f"{fp32}: a directory; name the file to keep the fp32 graph in")


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
        raise ConversionError(f"{source}: transformers cannot load it: {_reason(error)}") from error


@contextmanager
def _explained(source: str, what: str) -> Iterator[None]:
    """Raises ConversionError in place of what the libraries of the block raise."""
    try:
        yield
    except BundleError:
        raise
    except Exception as error:  # between them they have many classes, and some have none of their own
        raise ConversionError(f"{source}: {what}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """An error's first line, or its class where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


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
    stated = getattr(subject.config, "max_position_embeddings", None) or 0
    room = int(stated) if stated > 0 else UNSTATED_POSITIONS  # XLNet's says -1
    for name, module in subject.model.named_modules():
        # RoBERTa's positions begin behind that of padding.
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            room = int(module.num_embeddings) - int(module.padding_idx) - 1
    return min(room, subject.longest) if 0 < subject.longest < _NO_LIMIT else room


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
    subject.tokenizer.save(str(directory / "tokenizer.json"))
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
