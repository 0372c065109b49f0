"""`ragib compact`: one segment again."""

from __future__ import annotations

from pathlib import Path

import click

from ragib.cli.common import example, index_argument, progress_bar


@click.command(epilog=example("ragib compact idx"))
@index_argument
def compact(directory: Path) -> None:
    """Merge what additions and deletions left behind.

    Searches find the same as before; they get faster and the index smaller.
    """
    from ragib.indexes.index import Index

    with Index.open(directory) as index:
        before = index.info()["bytes"]["total"]
        with progress_bar() as progress:
            after = index.compact(progress=progress).info()["bytes"]["total"]
    click.echo(f"{before:,} bytes before, {after:,} now")
