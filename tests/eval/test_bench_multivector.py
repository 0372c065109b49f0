"""The benchmarks of token vectors, small."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from ragib.config import EncoderConfig
from ragib.encoders import load_encoder
from ragib.eval.bench import maxsim, multivector
from ragib.eval.datasets import read_beir

WORDS = "king queen river bridge tower moon star water stone iron gold author poem war".split()


def test_forms_are_measured_on_the_same_text(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    texts = [
        f"The {WORDS[i % 14]} of the {WORDS[i * 5 % 14]} saw {WORDS[i * 3 % 13]} and the city fell."
        for i in range(40)
    ]
    rows = [{"_id": f"d{i}", "title": "", "text": text} for i, text in enumerate(texts)]
    rows.append({"_id": "again", "title": "", "text": texts[0], "dup_of": "d0"})
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    queries = [{"_id": f"q{i}", "text": texts[7 * i][:20]} for i in range(4)]
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries))
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("q0\td0\t1\nq1\td7\t1\nq2\td14\t1\nq3\td21\t1\n")
    encoder = load_encoder(EncoderConfig(model=str(tiny_encoder_dir), device="cpu"))
    result = multivector.compare(read_beir(tmp_path, "test"), encoder, 100, 4)
    assert (result["passages"], result["questions"]) == (40, 4)
    assert result["vectors"] < 0.6 * result["tokens"]
    rows = {row["form"]: row for row in result["rows"]}
    sizes = [rows[f"{form} scan"]["bytes_a_token"] for form in ("int8", "int4", "1-bit")]
    assert sizes == sorted(sizes, reverse=True)
    assert rows["int8 scan + rescoring"]["recall@10"] >= 0.9
    assert rows["1-bit scan"]["recall@10"] <= rows["1-bit scan + rescoring"]["recall@10"]
    assert rows["int8 scan of 200 by terms"]["recall@10"] > 0
    assert "int4 scan + rescoring" in multivector.show(result)


@pytest.mark.parametrize("data", ["random", "clustered"])
def test_every_way_is_compared_with_exact_scores(data: str) -> None:
    args = argparse.Namespace(
        passages=120, vectors=6, dim=32, query=4, queries=3, repeats=1, data=data, seed=0
    )
    result = maxsim.compare(args)
    rows = {row["way"]: row for row in result["rows"]}
    assert {"fp32 einsum", *maxsim.FORMS} <= set(rows)
    assert rows["fp32 einsum"]["recall@10"] == rows["fp32 matmul"]["recall@10"] == 1
    assert rows["int8 scan + rescoring"]["recall@10"] >= 0.9
    assert rows["int4 scan"]["bytes_a_vector"] < rows["int8 scan"]["bytes_a_vector"] < 4 * 32
    assert "1-bit scan" in maxsim.show(result)
