"""`ragib index`: read a corpus, build its indexes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ragib.cli.common import (
    PATH,
    config_options,
    echo_json,
    example,
    json_option,
    progress_bar,
    skip_bad_option,
)
from ragib.cli.corpus import documents_of
from ragib.cli.info import show_info
from ragib.config import KINDS, IndexConfig, load_config


@click.command(
    epilog=example(
        "ragib index corpus.jsonl.gz --out idx",
        "ragib index docs/ --out idx --kind sparse --set index.chunk.max_tokens=120",
        "ragib index docs/ --out idx --plan",
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
@click.option(
    "--plan", is_flag=True, help="Predict passages, disk, memory and time; build nothing."
)
@json_option
def index(
    corpus: Path,
    out: Path,
    kinds: tuple[str, ...],
    config_file: Path | None,
    overrides: tuple[str, ...],
    skip_bad: bool,
    overwrite: bool,
    plan: bool,
    as_json: bool,
) -> None:
    """Build the indexes of a corpus.

    CORPUS is a JSONL, CSV, TSV or Parquet file, a folder of text, Markdown, HTML or PDF files, or
    a BEIR folder; any file may be gzip'd. What it is is seen from its content. If the build is
    interrupted, the same command resumes it. One that the disk or the memory will not do for is
    refused before anything is encoded; --plan tells ahead of it.
    """
    if kinds:
        overrides = (*overrides, f"index.kinds={json.dumps(list(dict.fromkeys(kinds)))}")
    config = load_config(config_file, overrides)
    if plan:
        _plan(corpus, out, config.index, skip_bad, as_json)
        return
    from ragib.indexes.index import Index

    with documents_of(corpus, skip_bad) as documents, progress_bar() as progress:
        built = Index.build(documents, out, config.index, overwrite=overwrite, progress=progress)
    with built:
        _show(built.info(), as_json)


def _plan(corpus: Path, out: Path, config: IndexConfig, skip_bad: bool, as_json: bool) -> None:
    from ragib.indexes.plan import plan_index

    with documents_of(corpus, skip_bad) as documents, progress_bar() as progress:
        found = plan_index(out, documents, config, progress=progress)
    _show(found.facts(), as_json)
    found.check()


def _show(facts: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        echo_json(facts)
    else:
        show_info(facts)
