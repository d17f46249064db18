"""Smaller and faster graphs: int8 matrix products with activations scaled row by row, and int8 embedding tables.

Per-tensor dynamic quantisation (`quantize_dynamic`) has two faults for this use. A sequence's logits depend on what
shares its batch; here every row of activations has its own scale, and int32 sums are exact, so logits are the same
bits in any batch and under any padding. And ONNX Runtime's U8S8 kernels add pairs of products in 16 bits on processors
without VNNI, which saturates: 2 * 255 * 127 is past 32,767. Weights within 63 cannot reach it, so every processor
computes the same sums.

Where there are texts to read, weights are rounded one input after another, and what each rounding adds to the products
is made up for by the inputs that are still to come (GPTQ: Frantar et al., arXiv:2210.17323): half the error of rounding
each to the nearest, which at 7 bits is larger than that of the activations.

What stands between two products costs as much as the products unless it is kept to few passes over memory. So rows are
quantised by QuantizeLinear, along axis 0 of a matrix, and come back as floats from MatMulIntegerToFloat; and two
operators that ONNX Runtime fuses are put in the form that its CPU kernels are faster at (`lighten`). All are operators
of opset 17 or, as the fused graphs' attention is, of ONNX Runtime on any processor.

Needs `onnx`, which the `training` extra brings; it is imported by the functions that use it, so that running a bundle
does not need it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnx

_Floats = npt.NDArray[np.float64]
_Attribute = int | float | list[int]

SMALLEST_TABLE: Final = 1 << 18
"""Bytes of the smallest table or dense matrix that is worth shrinking."""

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


_DAMPING: Final = 0.01
"""Share of the mean second moment that is added to each input's own, so that rare inputs do not decide."""


_BLOCK: Final = 128
"""Inputs whose errors are made up for among themselves before all others make up for them together."""


