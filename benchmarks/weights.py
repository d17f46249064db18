"""The same weights twice: as a bundle, which Rasad runs, and as a Hugging Face model, which everyone else runs."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
import transformers
from safetensors.torch import load_file

from rasad.inference.bundle import HEAD_WEIGHTS, WEIGHTS, Bundle, Task, load_bundle
from rasad.inference.conversion import CLAIM_LABELS, FOUR_TYPES, convert
from rasad.inference.dequantisation import HEADS, RELATIONS, dequantised, parted
from rasad.inference.verification import verify

if TYPE_CHECKING:
    from transformers import PreTrainedModel

POSITIONS: Final = 512
"""Of every model here, as of nearly every encoder: what a pipeline cuts articles at."""
_OUTSIDE_BIAS: Final = 4.0
"""Makes random weights say O nearly always, as a trained model does: else every other word would be a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """`model` is the directory of the Hugging Face model; `origin` says how the two came to be the same."""

    name: str
    bundle: Bundle
    model: Path
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """An encoder's size; `feed_forward` is the inner width of its feed-forward layers."""

    name: str
    layers: int
    hidden: int
    heads: int
    feed_forward: int


SIX_LAYERS: Final = Shape(name="6 layers/384", layers=6, hidden=384, heads=12, feed_forward=1536)
BERT_BASE: Final = Shape(name="BERT-base", layers=12, hidden=768, heads=12, feed_forward=3072)
TINY: Final = Shape(name="tiny", layers=1, hidden=64, heads=2, feed_forward=128)


def bundled_shape(bundle: Bundle) -> Shape:
    """The size of a bundle's encoder, from its configuration."""
    config = json.loads((bundle.directory / "config.json").read_bytes())
    return Shape(
        name=f"{config['num_hidden_layers']} layers/{config['hidden_size']}",
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        heads=config["num_attention_heads"],
        feed_forward=config["intermediate_size"],
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Without the bars and warnings that torch and transformers print while they load and export."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("onnxruntime").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def random_ner(shape: Shape, folder: Path) -> Weights:
    """A token classifier of that shape with random weights, as a model and as the bundle that Rasad makes of it."""
    labels = ["O", *(f"{position}-{kind}" for kind in FOUR_TYPES for position in "BI")]
    model = _random_model(shape, labels, "ner", folder)
    return Weights(
        name=f"random weights, {shape.name}",
        bundle=_bundle_of(model, "ner"),
        model=model,
        origin="the bundle was converted from the model (`rasad models convert`)",
    )


def random_stance(shape: Shape, folder: Path) -> Bundle:
    """A stance bundle of that shape with random weights."""
    return _bundle_of(random_pair_classifier(shape, folder), "stance")


def random_pair_classifier(shape: Shape, folder: Path) -> Path:
    """A Hugging Face model of that shape with random weights that judges a claim and a text."""
    return _random_model(shape, list(CLAIM_LABELS), "stance", folder)


def _random_model(shape: Shape, labels: list[str], task: Task, folder: Path) -> Path:
    """Written to a directory below `folder`, with the bundled tokenizer."""
    directory = folder / f"{task}-{shape.name.replace('/', '-').replace(' ', '-')}"
    config = transformers.BertConfig(
        vocab_size=len(json.loads((load_bundle(None, task=task).tokenizer).read_bytes())["model"]["vocab"]),
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.feed_forward,
        max_position_embeddings=POSITIONS,
        pad_token_id=1,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
    )
    families = {
        "ner": transformers.BertForTokenClassification,
        "stance": transformers.BertForSequenceClassification,
    }
    with quiet():
        torch.manual_seed(0)
        model = families[task](config)
        if task == "ner":
            model.classifier.bias.data[0] = _OUTSIDE_BIAS
        _save(model, directory, load_bundle(None, task=task))
    return directory


def _save(model: PreTrainedModel, directory: Path, bundle: Bundle) -> None:
    """With the bundle's tokenizer, whose limit is the model's as in any BERT."""
    model.save_pretrained(directory)
    transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(bundle.tokenizer),
        model_max_length=POSITIONS,
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
    ).save_pretrained(directory)


def _bundle_of(model: Path, task: Task) -> Bundle:
    """Converted, and with articles sharing batches once it is shown that this changes no bit."""
    out = model.with_name(f"{model.name}-bundle")
    with quiet():
        convert(model, out, task=task)
    manifest = out / "bundle.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_bytes()), "batch_invariant": True}))
    if failed := [str(check) for check in verify(out) if not check.passed]:
        raise ValueError(f"a bundle of random weights does not hold: {'; '.join(failed)}")
    return load_bundle(out, task=task)


def bundled_ner(folder: Path, *, weights: Path | None = None) -> Weights:
    """The bundled NER model with its default head.

    Its fp32 twin is read from `weights`, a directory with `model.safetensors` and `heads.safetensors` as training
    writes them, or else made of the int8 graph's own numbers.
    """
    bundle = load_bundle(None, task="ner")
    head, layer = bundle.head()
    if weights is None:
        tensors = {name: torch.from_numpy(value) for name, value in dequantised(bundle.model).items()}
        origin = "the fp32 weights are those of the int8 graph, dequantised"
    else:
        heads = {f"{HEADS}{name}": value for name, value in load_file(weights / HEAD_WEIGHTS).items()}
        tensors = {**load_file(weights / WEIGHTS), **heads}
        origin = f"the fp32 weights are those in {weights.name}/"
    config = transformers.BertConfig.from_pretrained(bundle.directory)
    config.id2label = dict(enumerate(layer.labels))
    config.label2id = {label: index for index, label in enumerate(layer.labels)}
    directory = folder / "bundled-ner"
    with quiet():
        model = transformers.BertForTokenClassification(config)
        model.bert.load_state_dict({n: each for n, each in tensors.items() if not n.startswith((HEADS, RELATIONS))})
        model.classifier.load_state_dict(parted(tensors, f"{HEADS}{head}."))
        _save(model, directory, bundle)
    return Weights(name=f"bundled NER, {bundled_shape(bundle).name}", bundle=bundle, model=directory, origin=origin)
