"""Weighted terms a passage: BM25, or the weights of a learned sparse encoder.

Segments hold raw term counts, and every statistic of BM25 (passages, document frequencies, mean
length) is taken over the live rows of all segments when a question needs it: after adding and
deleting, scores are those of an index built anew, and nothing had to be built anew for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ragib.config import Kind, SparseConfig
from ragib.errors import ConfigError
from ragib.indexes.base import Batch, Mask, Queries, TopK
from ragib.indexes.bm25 import Bm25, RankBm25Scorer, bm25_weights
from ragib.indexes.exact import cuda_holds
from ragib.indexes.lists import TermLists, as_they_are
from ragib.indexes.listscorer import ListScorer
from ragib.indexes.postings import (
    Int32s,
    Postings,
    join,
    merge_postings,
    read_postings,
    write_postings,
)
from ragib.indexes.scoring import CsrScorer, QueryTerms, Scorer
from ragib.indexes.splade import SparseModel
from ragib.indexes.terms import VERSION, check_language, terms
from ragib.indexes.topk import empty
from ragib.types import Passage

Bags = Sequence[Mapping[str, float]]


class SparseEngine:
    """The sparse index: postings, scored by BM25 or by dot product with learned weights."""

    kind: Kind = "sparse"
    needs_dense = False
    needs_tokens = False

    def __init__(self, config: SparseConfig) -> None:
        check_language(config.language)
        if config.engine == "learned" and config.model is None:
            raise ConfigError(
                "index.sparse.engine=learned needs index.sparse.model: a folder or the hub name "
                "of a SparseEncoder"
            )
        if config.engine == "learned" and config.title_boost != 1:
            raise ConfigError(
                f"index.sparse.title_boost={config.title_boost} is for BM25; a learned engine "
                "weighs the words of a title itself"
            )
        self.config = config

    @cached_property
    def model(self) -> SparseModel:
        """The learned encoder; loaded at first use."""
        assert self.config.model is not None
        return SparseModel(self.config.model)

    def encode(self, batch: Batch, out: Path) -> None:
        """Write the postings of a batch; the title is read in front of the text.

        With `title_boost` it is read that often, the form of BM25 for weighted fields (Robertson,
        Zaragoza & Taylor 2004, "Simple BM25 extension to multiple weighted fields").
        """
        texts = [_text(passage, self.config.title_boost) for passage in batch.passages]
        if self.config.engine == "learned":
            bags: Bags = self.model.passages(texts)
            write_postings(bags, [len(bag) for bag in bags], np.float32, out)
        else:
            bags = self._count(texts)
            write_postings(bags, [sum(bag.values()) for bag in bags], np.uint16, out)

    def merge(self, parts: Sequence[Path], keep: Sequence[Mask | None], out: Path) -> None:
        """Join the postings of the kept rows of all parts."""
        flags = [
            np.ones(_row_count(part), bool) if kept is None else kept
            for part, kept in zip(parts, keep, strict=True)
        ]
        new_rows = []
        start = 0
        for kept in flags:
            count = int(kept.sum())
            moved = np.full(len(kept), -1, np.int32)
            moved[kept] = np.arange(start, start + count)
            new_rows.append(moved)
            start += count
        merge_postings(parts, new_rows, out)

    def open(self, segments: Sequence[Path], alive: Mask) -> SparseSearcher:
        """Open the segments; scores are prepared at the first search."""
        return SparseSearcher(self, tuple(segments), alive)

    def describe(self) -> dict[str, Any]:
        """Return the engine and what its terms and scores depend on."""
        config = self.config
        if config.engine == "learned":
            return {
                "engine": config.engine,
                "model": config.model,
                "revision": self.model.revision,
            }
        return {
            "engine": config.engine,
            "k1": config.k1,
            "b": config.b,
            "language": config.language,
            "terms": VERSION,
            # Not named where it is as it was before there was a choice.
            **({"title_boost": config.title_boost} if config.title_boost != 1 else {}),
        }

    def queries(self, texts: Sequence[str]) -> Bags:
        """Return the terms of queries with their weights; a repeated term weighs more."""
        return self.model.queries(texts) if self.config.engine == "learned" else self._count(texts)

    def _count(self, texts: Sequence[str]) -> list[Counter[str]]:
        return [Counter(terms(text, self.config.language)) for text in texts]


@dataclass
class SparseSearcher:
    """Opened postings; only rows that score above zero are ever returned."""

    engine: SparseEngine
    segments: tuple[Path, ...]
    alive: Mask

    def search(self, queries: Queries, k: int, allowed: Mask | None) -> TopK:
        """Return the best `k` rows of each query; see `Searcher.search`."""
        found = empty(len(queries.texts), k)
        if allowed is not None and not allowed.any():
            return found
        bags = self.engine.queries(queries.texts)
        if self._scorer is None:
            return self.lists(bags, k, allowed)
        asked = [self.known(bag) for bag in bags]
        hopeful = [i for i, query in enumerate(asked) if len(query.ids)]
        if hopeful:
            result = self._scorer([asked[i] for i in hopeful], k, allowed)
            found.rows[hopeful], found.scores[hopeful] = result.rows, result.scores
        return found

    @cached_property
    def _segments(self) -> list[Postings]:
        return [read_postings(segment) for segment in self.segments]

    @cached_property
    def lists(self) -> ListScorer:
        """What searches the postings term by term, as they are in the segments."""
        config = self.engine.config
        if config.engine == "learned":
            return ListScorer(TermLists(self._segments, self.alive, as_they_are))
        parts = [np.zeros(0, np.int32), *(postings.lengths for postings in self._segments)]
        lengths = np.where(self.alive, np.concatenate(parts), 0)
        weigh = Bm25(lengths, int(self.alive.sum()), config.k1, config.b)
        return ListScorer(TermLists(self._segments, self.alive, weigh))

    def holding(self, term: str) -> Int32s:
        """Return the live rows that hold a term, ascending."""
        return self.lists.rows_of(term)

    @cached_property
    def postings(self) -> Postings:
        """The postings of the live rows of all segments."""
        if len(self.segments) == 1 and self.alive.all():
            return self._segments[0]
        new_rows = []
        start = 0
        for segment in self.segments:
            count = _row_count(segment)
            rows = np.arange(start, start + count, dtype=np.int32)
            new_rows.append(np.where(self.alive[start : start + count], rows, np.int32(-1)))
            start += count
        return join(lambda i: self._segments[i], new_rows)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {term: i for i, term in enumerate(self.postings.terms)}

    @cached_property
    def _scorer(self) -> Scorer | None:
        """What searches all postings as one, where something does."""
        config, rows = self.engine.config, len(self.alive)
        if config.engine == "rank-bm25":
            return RankBm25Scorer(self.postings, self.alive, config.k1, config.b)
        if not cuda_holds(12 * sum(len(postings.rows) for postings in self._segments)):
            return None
        if config.engine == "learned":
            return CsrScorer(self.postings, self.postings.values, rows, "cuda")
        weights = bm25_weights(self.postings, int(self.alive.sum()), config.k1, config.b)
        return CsrScorer(self.postings, weights, rows, "cuda")

    def known(self, bag: Mapping[str, float]) -> QueryTerms:
        """Return the numbers and weights of those terms that the index has."""
        known = {
            self._numbers[term]: weight for term, weight in bag.items() if term in self._numbers
        }
        return QueryTerms(
            np.array(list(known), np.int32), np.array(list(known.values()), np.float32)
        )


def _row_count(folder: Path) -> int:
    return len(np.load(folder / "lengths.npy", mmap_mode="r", allow_pickle=False))


def _text(passage: Passage, titles: int) -> str:
    return f"{passage.title}\n" * titles + passage.text if passage.title else passage.text
