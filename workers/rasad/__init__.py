"""Rasad (رصد, "keeping watch"): a stream-processing worker for Arabic news."""

import importlib

__version__ = "0.2.0"
__all__ = ["__version__", "subscribe"]


def __getattr__(name: str) -> object:
    """`rasad.subscribe`, imported when it is first asked for: `import rasad` alone loads no Kafka client (PEP 562).

    By name, because an import statement would make everything that imports `rasad` depend on Kafka; type checkers read
    `__init__.pyi`.
    """
    if name == "subscribe":
        return importlib.import_module("rasad.streams.subscriber").subscribe
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
