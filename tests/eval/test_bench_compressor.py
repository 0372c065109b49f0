from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ragib.compressor.training.records import LabelledPassage, Record, read_records
from ragib.errors import InputError
from ragib.eval.bench.compressor import judged, load_set, measure, named, retained
from ragib.eval.bench.guarantees import coverage
from ragib.types import Compressed, Evidence

TEXT = "The tower is old. It was built by Rome in spring. A dog ran."


def record(kind: str, answers: tuple = (), evidence: tuple = ()) -> Record:
    passages = (
        LabelledPassage("a", "", TEXT, True, answers, evidence),
        LabelledPassage("b", "", "The moon is cold.", True, (), evidence and ((0, 17),)),
    )
    return Record("q", "s", "who built the tower?", ("Rome",), True, kind, passages)


def kept(*spans: tuple[str, int, int]) -> Compressed:
    pieces = tuple(Evidence(p, s, e, TEXT[s:e], 1.0) for p, s, e in spans)
    return Compressed("q", pieces, (), 16, 8)


def test_an_answer_must_be_kept_whole() -> None:
    asked = record("answer-sentence", answers=((34, 38),))
    assert retained(asked, kept(("a", 18, 49)))
    assert retained(asked, kept(("a", 18, 36), ("a", 36, 49)))
    assert not retained(asked, kept(("a", 18, 37)))
    assert not retained(asked, kept(("b", 0, 17)))
    assert not retained(asked, kept())


def test_all_supporting_sentences_must_be_kept() -> None:
    asked = record("human", evidence=((18, 49),))
    assert retained(asked, kept(("a", 18, 49), ("b", 0, 17)))
    assert not retained(asked, kept(("a", 18, 49)))
    assert not retained(asked, kept(("a", 18, 25), ("b", 0, 17)))


def test_of_supporting_paragraphs_something_must_be_kept() -> None:
    asked = record("paragraph", evidence=((0, 60),))
    assert retained(asked, kept(("a", 0, 10), ("b", 0, 3)))
    assert not retained(asked, kept(("a", 0, 60)))


def test_only_questions_whose_context_holds_the_answer_count() -> None:
    assert judged(record("answer-sentence", answers=((34, 38),)))
    assert not judged(record("answer-sentence"))


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
