"""`ragib ask`: the whole way from a question to an answer."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from ragib.cli.common import (
    check_question,
    config_options,
    echo_json,
    example,
    filter_options,
    index_argument,
    json_option,
    verify_option,
)
from ragib.cli.where import parse_where
from ragib.config import GeneratorConfig, load_config
from ragib.types import PUBLIC

GENERATORS = get_args(GeneratorConfig.model_fields["name"].annotation)


@click.command(
    epilog=example(
        "ragib ask idx 'who wrote it?'",
        "ragib ask idx 'where was the author of it born?' --set steps.mode=iterate",
        "ragib ask idx 'who wrote it?' --generator openai --set generator.model=my-model --json",
    )
)
@index_argument
@click.argument("question")
@click.option("--generator", type=click.Choice(GENERATORS), help="Who answers. Default: reader.")
@config_options
@filter_options
@verify_option
@json_option
def ask(
    directory: Path,
    question: str,
    generator: str | None,
    config_file: Path | None,
    overrides: tuple[str, ...],
    where: tuple[str, ...],
    allow: tuple[str, ...],
    verify: bool,
    as_json: bool,
) -> None:
    """Answer a question from an index, with citations.

    Shows the answer, where it stands (document and characters), the evidence that was kept, words
    before and after compression, and the time of each stage; with `steps.mode` set, what each step
    searched for and brought.
    """
    check_question(question)
    if generator:
        overrides = (*overrides, f"generator.name={generator}")
    config = load_config(config_file, overrides)
    condition = parse_where(where)
    from ragib.indexes.qdrant.generation import open_index
    from ragib.pipeline import RAG

    with open_index(directory, config.retriever.store, verify=verify) as index:
        rag = RAG.from_config(config, index=index)
        try:
            answer = rag.ask(question, where=condition, allow=(PUBLIC, *allow))
        finally:
            rag.close()
    if as_json:
        echo_json(answer)
    else:
        from ragib.cli.render import show_answer

        show_answer(answer)
