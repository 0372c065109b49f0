from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragib.config import DenseConfig
from ragib.encoders import Encoded
from ragib.errors import IndexCorruptError, InputError
from ragib.indexes import dense_search, exact, structure
from ragib.indexes.base import Batch, Mask, Queries, TopK
from ragib.indexes.dense import DenseEngine
from ragib.types import Passage

STORAGES = ("flat", "sq8", "hnsw", "rabitq")
Folder = Callable[[], Path]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    def make() -> Path:
        path = tmp_path / str(sum(1 for _ in tmp_path.iterdir()))
        path.mkdir()
        return path

    return make


def vectors(count: int, width: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)


def write(engine: DenseEngine, rows: np.ndarray, out: Path) -> Path:
    passages = [Passage(f"p{i}", "d", "text") for i in range(len(rows))]
    engine.encode(Batch(passages, Encoded(rows, None)), out)
    return out


def asking(rows: np.ndarray) -> Queries:
    return Queries([f"q{i}" for i in range(len(rows))], Encoded(rows, None))


def oracle(rows: np.ndarray, queries: np.ndarray, k: int, mask: Sequence[bool]) -> list[list[int]]:
    found = []
    for query in queries:
        scored = sorted((-float(query @ rows[i]), i) for i in np.flatnonzero(mask))
        found.append(([i for _, i in scored] + [-1] * k)[:k])
    return found


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@settings(deadline=None, max_examples=50)
@given(
    count=st.integers(0, 60),
    asked=st.integers(0, 20),
    k=st.integers(1, 70),
    data=st.data(),
)
def test_exact_search_agrees_with_scoring_one_by_one(
    count: int, asked: int, k: int, data: st.DataObject
) -> None:
    # Small integers: products are exact, so that ties are true ties on every path.
    numbers = st.integers(-2, 2)
    rows = np.array(
        data.draw(st.lists(st.tuples(*[numbers] * 3), min_size=count, max_size=count)), np.float32
    ).reshape(count, 3)
    queries = np.array(
        data.draw(st.lists(st.tuples(*[numbers] * 3), min_size=asked, max_size=asked)), np.float32
    ).reshape(asked, 3)
    flags = data.draw(st.none() | st.lists(st.booleans(), min_size=count, max_size=count))
    mask = None if flags is None else np.array(flags, bool)
    expected = oracle(rows, queries, k, np.ones(count, bool) if mask is None else mask)
    found = exact.search_exact(rows, queries, k, mask)
    assert found.rows.tolist() == expected
    assert np.array_equal(found.scores == -np.inf, found.rows == -1)


