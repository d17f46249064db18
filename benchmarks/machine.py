"""What a measurement was made on: processor, vector features, memory, load and versions."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Final

import psutil

from rasad.inference.backend import available_cores

FEATURES: Final = (
    *("avx2", "fma", "avx512f", "avx512bw", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"),
    *("asimddp", "i8mm", "bf16", "sve"),
)
"""Those that decide how fast matrix products are, as Linux names them on x86 and ARM."""
_CPUINFO: Final = Path("/proc/cpuinfo")
PACKAGES: Final = (
    *("rasad", "onnxruntime", "torch", "transformers", "tokenizers", "numpy"),
    *("faust-streaming", "aiokafka", "kafka-python"),
)


def cpuinfo() -> str:
    """What Linux says of this processor; nothing elsewhere."""
    return _CPUINFO.read_text(errors="replace") if _CPUINFO.is_file() else ""


def processor() -> tuple[str, list[str]]:
    """Its name, and those of FEATURES that it has; none are known where the system is not Linux."""
    lines = cpuinfo().splitlines()
    if not lines:
        return platform.processor() or platform.machine(), []
    facts = {key.strip(): value.strip() for key, colon, value in (line.partition(":") for line in lines) if colon}
    flags = set((facts.get("flags") or facts.get("Features") or "").split())
    return facts.get("model name", platform.machine()), [each for each in FEATURES if each in flags]


def description() -> list[str]:
    """Lines for the head of a report."""
    name, features = processor()
    versions = [f"{each} {metadata.version(each)}" for each in PACKAGES if _installed(each)]
    load = f"{os.getloadavg()[0]:.1f} runnable processes on average over the minute before"
    return [
        f"{name}, {available_cores()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB of memory; {load}",
        f"vector features: {', '.join(features) or 'unknown'}",
        f"{platform.system()} {platform.machine()}, Python {sys.version.split()[0]}, {', '.join(versions)}",
    ]


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
