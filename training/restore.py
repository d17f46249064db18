"""A shipped bundle's model in fp32, as the fine-tuning programs write it, so that they can go on from it.

The fp32 weights that a bundle was made of do not ship. Each int8 weight times its scale comes close: what is lost is
half a step of 63 at most, and less than half a point of F1. Reads graphs that `training.export` wrote.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
from onnx import numpy_helper
from safetensors.numpy import save_file

from rasad.inference.bundle import Bundle, BundleError, load_bundle

Arrays = dict[str, np.ndarray[Any, Any]]
Value = TypeVar("Value")

EMBEDDINGS = "embeddings.word_embeddings.weight"
HEADS = "heads."
PROJECTION = "projection."
RELATIONS = "relations."
_OF_TWO = re.compile(r"(layer\.\d+)\.layer(?=\.)")
"""The last layer of an encoder that has another one beside it (export._Fork)."""
_BESIDE = re.compile(r"encoder\.layer\.\d+\.beside\.")


def dequantised(graph: Path) -> Arrays:
    """The parameters of an int8 graph of training.export, in fp32, under the names of transformers' encoder.

    Output layers are `heads.NAME.weight` and `heads.NAME.bias`, what reads relations is `relations.…`, and the layer
    between a stance model's encoder and its output layers `projection.…`. Exported products have lost their names, so
    each is known by the module that its result is named after; attention keeps its three biases in one row.
    """
    model = onnx.load(graph)
    arrays = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    for name in [each for each in arrays if each.endswith("_int8")]:
        table = name.removesuffix("_int8")
        arrays[table] = arrays.pop(name) * arrays.pop(f"{table}_scale")
    found = {
        name: value
        for name, value in arrays.items()
        if name.startswith(("model.", RELATIONS)) and value.dtype == np.float32 and not name.endswith(".apart")
    }
    for node in model.graph.node:
        inputs = list(node.input)
        if node.op_type in ("MatMulInteger", "MatMulIntegerToFloat"):
            scale = arrays[inputs[1].replace("/int8", "/scale")]
            found[f"{_module(node.output[0])}.weight"] = (arrays[inputs[1]] * scale).T
        elif node.op_type == "MatMul" and inputs[1] in arrays:
            found[f"{HEADS}{_module(node.output[0])}.weight"] = arrays[inputs[1]].T
        elif node.op_type == "MultiHeadAttention":
            for projection, bias in zip(inputs[:3], np.split(arrays[inputs[3]], 3), strict=True):
                found[f"{_module(projection)}.bias"] = bias
    return {_parameter(name): np.array(value, np.float32, order="C") for name, value in found.items()}


def _module(result: str) -> str:
    """`/encoder/encoder/layer.0/output/dense/MatMul_output_0` is of `encoder.encoder.layer.0.output.dense`."""
    return result.partition("/MatMul")[0].removeprefix("/").replace("/", ".")


def _parameter(name: str) -> str:
    plain = name.removeprefix("model.").removeprefix("encoder.")
    if plain.startswith(("inner.", "outer.")):
        return RELATIONS + plain
    if beside := _BESIDE.match(plain):
        return f"{RELATIONS}encoder.{plain[beside.end() :]}"
    return _OF_TWO.sub(r"\1", plain)


def parted(arrays: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    """Those whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def restore(bundle: Bundle, out: Path) -> None:
    """Write what fine-tuning wrote before it was exported: encoder, output layers, tokenizer, and relations if any.

    Raises BundleError where another program wrote the graph.
    """
    arrays = dequantised(bundle.model)
    heads = bundle.manifest.heads
    labels = {name: head.labels for name, head in heads.items() if head.kind != "relation"}
    if not {EMBEDDINGS, *(f"{HEADS}{name}.weight" for name in labels)} <= arrays.keys():
        raise BundleError(
            f"{bundle.directory}: training.export did not write its graph, so its weights cannot be told apart; "
            "go on from the model that it was converted from"
        )
    encoder = {n: value for n, value in arrays.items() if not n.startswith((HEADS, PROJECTION, RELATIONS))}
    stance = bundle.manifest.task == "stance"
    layers = {n: value for n, value in arrays.items() if n.startswith((HEADS, PROJECTION))}
    out.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "tokenizer.json"):
        shutil.copyfile(bundle.directory / name, out / name)
    save_file(encoder, out / "model.safetensors", metadata={"format": "pt"})
    save_file(layers if stance else parted(layers, HEADS), out / "heads.safetensors")
    (out / "heads.json").write_text(json.dumps(labels, ensure_ascii=False, indent=1))
    if relations := parted(arrays, RELATIONS):
        (sides,) = (list(head.labels) for head in heads.values() if head.kind == "relation")
        save_file(relations, out / "relations.safetensors")
        shape = {"sides": sides, "rank": len(relations["inner.bias"]) // 4}
        (out / "relations.json").write_text(json.dumps(shape) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("task", choices=("ner", "stance"))
    parser.add_argument("out", type=Path, help="directory to write")
    parser.add_argument("--bundle", help="its directory, or fast (default: the one that ships for the task)")
    arguments = parser.parse_args()
    try:
        restore(load_bundle(arguments.bundle, task=arguments.task), arguments.out)
    except (BundleError, OSError) as error:
        parser.error(str(error))
    print(f"{arguments.out}: go on from it with training.finetune_ner or finetune_stance")


if __name__ == "__main__":
    main()
