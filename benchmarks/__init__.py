"""Measurements of Rasad beside what else one might do; each module that prints a table is a command.

`python -m benchmarks.NAME --help`; `python -m benchmarks.run` runs them all. Needs the `benchmarks` extra.
"""