def compensated_columns(
    weights: npt.NDArray[np.float32], moments: _Floats
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """As `quantised_columns`, rounded so that products with inputs like those of `moments` keep their values (GPTQ).

    `moments`, `[rows, rows]`, are sums of products of two inputs each, as `input_moments` gives them.
    """
    _, scale = quantised_columns(weights)
    order = np.argsort(-np.diag(moments), kind="stable")
    ordered = moments[np.ix_(order, order)]
    damped = ordered + np.eye(len(ordered)) * max(_DAMPING * np.diag(ordered).mean(), 1e-12)
    factor = np.linalg.cholesky(np.linalg.inv(damped)).T
    left = weights[order].astype(np.float64)
    rounded = np.empty_like(left)
    for start in range(0, len(left), _BLOCK):
        stop = min(start + _BLOCK, len(left))
        errors = np.empty((stop - start, left.shape[1]))
        for row in range(start, stop):
            rounded[row] = np.clip(np.round(left[row] / scale), -LARGEST_WEIGHT, LARGEST_WEIGHT)
            error = errors[row - start] = (left[row] - rounded[row] * scale) / factor[row, row]
            left[row + 1 : stop] -= np.outer(factor[row, row + 1 : stop], error)
        left[stop:] -= factor[start:stop, stop:].T @ errors
    restored = np.empty_like(rounded)
    restored[order] = rounded
    return restored.astype(np.int8), scale


def input_moments(model: onnx.ModelProto, texts: Iterable[Mapping[str, npt.NDArray[np.generic]]]) -> dict[str, _Floats]:
    """Of every tensor that a constant matrix multiplies, the sum over `texts` of the products of its values.

    `texts` are inputs of `model` by name, without padding. Gives `[width, width]` by the tensor's name.
    """
    import onnx
    from onnxruntime import InferenceSession

    read = onnx.ModelProto()
    read.CopyFrom(model)
    matrices = _matrices(read)
    names = sorted(
        {node.input[0] for node in read.graph.node if node.op_type == "MatMul" and node.input[1] in matrices}
    )
    del read.graph.output[:]
    read.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = InferenceSession(read.SerializeToString(), providers=["CPUExecutionProvider"])
    moments: dict[str, _Floats] = {}
    for text in texts:
        for name, values in zip(names, session.run(names, dict(text)), strict=True):
            rows = values.reshape(-1, values.shape[-1])
            moments[name] = moments.get(name, 0.0) + (rows.T @ rows).astype(np.float64)
    return moments


def _matrices(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """The constant fp32 matrices of SMALLEST_WIDTH columns or more, by name."""
    from onnx import TensorProto

    return {
        tensor.name: tensor
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2 and tensor.dims[1] >= SMALLEST_WIDTH
    }


@dataclass(frozen=True, slots=True)
class _Steps:
    """How a row's values become 0 to 255: the step that stands for zero, and the least scale."""

    name: str
    zero: int
    least: float

    @property
    def constants(self) -> dict[str, npt.NDArray[np.generic]]:
        """The graph's constants by name; as many steps lie below zero as above it, unless fewer are enough."""
        return {
            f"int8/{self.name}_zero": np.array([self.zero], np.uint8),
            f"int8/{self.name}_least": np.array(self.least, np.float32),
            f"int8/{self.name}_step": np.array(1 / (255 - self.zero), np.float32),
        }


_EVEN: Final = _Steps("even", 128, 1e-9)

_GELU: Final = _Steps("gelu", 16, 0.17 / 16)
"""For GELU's values, none of which is below -0.17."""

_GELU_OPERATORS: Final = ("BiasGelu", "FastGelu", "Gelu")

_CONTRIB: Final = "com.microsoft"
"""Domain of the operators that ONNX Runtime adds to ONNX's."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """Names of a tensor's uint8 values and of its scale a row, and how they were made."""

    values: str
    scale: str
    steps: _Steps


@dataclass(slots=True)
class _Rewriting:
    """A graph's nodes as they are rewritten; a tensor that several products read is quantised once.

    `operators` names the operator that makes each tensor.
    """

    operators: Mapping[str, str]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    rows: dict[str, _Rows] = field(default_factory=dict)
    constants: dict[str, npt.NDArray[np.generic]] = field(default_factory=dict)

    def add(self, operator: str, inputs: list[str], output: str, *, domain: str = "", **attributes: _Attribute) -> str:
        """Append a node that makes `output`; gives that name."""
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, domain=domain, **attributes))
        return output

    def quantised_rows(self, name: str, width: int) -> _Rows:
        """`name`, whose rows have `width` elements, as uint8."""
        if name not in self.rows:
            steps = _GELU if self.operators.get(name) in _GELU_OPERATORS else _EVEN
            self.constants |= steps.constants
            largest = self.add("ReduceMax", [name], f"{name}/highest", axes=[-1])
            if steps is _EVEN:
                depth = self.add("Neg", [self.add("ReduceMin", [name], f"{name}/lowest", axes=[-1])], f"{name}/depth")
                largest = self.add("Max", [largest, depth], f"{name}/largest")
            step = self.add("Mul", [largest, f"int8/{steps.name}_step"], f"{name}/step")
            scale = self.add("Max", [step, f"int8/{steps.name}_least"], f"{name}/scale")
            # One zero for each row: QuantizeLinear wants as many as it is given scales.
            scales = self.add("Reshape", [scale, "int8/all"], f"{name}/scales")
            rows = self.add("Shape", [scales], f"{name}/rows")
            zeros = self.add("Expand", [f"int8/{steps.name}_zero", rows], f"{name}/zeros")
            matrix = self.add("Reshape", [name, self.rows_of(width)], f"{name}/matrix")
            uint8 = self.add("QuantizeLinear", [matrix, scales, zeros], f"{name}/uint8", axis=0)
            shape = self.add("Shape", [name], f"{name}/shape")
            self.rows[name] = _Rows(self.add("Reshape", [uint8, shape], f"{name}/quantised"), scale, steps)
        return self.rows[name]

    def product(self, activations: str, weights: str, width: int, output: str) -> None:
        """`output` as the product of `activations` and the int8 `weights`, a matrix of `width` rows."""
        rows = self.quantised_rows(activations, width)
        inputs = [rows.values, f"{weights}/int8", "int8/one", f"{weights}/scale", f"int8/{rows.steps.name}_zero"]
        columns = self.add("MatMulIntegerToFloat", inputs, f"{output}/columns", domain=_CONTRIB)
        self.add("Mul", [columns, rows.scale], output)

    def norm(self, node: onnx.NodeProto, width: int) -> None:
        """What a SkipLayerNormalization of rows of `width` elements gives, by plain operators."""
        (output,), gamma_beta = node.output, node.input[2:4]
        total = node.input[0]
        for index, summand in enumerate(filter(None, (*node.input[4:5], node.input[1]))):
            total = self.add("Add", [total, summand], f"{output}/sum_{index}")
        # ONNX Runtime would fuse an Add with the norm that reads it.
        matrix = self.add("Reshape", [total, self.rows_of(width)], f"{output}/summed")
        epsilon = {each.name: each.f for each in node.attribute if each.name == "epsilon"}
        normed = self.add("LayerNormalization", [matrix, *gamma_beta], f"{output}/normed", **epsilon)
        self.add("Reshape", [normed, self.add("Shape", [total], f"{output}/sum_shape")], output)

    def rows_of(self, width: int) -> str:
        """Name of the shape of a matrix of `width` columns, as Reshape reads it."""
        name = f"int8/rows_of_{width}"
        self.constants[name] = np.array([-1, width], np.int64)
        return name

    def write(self, model: onnx.ModelProto, replaced: Collection[str]) -> None:
        """Put the nodes and the constants in the graph, in place of its own and of the tensors `replaced`."""
        from onnx import helper, numpy_helper

        graph = model.graph
        kept = [each for each in graph.initializer if each.name not in replaced and each.name not in self.constants]
        kept.extend(numpy_helper.from_array(value, name) for name, value in self.constants.items())
        del graph.node[:]
        graph.node.extend(self.nodes)
        del graph.initializer[:]
        graph.initializer.extend(kept)
        if all(each.domain != _CONTRIB for each in model.opset_import):
            model.opset_import.append(helper.make_opsetid(_CONTRIB, 1))


