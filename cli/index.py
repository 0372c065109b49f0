"""`ragib index`: read a corpus, build its indexes."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ragib.cli.common import (
    PATH,
    config_options,
    example,
    progress_bar,
    skip_bad_option,
)
from ragib.cli.corpus import documents_of
from ragib.cli.info import show_info
from ragib.config import KINDS, load_config


@click.command(
    epilog=example(
        "ragib index corpus.jsonl.gz --out idx",
        "ragib index docs/ --out idx --kind sparse --set index.chunk.max_tokens=120",
    )
)
@click.argument("corpus", type=PATH)
@click.option("--out", required=True, metavar="DIR", type=PATH, help="Where the index goes.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(KINDS),
    help="Build this kind only; may be repeated. Default: all three.",
)
@config_options
@skip_bad_option
@click.option("--overwrite", is_flag=True, help="Replace the index that is there.")
def index(
    corpus: Path,
    out: Path,
    kinds: tuple[str, ...],
    config_file: Path | None,
    overrides: tuple[str, ...],
    skip_bad: bool,
    overwrite: bool,
) -> None:
    """Build the indexes of a corpus.

    CORPUS is a JSONL, CSV, TSV or Parquet file, a folder of text, Markdown, HTML or PDF files, or
    a BEIR folder; any file may be gzip'd. What it is is seen from its content. If the build is
    interrupted, the same command resumes it.
    """
    if kinds:
        overrides = (*overrides, f"index.kinds={json.dumps(list(dict.fromkeys(kinds)))}")
    config = load_config(config_file, overrides)
    from ragib.indexes.index import Index

    with documents_of(corpus, skip_bad) as documents, progress_bar() as progress:
        built = Index.build(documents, out, config.index, overwrite=overwrite, progress=progress)
    with built:
        show_info(built.info())
