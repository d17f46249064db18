"""An int8 graph's parameters in fp32: each int8 weight times its scale.

Half a step of 63 is lost at most, and less than half a point of F1. Reads graphs that `training.export` wrote, as those
of the bundled models. Needs `onnx`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import onnx
from onnx import numpy_helper

Arrays = dict[str, np.ndarray[Any, Any]]
Value = TypeVar("Value")

EMBEDDINGS: Final = "embeddings.word_embeddings.weight"
HEADS: Final = "heads."
PROJECTION: Final = "projection."
RELATIONS: Final = "relations."
_OF_TWO: Final = re.compile(r"(layer\.\d+)\.layer(?=\.)")
"""The last layer of an encoder that has another one beside it (`training.export`)."""
_BESIDE: Final = re.compile(r"encoder\.layer\.\d+\.beside\.")


def dequantised(graph: Path) -> Arrays:
    """The parameters of an int8 graph of training.export, in fp32, under the names of transformers' encoder.

    Output layers are `heads.NAME.weight` and `heads.NAME.bias`, what reads relations is `relations.…`, and the layer
    between a stance model's encoder and its output layers `projection.…`. Exported products have lost their names, so
    each is known by the module that its result is named after; attention keeps its three biases in one row. Of another
    program's graph it gives what it finds (see `is_dequantised`).
    """
    model = onnx.load(graph)
    arrays = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    for name in [each for each in arrays if each.endswith("_int8") and f"{each.removesuffix('_int8')}_scale" in arrays]:
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


def is_dequantised(arrays: Mapping[str, object], labelled: Collection[str]) -> bool:
    """Whether `dequantised` knew the graph: there are embeddings, and output layers for all heads of `labelled`."""
    return {EMBEDDINGS, *(f"{HEADS}{name}.weight" for name in labelled)} <= arrays.keys()


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
