"""`python -m rasad.cli`: the `rasad` command."""

from rasad.cli import main

main()
