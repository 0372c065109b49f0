"""`ragib info`: what is in an index, and what it weighs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ragib.cli.common import (
    PATH,
    echo_json,
    example,
    index_argument,
    json_option,
    output,
    printable,
    progress_bar,
    verify_option,
)


@click.command(epilog=example("ragib info idx", "ragib info idx --measure --json"))
@index_argument
@click.option(
    "--measure", is_flag=True, help="Measure recall against exact search, time and memory."
)
@click.option(
    "--queries",
    metavar="FILE",
    type=PATH,
    help='Measure with these, JSONL of {"_id", "text"}; else with pieces of passages.',
)
@verify_option
@json_option
def info(directory: Path, measure: bool, queries: Path | None, verify: bool, as_json: bool) -> None:
    """Describe an index: documents, passages, kinds, bytes, encoder, generation."""
    if queries is not None and not measure:
        raise click.UsageError("--queries is of use with --measure only")
    from ragib.indexes.index import Index

    with Index.open(directory, verify=verify) as index:
        facts = index.info()
    if measure:
        facts["measured"] = _measure(directory, queries)
    if as_json:
        echo_json(facts)
    else:
        show_info(facts)


def _measure(directory: Path, queries: Path | None) -> dict[str, Any]:
    from ragib.indexes.measure import measure_index

    texts = None
    if queries is not None:
        from ragib.eval.datasets import read_queries

        texts = list(read_queries(queries).values())
    with progress_bar() as progress:
        return measure_index(directory, texts, progress=progress)


def show_info(facts: Mapping[str, Any]) -> None:
    """Print facts one a line, nested ones with dotted names; the configuration is left to JSON."""
    out = output()
    rows = _flat({key: value for key, value in facts.items() if key != "config"})
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        shown = "none" if value is None else value
        if isinstance(value, int) and not isinstance(value, bool):
            shown = f"{value:,}"
        out.print(f"{name:<{width}}  {printable(str(shown))}")


def _flat(facts: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in facts.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            rows += _flat(value, f"{name}.")
        elif isinstance(value, list | tuple):
            rows.append((name, json.dumps(value, ensure_ascii=False)))
        else:
            rows.append((name, value))
    return rows
