from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragib.config import EncoderConfig, MultiVectorConfig, TokenStorage
from ragib.encoders import Encoded, TokenVectors, load_encoder
from ragib.errors import InputError
from ragib.indexes import packed
from ragib.indexes.base import Batch, Queries
from ragib.indexes.codes import turned
from ragib.indexes.multivector import MultiVectorEngine
from ragib.indexes.multivector_search import MultiVectorSearcher
from ragib.indexes.pooling import normalised, pool
from ragib.indexes.projection import fit_projection
from ragib.types import Passage
from tests.oracle.maxsim import maxsim as slow

DIM = 16


def units(rng: np.random.Generator, count: int, dim: int = DIM) -> np.ndarray:
    return normalised(rng.standard_normal((count, dim)).astype(np.float32))


def batch_of(vectors: list[np.ndarray]) -> Batch:
    spans = [np.array([(3 * i, 3 * i + 2) for i in range(len(v))], np.int32) for v in vectors]
    tokens = [TokenVectors(v, s.reshape(-1, 2)) for v, s in zip(vectors, spans, strict=True)]
    passages = [Passage(f"p{i}", "d", "") for i in range(len(vectors))]
    return Batch(passages, Encoded(None, tokens))


def queries_of(vectors: list[np.ndarray]) -> Queries:
    tokens = [TokenVectors(v, np.full((len(v), 2), -1, np.int32)) for v in vectors]
    return Queries([""] * len(vectors), Encoded(None, tokens))


def build(
    engine: MultiVectorEngine,
    folder: Path,
    parts: list[list[np.ndarray]],
    keep: list[np.ndarray | None] | None = None,
) -> Path:
    """Encode parts and merge them into one segment."""
    paths = []
    for number, vectors in enumerate(parts):
        path = folder / f"part{number}"
        path.mkdir(parents=True)
        engine.encode(batch_of(vectors), path)
        paths.append(path)
    out = folder / "segment"
    out.mkdir()
    engine.merge(paths, keep or [None] * len(parts), out)
    return out


