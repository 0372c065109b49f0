"""`ragib search`: one question for a person, or a file of them for an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from ragib.cli.common import (
    PATH,
    check_question,
    config_options,
    echo_json,
    example,
    filter_options,
    index_argument,
    json_option,
    note,
    progress_bar,
    verify_option,
)
from ragib.cli.where import parse_where
from ragib.config import RetrieverConfig, Using, load_config
from ragib.errors import InputError
from ragib.text import batched
from ragib.types import PUBLIC, Hit

if TYPE_CHECKING:
    from ragib.indexes.index import Index

BATCH = 64
"""Queries searched at once."""

_HITS = 10
"""Hits shown unless the command line or the configuration says otherwise."""


@click.command(
    epilog=example(
        "ragib search idx 'who wrote it?' -k 5 --where 'year>=1990'",
        "ragib search idx '\"iron bridge\" +river -toll' --syntax",
        "ragib search idx --queries queries.jsonl --run out.trec -k 100",
        "ragib search idx 'who wrote it?' --set retriever.store.name=qdrant",
    )
)
@index_argument
@click.argument("question", required=False)
@click.option(
    "-k",
    type=click.IntRange(min=1),
    help=f"Hits wanted. Default: retriever.k if set, else {_HITS}.",
)
@click.option(
    "--using", type=click.Choice(get_args(Using)), help="Default: retriever.using, hybrid."
)
@click.option(
    "--syntax", is_flag=True, help='Read "a phrase", +must, -not and term^2 in questions.'
)
@click.option("--queries", metavar="FILE", type=PATH, help='JSONL of {"_id", "text"}.')
@click.option("--run", metavar="FILE", type=PATH, help="Where the TREC run goes.")
@click.option("--tag", default="ragib", show_default=True, help="Name of the run.")
@config_options
@filter_options
@verify_option
@json_option
def search(
    directory: Path,
    question: str | None,
    k: int | None,
    using: Using | None,
    syntax: bool,
    queries: Path | None,
    run: Path | None,
    tag: str,
    config_file: Path | None,
    overrides: tuple[str, ...],
    where: tuple[str, ...],
    allow: tuple[str, ...],
    verify: bool,
    as_json: bool,
) -> None:
    """Find the passages that best match a question.

    With --queries and --run, answers a file of queries and writes a TREC run: documents, each with
    the score of its best passage.
    """
    batch = queries is not None and run is not None
    if batch == (question is not None) or (queries is None) != (run is None):
        raise click.UsageError("give a QUESTION, or both --queries and --run")
    if question is not None:
        check_question(question)
    config = load_config(config_file, overrides).retriever
    if k is None and "k" not in config.model_fields_set:
        k = _HITS
    asked = {"k": k, "using": using, "syntax": syntax or None}
    config = config.model_copy(update={name: v for name, v in asked.items() if v is not None})
    filters: dict[str, Any] = {"where": parse_where(where), "allow": (PUBLIC, *allow)}
    texts = _read_queries(queries) if queries else {}
    from ragib.indexes.qdrant.generation import open_index

    with open_index(directory, config.store, verify=verify) as index:
        if question is None:
            assert run is not None
            _write_run(index, texts, run, tag, config, filters)
        else:
            _show(question, index.retrieve([question], config, **filters)[0], as_json)


def _show(question: str, hits: Sequence[Hit], as_json: bool) -> None:
    if as_json:
        echo_json({"question": question, "hits": hits})
    else:
        from ragib.cli.render import show_hits

        show_hits(hits)


def _read_queries(path: Path) -> dict[str, str]:
    from ragib.eval.datasets import read_queries

    queries = read_queries(path)
    if not queries:
        raise InputError(f"{path}: no queries in it")
    for key, text in queries.items():
        if not text.strip():
            raise InputError(f"{path}: the text of query {key!r} is empty")
    return queries


def _write_run(
    index: Index,
    queries: Mapping[str, str],
    run: Path,
    tag: str,
    config: RetrieverConfig,
    filters: Mapping[str, Any],
) -> None:
    from ragib.cli.trec import trec_run

    done = 0
    with trec_run(run, tag) as write, progress_bar() as progress:
        for batch in batched(queries.items(), BATCH):
            found = _documents(index, [text for _, text in batch], config, filters)
            for (key, _), documents in zip(batch, found, strict=True):
                write(key, documents)
            done += len(batch)
            progress("search", done, len(queries))
    note(f"{len(queries)} queries, run in {run}")


def _documents(
    index: Index, texts: Sequence[str], config: RetrieverConfig, filters: Mapping[str, Any]
) -> list[dict[str, float]]:
    """Return the best `config.k` documents of each query, by their best passages."""
    from ragib.eval.measures import document_scores

    k, passages = config.k, 2 * config.k
    while True:
        wider = {"k": passages, "depth": max(config.depth, passages)}
        hits = index.retrieve(texts, config.model_copy(update=wider), **filters)
        documents = [document_scores(found) for found in hits]
        short = (
            len(scores) < k and len(found) == passages
            for scores, found in zip(documents, hits, strict=True)
        )
        if not any(short):
            return [dict(islice(best.items(), k)) for best in documents]
        passages *= 4
