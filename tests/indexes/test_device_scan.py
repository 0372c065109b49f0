"""Search of all passages on a device, here the CPU, against the native engine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ragib.config import MultiVectorConfig, TokenStorage
from ragib.encoders import Encoded, TokenVectors
from ragib.indexes import device_scan, fused, multivector_search
from ragib.indexes.base import Batch, Queries
from ragib.indexes.device_scan import DeviceScanner, stream
from ragib.indexes.multivector import MultiVectorEngine
from ragib.types import Passage


def slow_kernel(
    queries: torch.Tensor,
    passages: torch.Tensor,
    query_offsets: torch.Tensor,
    passage_offsets: torch.Tensor,
    most_query: int,
    most_passage: int,
) -> torch.Tensor:
    """What the fused kernel computes, from its definition."""
    q, p = query_offsets.tolist(), passage_offsets.tolist()
    assert most_query >= max(np.diff(q)) and most_passage >= max(np.diff(p))
    assert passages.dtype == torch.int8 and query_offsets.dtype == torch.int32
    return torch.tensor(
        [
            [
                float((passages[a:b].float() @ queries[c:d].float().T).amax(0).sum())
                for a, b in pairwise(p)
            ]
            for c, d in pairwise(q)
        ]
    )


def tokens(rng: np.random.Generator, count: int, dim: int) -> TokenVectors:
    vectors = rng.standard_normal((count, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)
    return TokenVectors(vectors, np.full((count, 2), -1, np.int32))


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=30), min_size=1, max_size=3),
    dim=st.sampled_from([24, 32]),
    storage=st.sampled_from(["int8", "int4", "1bit"]),
    rescore=st.sampled_from([0, 3]),
    k=st.integers(0, 9),
    slab=st.sampled_from([1, 500, 1 << 28]),
    room=st.sampled_from([0, 400, 1 << 30]),
    masked=st.booleans(),
    kernel=st.booleans(),
    seed=st.integers(0, 999),
)
def test_a_device_finds_what_the_native_engine_finds(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[list[int]],
    dim: int,
    storage: TokenStorage,
    rescore: int,
    k: int,
    slab: int,
    room: int,
    masked: bool,
    kernel: bool,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    engine = MultiVectorEngine(MultiVectorConfig(storage=storage, rescore=rescore), None)
    folders = []
    for part in sizes:
        folder = tmp_path_factory.mktemp("part")
        passages = [Passage(str(i), "d", "") for i in range(len(part))]
        made = [tokens(rng, n, dim) for n in part]
        engine.encode(Batch(passages, Encoded(None, made)), folder)
        folders.append(folder)
    count = sum(map(len, sizes))
    alive = rng.random(count) < 0.9
    allowed = rng.random(count) < 0.6 if masked else None
    queries = Queries([""] * 4, Encoded(None, [tokens(rng, n, dim) for n in (4, 0, 7, 1)]))
    expected = engine.open(folders, alive).search(queries, k, allowed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device_scan, "_SLAB", slab)
        patch.setattr(device_scan, "_TILE_PRODUCTS", slab)
        patch.setattr(device_scan, "fused", lambda *_: slow_kernel if kernel else None)
        patch.setattr(multivector_search, "_GPU_GROUP", 5)
        patch.setattr(
            multivector_search, "on_gpu", lambda *of: DeviceScanner(*of, device="cpu", room=room)
        )
        searcher = engine.open(folders, alive)
        found = searcher.search(queries, k, allowed)
    if kernel and not rescore:
        # Queries are rounded to eight bits in the one and to half precision in the other.
        held = expected.rows >= 0
        assert (held == (found.rows >= 0)).all()
        np.testing.assert_allclose(found.scores[held], expected.scores[held], atol=0.2)
    else:
        np.testing.assert_array_equal(found.rows, expected.rows)
        np.testing.assert_array_equal(found.scores, expected.scores)


def test_what_has_no_room_is_left_in_its_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    engine = MultiVectorEngine(MultiVectorConfig(pool_factor=1, rescore=0), None)
    passages = [Passage(str(i), "d", "") for i in range(20)]
    engine.encode(Batch(passages, Encoded(None, [tokens(rng, 4, 32) for _ in passages])), tmp_path)
    searcher = engine.open([tmp_path], np.ones(20, np.bool_))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device_scan, "_SLAB", 5 * 4 * 32)
        held = [
            DeviceScanner(searcher._blocks, searcher._rows, "cpu", room).held
            for room in (0, 5 * 4 * 32 + 1, 15 * 4 * 32, 1 << 20)
        ]
    assert held == [0, 5 * 4 * 32, 15 * 4 * 32, 20 * 4 * 32]


def test_arrays_stream_in_order_and_never_more_than_one_ahead() -> None:
    sizes = [5, 3, 8, 1, 8]
    arrays = [torch.full((n, 4), number, dtype=torch.int8) for number, n in enumerate(sizes)]
    asked: list[int] = []

    class Noted(list[torch.Tensor]):
        def __getitem__(self, number: int) -> torch.Tensor:  # type: ignore[override]
            asked.append(number)
            return super().__getitem__(number)

    given: Iterator[torch.Tensor] = stream(Noted(arrays), "cpu")
    for number, here in enumerate(given):
        assert torch.equal(here, arrays[number])
        assert max(asked) <= number + 1
    assert asked == [0, 1, 2, 3, 4]
    assert list(stream([], "cpu")) == []


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Stands in for late-interaction-kernels."""
    module = SimpleNamespace(maxsim_varlen=slow_kernel)
    monkeypatch.setattr(fused, "installed", lambda name: True)
    monkeypatch.setattr(fused, "import_module", lambda name: module)
    fused.fused.cache_clear()
    yield module
    fused.fused.cache_clear()


def test_a_kernel_that_is_right_is_taken(package: SimpleNamespace) -> None:
    assert fused.fused(32, "cpu") is slow_kernel


def test_a_kernel_that_is_wrong_is_not(
    package: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    package.maxsim_varlen = lambda *of: slow_kernel(*of) * 1.01
    with caplog.at_level(logging.WARNING):
        assert fused.fused(32, "cpu") is None
    assert "its scores are wrong" in caplog.text


def test_nor_one_that_cannot_run(
    package: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    del package.maxsim_varlen
    with caplog.at_level(logging.WARNING):
        assert fused.fused(32, "cpu") is None
    assert "maxsim_varlen" in caplog.text