def opened(engine: MultiVectorEngine, *segments: Path, rows: int) -> MultiVectorSearcher:
    return engine.open(segments, np.ones(rows, np.bool_))


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=8), min_size=1, max_size=3),
    factor=st.sampled_from([1.0, 1.5, 2.0]),
    storage=st.sampled_from(["int8", "int4", "1bit"]),
    rescore=st.sampled_from([0, 4]),
    k=st.integers(1, 40),
    seed=st.integers(0, 999),
)
def test_search_agrees_with_the_definition(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[list[int]],
    factor: float,
    storage: TokenStorage,
    rescore: int,
    k: int,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    parts = [[units(rng, n) for n in part] for part in sizes]
    keep = [rng.random(len(part)) < 0.7 for part in sizes]
    engine = MultiVectorEngine(
        MultiVectorConfig(storage=storage, pool_factor=factor, rescore=rescore), None
    )
    folder = tmp_path_factory.mktemp("index")
    first = build(engine, folder / "a", parts, keep)
    second = build(engine, folder / "b", parts[:1])
    passages = [
        pool(v, factor)[0]
        for v in [
            *(
                v
                for part, flags in zip(parts, keep, strict=True)
                for v, flag in zip(part, flags, strict=True)
                if flag
            ),
            *parts[0],
        ]
    ]
    alive = rng.random(len(passages)) < 0.8
    allowed = rng.random(len(passages)) < 0.8
    queries = [units(rng, n) for n in (3, 0, 6)]
    searcher = engine.open([first, second], alive)
    found = searcher.search(queries_of(queries), k, allowed)
    assert found.rows.shape == found.scores.shape == (3, k)
    assert (found.rows[1] == -1).all()
    # How far a product with a unit vector may be off.
    step = {"int8": 0.03, "int4": 0.35, "1bit": 1.6}[storage] / (1 if rescore == 0 else 6)
    for number in (0, 2):
        expected = slow(passages, queries[number])
        may = alive & allowed & (expected > -np.inf)
        rows = found.rows[number][found.rows[number] >= 0]
        assert len(set(rows.tolist())) == len(rows) == min(k, may.sum())
        assert may[rows].all()
        slack = step * len(queries[number])
        np.testing.assert_allclose(found.scores[number, : len(rows)], expected[rows], atol=slack)
        if 0 < len(rows) < may.sum() and storage == "int8":
            others = np.setdiff1d(np.flatnonzero(may), rows)
            assert expected[rows].min() >= expected[others].max() - 2 * slack
    assert (found.scores[found.rows < 0] == -np.inf).all()


def test_a_merged_index_is_a_fresh_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = [units(rng, n) for n in rng.integers(0, 12, 30)]
    engine = MultiVectorEngine(MultiVectorConfig(pool_factor=2), None)
    flags = rng.random(20) < 0.5
    live = [v for v, flag in zip(vectors[:20], flags, strict=True) if flag] + vectors[20:]
    merged = build(engine, tmp_path / "a", [vectors[:20], vectors[20:]], [flags, None])
    fresh = build(engine, tmp_path / "b", [live])
    names = sorted(path.name for path in fresh.iterdir())
    assert names == ["codes.npy", "residual.npy", "scales.npy", "table.npy", "tokens.npy"]
    for name in names:
        assert (merged / name).read_bytes() == (fresh / name).read_bytes(), name


def test_nothing_allowed_finds_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    engine = MultiVectorEngine(MultiVectorConfig(), None)
    searcher = opened(engine, build(engine, tmp_path, [[units(rng, 4)]]), rows=1)
    queries = queries_of([units(rng, 2)])
    assert (searcher.search(queries, 3, np.zeros(1, np.bool_)).rows == -1).all()
    assert (searcher.search(queries, 3, None).rows == [[0, -1, -1]]).all()


def test_ties_go_to_the_smaller_row(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    same = units(rng, 6)
    for rescore in (0, 2):
        engine = MultiVectorEngine(MultiVectorConfig(rescore=rescore), None)
        folder = tmp_path / str(rescore)
        searcher = opened(engine, build(engine, folder, [[same] * 9]), rows=9)
        found = searcher.search(queries_of([units(rng, 5)]), 4, None)
        assert found.rows.tolist() == [[0, 1, 2, 3]]


def test_a_segment_without_passages_is_searched_in_vain(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    engine = MultiVectorEngine(MultiVectorConfig(), None)
    segment = build(engine, tmp_path, [[units(rng, 3)]], [np.zeros(1, np.bool_)])
    searcher = opened(engine, segment, rows=0)
    assert (searcher.search(queries_of([units(rng, 2)]), 2, None).rows == -1).all()


def test_finer_vectors_are_kept_only_to_rescore(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    engine = MultiVectorEngine(MultiVectorConfig(rescore=0), None)
    segment = build(engine, tmp_path, [[units(rng, 3)]])
    assert not (segment / "residual.npy").exists()
    assert engine.describe()["residual_bits"] == 0


def test_rescoring_finds_the_exact_best(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    passages = [units(rng, 24, 64) for _ in range(1500)]
    queries = [units(rng, 16, 64) for _ in range(10)]
    engine = MultiVectorEngine(MultiVectorConfig(pool_factor=1), None)
    searcher = opened(engine, build(engine, tmp_path, [passages]), rows=len(passages))
    found = searcher.search(queries_of(queries), 10, None).rows
    hits = 0
    for row, query in zip(found, queries, strict=True):
        scores = [float((p @ query.T).max(axis=0).sum()) for p in passages]
        hits += len(set(row.tolist()) & set(np.argsort(scores)[-10:].tolist()))
    assert hits >= 98


def test_where_names_the_characters_that_matched(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    vectors = [units(rng, n) for n in (5, 9, 0, 7)]
    engine = MultiVectorEngine(MultiVectorConfig(pool_factor=2), None)
    searcher = opened(engine, build(engine, tmp_path, [vectors]), rows=4)
    for row in (0, 1, 3):
        pooled, labels = pool(vectors[row], 2)
        query = TokenVectors(pooled, np.full((len(pooled), 2), -1, np.int32))
        expected = [
            tuple((3 * int(i), 3 * int(i) + 2) for i in np.flatnonzero(labels == n))
            for n in range(len(pooled))
        ]
        assert searcher.where(row, query) == expected
    assert searcher.where(2, TokenVectors(units(rng, 2), np.zeros((2, 2), np.int32))) == [(), ()]


def test_where_points_into_real_text(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    encoder = load_encoder(EncoderConfig(model=str(tiny_encoder_dir), device="cpu"))
    texts = [("city", "The king built   the old bridge." + " " * 400 + "It fell."), ("", "")]
    texts.append(("", "a poem about war"))
    encoded = encoder.passages(texts, dense=False, tokens=True)
    passages = [Passage(str(i), "d", text, title) for i, (title, text) in enumerate(texts)]
    engine = MultiVectorEngine(MultiVectorConfig(pool_factor=1), None)
    part = tmp_path / "part"
    part.mkdir()
    engine.encode(Batch(passages, encoded), part)
    searcher = opened(engine, part, rows=3)
    assert encoded.tokens is not None
    for row, (_, text) in enumerate(texts):
        tokens = encoded.tokens[row]
        found = searcher.where(row, tokens)
        words = ["".join(text[a:b] for a, b in spans) for spans in found]
        expected = [text[a:b] if a >= 0 else "" for a, b in tokens.spans.tolist()]
        assert words == expected


def test_a_projection_is_applied_to_passages_and_queries(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    vectors = [units(rng, 8) for _ in range(6)]
    projection = fit_projection(np.concatenate(vectors), 8)
    engine = MultiVectorEngine(MultiVectorConfig(dim=8, pool_factor=1), projection)
    searcher = opened(engine, build(engine, tmp_path, [vectors]), rows=6)
    query = units(rng, 4)
    found = searcher.search(queries_of([query]), 6, None)
    expected = slow([normalised(v @ projection) for v in vectors], normalised(query @ projection))
    np.testing.assert_allclose(found.scores[0], np.sort(expected)[::-1], atol=0.02)
    assert engine.describe()["projection"] == [16, 8]


def test_bad_vectors_are_refused_by_name(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    engine = MultiVectorEngine(MultiVectorConfig(), None)
    bad = units(rng, 3)
    bad[1, 2] = np.nan
    with pytest.raises(InputError, match="passage p1: a token vector is not finite"):
        engine.encode(batch_of([units(rng, 3), bad]), tmp_path)
    assert not list(tmp_path.iterdir())
    searcher = opened(engine, build(engine, tmp_path, [[units(rng, 3)]]), rows=1)
    with pytest.raises(InputError, match="query 2: a token vector is not finite"):
        searcher.search(queries_of([units(rng, 3), bad]), 1, None)
    with pytest.raises(InputError, match="8 dimensions, the index expects 16"):
        searcher.search(queries_of([units(rng, 3, 8)]), 1, None)


def test_pooling_shrinks_the_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    vectors = [units(rng, 65) for _ in range(4)]
    sizes = []
    for factor in (1, 2, 4):
        engine = MultiVectorEngine(MultiVectorConfig(pool_factor=factor), None)
        segment = build(engine, tmp_path / str(factor), [vectors])
        sizes.append(np.load(segment / "codes.npy").shape[0])
        assert np.load(segment / "tokens.npy").dtype == np.uint8
    assert sizes == [4 * 65, 4 * 33, 4 * 17]


def english(rng: np.random.Generator, tokens: int, dim: int) -> TokenVectors:
    """Vectors of a passage whose tokens are as long as those of English."""
    lengths = rng.choice([1, 2, 3, 4, 5, 6, 7, 8, 9, 12], tokens)
    ends = np.cumsum(lengths + (rng.random(tokens) < 0.8))
    return TokenVectors(
        units(rng, tokens, dim), np.stack([ends - lengths, ends], 1).astype(np.int32)
    )


@pytest.mark.parametrize(("storage", "most"), [("int8", 66.0), ("int4", 34.0), ("1bit", 11.0)])
def test_bytes_an_original_token(tmp_path: Path, storage: TokenStorage, most: float) -> None:
    rng = np.random.default_rng(10)
    tokens = [english(rng, n, 128) for n in rng.integers(60, 180, 60)]
    passages = [Passage(f"p{i}", "d", "") for i in range(len(tokens))]
    engine = MultiVectorEngine(MultiVectorConfig(storage=storage, pool_factor=2, rescore=0), None)
    engine.encode(Batch(passages, Encoded(None, tokens)), tmp_path)
    total = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert total / sum(len(one.spans) for one in tokens) <= most


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=40),
    storage=st.sampled_from(["int8", "int4", "1bit"]),
    rescore=st.sampled_from([0, 1, 1000]),
    k=st.integers(1, 12),
    seed=st.integers(0, 999),
)
def test_scores_are_those_of_the_vectors_that_are_stored(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[int],
    storage: TokenStorage,
    rescore: int,
    k: int,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    config = MultiVectorConfig(storage=storage, pool_factor=1, rescore=rescore)
    engine = MultiVectorEngine(config, None)
    segment = build(engine, tmp_path_factory.mktemp("index"), [[units(rng, n, 40) for n in sizes]])
    stored = packed.read(segment, storage)
    flat = stored.vectors(slice(None), np.repeat(stored.scales, stored.counts))
    passages = [flat[:0]] * len(sizes)
    for row, one in zip(stored.rows, np.split(flat, np.cumsum(stored.counts)[:-1]), strict=True):
        passages[row] = one
    query = units(rng, 6, 40)
    expected = slow(passages, turned(query, storage))
    found = opened(engine, segment, rows=len(sizes)).search(queries_of([query]), k, None)
    rows = found.rows[0][found.rows[0] >= 0]
    # Without rescoring only the query is rounded; with it, nothing is.
    slack = 0.5 / 127 * np.sqrt(64) * len(query) if rescore == 0 else 1e-5
    np.testing.assert_allclose(found.scores[0, : len(rows)], expected[rows], atol=slack)
    if rescore != 1:
        best = np.sort(expected[expected > -np.inf])[::-1][:k]
        np.testing.assert_allclose(found.scores[0, : len(rows)], best, atol=2 * slack)
