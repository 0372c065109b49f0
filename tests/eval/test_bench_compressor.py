from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ragib.compressor.training.records import LabelledPassage, Record, read_records
from ragib.errors import ConfigError, InputError
from ragib.eval.bench.ambiguity import count
from ragib.eval.bench.compressor import (
    best_possible,
    by_source,
    load_set,
    losses,
    measure,
    named,
)
from ragib.eval.bench.guarantees import coverage

TEXT = "The tower is old. It was built by Rome in spring. A dog ran."


def test_measuring_a_set(tmp_path: Path) -> None:
    passage = {"id": "a", "title": "", "text": TEXT, "gold": True, "answer_spans": [[34, 38]]}
    line = {"id": "q", "question": "who built it?", "answers": ["Rome"], "passages": [passage] * 2}
    (tmp_path / "dev.jsonl.gz").write_text(json.dumps(line) + "\n")
    [asked] = load_set(tmp_path, "dev", None)
    assert len(asked.passages) == 1
    row = measure("bm25", named("bm25-sentence"), "dev", [asked])
    assert row["5%"] == 1.0
    assert row["kept 5%"] == pytest.approx(7 / 14)
    assert measure("truncate", named("truncate"), "dev", [asked])["5%"] == 0.0


def test_a_name_can_ask_for_int8() -> None:
    with pytest.raises(ConfigError, match=r"compressor\.precision: .* bm25-sentence does not"):
        named("bm25-sentence:int8")(0.5)


def test_a_set_without_judged_questions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dev.jsonl.gz").write_text("")
    with pytest.raises(InputError, match="no question"):
        load_set(tmp_path, "dev", None)
    assert list(read_records(tmp_path / "dev.jsonl.gz")) == []


def test_coverage_of_exchangeable_scores() -> None:
    values = np.random.default_rng(0).random(4000).tolist()
    for risk in (0.05, 0.1, 0.2):
        share, size = coverage(values, risk)
        assert size == 2000
        assert share == pytest.approx(1 - risk, abs=0.03)


def test_the_best_possible_is_bounded_by_the_length_of_sentences(tmp_path: Path) -> None:
    text = "Rome built it. " + "A dog ran. " * 20
    passage = {"id": "a", "title": "", "text": text, "gold": True, "answer_spans": [[0, 4]]}
    other = {"id": "b", "title": "", "text": "It is cold.", "gold": False}
    lines = [
        {
            "id": str(number),
            "source": source,
            "question": "who?",
            "answers": ["Rome"],
            "passages": [passage, other] if source == "short" else [passage | {"text": text[:26]}],
        }
        for number, source in enumerate(["short", "short", "long"])
    ]
    two = {"gold": True, "evidence": [[0, 14]], "title": ""}
    lines.append(
        {
            "id": "two",
            "source": "hops",
            "question": "who?",
            "answers": ["Rome"],
            "evidence_kind": "human",
            "passages": [two | {"id": p, "text": text[:26].replace("dog", p)} for p in "ab"],
        }
    )
    (tmp_path / "dev.jsonl.gz").write_text("\n".join(map(json.dumps, lines)))
    row = best_possible("dev", load_set(tmp_path, "dev", None))
    assert row["5%"] == row["15%"] == 3 / 4
    assert row["sources"] == {"short": 1.0, "long": 1.0, "hops": 0.0}
    table = by_source([row, row | {"compressor": "other", "sources": {"long": 0.5}}])
    assert table.splitlines()[0] == "| at 15% | best possible | other |"
    assert "| dev: long | 100.0 | 50.0 |" in table


def test_losses_are_told_relative_to_the_cosine() -> None:
    rows = [
        {"set": "dev", "compressor": "embedding-sentence", "15%": 0.6},
        {"set": "dev", "compressor": "ib", "15%": 0.9},
    ]
    assert losses(rows) == "At 15%, ib loses, of what embedding-sentence loses: 25 % on dev.\n\n"
    assert losses(rows[1:]) == ""


def test_questions_asked_of_several_passages_are_counted() -> None:
    def asked(source: str, question: str, passage: str) -> Record:
        gold = LabelledPassage(passage, "", TEXT, True, ((34, 38),), ())
        other = LabelledPassage("other", "", TEXT, False, (), ())
        return Record("q", source, question, ("Rome",), True, "answer-sentence", (gold, other))

    dev = [asked("policies", "Who  built it?", "a"), asked("policies", "When?", "a")]
    known = [*dev, asked("policies", "who built it?", "b"), asked("tales", "When?", "b")]
    assert count(dev, known) == [
        {"source": "policies", "questions": 2, "several": 0.5, "passages": 1.5}
    ]
