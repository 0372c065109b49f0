"""The arms of the late-interaction benchmark, and the table of what was measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ragib.compressor.training.head_fit import HeadPlan
from ragib.config import EncoderConfig
from ragib.encoders import load_encoder
from ragib.eval.bench import late_interaction as bench
from ragib.eval.datasets import read_beir

pytest.importorskip("ir_measures")

TEXTS = {"d1": "the old tower in paris", "d2": "a river of iron", "d3": "the king built a bridge"}


def test_every_arm_differs_from_the_next_in_one_thing(tmp_path: Path) -> None:
    plan = HeadPlan()
    arms = list(bench.arms(plan, tmp_path).values())
    assert replace(arms[0], factors=plan.factors) == arms[1] == plan
    assert replace(arms[2], teacher=None) == plan
    assert (arms[0].factors, arms[2].teacher) == ((1.0,), tmp_path)
    assert set(bench.FACTORS) == set(plan.factors)


def test_heads_that_are_there_are_not_trained_again(tmp_path: Path) -> None:
    folder = tmp_path / "pooled-in-training-margin-MSE"
    folder.mkdir()
    (folder / bench.NAME).touch()
    wanted = {"pooled in training, margin-MSE": HeadPlan()}
    found = bench.train_arms(tmp_path / "nowhere", tmp_path, wanted, bench._silent)
    assert found == {"pooled in training, margin-MSE": folder}


def test_every_projection_and_factor_is_measured(
    tmp_path: Path, tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": k, "title": "", "text": t}) + "\n" for k, t in TEXTS.items())
    )
    (tmp_path / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": TEXTS["d3"]}) + "\n")
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("q\td3\t1\n")
    monkeypatch.setattr(bench, "FACTORS", (1, 2))
    encoder = load_encoder(EncoderConfig(model=str(tiny_encoder_dir), device="cpu"))
    data = read_beir(tmp_path, "test")
    rows = list(bench.measure_set(data, encoder, {"one": "svd", "two": "auto"}))
    assert [(row["projection"], row["factor"]) for row in rows] == [
        ("one", 1),
        ("one", 2),
        ("two", 1),
        ("two", 2),
    ]
    assert all(0 < row["nDCG@10"] <= 1 for row in rows)


def test_shares_are_of_the_same_projection_unpooled() -> None:
    rows = [
        {"set": data, "projection": name, "factor": factor, "nDCG@10": value / factor}
        for data, value in (("x", 0.4), ("y", 0.8))
        for name in ("a", "b")
        for factor in bench.FACTORS
    ]
    lines = bench.table(rows).splitlines()
    assert lines[2] == "| a: 1 | 0.4000 | 0.8000 | 0.6000 | 100.0 % |"
    assert lines[3] == "| a: 2 | 0.2000 | 0.4000 | 0.3000 | 50.0 % |"
    assert len(lines) == 2 + 2 * len(bench.FACTORS)
