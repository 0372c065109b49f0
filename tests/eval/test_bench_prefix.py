"""The prefix benchmark, with a prefix cache that is simulated in place of an engine's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from qa_records import record, write

from ragib.eval.bench import prefix
from ragib.generators.base import Generation
from ragib.generators.chat import tokens
from ragib.generators.prompt import chat


class Simulated:
    """Remembers every prompt under its salt, in whole blocks, and never answers."""

    name = "vllm"

    def __init__(self, config) -> None:
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(config.model)
        self.known: set[tuple[str, tuple[int, ...]]] = set()
        self.closed = False

    def generate(self, requests):
        return [self.one(request) for request in requests]

    def one(self, request) -> Generation:
        ids = tuple(tokens(self.tokenizer, chat(request)))
        starts = [ids[:end] for end in range(prefix.BLOCK, len(ids), prefix.BLOCK)]
        cached = sum((request.salt, start) in self.known for start in starts) * prefix.BLOCK
        self.known |= {(request.salt, start) for start in starts}
        usage = {"prompt_tokens": len(ids), "cached_tokens": cached, "first_token_ms": 3}
        return Generation("", abstained=True, usage=usage)

    def close(self) -> None:
        self.closed = True


def test_every_order_reads_the_same_tokens_from_an_empty_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefix, "VLLMGenerator", Simulated)
    for name in prefix.ENGINE:
        monkeypatch.setenv(name, "")  # so that what the command sets is undone
    records = [record(number) for number in range(12)]
    for number, one in enumerate(records):
        # Its own passage comes first, then those that all questions find; each fills blocks.
        one["passages"][0]["text"] += " It was often painted, sung of and written about." * 4
        one["question"] = f"Who painted number{number} in the cold night?"
    page = tmp_path / "page.md"
    page.write_text("<!-- prefix -->\n<!-- /prefix -->\n")
    data = write(tmp_path / "set.jsonl", records)
    arguments = ["--data", str(data), "--questions", "9", "--page", str(page)]
    result = CliRunner().invoke(prefix.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "9 questions, 5 passages each of 60" in page.read_text()
    rows = json.loads((tmp_path / "results" / "prefix.json").read_text())["rows"]
    assert [row["evidence"] for row in rows] == ["all of it"] * 3 + ["ib keep=0.2"] * 3
    for plain, coming, known in (rows[:3], rows[3:]):
        assert plain["prompt_tokens"] == coming["prompt_tokens"] == known["prompt_tokens"]
        for row in (plain, coming, known):
            assert 0 < row["cached_tokens"] < row["prompt_tokens"]
            assert row["ttft_ms"]["p95"] == 3
    assert rows[0]["cached_tokens"] < min(row["cached_tokens"] for row in rows[1:3])
    assert rows[0]["prompt_tokens"] > rows[3]["prompt_tokens"]
