"""Smaller graphs: int8 weights with activations scaled row by row, and int8 embedding tables.

Per-tensor dynamic quantisation (`quantize_dynamic`) has two faults for this use: a sequence's logits depend on what
shares its batch, and its U8S8 kernels saturate on processors without VNNI. `MatMulNBits` at accuracy level 4 scales
the activations of every row by blocks instead. An embedding table is kept as int8 with a scale a row.

Needs `onnx` and `onnx-ir`, which the `training` extra brings; both are imported by the functions that use them, so
that running a bundle does not need them.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import onnx

SMALLEST_TABLE: Final = 1 << 20
"""Bytes of the smallest embedding table that is worth shrinking."""

SMALLEST_WIDTH: Final = 64
"""Matrices with fewer columns are output layers: they are small, they decide, and they stay in fp32."""


def shrink_embeddings(model: onnx.ModelProto, *, smallest: int = SMALLEST_TABLE) -> None:
    """Store every fp32 table of `smallest` bytes or more that a Gather reads as int8, with a scale for each row."""
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    tables = {
        tensor.name: tensor
        for tensor in graph.initializer
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2 and 4 * np.prod(tensor.dims) >= smallest
    }
    readers = [node for node in graph.node if set(node.input) & tables.keys()]
    for node in readers:
        name = node.input[0]
        if any(other is not node and name in other.input for other in readers) or not _gathers_rows(node):
            continue
        values = numpy_helper.to_array(tables[name])
        scale = np.maximum(np.abs(values).max(axis=1, keepdims=True), 1e-8) / 127
        rounded = np.clip(np.round(values / scale), -127, 127).astype(np.int8)
        ids, output = node.input[1], node.output[0]
        graph.initializer.remove(tables[name])
        graph.initializer.extend(
            [
                numpy_helper.from_array(rounded, f"{name}_int8"),
                numpy_helper.from_array(scale.astype(np.float32), f"{name}_scale"),
            ]
        )
        position = list(graph.node).index(node)
        graph.node.remove(node)
        for offset, new in enumerate(
            [
                helper.make_node("Gather", [f"{name}_int8", ids], [f"{name}_rows"], name=f"{name}_gather"),
                helper.make_node("Cast", [f"{name}_rows"], [f"{name}_float"], to=TensorProto.FLOAT),
                helper.make_node("Gather", [f"{name}_scale", ids], [f"{name}_scales"]),
                helper.make_node("Mul", [f"{name}_float", f"{name}_scales"], [output]),
            ]
        ):
            graph.node.insert(position + offset, new)


def _gathers_rows(node: onnx.NodeProto) -> bool:
    return node.op_type == "Gather" and all(each.i == 0 for each in node.attribute if each.name == "axis")


def quantise(fp32: Path, path: Path, *, bits: int = 8, block: int = 64) -> None:
    """Write the graph of `fp32` to `path` with weights of `bits`, `block` of them to a scale (see the module)."""
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

    # It tells of every node, at a level of its own choosing.
    logging.getLogger("onnxruntime.quantization.matmul_nbits_quantizer").setLevel(logging.WARNING)
    model = onnx.load(fp32)
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    small = [
        node.name
        for node in model.graph.node
        if node.op_type == "MatMul" and node.input[1] in weights and weights[node.input[1]][-1] < SMALLEST_WIDTH
    ]
    config = DefaultWeightOnlyQuantConfig(block_size=block, is_symmetric=True, accuracy_level=4, bits=bits)
    quantizer = MatMulNBitsQuantizer(model, algo_config=config, nodes_to_exclude=small)
    quantizer.process()
    quantised = quantizer.model.model
    shrink_embeddings(quantised)
    onnx.save(quantised, path)
