"""From base weights to shipped bundles; each module is a command: `python -m training.NAME --help`."""
