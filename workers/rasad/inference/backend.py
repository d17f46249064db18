"""What runs an encoder: one Protocol, and ONNX Runtime behind it (PyTorch: rasad.inference.torch_backend)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_errors

from rasad.inference.bundle import Bundle, BundleError, Head

Logits = npt.NDArray[np.float32]

_LOAD_ERRORS: Final = (
    runtime_errors.Fail,
    runtime_errors.InvalidArgument,
    runtime_errors.InvalidGraph,
    runtime_errors.InvalidProtobuf,
    runtime_errors.NoSuchFile,
    runtime_errors.NotImplemented,
    runtime_errors.RuntimeException,
)


BackendKind = Literal["onnx", "torch"]

BUNDLED_GRAPH: Final = "onnx"
"""The name of the backend that runs a bundle's own graph."""


class Backend(Protocol):
    """Runs a padded batch through the encoder and the heads asked for.

    `name` tells it from others that give other logits for one bundle.
    `batch_invariant` states that a sequence's logits are the same bits in any batch and under any padding.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def batch_invariant(self) -> bool: ...  # noqa: D102

    def run(
        self, input_ids: npt.NDArray[np.int64], attention_mask: npt.NDArray[np.int64], heads: Sequence[str]
    ) -> Mapping[str, Logits]:
        """Logits by head name: `[batch, length, labels]` of a token head, `[batch, labels]` of a sequence head.

        A relation head gives `[batch, length, values]` (rasad.enrich.relations).

        `input_ids` and `attention_mask` are `[batch, length]`; the mask is 1 on tokens, 0 on padding.
        """
        ...


def open_backend(kind: BackendKind, bundle: Bundle, *, threads: int = 0) -> Backend:
    """The backend of that kind for a bundle. Raises BundleError where it cannot run it, or is not installed."""
    if kind == "onnx":
        return OnnxBackend(bundle, threads=threads)
    try:
        from rasad.inference.torch_backend import TorchBackend
    except ModuleNotFoundError as error:
        raise BundleError(
            f"models.backend = torch needs {error.name}: pip install 'rasad[torch]', or set models.backend to onnx"
        ) from error
    return TorchBackend(bundle, threads=threads)


def available_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def session_options(threads: int = 0) -> onnxruntime.SessionOptions:
    """How ONNX Runtime runs a bundle's graph; `threads` as for `OnnxBackend`."""
    options = onnxruntime.SessionOptions()
    # Left to itself ONNX Runtime counts the machine's cores and pins threads to them, allowed or not; a given
    # number it leaves to the scheduler, which knows what else runs here.
    options.intra_op_num_threads = threads or available_cores()
    # The graph is one chain: a second pool would only compete for the same cores.
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # The token budget bounds what the arena grows to, some 60 MB for both bundles; each batch then reuses it.
    options.enable_cpu_mem_arena = True
    # Batches differ in shape nearly every time, and a memory pattern is kept for each shape ever seen.
    options.enable_mem_pattern = False
    # Threads that spin between batches take the cores from tokenising, decoding and the broker's client.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


class OnnxBackend:
    """ONNX Runtime on the CPU.

    `threads` is how many threads one operator may use; 0 stands for every core this process may run on. `graph` is
    another graph with the same inputs and outputs, such as the fp32 one, to run in place of the bundle's. Raises
    BundleError if the graph does not load or its inputs and outputs are not those that the manifest promises.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 0, graph: Path | None = None) -> None:
        path = graph or bundle.model
        self.name = BUNDLED_GRAPH if graph is None else f"onnx {graph.name}"
        self.batch_invariant = graph is None and bundle.manifest.batch_invariant
        options = session_options(threads)
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except _LOAD_ERRORS as error:
            raise BundleError(f"{path}: ONNX Runtime cannot load it: {error}") from error
        self._wants_types = _check_graph(self._session, bundle, path)

    def run(
        self, input_ids: npt.NDArray[np.int64], attention_mask: npt.NDArray[np.int64], heads: Sequence[str]
    ) -> Mapping[str, Logits]:
        """See Backend.run. Only the heads asked for are computed."""
        feed = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self._wants_types:
            feed["token_type_ids"] = np.zeros_like(input_ids)
        outputs = self._session.run([f"logits_{name}" for name in heads], feed)
        return dict(zip(heads, outputs, strict=True))


def _check_width(where: str, head: Head, width: int) -> None:
    """Raises BundleError where a head cannot give that many values."""
    labels = len(head.labels)
    if head.kind != "relation" and width != labels:
        raise BundleError(f"{where} gives {width} labels, bundle.json lists {labels}")
    if head.kind == "relation" and (width % (2 * labels) != labels or width < 5 * labels):
        raise BundleError(f"{where} gives {width} values, which are no {2 * labels} vectors and {labels} scores")


def _check_graph(session: onnxruntime.InferenceSession, bundle: Bundle, path: Path) -> bool:
    """Whether the graph wants token types; raises BundleError where it is not the graph of its manifest."""
    inputs = {node.name for node in session.get_inputs()}
    if not {"input_ids", "attention_mask"} <= inputs <= {"input_ids", "attention_mask", "token_type_ids"}:
        raise BundleError(
            f"{path}: its inputs are {', '.join(sorted(inputs))}; wanted are input_ids and attention_mask"
        )
    outputs = {node.name: node.shape for node in session.get_outputs()}
    for name, head in bundle.manifest.heads.items():
        shape = outputs.get(f"logits_{name}")
        if shape is None:
            raise BundleError(f"{path}: no output logits_{name}, though bundle.json has a head {name!r}")
        rank = 2 if head.kind == "sequence" else 3
        if len(shape) != rank:
            raise BundleError(f"{path}: logits_{name} has {len(shape)} dimensions, a {head.kind} head has {rank}")
        if isinstance(shape[-1], int):
            _check_width(f"{path}: logits_{name}", head, shape[-1])
    return "token_type_ids" in inputs