def quantise_products(model: onnx.ModelProto, moments: Mapping[str, _Floats] | None = None) -> None:
    """Compute every product by a constant matrix of SMALLEST_WIDTH columns or more in int8.

    `moments` are those of what the matrices multiply, by its name (`input_moments`); where they lack one, weights are
    rounded to the nearest.
    """
    from onnx import numpy_helper

    graph = model.graph
    matrices = _matrices(model)
    rewriting = _Rewriting({output: node.op_type for node in graph.node for output in node.output})
    replaced: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in matrices:
            rewriting.product(node.input[0], node.input[1], matrices[node.input[1]].dims[0], node.output[0])
            replaced[node.input[1]] = node.input[0]
        else:
            rewriting.nodes.append(node)
    if not replaced:
        return
    rewriting.constants |= {"int8/one": np.array(1, np.float32), "int8/all": np.array([-1], np.int64)}
    for name, multiplied in sorted(replaced.items()):
        weights, known = numpy_helper.to_array(matrices[name]), (moments or {}).get(multiplied)
        rounded = quantised_columns(weights) if known is None else compensated_columns(weights, known)
        rewriting.constants[f"{name}/int8"], rewriting.constants[f"{name}/scale"] = rounded
    rewriting.write(model, replaced)


def lighten(model: onnx.ModelProto) -> None:
    """Replace fused operators by faster ones.

    SkipLayerNormalization adds up its norms one element after another, in ONNX Runtime 1.32 at four times the time of
    two Adds and a LayerNormalization. BiasGelu becomes FastGelu, GELU by tanh: it differs by 5e-4 at most (Hendrycks
    and Gimpel, arXiv:1606.08415), where a step of int8 is some 0.02.
    """
    rewriting = _Rewriting({})
    widths = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer if len(tensor.dims) == 1}
    for node in model.graph.node:
        if node.op_type == "SkipLayerNormalization" and len(node.output) == 1 and node.input[2] in widths:
            rewriting.norm(node, widths[node.input[2]])
            continue
        if node.op_type == "BiasGelu":
            node.op_type = "FastGelu"
        rewriting.nodes.append(node)
    rewriting.write(model, frozenset())


