"""`ragib delete`: documents out of an index."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ragib.cli.common import example, index_argument
from ragib.errors import InputError


@click.command(
    epilog=example("ragib delete idx --ids gone.txt", "echo doc-17 | ragib delete idx --ids -")
)
@index_argument
@click.option(
    "--ids",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Document ids, one a line; - reads stdin.",
)
@click.option("--missing-ok", is_flag=True, help="Ids that the index does not have are no error.")
def delete(directory: Path, ids: Path, missing_ok: bool) -> None:
    """Delete documents from an index.

    They are gone from every search at once; `ragib compact` gives their bytes back.
    """
    wanted = _read_ids(ids)
    from ragib.indexes.index import Index

    with Index.open(directory) as index:
        count = index.delete(wanted, missing_ok=missing_ok)
    click.echo(f"{count} documents deleted")


def _read_ids(path: Path) -> list[str]:
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        lines = data.decode("utf-8-sig").split("\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8") from None
    ids = [line.removesuffix("\r") for line in lines if line.strip()]
    if not ids:
        raise InputError(f"{path}: no ids in it; expected one document id a line")
    return ids
