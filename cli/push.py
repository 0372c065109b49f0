"""`ragib push`: an index onto a Qdrant server."""

from __future__ import annotations

from pathlib import Path

import click

from ragib.cli.common import (
    echo_json,
    example,
    index_argument,
    json_option,
    note,
    progress_bar,
    verify_option,
)
from ragib.config import StoreConfig


@click.command(
    epilog=example(
        "ragib push idx --to qdrant --url http://127.0.0.1:6333",
        "ragib ask idx 'who wrote it?' --set retriever.store.name=qdrant",
    )
)
@index_argument
@click.option("--to", "store", type=click.Choice(["qdrant"]), default="qdrant", show_default=True)
@click.option("--url", required=True, help="Address of the server; nothing else is contacted.")
@click.option("--collection", metavar="NAME", help="Its name there. Default: that of DIR.")
@click.option(
    "--api-key-env",
    metavar="VAR",
    default=StoreConfig().api_key_env,
    show_default=True,
    help="Environment variable with the API key.",
)
@verify_option
@json_option
def push(
    directory: Path,
    store: str,
    url: str,
    collection: str | None,
    api_key_env: str,
    verify: bool,
    as_json: bool,
) -> None:
    """Write an index to a Qdrant server.

    The passages go into a new collection with all that is indexed of them; once it is complete, one
    step makes NAME an alias of it. If the push is interrupted, what is searched stays as it was,
    and the same command goes on. The collection before is kept until the next push. BM25 weights
    are those of the passages pushed, so later changes reach the server with the next push.
    """
    from ragib.indexes.qdrant.connect import connect
    from ragib.indexes.qdrant.push import push as push_to
    from ragib.indexes.snapshot import Snapshot

    server = connect(url, api_key_env)
    snapshot = Snapshot(directory, verify=verify)
    try:
        with snapshot.explained(), progress_bar() as progress:
            pushed = push_to(snapshot, server, collection or directory.resolve().name, progress)
    finally:
        snapshot.close()
        server.client.close()
    if pushed.unfinished:
        note(
            f"left over from pushes that did not finish: {', '.join(pushed.unfinished)}; "
            "delete them unless a push is running"
        )
    if as_json:
        echo_json(pushed)
    else:
        click.echo(
            f"{pushed.passages:,} passages in {pushed.collection}, {pushed.sent:,} sent now; "
            f"{pushed.alias} leads there"
        )
