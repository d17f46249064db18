"""Matrix products alone, in the shapes of an encoder: how fast this processor is at them in each number format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from benchmarks.weights import Shape
from rasad.inference.backend import available_cores
from rasad.inference.torch_backend import has_bf16

OPSET: Final = 17
_LARGEST_WEIGHT: Final = 63


@dataclass(frozen=True, slots=True)
class Gemm:
    """`[rows, inner]` by `[inner, columns]`, done `count` times in each layer."""

    rows: int
    inner: int
    columns: int
    count: int

    @property
    def operations(self) -> int:
        """Of one product: a multiplication and an addition each."""
        return 2 * self.rows * self.inner * self.columns

    def __str__(self) -> str:
        return f"{self.rows} x {self.inner} x {self.columns}"


def layer_gemms(shape: Shape, rows: int) -> list[Gemm]:
    """The products by weights of one layer over `rows` tokens; those inside attention have no weights."""
    return [
        Gemm(rows, shape.hidden, shape.hidden, 4),
        Gemm(rows, shape.hidden, shape.feed_forward, 1),
        Gemm(rows, shape.feed_forward, shape.hidden, 1),
    ]


def token_operations(shape: Shape, window: float) -> float:
    """Of one token through the whole encoder, in windows of `window` tokens: products by weights and attention's."""
    by_weights = sum(each.count * each.operations for each in layer_gemms(shape, 1))
    return shape.layers * (by_weights + 4 * window * shape.hidden)


def torch_gemm(gemm: Gemm, dtype: torch.dtype) -> Callable[[], object]:
    """One product in torch."""
    left = torch.randn(gemm.rows, gemm.inner).to(dtype)
    right = torch.randn(gemm.columns, gemm.inner).to(dtype)

    def multiply() -> object:
        with torch.inference_mode():
            return torch.nn.functional.linear(left, right)

    return multiply


def onnx_gemm(gemm: Gemm) -> Callable[[], object]:
    """One product as Rasad's graphs have it: MatMulInteger of uint8 rows around 128 by int8 weights."""
    random = np.random.default_rng(0)
    weights = random.integers(-_LARGEST_WEIGHT, _LARGEST_WEIGHT, (gemm.inner, gemm.columns), np.int8, endpoint=True)
    rows = random.integers(0, 255, (gemm.rows, gemm.inner), np.uint8, endpoint=True)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["rows", "weights", "zero_point"], ["product"])],
        "gemm",
        [helper.make_tensor_value_info("rows", TensorProto.UINT8, rows.shape)],
        [helper.make_tensor_value_info("product", TensorProto.INT32, (gemm.rows, gemm.columns))],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(np.uint8(128), "zero_point")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = available_cores()
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    # The result stays with the session: copying it to NumPy is no part of the product.
    binding = session.io_binding()
    binding.bind_cpu_input("rows", rows)
    binding.bind_output("product")
    return lambda: session.run_with_iobinding(binding)


def dtypes_of(cpuinfo: str) -> list[torch.dtype]:
    """float32, and bfloat16 where `/proc/cpuinfo` tells of instructions for it: without them it is far slower.

    As rasad.inference.torch_backend chooses; nothing is timed, so equal processors are measured alike.
    """
    return [torch.float32, *([torch.bfloat16] if has_bf16(cpuinfo) else [])]
