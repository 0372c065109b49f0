"""An index measures itself: recall against exact search, time a query, bytes and memory.

Without questions of one's own, pieces of the index's passages stand in for them: what they find
is easier than what people ask, but how long it takes, and what a search structure misses, shows.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from ragib.config import Kind
from ragib.encoders import Encoder
from ragib.errors import InputError
from ragib.indexes.base import Queries
from ragib.indexes.build import Progress
from ragib.indexes.engines import encoder_for
from ragib.indexes.manifest import describe
from ragib.indexes.recall import recall
from ragib.indexes.sizes import TERM_IN_MEMORY
from ragib.indexes.snapshot import Snapshot
from ragib.text import batched, words

K = 10
QUERIES = 100
"""Questions that are drawn."""

_BATCH = 16
_WORDS = 8
_WARM_UP = 10
_SEED = 0


def measure_index(
    path: Path,
    questions: Sequence[str] | None = None,
    *,
    encoder: Encoder | None = None,
    progress: Progress,
) -> dict[str, Any]:
    """Measure every kind of an index.

    Parameters
    ----------
    path
        The index directory.
    questions
        What is asked; `None` draws `QUERIES` pieces of passages, the same each time.
    encoder
        Used in place of loading the one the index names.
    progress
        Called with (stage, done, total).

    Returns
    -------
    dict[str, Any]
        `queries` counts them, and `kinds` has for each kind `recall@10` (see
        `ragib.indexes.recall`), `p50_ms` and `p95_ms` of one question at a time from its text to
        ten passages, `encode_p50_ms` of it for the encoder, `bytes_per_passage`, and
        `memory_bytes`, what searching comes to hold, mapped files included, the encoder not.

    Raises
    ------
    InputError
        There is nothing in the index, or no question.
    """
    with closing(Snapshot(path)) as snapshot, snapshot.explained():
        texts = draw_questions(snapshot) if questions is None else list(questions)
        if not texts or not snapshot.alive.any():
            raise InputError(f"{path}: there is nothing to measure: no passages, or no questions")
        manifest = snapshot.manifest
        encoder = encoder_for(manifest.config, encoder, manifest.encoder)
        kinds: dict[str, Any] = {}
        for kind in manifest.config.kinds:
            times = _times(snapshot, kind, encoder, texts, progress)
            progress(f"{kind}: exact", 0, 1)
            search = snapshot.searcher(kind).search
            batches = [_encode(snapshot, kind, encoder, part) for part in batched(texts, _BATCH)]
            found = np.concatenate([search(batch, K, None).rows for batch in batches])
            shares = recall(snapshot, kind, _encode(snapshot, kind, encoder, texts), found)
            progress(f"{kind}: exact", 1, 1)
            known = shares[~np.isnan(shares)]
            kinds[kind] = {
                f"recall@{K}": round(float(known.mean()), 4) if len(known) else None,
                **times,
                "bytes_per_passage": describe(manifest)["kinds"][kind]["bytes_per_passage"],
                "memory_bytes": memory(snapshot, kind),
            }
        return {"queries": len(texts), "drawn": questions is None, "kinds": kinds}


def draw_questions(snapshot: Snapshot, count: int = QUERIES) -> list[str]:
    """Draw pieces of eight words out of live passages, one a passage, always the same ones."""
    rng = np.random.default_rng(_SEED)
    rows = np.flatnonzero(snapshot.alive)
    chosen = np.sort(rng.choice(rows, min(count, len(rows)), replace=False))
    passages = snapshot.rows(chosen.tolist())
    pieces = []
    for row in chosen.tolist():
        text = passages[row].text
        spans = words(text)
        first = int(rng.integers(max(len(spans) - _WORDS, 0) + 1))
        piece = spans[first : first + _WORDS]
        pieces.append(text[piece[0][0] : piece[-1][1]])
    return pieces


def memory(snapshot: Snapshot, kind: Kind) -> int:
    """Predict how many bytes searching one kind comes to hold, mapped files included."""
    size = 0
    rows = len(snapshot.alive)
    for folder in snapshot.folders:
        held = {path.name: path.stat().st_size for path in (folder / kind).iterdir()}
        match kind:
            case "dense":
                # With codes or a structure, of the vectors only those of candidates are read.
                small = held.get("rabitq.npy", held["vectors.npy"])
                size += held.get("structure.faiss", small)
            case "multivector":
                # The codes are read whole, and where each passage lies is kept aside.
                size += held["codes.npy"] + held["table.npy"] + held["scales.npy"]
            case "sparse":
                # Weights are of four bytes, as the rows are, and terms become a dictionary.
                size += 2 * held["rows.npy"] + held["values.npy"] + held["lengths.npy"]
                size += held["indptr.npy"] // 8 * TERM_IN_MEMORY
    return size + (16 * rows if kind == "multivector" else 4 * rows)


def _times(
    snapshot: Snapshot,
    kind: Kind,
    encoder: Encoder | None,
    texts: Sequence[str],
    progress: Progress,
) -> dict[str, float | None]:
    """Ask one question after the other, from its text to its passages."""
    whole, encoding = [], []
    warm = texts[:_WARM_UP]
    for number, text in enumerate([*warm, *texts], -len(warm)):
        started = time.perf_counter()
        queries = _encode(snapshot, kind, encoder, [text])
        encoded = time.perf_counter()
        found = snapshot.searcher(kind).search(queries, K, None).rows
        snapshot.rows(found[found >= 0].tolist())
        ended = time.perf_counter()
        if number >= 0:
            whole.append(1000 * (ended - started))
            encoding.append(1000 * (encoded - started))
            progress(f"{kind}: queries", number + 1, len(texts))
    p50, p95 = np.percentile(whole, [50, 95])
    return {
        "p50_ms": round(float(p50), 2),
        "p95_ms": round(float(p95), 2),
        "encode_p50_ms": None if kind == "sparse" else round(float(np.median(encoding)), 2),
    }


def _encode(
    snapshot: Snapshot, kind: Kind, encoder: Encoder | None, texts: Sequence[str]
) -> Queries:
    engine = snapshot.engine(kind)
    if encoder is None or not (engine.needs_dense or engine.needs_tokens):
        return Queries(texts)
    dense, tokens = engine.needs_dense, engine.needs_tokens
    return Queries(texts, encoder.queries(texts, dense=dense, tokens=tokens))
