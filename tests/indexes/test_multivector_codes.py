"""Codes of few bits: cells, layout, the rotation before them, and what kernels make of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ragib.config import TokenStorage
from ragib.indexes import maxsim, vnni
from ragib.indexes.codes import BITS, decode, encode, turned, unit, width
from ragib.indexes.lowbit import pack_cells, padded, unpack_cells, unpack_middles
from ragib.indexes.maxsim import Block, scan, score
from ragib.indexes.rotation import rotation
from tests.oracle.maxsim import maxsim as slow

LOW: list[TokenStorage] = ["int4", "1bit"]


def units(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    rows = rng.standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@given(st.sampled_from([1, 4]), st.integers(0, 7), st.integers(1, 5), st.integers(0, 99))
def test_cells_come_back(bits: int, count: int, runs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, 1 << bits, (count, runs * 32 // bits)).astype(np.uint8)
    packed = pack_cells(cells, bits)
    assert packed.shape == (count, 4 * runs)
    np.testing.assert_array_equal(unpack_cells(packed, bits), cells)
    middles = unpack_middles(torch.from_numpy(packed), bits).numpy()
    np.testing.assert_array_equal(middles, 2 * cells.astype(int) + 1 - (1 << bits))


def test_whole_runs_are_coded() -> None:
    assert [padded(dim, 1) for dim in (1, 32, 33, 128)] == [32, 32, 64, 128]
    assert [padded(dim, 4) for dim in (1, 8, 96, 100)] == [8, 8, 96, 104]
    assert width(100, "int8") == 100


@pytest.mark.parametrize("dim", [8, 32, 96, 128, 384])
def test_the_rotation_is_one(dim: int) -> None:
    matrix = rotation(dim).astype(np.float64)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(dim), atol=1e-6)
    assert np.abs(matrix).max() < 0.99


def test_the_rotation_spreads_what_lies_in_few_dimensions() -> None:
    rng = np.random.default_rng(0)
    skewed = units(rng, 2000, 128) * np.exp(-np.arange(128) / 8, dtype=np.float32)
    skewed /= np.linalg.norm(skewed, axis=1, keepdims=True)
    spread = np.square(turned(skewed, "1bit")).mean(axis=0)
    assert np.square(skewed).mean(axis=0).max() > 0.1
    assert spread.max() < 3 / 128


@given(st.sampled_from(LOW), st.integers(1, 140), st.integers(0, 99))
def test_turning_keeps_products(storage: TokenStorage, dim: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    left, right = units(rng, 4, dim), units(rng, 3, dim)
    found = turned(left, storage) @ turned(right, storage).T
    np.testing.assert_allclose(found, left @ right.T, atol=1e-5)


@pytest.mark.parametrize(
    ("storage", "finer", "most"),
    [
        # Normal variables: Max (1960), table II, 1 / (1 - D) - 1 for the scale without bias.
        ("1bit", False, 0.58),
        ("1bit", True, 0.0125),
        ("int4", False, 0.0125),
        ("int4", True, 0.0004),
        ("int8", False, 0.0002),
        ("int8", True, 0.000003),
    ],
)
def test_what_is_lost_is_what_the_theory_says(
    storage: TokenStorage, finer: bool, most: float
) -> None:
    rng = np.random.default_rng(1)
    vectors, counts = units(rng, 4000, 128), np.full(100, 40)
    coded = encode(vectors, counts, storage, finer=finer)
    found = decode(coded.codes, coded.residual, np.repeat(coded.scales, counts), storage)
    lost = np.square(found - turned(vectors, storage)).sum(axis=1).mean()
    assert 0.3 * most < lost < most
    query = units(rng, 50, 128)
    exact, given_back = vectors @ query.T, found @ turned(query, storage).T
    slope = (exact * given_back).sum() / np.square(exact).sum()
    assert slope == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("storage", LOW)
@pytest.mark.parametrize("finer", [False, True])
def test_zeros_and_empty_passages_are_coded(storage: TokenStorage, finer: bool) -> None:
    counts = np.array([0, 2, 0])
    coded = encode(np.zeros((2, 20), np.float32), counts, storage, finer=finer)
    assert coded.scales.tolist() == [0, 0, 0]
    assert not decode(coded.codes, coded.residual, np.zeros(2, np.float32), storage).any()
    nothing = encode(np.zeros((0, 20), np.float32), np.zeros(1, np.int64), storage, finer=finer)
    assert nothing.codes.shape == (0, width(20, storage) * BITS[storage] // 8)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=30).map(sorted),
    widths=st.lists(st.integers(1, 20), min_size=1, max_size=3),
    dim=st.sampled_from([3, 32, 48, 128]),
    storage=st.sampled_from(LOW),
    finer=st.booleans(),
    way=st.sampled_from(["compiled", "int8", "single"]),
    seed=st.integers(0, 999),
)
def test_scan_agrees_with_the_definition(
    lengths: list[int],
    widths: list[int],
    dim: int,
    storage: TokenStorage,
    finer: bool,
    way: str,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    counts = np.array(lengths, np.int64)
    coded = encode(units(rng, int(counts.sum()), dim), counts, storage, finer=finer)
    scales = coded.scales * unit(storage, finer=finer)
    block = Block(torch.from_numpy(coded.codes), counts, scales, BITS[storage])
    # The oracle's vectors are those of the codes alone.
    middles = unpack_middles(torch.from_numpy(coded.codes), BITS[storage]).numpy()
    plain = middles * np.repeat(scales, counts)[:, None]
    passages = np.split(plain, np.cumsum(counts)[:-1])
    queries = [turned(units(rng, n, dim), storage) for n in widths]
    wanted = rng.random(len(lengths)) < 0.6
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maxsim, "_TILE_PRODUCTS", 40)
        if way != "compiled":
            patch.setattr(vnni, "available", lambda dim: False)
        if way == "single":
            patch.setattr(maxsim, "exact_int8", lambda *_: False)
        everything = scan(block, queries, None)
        masked = scan(block, queries, wanted)
        some = np.flatnonzero(wanted & (counts > 0))
        chosen = score(block, queries, some) if len(some) else everything[:, some]
    for number, query in enumerate(queries):
        slack = 0.5 / 127 * np.sqrt(query.shape[1]) * len(query) * 1.3
        np.testing.assert_allclose(everything[number], slow(passages, query), atol=slack + 1e-5)
        assert (masked[number][~wanted] == -np.inf).all()
        np.testing.assert_array_equal(masked[number][wanted], everything[number][wanted])
        np.testing.assert_array_equal(chosen[number], everything[number][some])


@pytest.mark.skipif(not vnni.available(4), reason="this processor has no AVX-512 VNNI")
@settings(max_examples=30, deadline=None)
@given(
    counts=st.lists(st.integers(1, 20), min_size=0, max_size=12),
    query=st.integers(1, 70),
    bits=st.sampled_from([1, 4]),
    dim=st.sampled_from([32, 64, 128, 384]),
    seed=st.integers(0, 999),
)
def test_the_compiled_loop_reads_codes_as_they_lie(
    counts: list[int], query: int, bits: int, dim: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    sizes = np.array(counts, np.int64)
    cells = rng.integers(0, 1 << bits, (int(sizes.sum()), dim)).astype(np.uint8)
    cells[::3] = (1 << bits) - 1
    queries = rng.integers(-127, 128, (query, dim)).astype(np.int8)
    queries[::2] = -127
    packed = pack_cells(cells, bits)
    starts = np.cumsum(sizes) - sizes
    found = vnni.best_products(packed.ctypes.data, starts, sizes, queries, bits)
    products = (2 * cells.astype(np.int32) + 1 - (1 << bits)) @ queries.T.astype(np.int32)
    expected = [products[a : a + n].max(axis=0) for a, n in zip(starts, sizes, strict=True)]
    np.testing.assert_array_equal(found, np.reshape(expected, (len(sizes), query)))
