"""`ragib serve`: the pipeline over HTTP, for programs and for a person with a browser."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from ragib.cli.common import config_options, example, index_argument, note, verify_option
from ragib.config import load_config
from ragib.errors import RagibError
from ragib.extras import require

PACKAGES = ("starlette", "uvicorn", "prometheus_client")


@click.command(
    epilog=example(
        "ragib serve idx",
        "ragib serve idx --config configs/server.yaml --host 0.0.0.0 --api-key-env RAGIB_KEYS",
    )
)
@index_argument
@config_options
@verify_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=8080,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="0 takes a free one.",
)
@click.option(
    "--api-key-env",
    "variable",
    metavar="VAR",
    help="Environment variable with the API keys, separated by commas.",
)
@click.option(
    "--concurrency",
    metavar="N",
    type=click.IntRange(min=1),
    help="Requests worked on at once. Default: as many as there are cores; with openai and vllm "
    "at least generator.concurrency.",
)
@click.option(
    "--queue",
    metavar="N",
    default=64,
    show_default=True,
    type=click.IntRange(min=0),
    help="Requests that wait for their turn; more are told to come back later.",
)
@click.option(
    "--deadline",
    metavar="SECONDS",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Time of a request, waiting included.",
)
@click.option(
    "--grace",
    metavar="SECONDS",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Time to finish what is in flight when the server ends.",
)
def serve(
    directory: Path,
    config_file: Path | None,
    overrides: tuple[str, ...],
    verify: bool,
    host: str,
    port: int,
    variable: str | None,
    concurrency: int | None,
    queue: int,
    deadline: float,
    grace: float,
) -> None:
    """Serve an index over HTTP, for programs and for a browser.

    There is a page to ask on, an OpenAI-compatible endpoint, and metrics. Prints its address when
    it is ready. SIGTERM or Ctrl-C ends it: no new connections, what is in flight is answered, exit
    code 0; or 1 if something had to be cut off.
    """
    for package in PACKAGES:
        require(package, "ragib serve")
    from ragib.indexes.qdrant.generation import open_index
    from ragib.pipeline import RAG
    from ragib.serve.listening import address_of, listen
    from ragib.serve.running import serve as run
    from ragib.serve.settings import Settings, default_concurrency, read_keys
    from ragib.serve.warming import share_cores, warm_up

    config = load_config(config_file, overrides)
    keys = read_keys(variable)
    at_once = concurrency or default_concurrency(config.generator)
    settings = Settings(at_once, queue, deadline, grace, keys=keys)
    store = config.retriever.store
    with open_index(directory, store, verify=verify) as index, listen(host, port, keys) as listener:
        rag = RAG.from_config(config, index=index)
        asked = config.reranker.generator or config.generator
        warm_up(rag, generator=config.generator.name != "openai", reranker=asked.name != "openai")
        share_cores(at_once)
        click.echo(address_of(listener))
        sys.stdout.flush()
        note(
            f"serving {directory} ({len(index):,} passages), {config.generator.name} answers, "
            f"{at_once} at once; Ctrl-C ends it"
        )
        ended = run(rag, settings, listener)
        if not ended.stuck:
            rag.close()
    problem = f"{ended.cut} requests were not answered; a longer --grace gives them more time"
    if ended.stuck:
        # Python would wait for threads that may never come to their end.
        if ended.cut:
            note(problem)
        sys.stderr.flush()
        os._exit(bool(ended.cut))
    if ended.cut:
        raise RagibError(problem)
