"""Tables on stdout: as wide as they need to be, so that a pipe gets every character."""

from __future__ import annotations

from collections.abc import Sequence

from ragib.cli.common import output, printable


def show_table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> None:
    """Print a table, its first `left` columns to the left and the others to the right."""
    lines = [list(header), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    out = output()
    for number, line in enumerate(lines):
        cells = [
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text = "  ".join(cells).rstrip()
        out.print(text, style="bold" if number == 0 else "", soft_wrap=True)
