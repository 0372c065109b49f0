"""The benchmark of token vectors on a disk, small."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ragib.config import EncoderConfig
from ragib.encoders import load_encoder
from ragib.errors import InputError
from ragib.eval.bench import ssd
from ragib.eval.bench.ssd import Way
from ragib.eval.datasets import read_beir

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="weighs what Linux counts")

WORDS = "king queen river bridge tower moon star water stone iron gold author poem war".split()


def test_pages_are_dropped_and_read_again(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    texts = [f"The {WORDS[i % 14]} of the {WORDS[i * 5 % 14]} saw {i}" for i in range(400)]
    rows = [{"_id": f"d{i}", "title": "", "text": text} for i, text in enumerate(texts)]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    queries = [{"_id": f"q{i}", "text": texts[7 * i][:20]} for i in range(3)]
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries))
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("q0\td0\t1\nq1\td7\t1\nq2\td14\t1\n")
    encoder = load_encoder(EncoderConfig(model=str(tiny_encoder_dir), device="cpu"))
    folder = tmp_path / "index"
    dealt, about = ssd.prepare(read_beir(tmp_path, "test"), encoder, (350, 40), 3, folder)
    assert (about["passages"], about["questions"]) == (350, 3)
    try:
        cold = ssd.apart(folder, dealt, Way("sparse", True, True, 1))
    except InputError as error:
        if "keeps its files in memory" in str(error):
            pytest.skip(str(error))
        raise
    batch = ssd.measure(folder, dealt, Way("sparse", True, False, 3))
    warm = ssd.measure(folder, dealt, Way("sparse", False, False, 1))
    assert cold["p50_ms"] > 0
    assert batch["ready"] < 1
    assert warm["ready"] == 1
    assert warm["read_mb"] == 0
    assert "3 questions at once" in ssd.show({**about, "rows": [cold, batch, warm]})
