"""`rasad config`: every setting and where it came from."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from rasad.cli.options import ConfigOption, out, settings_of


def config(
    config: ConfigOption = None,
) -> None:
    """Print every setting, its value and where it came from; secrets are masked.

    A TOML file is weaker than RASAD_GROUP__KEY in the environment, and that is weaker than a flag.
    """
    loaded = settings_of(config)
    table = Table(box=None, pad_edge=False)
    for column in ("setting", "value", "from"):
        table.add_column(column, overflow="fold")
    for row in loaded.rows():
        table.add_row(*map(Text, (row.key, row.value, row.origin)))
    out.print(table)
