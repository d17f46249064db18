"""Rasad (رصد, "keeping watch"): a stream-processing worker for Arabic news."""

__version__ = "0.1.0"
