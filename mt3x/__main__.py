"""`python -m mt3x` is the `mt3x` command."""

from mt3x.cli.main import main

main()
