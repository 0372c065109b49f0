"""`ragib add`: more documents for an index."""

from __future__ import annotations

from pathlib import Path

import click

from ragib.cli.common import PATH, example, index_argument, progress_bar, skip_bad_option
from ragib.cli.corpus import documents_of


@click.command(epilog=example("ragib add idx new.jsonl", "ragib add idx new/ --skip-bad"))
@index_argument
@click.argument("corpus", type=PATH)
@skip_bad_option
def add(directory: Path, corpus: Path, skip_bad: bool) -> None:
    """Add documents to an index, or replace them.

    A document whose id the index already has takes the place of the old one. Chunks, encoder and
    kinds are those the index was built with. If it is interrupted, the index stays as it was, and
    the same command resumes.
    """
    from ragib.indexes.index import Index

    with Index.open(directory) as index:
        before = index.info()
        with documents_of(corpus, skip_bad) as documents, progress_bar() as progress:
            changed = index.add(documents, progress=progress)
        click.echo(_difference(before["documents"], changed.info()["documents"]))


def _difference(before: int, after: int) -> str:
    return f"{after} documents, {after - before} more than before"
