"""What this machine computes fastest in, measured rather than assumed."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext

import torch


def device() -> torch.device:
    """The first CUDA device where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def gemm_rate(dtype: torch.dtype, *, seconds: float = 0.4) -> float:
    """GFLOP/s of a linear layer of this project's shapes in `dtype`, best of repeated runs."""
    rows, inner, outer = 2048, 384, 1536
    left = torch.randn(rows, inner, device=device()).to(dtype)
    right = torch.randn(outer, inner, device=device()).to(dtype)
    best = 0.0
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        start = time.perf_counter()
        torch.nn.functional.linear(left, right)
        if left.is_cuda:
            torch.cuda.synchronize()
        best = max(best, 2 * rows * inner * outer / (time.perf_counter() - start) / 1e9)
    return best


def autocast() -> AbstractContextManager[object]:
    """bf16 autocast where a probe finds it at least 1.3 times as fast as fp32, else plain fp32."""
    if gemm_rate(torch.bfloat16) >= 1.3 * gemm_rate(torch.float32):
        return torch.autocast(device().type, dtype=torch.bfloat16)
    return nullcontext()