@pytest.mark.parametrize("with_faiss", [True, False])
@pytest.mark.parametrize("asked", [1, 40])
def test_all_ways_of_exact_search_agree(
    asked: int, with_faiss: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    if not with_faiss:
        monkeypatch.setattr(exact, "installed", lambda module: module != "faiss")
    monkeypatch.setattr(exact, "_TILE", 64)
    rows, queries = vectors(500), vectors(asked, seed=1)
    mask = np.random.default_rng(2).random(500) < 0.5
    for flags in (None, mask):
        found = exact.search_exact(rows, queries, 20, flags)
        allowed = np.ones(500, bool) if flags is None else flags
        assert found.rows.tolist() == oracle(rows, queries, 20, allowed)
        on_torch = exact.search_torch(torch.from_numpy(rows), queries, 20, flags)
        assert on_torch.rows.tolist() == found.rows.tolist()
        np.testing.assert_allclose(on_torch.scores, found.scores, rtol=1e-5)


@pytest.mark.parametrize("asked", [1, 40])
def test_ties_go_to_the_smaller_row_however_many(asked: int) -> None:
    # Better rows come last: a heap then throws out equal ones in an order of its own.
    rows = np.ones((300, 4), np.float32)
    rows[[200, 250, 299]] = 2
    found = exact.search_exact(rows, np.ones((asked, 4), np.float32), 8)
    assert found.rows.tolist() == [[200, 250, 299, 0, 1, 2, 3, 4]] * asked


def test_torch_search_pads_what_is_not_allowed() -> None:
    torch = pytest.importorskip("torch")
    found = exact.search_torch(torch.ones(4, 2), np.ones((2, 2), np.float32), 3, np.zeros(4, bool))
    assert (found.rows == -1).all()
    assert (found.scores == -np.inf).all()


@pytest.fixture
def few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have codes searched in the small indexes of tests, which would be scored whole."""
    monkeypatch.setattr(dense_search, "_CANDIDATES", 1)


@pytest.mark.usefixtures("few_candidates")
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_merged_parts_answer_like_one_index(folder: Folder, storage: str, metric: str) -> None:
    engine = DenseEngine(DenseConfig(storage=storage, metric=metric))
    rows, queries = vectors(300), vectors(8, seed=1)
    keep = np.random.default_rng(3).random(100) < 0.6
    parts = [write(engine, rows[i : i + 100], folder()) for i in (0, 100, 200)]
    out = folder()
    engine.merge(parts, [None, keep, None], out)
    kept = np.concatenate([rows[:100], rows[100:200][keep], rows[200:]])
    searcher = engine.open([out], np.ones(len(kept), bool))
    found = searcher.search(asking(queries), 10, None)
    stored = unit(kept) if metric == "cosine" else kept
    asked = unit(queries) if metric == "cosine" else queries
    expected = oracle(stored, asked, 10, np.ones(len(kept), bool))
    hits = [len(set(a) & set(b)) for a, b in zip(found.rows.tolist(), expected, strict=True)]
    assert sum(hits) >= (80 if storage == "flat" else 72)
    for row, score, query in zip(
        found.rows.ravel(), found.scores.ravel(), asked.repeat(10, 0), strict=True
    ):
        assert score == pytest.approx(float(stored[row] @ query), rel=1e-4, abs=1e-5)


@pytest.mark.usefixtures("few_candidates")
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("share", [0.5, 0.1, 0.003, 0.0])
def test_only_allowed_live_rows_come_out(
    folder: Folder, storage: str, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dense_search, "_SCAN_ROWS", 50)
    engine = DenseEngine(DenseConfig(storage=storage))
    rows, queries = vectors(2000), vectors(5, seed=1)
    out = folder()
    engine.merge([write(engine, rows, folder())], [None], out)
    rng = np.random.default_rng(4)
    alive, allowed = rng.random(2000) < 0.8, rng.random(2000) < share
    found = engine.open([out], alive).search(asking(queries), 12, allowed)
    mask = alive & allowed
    returned = found.rows[found.rows >= 0]
    assert mask[returned].all()
    assert len(returned) == 5 * min(12, int(mask.sum()))
    assert np.array_equal(found.rows < 0, found.scores == -np.inf)


def test_a_graph_walk_that_comes_back_short_is_completed(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The allowed rows all lie opposite to the query, where a short walk never gets to.
    monkeypatch.setattr(dense_search, "_SCAN_ROWS", 0)
    monkeypatch.setattr(dense_search, "_SCAN_SHARE", 0.0)
    monkeypatch.setattr(structure, "_HNSW_EF_SEARCH", 1)
    engine = DenseEngine(DenseConfig(storage="hnsw"))
    rows = vectors(3000, 8)
    query = vectors(1, 8, seed=1)
    allowed = (unit(rows) @ unit(query)[0]) < -0.6
    assert allowed.sum() > 10
    out = folder()
    engine.merge([write(engine, rows, folder())], [None], out)
    found = engine.open([out], np.ones(3000, bool)).search(asking(query), 10, allowed)
    assert (found.rows >= 0).all()
    assert allowed[found.rows].all()


@pytest.mark.parametrize("storage", ["flat", "hnsw"])
def test_segments_are_numbered_through(folder: Folder, storage: str) -> None:
    engine = DenseEngine(DenseConfig(storage=storage))
    rows, queries = vectors(200), vectors(6, seed=1)
    merged = folder()
    engine.merge([write(engine, rows[:150], folder())], [None], merged)
    alive = np.ones(200, bool)
    alive[::7] = False
    searcher = engine.open([merged, write(engine, rows[150:], folder())], alive)
    found = searcher.search(asking(queries), 10, None)
    expected = oracle(unit(rows), unit(queries), 10, alive)
    assert found.rows.tolist() == expected


def test_many_queries_are_searched_in_turns(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dense_search, "_QUERIES_AT_ONCE", 4)
    engine = DenseEngine(DenseConfig())
    rows, queries = vectors(50), vectors(11, seed=1)
    searcher = engine.open([write(engine, rows, folder())], np.ones(50, bool))
    found = searcher.search(asking(queries), 3, None)
    assert found.rows.tolist() == oracle(unit(rows), unit(queries), 3, np.ones(50, bool))
    assert searcher.search(asking(queries[:0]), 3, None).rows.shape == (0, 3)


def test_nothing_indexed_gives_nothing(folder: Folder) -> None:
    for storage in STORAGES:
        engine = DenseEngine(DenseConfig(storage=storage))
        out = folder()
        engine.merge([], [], out)
        dropped = folder()
        engine.merge([write(engine, vectors(3), folder())], [np.zeros(3, bool)], dropped)
        for segments in ([], [out], [out, dropped]):
            found = engine.open(segments, np.empty(0, bool)).search(asking(vectors(2)), 3, None)
            assert (found.rows == -1).all()


def test_zero_vectors_stay_zero_under_cosine(folder: Folder) -> None:
    engine = DenseEngine(DenseConfig())
    part = write(engine, np.zeros((2, 4), np.float32), folder())
    found = engine.open([part], np.ones(2, bool)).search(asking(vectors(1, 4)), 2, None)
    assert found.scores.tolist() == [[0, 0]]


def test_vectors_that_are_not_finite_are_refused_by_name(folder: Folder) -> None:
    engine = DenseEngine(DenseConfig())
    rows = vectors(3)
    rows[1, 2] = np.nan
    with pytest.raises(InputError, match="'p1'"):
        write(engine, rows, folder())
    searcher = engine.open([write(engine, vectors(3), folder())], np.ones(3, bool))
    with pytest.raises(InputError, match="'q1'"):
        searcher.search(asking(rows), 2, None)


def test_vectors_of_another_encoder_are_refused(folder: Folder) -> None:
    engine = DenseEngine(DenseConfig())
    parts = [write(engine, vectors(3, width), folder()) for width in (8, 16)]
    with pytest.raises(InputError, match=r"\[8, 16\]"):
        engine.merge(parts, [None, None], folder())
    with pytest.raises(InputError, match="16 dimensions"):
        engine.open(parts[:1], np.ones(3, bool)).search(asking(vectors(1, 16)), 1, None)


@pytest.mark.usefixtures("few_candidates")
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_only_the_first_dimensions_are_kept(folder: Folder, storage: str, metric: str) -> None:
    engine = DenseEngine(DenseConfig(storage=storage, metric=metric, dim=5))
    rows, queries = vectors(200), vectors(6, seed=1)
    out = folder()
    engine.merge([write(engine, rows, folder())], [None], out)
    stored, asked = rows[:, :5], queries[:, :5]
    if metric == "cosine":
        stored, asked = unit(stored), unit(asked)
    np.testing.assert_allclose(np.load(out / "vectors.npy"), stored, rtol=1e-6)
    found = engine.open([out], np.ones(200, bool)).search(asking(queries), 4, None)
    for row, score, query in zip(
        found.rows.ravel(), found.scores.ravel(), asked.repeat(4, 0), strict=True
    ):
        assert score == pytest.approx(float(stored[row] @ query), rel=1e-4, abs=1e-5)
    best = oracle(stored, asked, 1, np.ones(200, bool))
    assert sum(row in want for row, want in zip(found.rows[:, 0], best, strict=True)) >= 5


def test_more_dimensions_than_there_are_cannot_be_kept(folder: Folder) -> None:
    engine = DenseEngine(DenseConfig(dim=17))
    with pytest.raises(InputError, match=r"dense\.dim=17: .* 16 dimensions; set it to 16 or less"):
        write(engine, vectors(2), folder())
    part = write(DenseEngine(DenseConfig()), vectors(2), folder())
    with pytest.raises(InputError, match="16 or less"):
        engine.open([part], np.ones(2, bool)).search(asking(vectors(1)), 1, None)


def test_segments_of_different_dimensions_are_not_merged(folder: Folder) -> None:
    parts = [write(DenseEngine(DenseConfig(dim=dim)), vectors(3), folder()) for dim in (8, None)]
    with pytest.raises(InputError, match=r"vectors of \[8, 16\] dimensions"):
        DenseEngine(DenseConfig(dim=8)).merge(parts, [None, None], folder())


def test_missing_vectors_are_an_error(folder: Folder) -> None:
    engine = DenseEngine(DenseConfig())
    with pytest.raises(InputError, match="passages"):
        engine.encode(Batch([Passage("p", "d", "text")]), folder())
    searcher = engine.open([write(engine, vectors(1), folder())], np.ones(1, bool))
    with pytest.raises(InputError, match="queries"):
        searcher.search(Queries(["q"]), 1, None)


def test_a_structure_of_other_vectors_is_refused(folder: Folder) -> None:
    engine = DenseEngine(DenseConfig(storage="sq8"))
    few, many = folder(), folder()
    engine.merge([write(engine, vectors(3), folder())], [None], few)
    engine.merge([write(engine, vectors(9), folder())], [None], many)
    name = dense_search.STRUCTURE
    (many / name).write_bytes((few / name).read_bytes())
    with pytest.raises(IndexCorruptError, match="3 x 16"):
        engine.open([many], np.ones(9, bool)).search(asking(vectors(1)), 1, None)


def test_describe_names_what_was_built() -> None:
    assert DenseEngine(DenseConfig(storage="hnsw")).describe()["m"] == 32
    flat = DenseEngine(DenseConfig(storage="flat"))
    assert flat.describe() == {"storage": "flat", "metric": "cosine"}
    short = DenseEngine(DenseConfig(dim=8)).describe()
    assert (short["storage"], short["flat_up_to"], short["dim"]) == ("auto", 50_000, 8)


def test_search_returns_the_shape_it_was_asked_for(folder: Folder) -> None:
    engine = DenseEngine(DenseConfig())
    part = write(engine, vectors(5), folder())
    mask: Mask = np.ones(5, bool)
    found: TopK = engine.open([part], mask).search(asking(vectors(3)), 9, mask)
    assert found.rows.shape == found.scores.shape == (3, 9)
    assert (found.rows[:, 5:] == -1).all()
