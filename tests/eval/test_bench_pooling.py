"""The benchmark of pooling, on a handful of passages."""

from __future__ import annotations

from argparse import Namespace

import numpy as np
import pytest

from ragib.eval.bench.maxsim import draw
from ragib.eval.bench.pooling import compare, same, show
from ragib.indexes.pooling import pool_batch

pytest.importorskip("numba")


@pytest.mark.parametrize("data", ["random", "clustered"])
def test_the_ways_are_compared(data: str) -> None:
    args = Namespace(passages=3, tokens=12, dim=8, factor=2.0, repeats=1, data=data, seed=0)
    result = compare(args)
    assert result["same"] is True
    rows = result["rows"]
    assert (rows[0]["way"], rows[0]["loop_over_this"]) == ("SciPy loop", 1)
    assert all(row["min_s"] > 0 for row in rows)
    text = show(result)
    assert "the same to the last bit" in text and "| compiled loops |" in text
    assert "NOT the same" in show({**result, "same": False})


def test_results_that_differ_are_seen() -> None:
    rng = np.random.default_rng(0)
    passages = [draw(rng, 20, 8, None) for _ in range(2)]
    assert same(pool_batch(passages, 2), pool_batch(passages, 2))
    assert not same(pool_batch(passages, 2), pool_batch(passages, 3))
