"""Graphs of a few nodes, before and after: what int8 rounds, and what must not change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from rasad.inference.quantisation import (
    LARGEST_WEIGHT,
    compensated_columns,
    input_moments,
    lighten,
    quantise_products,
    quantised_columns,
)

if TYPE_CHECKING:
    import onnx

pytestmark = pytest.mark.training

RNG = np.random.default_rng(0)
WEIGHTS = (0.1 * RNG.standard_normal((96, 64))).astype(np.float32)


def model_of(nodes: list[onnx.NodeProto], width: int, constants: dict[str, np.ndarray]) -> onnx.ModelProto:
    """Nodes from `x`, `[batch, length, width]`, to `y`."""
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "length", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)], ir_version=8
    )


def node(operator: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
    from onnx import helper

    contrib = operator in ("BiasGelu", "SkipLayerNormalization")
    return helper.make_node(operator, inputs, [output], domain="com.microsoft" if contrib else "", **attributes)


def run(model: onnx.ModelProto, values: np.ndarray) -> np.ndarray:
    from onnxruntime import InferenceSession

    (result,) = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": values})
    return np.asarray(result)


def product_model() -> onnx.ModelProto:
    model = model_of([node("MatMul", ["x", "weights"], "y")], 96, {"weights": WEIGHTS})
    quantise_products(model)
    return model


def gelu_model() -> onnx.ModelProto:
    nodes = [node("BiasGelu", ["x", "bias"], "activations"), node("MatMul", ["activations", "weights"], "y")]
    return model_of(nodes, 96, {"weights": WEIGHTS, "bias": np.zeros(96, np.float32)})


def test_no_pair_of_products_is_past_16_bits() -> None:
    rounded, scale = quantised_columns(WEIGHTS)
    assert np.abs(rounded).max() == LARGEST_WEIGHT
    assert 2 * 255 * LARGEST_WEIGHT < 2**15
    assert np.abs(rounded * scale - WEIGHTS).max() < np.abs(WEIGHTS).max() / 4


def test_weights_rounded_for_given_inputs_keep_their_products() -> None:
    mixed = RNG.standard_normal((400, 24)) @ RNG.standard_normal((24, 96)) + 0.1 * RNG.standard_normal((400, 96))
    seen, unseen = mixed[:300], mixed[300:]
    nearest, compensated = (
        np.square(unseen @ (rounded * scale) - unseen @ WEIGHTS).mean()
        for rounded, scale in (quantised_columns(WEIGHTS), compensated_columns(WEIGHTS, seen.T @ seen))
    )
    assert compensated < 0.3 * nearest
    rounded, _ = compensated_columns(WEIGHTS, seen.T @ seen)
    assert np.abs(rounded).max() <= LARGEST_WEIGHT


def test_inputs_that_are_always_zero_leave_weights_at_the_nearest() -> None:
    moments = np.zeros((96, 96))
    assert np.array_equal(compensated_columns(WEIGHTS, moments)[0], quantised_columns(WEIGHTS)[0])


def test_moments_are_those_of_what_a_constant_matrix_multiplies() -> None:
    constants = {"weights": WEIGHTS, "bias": np.zeros(96, np.float32)}
    nodes = [node("Add", ["x", "bias"], "shifted"), node("MatMul", ["shifted", "weights"], "y")]
    texts = [RNG.standard_normal((1, size, 96)).astype(np.float32) for size in (3, 5)]
    found = input_moments(model_of(nodes, 96, constants), [{"x": text} for text in texts])
    rows = np.concatenate([text[0] for text in texts])
    assert found.keys() == {"shifted"}
    assert np.allclose(found["shifted"], rows.T @ rows, atol=1e-4)


def test_a_product_is_that_of_the_rounded_rows_and_weights() -> None:
    values = RNG.standard_normal((3, 5, 96)).astype(np.float32)
    scale = np.abs(values).max(axis=-1, keepdims=True) * np.float32(1 / 127)
    rounded, columns = quantised_columns(WEIGHTS)
    wanted = np.rint(values / scale).astype(np.int32) @ rounded.astype(np.int32) * columns * scale
    found = run(product_model(), values)
    assert found.shape == (3, 5, 64)
    assert np.allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_a_row_has_the_same_bits_whatever_it_shares_a_batch_with() -> None:
    values = RNG.standard_normal((4, 33, 96)).astype(np.float32)
    values[1:] *= 1000
    values[0, 7:] = 0
    model = product_model()
    together = run(model, values)
    assert np.array_equal(together[:1, :7], run(model, values[:1, :7]))
    assert np.array_equal(together[2:3, :1], run(model, values[2:3, :1]))
    assert not together[0, 7:].any()


@pytest.mark.parametrize("size", [0.01, 1, 30])
def test_the_values_of_gelu_are_rounded_over_their_own_range(size: float) -> None:
    values = (size * RNG.standard_normal((2, 9, 96))).astype(np.float32)
    values[0, :3] = -np.abs(values[0, :3])
    exact, model = run(gelu_model(), values), gelu_model()
    lighten(model)
    quantise_products(model)
    # A row's scale is at least that of the lowest value.
    largest = max(float(values.max()), 239 * 0.17 / 16)
    assert np.abs(run(model, values) - exact).max() < 0.02 * largest


def test_lighter_operators_give_what_the_fused_ones_gave() -> None:
    constants = {name: RNG.standard_normal(96).astype(np.float32) for name in ("gamma", "beta", "bias", "other")}
    norm = ["a", "x", "gamma", "beta", "bias"]
    model = model_of(
        [
            node("BiasGelu", ["x", "other"], "a"),
            node("SkipLayerNormalization", norm, "b", epsilon=1e-12),
            node("SkipLayerNormalization", ["b", "x", "gamma"], "y", epsilon=1e-5),
        ],
        96,
        constants,
    )
    values = RNG.standard_normal((2, 9, 96)).astype(np.float32)
    before = run(model, values)
    lighten(model)
    assert {each.op_type for each in model.graph.node} == {"FastGelu", "Add", "Shape", "Reshape", "LayerNormalization"}
    assert np.allclose(run(model, values), before, atol=5e-3)
