from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ragib.indexes import maxsim, vnni
from ragib.indexes.maxsim import Block, ranges, scan
from ragib.indexes.quantize import quantize, residual, restore
from tests.oracle.maxsim import maxsim as slow
from tests.oracle.maxsim import maxsim_einsum


def units(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    rows = rng.standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def block_of(passages: list[np.ndarray], dim: int) -> Block:
    counts = np.array([len(p) for p in passages], np.int64)
    flat = np.concatenate([*passages, np.zeros((0, dim), np.float32)])
    codes, scales = quantize(flat, counts)
    return Block(torch.from_numpy(codes), counts, scales)


def restored(block: Block) -> list[np.ndarray]:
    values = restore(block.codes.numpy(), None, np.repeat(block.scales, block.counts))
    return np.split(values, np.cumsum(block.counts)[:-1])


lengths = st.lists(st.integers(0, 9), min_size=1, max_size=40).map(sorted)


@settings(max_examples=40, deadline=None)
@given(
    lengths=lengths,
    widths=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    dim=st.sampled_from([1, 3, 8, 32, 128]),
    tile=st.sampled_from([1, 16, 1 << 18]),
    way=st.sampled_from(["compiled", "int8", "single"]),
    seed=st.integers(0, 999),
)
def test_scan_agrees_with_the_definition(
    lengths: list[int], widths: list[int], dim: int, tile: int, way: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    passages = [units(rng, n, dim) for n in lengths]
    queries = [units(rng, n, dim) for n in widths]
    block = block_of(passages, dim)
    wanted = rng.random(len(lengths)) < 0.6
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maxsim, "_TILE_PRODUCTS", tile)
        if way != "compiled":
            patch.setattr(vnni, "available", lambda dim: False)
        if way == "single":
            patch.setattr(maxsim, "exact_int8", lambda *_: False)
        everything = scan(block, queries, None)
        masked = scan(block, queries, wanted)
    for number, query in enumerate(queries):
        # Only the query's rounding is left over: half a step a vector, on products of unit length.
        expected = slow(restored(block), query)
        slack = 0.5 / 127 * np.sqrt(dim) * len(query)
        np.testing.assert_allclose(everything[number], expected, atol=slack + 1e-5)
        assert (masked[number][~wanted] == -np.inf).all()
        np.testing.assert_array_equal(masked[number][wanted], everything[number][wanted])


def test_the_two_oracles_agree() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 9, 20)
    padded = np.zeros((20, 9, 16), np.float32)
    mask = np.arange(9) < sizes[:, None]
    padded[mask] = units(rng, int(sizes.sum()), 16)
    query = units(rng, 5, 16)
    expected = slow([row[:size] for row, size in zip(padded, sizes, strict=True)], query)
    np.testing.assert_allclose(maxsim_einsum(padded, mask, query), expected, atol=1e-5)


def test_negative_products_beat_padding() -> None:
    vector = np.array([[1.0, 0.0]], np.float32)
    block = block_of([-vector, np.repeat(-vector, 3, axis=0)], 2)
    np.testing.assert_allclose(scan(block, [vector], None), [[-1, -1]], atol=1e-6)


def test_workers_give_what_one_thread_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    sizes = np.sort(rng.integers(0, 12, 300))
    block = block_of([units(rng, n, 16) for n in sizes], 16)
    queries = [units(rng, 4, 16), units(rng, 9, 16)]
    threads = torch.get_num_threads()
    monkeypatch.setattr(maxsim, "_TILE_PRODUCTS", 200)
    try:
        torch.set_num_threads(1)
        alone = scan(block, queries, None)
        torch.set_num_threads(2)
        np.testing.assert_array_equal(scan(block, queries, None), alone)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_equal_passages_tie_wherever_they_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    same = units(rng, 5, 64)
    block = block_of([same] * 50, 64)
    monkeypatch.setattr(maxsim, "_TILE_PRODUCTS", 500)
    scores = scan(block, [units(rng, 31, 64)], rng.random(50) < 0.9)
    assert len(set(scores[scores > -np.inf].tolist())) == 1


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=12))
def test_ranges_writes_out_runs(runs: list[tuple[int, int]]) -> None:
    starts = np.array([a for a, _ in runs], np.int64)
    counts = np.array([n for _, n in runs], np.int64)
    assert ranges(starts, counts).tolist() == [i for a, n in runs for i in range(a, a + n)]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.integers(1, 70), st.integers(0, 99))
def test_codes_are_within_half_a_step(counts: list[int], dim: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = np.array(counts, np.int64)
    vectors = units(rng, int(sizes.sum()), dim)
    codes, scales = quantize(vectors, sizes)
    each = np.repeat(scales, sizes)
    coarse = np.abs(restore(codes, None, each) - vectors)
    fine = np.abs(restore(codes, residual(vectors, codes, each), each) - vectors)
    assert (coarse <= each[:, None] * 0.5 + 1e-6).all()
    assert (fine <= each[:, None] * 0.0625 + 1e-6).all()
    assert codes.min(initial=0) >= -127


def test_a_zero_vector_keeps_its_value() -> None:
    zeros = np.zeros((2, 8), np.float32)
    codes, scales = quantize(zeros, np.array([2]))
    assert np.isfinite(scales).all()
    np.testing.assert_array_equal(restore(codes, None, np.repeat(scales, 2)), zeros)


def test_saturating_products_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    maxsim.exact_int8.cache_clear()
    monkeypatch.setattr(
        torch, "_int_mm", lambda a, b: (a.int() @ b.int()).clamp(-32768, 32767).int()
    )
    assert not maxsim.exact_int8(128)
    maxsim.exact_int8.cache_clear()


@pytest.mark.skipif(not vnni.available(4), reason="this processor has no AVX-512 VNNI")
@settings(max_examples=30, deadline=None)
@given(
    counts=st.lists(st.integers(1, 20), min_size=0, max_size=12),
    width=st.integers(1, 70),
    dim=st.sampled_from([4, 8, 128, 384]),
    seed=st.integers(0, 999),
)
def test_the_compiled_loop_multiplies_exactly(
    counts: list[int], width: int, dim: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    sizes = np.array(counts, np.int64)
    codes = rng.integers(-127, 128, (int(sizes.sum()), dim)).astype(np.int8)
    queries = rng.integers(-127, 128, (width, dim)).astype(np.int8)
    codes[::3] = 127
    queries[::2] = -127
    starts = np.cumsum(sizes) - sizes
    found = vnni.best_products(codes.ctypes.data, starts, sizes, queries)
    products = codes.astype(np.int32) @ queries.T.astype(np.int32)
    expected = [products[a : a + n].max(axis=0) for a, n in zip(starts, sizes, strict=True)]
    np.testing.assert_array_equal(found, np.reshape(expected, (len(sizes), width)))


def test_other_dimensions_are_left_to_torch() -> None:
    assert not vnni.available(6)
    assert not vnni.available(0)
