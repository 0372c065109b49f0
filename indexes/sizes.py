"""What an index of so many passages weighs, from a sample of them and before any is encoded.

Bytes of a vector, a token and a posting follow from the configuration; how many there are, from
the sample. The number of distinct terms grows as a power of the passages (Heaps 1978), whose
exponent is fitted to the sample and slowly falls. Nothing here is exact but the dense vectors;
within a tenth is what to expect of a sample of some hundred passages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragib.config import IndexConfig, Kind
from ragib.encoders import Encoder
from ragib.indexes.choice import choose, kept_dim
from ragib.indexes.codes import BITS, width
from ragib.indexes.pooling import PROTECTED
from ragib.indexes.quantize import RESIDUAL_BITS
from ragib.indexes.rabitq import bytes_a_vector
from ragib.indexes.structure import HNSW_M
from ragib.types import Passage

_SPECIAL = 2
"""Tokens that an encoder adds to a text."""

_LEARNED_TERMS, _LEARNED_VOCABULARY = 180, 30_000
"""Of learned sparse encoders, whose terms are not known before they have run: as SPLADE's."""

_PAGES, _TABLES = 1.12, 4 * 4096
"""What SQLite's half-filled pages add to the content, and what its tables take when empty."""

_FALL = 0.95
"""The exponent of Heaps' law, from one doubling of the passages to the next."""

TERM_IN_MEMORY = 250
"""Bytes of a term as a Python string in a dictionary and two lists."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Predicted bytes.

    `kinds` are the files of each kind of index; `parts` what the build writes of all of them
    besides, until they are merged; `memory` the most that any stage works with.
    """

    kinds: Mapping[Kind, int]
    parts: int
    memory: int

    @property
    def building(self) -> int:
        """Disk space that a build needs for the kinds, while it runs."""
        return self.parts + sum(self.kinds.values())


@dataclass(frozen=True, slots=True)
class _Kind:
    disk: float
    parts: float
    memory: float


def sizes(
    sample: Sequence[Passage],
    count: int,
    config: IndexConfig,
    encoder: Encoder | None,
    *,
    shard: int,
    fitted: int,
) -> Sizes:
    """Predict the sizes of an index.

    Parameters
    ----------
    sample
        Passages that stand for all; at least one.
    count
        How many passages there will be.
    config
        What is built of them.
    encoder
        Counts their tokens; `None` for an index that uses none.
    shard
        Passages encoded at a time.
    fitted
        Passages that the projection of token vectors is fitted to; 0 without one.
    """
    texts = [f"{p.title}\n{p.text}" if p.title else p.text for p in sample]
    found: dict[Kind, _Kind] = {}
    working = 0.0
    if encoder is not None:
        room = config.encoder.max_tokens - _SPECIAL
        tokens = np.minimum(encoder.count_tokens(texts), room).astype(np.float64)
        states = float(tokens.mean()) * encoder.token_dim * 4
        # The states of a shard and what becomes of them, or those of the sample, joined.
        working = 2 * states * max(min(shard, count), fitted)
        if "dense" in config.kinds:
            found["dense"] = _dense(count, encoder.dense_dim or encoder.token_dim, config)
        if "multivector" in config.kinds:
            found["multivector"] = _multivector(tokens, count, config, encoder)
    if "sparse" in config.kinds:
        found["sparse"] = _sparse(texts, count, config, min(shard, count))
    return Sizes(
        kinds={kind: round(found[kind].disk) for kind in config.kinds},
        parts=round(sum(kind.parts for kind in found.values())),
        memory=round(max([working, *(kind.memory for kind in found.values())])),
    )


def passage_bytes(sample: Sequence[Passage], count: int, documents: int) -> int:
    """Predict the bytes of the file of passages, text and metadata.

    A document's title, metadata and id are stored once, an id is in an index as well.
    """
    text = np.mean([len(p.text.encode()) + 2 * len(p.id.encode()) + 24 for p in sample])
    shared = np.mean(
        [
            len(p.title.encode()) + len(repr(dict(p.metadata)).encode()) + 2 * len(p.doc_id) + 24
            for p in sample
        ]
    )
    return _TABLES + round(_PAGES * (count * float(text) + documents * float(shared)))


def _dense(count: int, dim: int, config: IndexConfig) -> _Kind:
    dim = kept_dim(config.dense, dim)
    structure = {
        "flat": 0.0,
        "sq8": dim,
        "rabitq": bytes_a_vector(dim),
        # The vectors again, two lists of neighbours on the ground floor, a few above it.
        "hnsw": 4 * dim + 4 * (2 * HNSW_M + 2) + 20,
    }[choose(config.dense, count)]
    vectors = 4.0 * dim * count
    return _Kind(vectors + structure * count, vectors, structure * count)


def _multivector(
    tokens: NDArray[np.float64],
    count: int,
    config: IndexConfig,
    encoder: Encoder,
) -> _Kind:
    settings = config.multivector
    dim = encoder.token_dim if encoder.trained_projection else min(settings.dim, encoder.token_dim)
    rest = np.maximum(tokens - PROTECTED, 0)
    pooled = np.maximum(rest // settings.pool_factor, np.minimum(rest, 1))
    vectors = float(np.mean(np.minimum(tokens, PROTECTED) + pooled))
    wide = width(dim, settings.storage)
    each = wide * BITS[settings.storage] // 8
    each += -(-RESIDUAL_BITS * wide // 8) if settings.rescore else 0
    # Besides its vectors a passage has a scale, a line of the table and four bytes before those
    # of its tokens, which take 5 bits each and as many as number its vectors.
    places = 24 + tokens * (5 + np.ceil(np.log2(np.maximum(pooled + PROTECTED, 1)))) / 8
    disk = count * (each * vectors + float(np.mean(places)))
    return _Kind(disk, disk, count * 200.0)


def _sparse(texts: Sequence[str], count: int, config: IndexConfig, shard: int) -> _Kind:
    settings = config.sparse
    if settings.engine == "learned":
        postings, width = 8.0 * _LEARNED_TERMS, 5.0
        total, here = float(_LEARNED_VOCABULARY), _LEARNED_VOCABULARY / 3
    else:
        # What it imports is not needed for the other kinds, nor to search.
        from ragib.indexes.terms import terms

        bags = [set(terms(text, settings.language)) for text in texts]
        postings = 6.0 * float(np.mean([len(bag) for bag in bags]))
        total, here = _vocabulary(bags, count), _vocabulary(bags, shard)
        known = set().union(*bags)
        width = float(np.mean([len(term.encode()) for term in known])) if known else 8.0
    # A term stands in a JSON list, with the place of its postings in a file beside it.
    term = width + 4 + 8
    disk = count * (postings + 4) + total * term
    shards = -(-count // max(shard, 1))
    parts = count * (postings + 4) + shards * here * term
    return _Kind(disk, parts, total * TERM_IN_MEMORY + shards * here * 8)


def _vocabulary(bags: Sequence[set[str]], count: int) -> float:
    """Predict how many distinct terms `count` passages have."""
    whole = len(set().union(*bags[:count]))
    half = len(set().union(*bags[: len(bags) // 2]))
    if count <= len(bags) or not half:
        return whole
    octave = np.log2(whole / half) / np.log2(len(bags) / (len(bags) // 2))
    octaves = np.log2(count / len(bags))
    return float(whole * 2 ** (octave * (1 - _FALL**octaves) / (1 - _FALL)))