def shrink_tables(model: onnx.ModelProto, *, smallest: int = SMALLEST_TABLE) -> None:
    """Store every fp32 matrix of `smallest` bytes or more that a Gather or a Gemm reads as int8, with row scales.

    A Gather's rows become floats again as they are read; a Gemm's matrix does once, when the graph is loaded: it is
    stored small and computed with in fp32.
    """
    from onnx import TensorProto, numpy_helper

    graph = model.graph
    tables = {
        tensor.name: tensor
        for tensor in graph.initializer
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2 and 4 * np.prod(tensor.dims) >= smallest
    }
    readers = [node for node in graph.node if set(node.input) & tables.keys()]
    for node in readers:
        name = next(each for each in node.input if each in tables)
        if any(other is not node and name in other.input for other in readers):
            continue
        if _gathers_rows(node):
            nodes = _gathered(name, node)
        elif node.op_type == "Gemm" and name == node.input[1]:
            nodes = [*_restored(name), node]
            node.input[1] = f"{name}_restored"
        else:
            continue
        values = numpy_helper.to_array(tables[name])
        scale = np.maximum(np.abs(values).max(axis=1, keepdims=True), 1e-8) / 127
        rounded = np.clip(np.round(values / scale), -127, 127).astype(np.int8)
        graph.initializer.remove(tables[name])
        graph.initializer.append(numpy_helper.from_array(rounded, f"{name}_int8"))
        graph.initializer.append(numpy_helper.from_array(scale.astype(np.float32), f"{name}_scale"))
        position = list(graph.node).index(node)
        graph.node.remove(node)
        for offset, new in enumerate(nodes):
            graph.node.insert(position + offset, new)


def _gathered(name: str, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Nodes that gather rows of the int8 table and make floats of them, in place of `node`."""
    from onnx import TensorProto, helper

    ids, output = node.input[1], node.output[0]
    return [
        helper.make_node("Gather", [f"{name}_int8", ids], [f"{name}_rows"], name=f"{name}_gather"),
        helper.make_node("Cast", [f"{name}_rows"], [f"{name}_float"], to=TensorProto.FLOAT),
        helper.make_node("Gather", [f"{name}_scale", ids], [f"{name}_scales"]),
        helper.make_node("Mul", [f"{name}_float", f"{name}_scales"], [output]),
    ]


def _restored(name: str) -> list[onnx.NodeProto]:
    """Nodes that make floats of the whole int8 table."""
    from onnx import TensorProto, helper

    return [
        helper.make_node("Cast", [f"{name}_int8"], [f"{name}_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}_float", f"{name}_scale"], [f"{name}_restored"]),
    ]


def _gathers_rows(node: onnx.NodeProto) -> bool:
    return node.op_type == "Gather" and all(each.i == 0 for each in node.attribute if each.name == "axis")


def quantise(fp32: Path, path: Path, texts: Sequence[Mapping[str, npt.NDArray[np.generic]]] = ()) -> None:
    """Write the graph of `fp32` to `path` in int8; `texts`, inputs by name without padding, decide on the rounding."""
    import onnx

    model = onnx.load(fp32)
    lighten(model)
    quantise_products(model, input_moments(model, texts) if texts else {})
    shrink_tables(model)
    onnx.save(model, path)
