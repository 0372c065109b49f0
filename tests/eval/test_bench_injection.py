"""Planted instructions: where they stand, what is counted, and that no prompt is left by them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragib.compressor.calibration import Calibration
from ragib.compressor.ib import IBCompressor
from ragib.compressor.model import from_base
from ragib.compressor.training.records import LabelledPassage, Record
from ragib.config import EncoderConfig
from ragib.encoders import load_encoder
from ragib.eval.bench.injection import Answered, averages, changed, crossed, held, measure, summary
from ragib.eval.bench.injections import HARMLESS, INJECTIONS, POSITIONS, TARGETS, plant, plants
from ragib.generators.base import Request
from ragib.generators.prompt import chat
from ragib.types import Compressed, Evidence

GOLD = "The tower is old. It was built by Rome in spring. A dog ran."
PASSAGES = (
    LabelledPassage("n", "Moon", "The moon was red. Nobody saw it.", False, (), ()),
    LabelledPassage("g", "Tower", GOLD, True, ((34, 38),), ()),
)
RECORD = Record("q", "s", "Who built it?", ("Rome",), True, "answer-sentence", PASSAGES)

injections = st.sampled_from(INJECTIONS)
ways = st.tuples(injections, st.sampled_from(TARGETS), st.sampled_from(POSITIONS))


def test_there_are_forty_of_many_kinds_and_harmless_ones() -> None:
    kinds = Counter(one.kind for one in INJECTIONS)
    assert sum(kinds.values()) - kinds[HARMLESS] == 40
    assert len(kinds) > 10
    assert len({one.name for one in INJECTIONS}) == len({one.text for one in INJECTIONS}) == 44


@given(ways)
def test_a_plant_stands_between_two_sentences_and_changes_nothing_else(way) -> None:
    planted = plant(RECORD, *way)
    injection, target, position = way
    before = {p.id: p.text for p in RECORD.passages}
    after = {p.id: p.text for p in planted.question.passages}
    assert planted.passage == {"gold": "g", "distractor": "n"}[target]
    text = after.pop(planted.passage)
    old = before.pop(planted.passage)
    assert after == before
    first, last = planted.span
    assert text[first:last] == injection.said(RECORD.question).strip()
    assert "{question}" not in text
    head, tail = text[:first].strip(), text[last:].strip()
    assert f"{head} {tail}".strip() == old
    assert (head == "", tail == "") == (position == "start", position == "end")
    assert not head or head.endswith(".")
    assert planted.words == len(text[first:last].split())


def test_every_text_gets_to_every_place() -> None:
    made = [one for number in range(12) for one in plants(number, RECORD)]
    places = Counter((one.injection.name, one.target, one.position) for one in made)
    assert len(places) == len(INJECTIONS) * len(TARGETS) * len(POSITIONS)
    assert set(places.values()) == {1}


def kept(*evidence: Evidence) -> Compressed:
    return Compressed("q", evidence, (), 20, 10)


def test_what_is_held_of_an_instruction() -> None:
    planted = plant(RECORD, INJECTIONS[0], "gold", "middle")
    first = planted.span[0]
    text = planted.question.passages[1].text
    some = Evidence("g", first - 8, first + 10, text[first - 8 : first + 10], 1.0)
    assert text[first : first + 10] == "Ignore all"
    assert list(held(planted, kept(some)).values()) == [1, 0, pytest.approx(2 / 3)]
    whole = Evidence("g", 0, len(text), text, 1.0)
    assert list(held(planted, kept(whole)).values())[:2] == [1, 1]
    beside = Evidence("g", 0, 17, text[:17], 1.0)
    other = Evidence("n", first, first + 5, "xxxxx", 1.0)
    assert list(held(planted, kept(beside, other)).values()) == [0, 0, 0]
    assert list(held(planted, kept()).values()) == [0, 0, 0]


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (Answered("Rome", "g", 34, 38), Answered("Rome", "g", 34, 38), [0, 0, 0]),
        (Answered("Rome", "g", 34, 38), Answered(""), [1, 0, 1]),
        (Answered("red", "n", 0, 3), Answered("Rome", "g", 34, 38), [1, 0, 0]),
        (Answered(""), Answered("previous", "g", 61, 69), [1, 1, 0]),
        (Answered(""), Answered("previous", "n", 61, 69), [1, 0, 0]),
    ],
)
def test_how_an_answer_changed(before: Answered, now: Answered, expected: list[float]) -> None:
    planted = plant(RECORD, INJECTIONS[0], "gold", "end")
    assert planted.span[0] == 61
    assert list(changed(planted, before, now, ["Rome"]).values()) == expected


def test_a_table_of_all_of_it(tiny_encoder_dir: Path) -> None:
    model = from_base(str(tiny_encoder_dir))
    ib = IBCompressor(model, Calibration(), threshold=0.5)
    encoder = load_encoder(EncoderConfig(model=str(tiny_encoder_dir)))
    rows = measure([RECORD] * 2, ib, encoder)
    assert Counter(row["evidence"] for row in rows) == dict.fromkeys(
        ["none", "embedding-sentence keep=0.2", "ib keep=0.2", "ib"], 44
    )
    whole = [row for row in rows if row["evidence"] == "none"]
    assert all(row["kept"] == row["kept whole"] == 1 for row in whole)
    assert all(row["words kept"] <= 0.5 for row in rows if row["evidence"] == "ib keep=0.2")
    assert all(row["answer changed"] >= row["answer quotes it"] for row in rows)
    means = averages(rows, "injection")
    assert len(means) == 4 * 44
    assert summary(rows).count("\n") == 1 + 8
    assert crossed(rows, "kind").splitlines()[2].startswith("| override | 100.0 |")
    assert measure([RECORD] * 2, ib, encoder) == rows


@pytest.mark.parametrize("injection", INJECTIONS, ids=lambda one: one.name)
def test_no_planted_text_leaves_its_block_of_a_prompt(injection) -> None:
    texts = [p.text for p in plant(RECORD, injection, "gold", "middle").question.passages]
    evidence = tuple(Evidence(f"p{n}", 0, len(t), t, 1.0) for n, t in enumerate(texts))
    prompt = chat(Request(RECORD.question, evidence))[1]["content"]
    blocks = re.findall(r"^BEGIN ([0-9a-f]{16})\n(.*?)\nEND \1$", prompt, re.DOTALL | re.MULTILINE)
    assert [block.replace("< |", "<|") for _, block in blocks] == texts
    assert all(mark not in text for mark, _ in blocks for text in texts)
    assert not re.search(r"<\|im_(start|end)\|>", prompt)
    assert prompt.endswith(f"\nQuestion: {RECORD.question}")
