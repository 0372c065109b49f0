"""Reading ahead: the pages that are asked for, and that results stay the same."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragib.config import DenseConfig, MultiVectorConfig
from ragib.encoders import Encoded, TokenVectors
from ragib.indexes import dense_search, multivector_search, readahead
from ragib.indexes.base import Batch, Queries
from ragib.indexes.dense import DenseEngine
from ragib.indexes.multivector import MultiVectorEngine
from ragib.indexes.readahead import ReadAhead
from ragib.types import Passage

LINES, WIDTH = 400, 100
PAGE = mmap.PAGESIZE


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> np.memmap[Any, Any]:
    path = tmp_path_factory.mktemp("ahead") / "codes.npy"
    np.save(path, np.zeros((LINES, WIDTH), np.int8))
    array = np.load(path, mmap_mode="c")
    assert isinstance(array, np.memmap)
    return array


class Recorder:
    """Stands in for the mapping and notes the pages that the system is told of."""

    def __init__(self, mapping: mmap.mmap) -> None:
        self.mapping = mapping
        self.pages: list[int] = []
        self.calls = 0

    def madvise(self, option: int, start: int, length: int) -> None:
        assert option == mmap.MADV_WILLNEED
        self.mapping.madvise(option, start, length)  # refuses what is not a page of the file
        assert start % PAGE == 0
        self.pages += range(start // PAGE, -(-(start + length) // PAGE))
        self.calls += 1


def recorded(array: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Recorder]:
    ahead = ReadAhead(array)
    recorder = Recorder(ahead._map)
    monkeypatch.setattr(ahead, "_map", recorder)
    return ahead, recorder


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, LINES), st.integers(0, 90)).map(
            lambda run: (run[0], min(run[0] + run[1], LINES))
        ),
        max_size=8,
    )
)
def test_every_page_of_the_lines_is_asked_for_once(
    mapped: np.memmap[Any, Any], runs: list[tuple[int, int]]
) -> None:
    starts = np.array([a for a, _ in runs], np.int64)
    stops = np.array([b for _, b in runs], np.int64)
    with pytest.MonkeyPatch.context() as patch:
        ahead, recorder = recorded(mapped, patch)
        ahead.ask(starts, stops)
        offset = mapped.offset
        expected = {
            byte // PAGE
            for a, b in runs
            for byte in range(offset + a * WIDTH, offset + b * WIDTH, 1)
        }
        assert sorted(recorder.pages) == sorted(expected)
        calls = recorder.calls
        ahead.ask(starts, stops)
        assert recorder.calls == calls


def test_pages_are_asked_for_again_after_a_while(
    mapped: np.memmap[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(readahead.time, "monotonic", lambda: now)
    ahead, recorder = recorded(mapped, monkeypatch)
    lines = np.array([0]), np.array([5])
    ahead.ask(*lines)
    now += 9
    ahead.ask(*lines)
    assert recorder.calls == 1
    now += 2
    ahead.ask(*lines)
    assert recorder.calls == 2


def test_a_part_of_the_array_is_found_in_the_file(
    mapped: np.memmap[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead, recorder = recorded(np.asarray(mapped)[200:], monkeypatch)
    ahead.ask(np.array([-1, 3]), np.array([0, 4]))
    first = (mapped.offset + 203 * WIDTH) // PAGE
    last = (mapped.offset + 204 * WIDTH - 1) // PAGE
    assert recorder.pages == list(range(first, last + 1))


def test_of_an_array_in_memory_nothing_is_read() -> None:
    ReadAhead(np.zeros((3, 4))).ask(np.array([0]), np.array([3]))
    ReadAhead(np.zeros((0, 4))).ask(np.array([0]), np.array([0]))


def test_candidates_are_read_ahead_of_their_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)

    def tokens(count: int) -> TokenVectors:
        vectors = rng.standard_normal((count, 16)).astype(np.float32)
        return TokenVectors(vectors, np.full((count, 2), -1, np.int32))

    engine = MultiVectorEngine(MultiVectorConfig(pool_factor=1, rescore=0), None)
    folders = [tmp_path / "0", tmp_path / "1"]
    for folder in folders:
        folder.mkdir()
        passages = [Passage(str(i), "d", "") for i in range(20)]
        engine.encode(Batch(passages, Encoded(None, [tokens(3) for _ in range(20)])), folder)
    searcher = engine.open(folders, np.ones(40, np.bool_))
    events: list[tuple[str, list[int]]] = []
    score = multivector_search.score

    def asked(ahead: ReadAhead, starts: np.ndarray, stops: np.ndarray) -> None:
        assert (stops - starts == 3).all()
        events.append(("asked", (starts // 3).tolist()))

    def scored(block: Any, queries: Any, positions: np.ndarray) -> np.ndarray:
        events.append(("scored", positions.tolist()))
        return score(block, queries, positions)

    monkeypatch.setattr(ReadAhead, "ask", asked)
    monkeypatch.setattr(multivector_search, "score", scored)
    monkeypatch.setattr(multivector_search, "AHEAD", 1)
    queries = Queries([""] * 3, Encoded(None, [tokens(4) for _ in range(3)]))
    rows = np.array([[3, 25, -1], [7, 21, 5], [39, 38, 3]])
    found = searcher.search_among(queries, 2, rows)
    assert (found.rows >= 0).all()
    # Both segments are asked for the first query, then for each next one before one is scored.
    first, second, third = [[3], [5]], [[5, 7], [1]], [[3], [18, 19]]
    expected = [("asked", lines) for lines in (*first, *second)]
    expected += [("scored", lines) for lines in first]
    expected += [("asked", lines) for lines in third] + [("scored", lines) for lines in second]
    expected += [("asked", [])] * 2 + [("scored", lines) for lines in third]
    assert events == expected


def test_dense_candidates_are_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((900, 32)).astype(np.float32)
    engine = DenseEngine(DenseConfig(storage="hnsw"))
    (tmp_path / "part").mkdir()
    (tmp_path / "whole").mkdir()
    engine.encode(Batch([Passage("", "", "")] * 900, Encoded(vectors, None)), tmp_path / "part")
    engine.merge([tmp_path / "part"], [None], tmp_path / "whole")
    queries = Queries([""] * 2, Encoded(vectors[:2], None))
    plain = engine.open([tmp_path / "whole"], np.ones(900, np.bool_)).search(queries, 5, None)
    asked: list[list[int]] = []
    monkeypatch.setattr(ReadAhead, "ask", lambda _, starts, stops: asked.append(starts.tolist()))
    monkeypatch.setattr(dense_search, "_LARGE", 1)
    found = engine.open([tmp_path / "whole"], np.ones(900, np.bool_)).search(queries, 5, None)
    np.testing.assert_array_equal(found.rows, plain.rows)
    assert len(asked) == 2
    for rows, lines in zip(found.rows.tolist(), asked, strict=True):
        assert set(rows) <= set(lines)
