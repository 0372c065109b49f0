"""One-bit codes against the paper's estimate, computed the slow way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragib.config import DenseConfig
from ragib.encoders import Encoded
from ragib.errors import IndexCorruptError
from ragib.indexes import bitscan, dense_search, rabitq
from ragib.indexes.base import Batch, Queries
from ragib.indexes.dense import DenseEngine
from ragib.types import Passage

pytest.importorskip("llvmlite")


def estimates(rows: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Estimate all products as the docstring of the module says, but for what all share."""
    centre = rows.mean(axis=0)
    found = []
    for row in rows:
        rest = row - centre
        signs = np.where(rest > 0, 1.0, -1.0)
        along = signs @ rest
        part = 0.0 if along == 0 else (query - centre) @ signs * (rest @ rest) / along
        found.append(part + rest @ centre)
    return np.array(found)


def drawn(count: int, dim: int, seed: int, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((count, dim)) + shift).astype(np.float32)


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(1, 70),
    dim=st.integers(1, 200),
    planes=st.integers(1, 8),
    seed=st.integers(0, 9),
    share=st.sampled_from([0.0, 0.05, 0.6, 1.0]),
)
def test_the_loop_counts_as_arithmetic_does(
    count: int, dim: int, planes: int, seed: int, share: float
) -> None:
    rows = drawn(count, dim, seed, 0.3)
    centre = rows.mean(axis=0)
    blocks = rabitq.encode(rows, centre)
    rng = np.random.default_rng(seed)
    top = (1 << planes) - 1
    steps = rng.integers(0, top + 1, dim)
    words = -(-dim // 64)
    bits = np.zeros((planes, words * 64), bool)
    for plane in range(planes):
        bits[plane, :dim] = steps >> plane & 1
    packed = np.packbits(bits, axis=1, bitorder="little").view(np.uint64).T
    allowed = np.zeros(8 * len(blocks), bool)
    allowed[:count] = rng.random(count) < share
    scores = bitscan.scan(blocks, packed, 0.25, dim, allowed)
    rest = rows - centre
    signs = np.where(rest > 0, 1, -1)
    length = np.abs(rest).sum(axis=1)
    times = np.divide((rest**2).sum(axis=1), length, out=np.zeros(count), where=length > 0)
    expected = 0.25 * (signs @ (2 * steps - top)) * times + rest @ centre
    assert np.array_equal(scores > -np.inf, allowed)
    inside = allowed[:count]
    np.testing.assert_allclose(scores[:count][inside], expected[inside], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("dim", [1, 16, 64, 100, 384])
@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_candidates_are_those_with_the_best_estimates(
    tmp_path: Path, dim: int, shift: float
) -> None:
    rows, queries = drawn(500, dim, 0, shift), drawn(4, dim, 1, shift)
    rabitq.write_codes(rows, tmp_path)
    codes = rabitq.read_codes(tmp_path, 500, dim)
    assert codes.blocks.nbytes <= 504 * rabitq.bytes_a_vector(dim)
    mask = np.random.default_rng(2).random(500) < 0.5
    for flags in (None, mask):
        found = rabitq.candidates(codes, queries, 30, flags)
        for query, chosen in zip(queries, found, strict=True):
            assert len(set(chosen.tolist())) == 30
            assert flags is None or flags[chosen].all()
            slow = estimates(rows, query)
            barred = np.zeros(500) if flags is None else np.where(flags, 0, np.inf)
            least = np.sort(slow - barred)[-30]
            # The query is rounded to 64 steps, which moves an estimate by a little.
            assert (slow[chosen] >= least - 0.02 * slow.std()).mean() >= 0.9


def test_estimates_are_right_on_average() -> None:
    rows, query = drawn(4000, 256, 3), drawn(1, 256, 4)[0]
    truth = rows @ query - rows.mean(axis=0) @ query
    ratio = estimates(rows, query) @ truth / (truth @ truth)
    assert ratio == pytest.approx(1, abs=0.05)


def test_too_few_allowed_rows_are_padded(tmp_path: Path) -> None:
    rabitq.write_codes(drawn(30, 8, 0), tmp_path)
    mask = np.zeros(30, bool)
    mask[[3, 29]] = True
    found = rabitq.candidates(rabitq.read_codes(tmp_path, 30, 8), drawn(1, 8, 1), 5, mask)
    assert sorted(found[0].tolist()) == [-1, -1, -1, 3, 29]


def test_equal_vectors_and_a_query_at_the_centre_are_no_division_by_zero(tmp_path: Path) -> None:
    rows = np.ones((20, 4), np.float32)
    rabitq.write_codes(rows, tmp_path)
    codes = rabitq.read_codes(tmp_path, 20, 4)
    assert np.isfinite(codes.blocks[:, 8:].copy().view(np.float32)).all()
    assert rabitq.candidates(codes, rows[:1], 3, None)[0].tolist() == [0, 1, 2]


def test_chunks_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = drawn(100, 70, 0)
    whole = rabitq.encode(rows, rows.mean(axis=0, dtype=np.float64).astype(np.float32))
    monkeypatch.setattr(rabitq, "_CHUNK", 16)
    rabitq.write_codes(rows, tmp_path)
    assert np.array_equal(rabitq.read_codes(tmp_path, 100, 70).blocks, whole)


def test_codes_of_other_vectors_are_refused(tmp_path: Path) -> None:
    rabitq.write_codes(drawn(30, 8, 0), tmp_path)
    for count, dim in ((40, 8), (30, 70), (30, 9)):
        with pytest.raises(IndexCorruptError, match=f"{count} x {dim}"):
            rabitq.read_codes(tmp_path, count, dim)
    path = tmp_path / rabitq.CODES
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(IndexCorruptError, match="build the index anew"):
        rabitq.read_codes(tmp_path, 30, 8)


@pytest.mark.parametrize("compiler", [True, False])
def test_without_a_compiler_the_same_index_is_scanned(
    tmp_path: Path, compiler: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dense_search, "_CANDIDATES", 40)
    monkeypatch.setattr(bitscan, "available", lambda: compiler)
    asked: list[int] = []
    real = rabitq.candidates

    def counted(*arguments: object) -> np.ndarray:
        asked.append(1)
        return real(*arguments)

    monkeypatch.setattr(rabitq, "candidates", counted)
    engine = DenseEngine(DenseConfig(storage="rabitq"))
    rows, query = drawn(400, 32, 0), drawn(1, 32, 1)
    part, out = tmp_path / "part", tmp_path / "out"
    part.mkdir()
    out.mkdir()
    engine.encode(Batch([Passage("p", "d", "t")] * 400, Encoded(rows, None)), part)
    engine.merge([part], [None], out)
    found = engine.open([out], np.ones(400, bool)).search(
        Queries(["q"], Encoded(query, None)), 3, None
    )
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert found.rows[0].tolist() == np.argsort(-(unit @ query[0]))[:3].tolist()
    assert bool(asked) is compiler
