"""`ragib info` and `ragib index --plan` say which dense storage was chosen, and why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Run = Callable[..., Result]


def test_the_choice_is_a_line_of_the_plan_and_of_the_index(
    run: Run, corpus: Path, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    command = (
        *("index", corpus, "--out", tmp_path / "i", "--kind", "dense"),
        *("--set", f"index.encoder.model={tiny_encoder_dir}", "--set", "index.dense.dim=16"),
    )
    planned, built = run(*command, "--plan"), run(*command)
    assert (planned.exit_code, built.exit_code) == (0, 0), planned.output + built.output
    shown = run("info", tmp_path / "i").stdout
    for text, name in ((planned.stdout, "dense"), (shown, "kinds.dense.choice")):
        (line,) = [line for line in text.splitlines() if line.split()[0] == name]
        assert line.split(maxsplit=1)[1] == "flat, since 4 passages <= 50,000"
    assert any(line.split() == ["kinds.dense.dim", "16"] for line in shown.splitlines())
