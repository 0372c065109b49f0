"""Which collection an alias leads to, and the one step in which it comes to lead to another."""

from __future__ import annotations

from typing import Any

from ragib.errors import StoreError
from ragib.indexes.qdrant.connect import Server, explained, models
from ragib.indexes.qdrant.head import HeadReader
from ragib.indexes.qdrant.layout import is_of


def collections(server: Server) -> list[str]:
    """Return the names of all collections, sorted."""
    with explained(server):
        return sorted(c.name for c in server.client.get_collections().collections)


def aliases(server: Server) -> dict[str, str]:
    """Return the collection that each alias leads to."""
    with explained(server):
        found = server.client.get_aliases().aliases
    return {alias.alias_name: alias.collection_name for alias in found}


def resolve(server: Server, alias: str) -> str:
    """Return the collection an alias leads to, or the collection of that name itself.

    Raises
    ------
    StoreError
        There is neither.
    """
    collection = aliases(server).get(alias, alias)
    if collection not in collections(server):
        raise StoreError(
            f"{server.url}: there is no collection {alias!r}; push an index there with "
            f"`ragib push DIR --url {server.url} --collection {alias}`"
        )
    return collection


def switch(server: Server, alias: str, collection: str) -> tuple[list[str], list[str]]:
    """Let an alias lead to a collection, then delete what nobody can be reading any more.

    The collection it led to before is kept, and so is every one that another alias leads to.

    Returns
    -------
    tuple
        The older collections of the alias that were deleted; and those that no push has finished,
        which are left alone since one may be under way.
    """
    m = models()
    before = aliases(server).get(alias)
    if before == collection:
        return [], []
    steps: list[Any] = []
    if before is not None:
        steps.append(m.DeleteAliasOperation(delete_alias=m.DeleteAlias(alias_name=alias)))
    create = m.CreateAlias(collection_name=collection, alias_name=alias)
    steps.append(m.CreateAliasOperation(create_alias=create))
    with explained(server):
        server.client.update_collection_aliases(change_aliases_operations=steps)
    return _tidy(server, alias, {before, *aliases(server).values()})


def _tidy(server: Server, alias: str, keep: set[str | None]) -> tuple[list[str], list[str]]:
    removed: list[str] = []
    unfinished: list[str] = []
    for name in collections(server):
        if name in keep or not is_of(alias, name):
            continue
        if HeadReader(server, name).head() is None:
            unfinished.append(name)
        else:
            with explained(server):
                server.client.delete_collection(name)
            removed.append(name)
    return removed, unfinished
