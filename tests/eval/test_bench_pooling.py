"""The benchmark of pooling, on a handful of passages."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from ragib.eval.bench import pooling
from ragib.eval.bench.maxsim import draw
from ragib.eval.bench.pooling import agreed, compare, same, show
from ragib.indexes.pooling import pool_batch

pytest.importorskip("numba")

TEXTS = [
    "Cats sleep all day.",
    "A dog barks.",
    "It rains.",
    "The cat saw the dog run, and ran as well.",
]


@pytest.mark.parametrize("real", [False, True])
def test_the_ways_are_compared(
    real: bool, tmp_path: Path, tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, text in enumerate(TEXTS):
        (tmp_path / f"{number}.txt").write_text(text, encoding="utf-8")
    config = pooling.EncoderConfig(model=str(tiny_encoder_dir))
    monkeypatch.setattr(pooling, "EncoderConfig", lambda: config)
    sizes = {"passages": 3, "tokens": 12, "dim": 8, "factor": 2.0, "repeats": 1, "seed": 0}
    result = compare(Namespace(**sizes, data=tmp_path if real else None, texts=3))
    text = show(result)
    assert [part["vectors"] for part in result["parts"]] == ["random", tmp_path.name][: 1 + real]
    for part in result["parts"]:
        assert part["same"] is True
        assert part["agreed"]["compiled loops"] == part["pooled"] < part["tokens"]
        rows = part["rows"]
        assert (rows[0]["way"], rows[0]["loop_over_this"]) == ("SciPy loop", 1)
        assert all(row["min_s"] > 0 for row in rows)
        assert f"| {part['vectors']}: compiled loops |" in text
    assert text.count("the same to the last bit") == 1 + real
    assert "NOT the same" in show({**result, "parts": [{**result["parts"][0], "same": False}]})


def test_results_that_differ_are_seen() -> None:
    rng = np.random.default_rng(0)
    passages = [draw(rng, 20, 8, None) for _ in range(2)]
    two, three = pool_batch(passages, 2), pool_batch(passages, 3)
    assert same(two, pool_batch(passages, 2))
    assert not same(two, three)
    assert agreed(two, two) == sum(len(vectors) for vectors, _ in two)
    labels = [np.array([0, 1, 1, 2, 3]), np.array([2, 0, 0, 1, 1])]
    one, other = ([(passages[0], numbers)] for numbers in labels)
    assert agreed(one, other) == agreed(other, one) == 2
