"""`python -m ragib` is the command line."""

from __future__ import annotations

from ragib.cli.main import main

main()
