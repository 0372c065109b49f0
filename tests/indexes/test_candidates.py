"""Multi-vector search among what other kinds propose, against scoring everything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragib.config import (
    Candidates,
    ChunkConfig,
    EncoderConfig,
    IndexConfig,
    MultiVectorConfig,
    TokenStorage,
    Using,
)
from ragib.encoders import Encoded, TokenVectors
from ragib.errors import InputError
from ragib.indexes.base import Batch, Queries
from ragib.indexes.index import Index
from ragib.indexes.multivector import MultiVectorEngine
from ragib.types import Document, Passage

QUESTIONS = ["who built bridge number 5", "the queen wrote a poem", "river of city 9"]
WORDS = "king queen river bridge tower moon star water stone iron gold author poem war".split()


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, tiny_encoder_dir: Path) -> Iterator[Index]:
    """Two segments, deleted documents, some that only a group may see."""
    config = IndexConfig(
        encoder=EncoderConfig(model=str(tiny_encoder_dir), max_tokens=64, device="cpu"),
        chunk=ChunkConfig(max_tokens=16, overlap_tokens=0),
        multivector=MultiVectorConfig(dim=16),
    )
    documents = [
        Document(
            f"d{i}",
            f"The king of city {i} built bridge {i}. The {WORDS[i % 14]} stood by the river.",
            metadata={"parity": ["even", "odd"][i % 2]},
            access=("staff",) if i % 5 == 0 else ("public",),
        )
        for i in range(30)
    ]
    opened = Index.build(documents[:18], tmp_path_factory.mktemp("candidates") / "i", config)
    opened.add(documents[18:])
    opened.delete(["d3", "d22"])
    yield opened
    opened.close()


@pytest.mark.parametrize("using", ["multivector", "hybrid"])
@pytest.mark.parametrize("candidates", ["dense", "both"])
def test_with_all_as_candidates_the_result_is_exact(
    index: Index, using: Using, candidates: Candidates
) -> None:
    for k in (1, 7, 1000):
        exact = index.search_batch(QUESTIONS, k, using=using, depth=1000)
        found = index.search_batch(QUESTIONS, k, using=using, depth=1000, candidates=candidates)
        assert found == exact


@pytest.mark.parametrize("candidates", ["dense", "sparse"])
def test_the_best_of_what_is_proposed_comes_out(index: Index, candidates: Candidates) -> None:
    everything = index.search_batch(QUESTIONS, 1000, using="multivector")
    proposed = index.search_batch(QUESTIONS, 8, using=candidates)
    found = index.search_batch(QUESTIONS, 5, using="multivector", depth=8, candidates=candidates)
    for exact, some, hits in zip(everything, proposed, found, strict=True):
        ids = {hit.passage.id for hit in some}
        expected = [(h.passage.id, h.score) for h in exact if h.passage.id in ids][:5]
        assert [(hit.passage.id, hit.score) for hit in hits] == expected
        assert all(set(hit.ranks) == {"multivector"} for hit in hits)


def test_filters_and_groups_hold_for_candidates(index: Index) -> None:
    where = {"parity": "odd"}
    for candidates in ("all", "both"):
        hits = index.search(
            QUESTIONS[0], 100, using="multivector", where=where, depth=3, candidates=candidates
        )
        numbers = [int(hit.passage.doc_id[1:]) for hit in hits]
        assert numbers and all(n % 2 == 1 and n % 5 for n in numbers)
        seen = index.search(
            QUESTIONS[0], 100, using="multivector", allow=["staff"], candidates=candidates
        )
        assert {int(hit.passage.doc_id[1:]) % 5 for hit in seen} == {0}
    assert not index.search("river", 5, using="multivector", where={}, candidates="both")


def test_candidates_must_be_in_the_index(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    config = IndexConfig(
        kinds=("multivector",),
        encoder=EncoderConfig(model=str(tiny_encoder_dir), device="cpu"),
        multivector=MultiVectorConfig(dim=16),
    )
    with Index.build([Document("a", "the king")], tmp_path / "i", config) as alone:
        with pytest.raises(InputError, match="candidates: 'dense' is not in this index"):
            alone.search("king", using="multivector", candidates="both")
        with pytest.raises(InputError, match=r"candidates: .*'both'"):
            alone.search("king", candidates="bth")  # type: ignore[arg-type]


def test_other_kinds_take_no_notice_of_candidates(index: Index) -> None:
    for using in ("dense", "sparse"):
        plain = index.search(QUESTIONS[0], 4, using=using)
        assert index.search(QUESTIONS[0], 4, using=using, candidates="both") == plain


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=12), min_size=1, max_size=3),
    storage=st.sampled_from(["int8", "int4", "1bit"]),
    rescore=st.sampled_from([0, 3]),
    k=st.integers(0, 9),
    seed=st.integers(0, 999),
)
def test_among_rows_is_search_with_a_mask(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[list[int]],
    storage: TokenStorage,
    rescore: int,
    k: int,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)

    def tokens(count: int) -> TokenVectors:
        vectors = rng.standard_normal((count, 24)).astype(np.float32)
        return TokenVectors(vectors, np.full((count, 2), -1, np.int32))

    engine = MultiVectorEngine(MultiVectorConfig(storage=storage, rescore=rescore), None)
    folders = []
    for part in sizes:
        folder = tmp_path_factory.mktemp("part")
        passages = [Passage(str(i), "d", "") for i in range(len(part))]
        engine.encode(Batch(passages, Encoded(None, [tokens(n) for n in part])), folder)
        folders.append(folder)
    count = sum(map(len, sizes))
    searcher = engine.open(folders, rng.random(count) < 0.8)
    queries = Queries([""] * 3, Encoded(None, [tokens(n) for n in (4, 0, 7)]))
    rows = rng.integers(-1, count, (3, 15))
    found = searcher.search_among(queries, k, rows)
    assert found.rows.shape == found.scores.shape == (3, k)
    for number, line in enumerate(rows):
        mask = np.isin(np.arange(count), line)
        expected = searcher.search(queries, k, mask)
        np.testing.assert_array_equal(found.rows[number], expected.rows[number])
        np.testing.assert_array_equal(found.scores[number], expected.scores[number])
