"""`ragib demo`: the whole way, on text that every machine with Python has."""

from __future__ import annotations

import sys
from pathlib import Path
from time import perf_counter

import click

from ragib.cli.common import PATH, example, note, output, progress_bar
from ragib.config import Config, GeneratorConfig

QUESTIONS = (
    "Which function returns the greatest common divisor?",
    "What happens to the median when the number of data points is even?",
    "Who is responsible for deleting the directory that mkdtemp creates?",
)


@click.command(epilog=example("ragib --offline demo", "ragib demo --out /tmp/demo"))
@click.option(
    "--out",
    metavar="DIR",
    type=PATH,
    default=Path(".demo"),
    show_default=True,
    help="Where the index goes.",
)
def demo(out: Path) -> None:
    """Index this Python's own documentation and ask it three questions.

    The corpus are the docstrings of the standard library. It is indexed three ways (dense,
    multi-vector, sparse); each answer comes with its citations (module and characters), the
    evidence kept, words before and after compression, and the time of each stage.
    """
    from ragib.cli.render import show_answer
    from ragib.corpus.stdlib import documents
    from ragib.indexes.index import Index
    from ragib.pipeline import RAG

    # Docstrings answer in whole sentences, and the span reader has learnt from other kinds of text.
    config = Config(generator=GeneratorConfig(name="sentence"))
    version = ".".join(map(str, sys.version_info[:3]))
    note(f"indexing the documentation of Python {version}'s standard library in {out}")
    begin = perf_counter()
    with progress_bar() as progress:
        index = Index.build(documents(), out, config.index, overwrite=True, progress=progress)
    screen = output()
    with index:
        facts = index.info()
        screen.print(
            f"{facts['documents']} documents, {facts['passages']} passages, "
            f"{' + '.join(config.index.kinds)}: {perf_counter() - begin:.1f} s"
        )
        rag = RAG.from_config(config, index=index)
        for question in QUESTIONS:
            screen.print()
            show_answer(rag.ask(question))
    screen.print()
    screen.print(f"ask it yourself: ragib ask {out} 'your question' --generator sentence")
