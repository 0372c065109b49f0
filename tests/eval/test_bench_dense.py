"""The benchmark of dense search, small."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ragib.config import EncoderConfig
from ragib.encoders import load_encoder
from ragib.eval.bench import dense
from ragib.eval.bench.dense_vectors import Vectors, encode, mix
from ragib.eval.datasets import read_beir

pytest.importorskip("faiss")
pytest.importorskip("llvmlite")

WORDS = "tower river king queen moon star iron gold poem bridge".split()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    def lines(name: str, prefix: str, count: int) -> None:
        rows = [
            {"_id": f"{prefix}{i}", "text": " ".join(WORDS[int(c)] for c in f"{i:03d}")}
            for i in range(count)
        ]
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    lines("corpus.jsonl", "d", 40)
    lines("queries.jsonl", "q", 6)
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("".join(f"q{i}\td{i}\t1\n" for i in range(6)))
    return tmp_path


def test_vectors_are_real_ones_and_mixtures(folder: Path, tiny_encoder_dir: Path) -> None:
    model = load_encoder(EncoderConfig(model=str(tiny_encoder_dir)))
    real, asked = encode(read_beir(folder, "test"), 20, 4, model)
    assert real.shape == (20, 32)
    assert asked.shape == (4, 32)
    mixed = mix(real, 500, np.random.default_rng(0))
    assert np.array_equal(mixed[:20], real)
    np.testing.assert_allclose(np.linalg.norm(mixed, axis=1), 1, rtol=1e-5)
    assert np.array_equal(mix(real, 5, np.random.default_rng(0)), real[:5])


def test_every_storage_is_measured_with_filters_and_without() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((3000, 48)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    result = dense.compare(Vectors(rows, rows[:7] + np.float32(0.1), 3000), 0)
    assert len(result["rows"]) == 3 * 5
    for row in result["rows"]:
        assert row["recall@10"] >= (0.9 if row["way"] in ("hnsw", "rabitq", "sq8") else 1)
    sizes = {row["way"]: row["bytes_a_vector"] for row in result["rows"]}
    assert sizes["flat"] == pytest.approx(4 * 48, rel=0.01)
    assert sizes["faiss flat"] == 4 * 48
    assert 16 <= sizes["rabitq"] < 17
    assert sizes["hnsw"] > sizes["flat"] > sizes["sq8"] > sizes["rabitq"]
    assert "| rabitq, 50% allowed |" in dense.show(result)


def test_the_command_prints_a_table(folder: Path, tiny_encoder_dir: Path) -> None:
    options = ["--data", str(folder), "--encoder", str(tiny_encoder_dir), "--real", "20"]
    done = CliRunner().invoke(dense.main, [*options, "--passages", "400", "--queries", "3"])
    assert done.exit_code == 0, done.output
    assert "400 x 32: 20 real vectors and mixtures of them" in done.stdout
    assert "| hnsw |" in done.stdout
