"""Smaller and faster graphs: int8 matrix products with activations scaled row by row, and int8 embedding tables.

Per-tensor dynamic quantisation (`quantize_dynamic`) has two faults for this use. A sequence's logits depend on what
shares its batch; here every row of activations has its own scale, and int32 sums are exact, so logits are the same
bits in any batch and under any padding. And ONNX Runtime's U8S8 kernels add pairs of products in 16 bits on processors
without VNNI, which saturates: 2 * 255 * 127 is past 32,767. Weights within 63 cannot reach it, so every processor
computes the same sums. Plain ONNX operators of opset 17, nothing of a vendor's.

Needs `onnx`, which the `training` extra brings; it is imported by the functions that use it, so that running a bundle
does not need it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnx

SMALLEST_TABLE: Final = 1 << 20
"""Bytes of the smallest embedding table that is worth shrinking."""

SMALLEST_WIDTH: Final = 64
"""Matrices with fewer columns are output layers: they are small, they decide, and they stay in fp32."""

LARGEST_WEIGHT: Final = 63
"""Magnitude of the largest int8 weight (see the module)."""

_CLIPPING: Final = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75)
"""Shares of a column's largest weight that its scale may cover; the one with the least squared error is taken."""


def quantised_columns(
    weights: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Int8 weights and a scale a column: `[rows, columns]` to the same shape, and `[columns]`."""
    largest = np.maximum(np.abs(weights).max(axis=0), 1e-12)
    best_scale = largest / LARGEST_WEIGHT
    best_error = np.full(weights.shape[1], np.inf)
    for share in _CLIPPING:
        scale = share * largest / LARGEST_WEIGHT
        rounded = np.clip(np.round(weights / scale), -LARGEST_WEIGHT, LARGEST_WEIGHT)
        error = np.square(rounded * scale - weights).sum(axis=0)
        better = error < best_error
        best_error = np.where(better, error, best_error)
        best_scale = np.where(better, scale, best_scale)
    rounded = np.clip(np.round(weights / best_scale), -LARGEST_WEIGHT, LARGEST_WEIGHT)
    return rounded.astype(np.int8), best_scale.astype(np.float32)


@dataclass(slots=True)
class _Rewriting:
    """A graph's nodes as they are rewritten; a tensor that several products read is quantised once."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    rows: dict[str, tuple[str, str]] = field(default_factory=dict)

    def add(self, operator: str, inputs: list[str], output: str, **attributes: int | list[int]) -> str:
        """Append a node that makes `output`; gives that name."""
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def quantised_rows(self, name: str) -> tuple[str, str]:
        """Names of `name` as uint8 around 128, and of its scale a row."""
        from onnx import TensorProto

        if name not in self.rows:
            largest = self.add("ReduceMax", [self.add("Abs", [name], f"{name}/abs")], f"{name}/max", axes=[-1])
            bounded = self.add("Max", [largest, "int8/least"], f"{name}/bounded")
            scale = self.add("Mul", [bounded, "int8/step"], f"{name}/scale")
            steps = self.add("Round", [self.add("Div", [name, scale], f"{name}/divided")], f"{name}/rounded")
            shifted = self.add("Add", [steps, "int8/middle"], f"{name}/shifted")
            self.rows[name] = self.add("Cast", [shifted], f"{name}/uint8", to=TensorProto.UINT8), scale
        return self.rows[name]

    def product(self, activations: str, weights: str, output: str) -> None:
        """`output` as the product of `activations` and the int8 `weights`."""
        from onnx import TensorProto

        rows, scale = self.quantised_rows(activations)
        exact = self.add("MatMulInteger", [rows, f"{weights}/int8", "int8/zero_point"], f"{output}/int32")
        real = self.add("Cast", [exact], f"{output}/float", to=TensorProto.FLOAT)
        self.add("Mul", [self.add("Mul", [real, scale], f"{output}/rows"), f"{weights}/scale"], output)


def quantise_products(model: onnx.ModelProto) -> None:
    """Compute every product by a constant matrix of SMALLEST_WIDTH columns or more in int8."""
    from onnx import TensorProto, numpy_helper

    graph = model.graph
    matrices = {
        tensor.name: tensor
        for tensor in graph.initializer
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2 and tensor.dims[1] >= SMALLEST_WIDTH
    }
    rewriting = _Rewriting()
    replaced: set[str] = set()
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in matrices:
            rewriting.product(node.input[0], node.input[1], node.output[0])
            replaced.add(node.input[1])
        else:
            rewriting.nodes.append(node)
    if not replaced:
        return
    kept = [tensor for tensor in graph.initializer if tensor.name not in replaced]
    constants = {
        "int8/least": np.float32(1e-9),
        "int8/step": np.float32(1 / 127),
        "int8/middle": np.float32(128),
        "int8/zero_point": np.uint8(128),
    }
    kept.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())
    for name in sorted(replaced):
        rounded, scale = quantised_columns(numpy_helper.to_array(matrices[name]))
        kept.append(numpy_helper.from_array(rounded, f"{name}/int8"))
        kept.append(numpy_helper.from_array(scale, f"{name}/scale"))
    del graph.node[:]
    graph.node.extend(rewriting.nodes)
    del graph.initializer[:]
    graph.initializer.extend(kept)


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


def quantise(fp32: Path, path: Path) -> None:
    """Write the graph of `fp32` to `path` in int8 (see the module)."""
    import onnx

    model = onnx.load(fp32)
    quantise_products(model)
    shrink_embeddings(model)
    onnx.save(model, path)
