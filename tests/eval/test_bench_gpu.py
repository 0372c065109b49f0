"""The benchmark of a GPU, tiny and on the CPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from qa_records import record

from ragib.errors import InputError
from ragib.eval.bench import gpu


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "records.jsonl"
    path.write_text("".join(json.dumps(record(number)) + "\n" for number in range(12)))
    return path


def test_all_of_it_runs_and_is_written_down(data: Path, tiny_encoder_dir: Path) -> None:
    page = data.with_name("page.md")
    page.write_text("<!-- gpu -->\n<!-- /gpu -->\n")
    arguments = ["--data", data, "--device", "cpu", "--quick", "--model", tiny_encoder_dir]
    done = CliRunner().invoke(gpu.main, [*map(str, arguments), "--page", str(page)])
    assert done.exit_code == 0, done.output
    result = json.loads((data.parent / "results" / "gpu.json").read_text())
    assert result["device"] == "CPU"
    assert result["copied_bytes_a_second"] > 0
    ways = [(row["way"], row["questions"]) for row in result["scans"]]
    assert ways == [
        (way, questions)
        for way in ("MaxSim, torch", "MaxSim, torch, streamed", "dense, flat")
        for questions in (1, 32)
    ]
    for row in result["scans"]:
        # A second is a second: bytes of the codes over the time in the table.
        size = row["count"] * gpu.DIM * (4 if row["way"] == "dense, flat" else gpu.VECTORS)
        assert row["bytes_a_second"] == pytest.approx(1e3 * size / row["ms"])
    assert len(result["rates"]) == 5
    assert all(rate > 0 for rate in result["rates"].values())
    text = page.read_text()
    assert "MaxSim, torch, streamed" in text
    assert "examples trained on" in text


def test_without_a_gpu_it_says_so(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"finds no GPU .*--device cpu --quick"):
        gpu.measure(data, "cuda", gpu.QUICK, "embedded")
