"""`ragib train encoder`, and an index that uses what it wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Run = Callable[..., Result]

NAMES = "Paris London Rome Moon Star Sun Tower Bridge".split()
THINGS = "book city river king queen song".split()


def questions(path: Path) -> Path:
    """Write questions about who built what, each with a passage that says so and another."""
    lines = []
    for number in range(24):
        name, thing = NAMES[number % 8], THINGS[(number + number // 8) % 6]
        text = f"The {thing} was built by {name} in year {number}."
        other = f"A {thing} and a bird by the water in {NAMES[(number + 3) % 8]}."
        passages = [
            {"id": f"g{number}", "title": "", "text": text, "gold": True},
            {"id": f"n{number}", "title": "", "text": other, "gold": False},
        ]
        line = {"id": str(number), "source": "mine", "question": f"who built the {thing}?"}
        lines.append({**line, "answers": [name], "passages": passages})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_head_is_trained_and_used(
    run: Run, corpus: Path, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    head = tmp_path / "head"
    command = (
        *("train", "encoder", "--data", questions(tmp_path / "train.jsonl"), "--out", head),
        *("--encoder", tiny_encoder_dir, "--dim", 8, "--steps", 3, "--batch-size", 8),
        *("--pool-factor", 2),
    )
    done = run(*command, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [row["factor"] for row in found["held_out"]] == [1.0, 2.0]
    again = run(*command)
    assert again.exit_code == 0, again.output
    assert f"head written to {head}" in again.stdout
    assert "pool factor 2: " in again.stdout
    built = run(
        *("index", corpus, "--out", tmp_path / "i", "--kind", "multivector"),
        *("--set", f"index.encoder.model={tiny_encoder_dir}"),
        *("--set", f"index.multivector.projection={head}", "--set", "index.multivector.dim=8"),
    )
    assert built.exit_code == 0, built.output
    shown = run("info", tmp_path / "i").stdout
    [line] = [line for line in shown.splitlines() if line.startswith("projection_kind")]
    assert line.split(maxsplit=1)[1].startswith("trained head ")
    assert run("search", tmp_path / "i", "who built it").exit_code == 0


def test_what_cannot_be_trained_is_one_line(
    run: Run, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    data = questions(tmp_path / "train.jsonl")
    command = ("train", "encoder", "--out", tmp_path / "head", "--encoder", tiny_encoder_dir)
    for options, message in (
        (("--data", data, "--dim", 64), "no head to train"),
        (("--data", data, "--dim", 8, "--teacher", tmp_path), "no trained compressor"),
        (("--data", tmp_path / "none.jsonl", "--dim", 8), "none.jsonl"),
    ):
        failed = run(*command, *options)
        assert failed.exit_code == 2
        assert message in failed.stderr
    assert not (tmp_path / "head" / "token-head.safetensors").exists()
