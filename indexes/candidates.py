"""Multi-vector search among what other kinds of index propose.

Scoring every passage by MaxSim takes time in proportion to the corpus. Terms and single vectors
find most of the same passages sooner: each proposes its best, and only those are scored. Filters
and access lists hold for the proposals, so nothing else is ever scored, nor read from the disk
where the file of token vectors is larger than memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from ragib.config import KINDS, Candidates, Kind, RetrieverConfig
from ragib.errors import InputError
from ragib.indexes.base import Mask, Queries, TopK
from ragib.indexes.snapshot import Snapshot

_PROPOSERS: dict[Candidates, tuple[Kind, ...]] = {
    "all": (),
    "dense": ("dense",),
    "sparse": ("sparse",),
    "both": ("dense", "sparse"),
}


def proposers(config: RetrieverConfig, kinds: Sequence[Kind], have: Sequence[Kind]) -> list[Kind]:
    """Return the kinds that propose what multi-vector search scores.

    Parameters
    ----------
    config
        Names them in `candidates`.
    kinds
        What is searched; without multi-vector among them nobody proposes anything.
    have
        What the index has.

    Raises
    ------
    InputError
        One of them is not in the index.
    """
    asked = list(_PROPOSERS[config.candidates]) if "multivector" in kinds else []
    for kind in asked:
        if kind not in have:
            raise InputError(
                f"candidates: {kind!r} is not in this index (it has {', '.join(have)})"
            )
    return asked


def find_among(
    snapshot: Any,  # noqa: ANN401
    kinds: Sequence[Kind],
    asked: Sequence[Kind],
    queries: Queries,
    allowed: Mask | None,
    config: RetrieverConfig,
) -> dict[Kind, TopK]:
    """Search kinds, multi-vector among them, which scores what the others propose.

    Parameters
    ----------
    snapshot
        The generation of an index directory.
    kinds
        What is searched.
    asked
        The kinds that propose, at least one; see `proposers`.
    queries
        With what `kinds` and `asked` need of them.
    allowed
        Flags of the rows that may be returned; `None` allows all live ones.
    config
        `depth` are the proposals of each kind, no fewer than `k`.

    Returns
    -------
    dict[Kind, TopK]
        Of multi-vector search the best `depth` rows, of it alone the best `k`.

    Raises
    ------
    InputError
        The index is on a server.
    """
    if not isinstance(snapshot, Snapshot):
        raise InputError(
            "candidates: an index on a server scores what its other kinds propose anyhow; set "
            "retriever.store.candidates instead"
        )
    from ragib.indexes.multivector_search import AHEAD, MultiVectorSearcher

    searcher = cast(MultiVectorSearcher, snapshot.searcher("multivector"))
    depth = max(config.k, config.depth)
    others = [kind for kind in KINDS if kind in asked or (kind in kinds and kind != "multivector")]
    found: dict[Kind, TopK] = {}
    for kind in others:
        found[kind] = snapshot.searcher(kind).search(queries, depth, allowed)
        if kind in asked:
            # Their vectors come from the disk while the next kind proposes.
            searcher.read_ahead(found[kind].rows[:AHEAD])
    rows = np.concatenate([found[kind].rows for kind in asked], axis=1)
    wanted = config.k if len(kinds) == 1 else depth
    found["multivector"] = searcher.search_among(queries, wanted, rows)
    return {kind: found[kind] for kind in kinds}
