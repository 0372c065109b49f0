from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from training_records import record, write

from ragib.cli.main import cli
from ragib.compressor.training.data import evidence_sentences
from ragib.compressor.training.hub import read_source
from ragib.compressor.training.negatives import COUNT
from ragib.compressor.training.rows import HOTPOT, SQUAD, records_of
from ragib.corpus import hub
from ragib.errors import InputError, MissingExtraError, OfflineError

PLACES = "Paris Rome London Athens Cairo Oslo Vienna Madrid".split()


def context(place: str, part: int) -> str:
    if part == 0:
        return f"{place} is an old city. The tower of {place} was built in {len(place)}99."
    return f"The river of {place} is cold. Boats of {place} carry stone and gold."


def squad_row(number: int, **changed: Any) -> dict[str, Any]:
    place, part = PLACES[number // 2], number % 2
    text = context(place, part)
    answer = f"{len(place)}99" if part == 0 else "stone and gold"
    asks = (
        f"When was the tower of {place} built?" if part == 0 else f"What do boats of {place} carry?"
    )
    row = {
        "id": f"q{number}",
        "title": f"{place}_(city)",
        "context": text,
        "question": asks,
        "answers": {"text": [answer, answer], "answer_start": [text.index(answer)] * 2},
    }
    return row | changed


SQUAD_ROWS = [squad_row(number) for number in range(16)]
SQUAD_COLUMNS = [*SQUAD, "title"]
HOTPOT_ROW: dict[str, Any] = {
    "id": "h1",
    "question": "Who designed the tower of the oldest city?",
    "answer": "Ada",
    "type": "bridge",
    "level": "hard",
    "supporting_facts": {"title": ["Rome", "Ada", "Ada"], "sent_id": [1, 0, 7]},
    "context": {
        "title": ["Rome", "Ada", "Oslo"],
        "sentences": [
            ["Rome is a city.", " It is the oldest one.", " Ada was never there. "],
            ["ADA designed the tower.", " The adaptive one."],
            ["Oslo was not designed by Ada."],
        ],
    },
}


def test_squad_rows_become_records_with_their_answers() -> None:
    records = records_of(SQUAD_ROWS, SQUAD_COLUMNS, "squad")
    assert [r.id for r in records] == [f"q{n}" for n in range(16)]
    for row, made in zip(SQUAD_ROWS, records, strict=True):
        [gold] = [p for p in made.passages if p.gold]
        assert (gold.text, gold.title) == (row["context"], row["title"].replace("_", " "))
        assert [gold.text[s:e] for s, e in gold.answers] == list(made.answers)
        assert made.answers == (row["answers"]["text"][0],)
        assert made.question == row["question"]
        assert (made.source, made.answerable, made.evidence_kind) == (
            "squad", True, "answer-sentence"
        )  # fmt: skip
        [(start, end)] = evidence_sentences(gold)
        assert made.answers[0] in gold.text[start:end]


def test_distractors_are_likely_hold_no_answer_and_are_not_repeated() -> None:
    records = records_of(SQUAD_ROWS, SQUAD_COLUMNS, "squad")
    for number, made in enumerate(records):
        others = [p for p in made.passages if not p.gold]
        assert len({p.id for p in made.passages}) == len(made.passages)
        assert all(p.answers == () == p.evidence for p in others)
        assert not any(answer in p.text for p in others for answer in made.answers)
        if number % 2 == 0:  # the years differ by the length of the name, so some are the same
            assert len(others) == COUNT
            assert others[0].title == made.passages[0].title
    assert records == records_of(SQUAD_ROWS, SQUAD_COLUMNS, "squad")


def test_an_answer_in_every_context_leaves_no_distractor() -> None:
    records = records_of(SQUAD_ROWS, SQUAD_COLUMNS, "squad")
    stones = [r for r in records if r.answers == ("stone and gold",)]
    assert stones
    assert not any("stone and gold" in p.text for r in stones for p in r.passages[1:])


def test_questions_without_an_answer() -> None:
    rows = [*SQUAD_ROWS, squad_row(2, id="u", answers={"text": [], "answer_start": []})]
    made = records_of(rows, SQUAD_COLUMNS, "squad")[-1]
    assert (made.answerable, made.answers, made.evidence_kind) == (False, (), "none")
    assert len(made.passages) == 1 + COUNT
    assert not any(p.gold or p.answers for p in made.passages)


def test_rows_of_one_context_and_of_no_words_have_no_distractors() -> None:
    rows = [squad_row(0), squad_row(0, id="again")]
    assert [len(r.passages) for r in records_of(rows, SQUAD_COLUMNS, "s")] == [1, 1]
    bare = [
        squad_row(0, context=text, answers={"text": [text], "answer_start": [0]}, title=None)
        for text in ("?", "!")
    ]
    assert [len(r.passages) for r in records_of(bare, SQUAD_COLUMNS, "s")] == [2, 2]
    assert records_of([], SQUAD_COLUMNS, "s") == []


def test_a_wrong_place_of_an_answer_is_put_right() -> None:
    wrong = squad_row(0, answers={"text": ["599"], "answer_start": [3]})
    [made] = records_of([wrong], SQUAD_COLUMNS, "squad")
    [gold] = made.passages
    assert [gold.text[s:e] for s, e in gold.answers] == ["599"]


def test_hotpot_rows_become_records_with_human_evidence() -> None:
    [made] = records_of([HOTPOT_ROW], HOTPOT_ROW.keys(), "hotpot")
    rome, ada, oslo = made.passages
    assert [p.gold for p in made.passages] == [True, True, False]
    assert [rome.text[s:e] for s, e in rome.evidence] == ["It is the oldest one."]
    assert [ada.text[s:e] for s, e in ada.evidence] == ["ADA designed the tower."]
    assert [ada.text[s:e] for s, e in ada.answers] == ["ADA"]
    assert evidence_sentences(ada) == [(0, len("ADA designed the tower."))]
    assert (oslo.answers, oslo.evidence) == ((), ())
    assert (made.answers, made.answerable, made.evidence_kind) == (("Ada",), True, "human")


def test_a_yes_is_no_answer_that_stands_in_a_text() -> None:
    [made] = records_of([HOTPOT_ROW | {"answer": "Yes"}], HOTPOT, "hotpot")
    assert made.answers == ()
    assert not any(p.answers for p in made.passages)
    assert made.answerable


@given(st.lists(st.tuples(st.text(max_size=12), st.booleans()), min_size=1, max_size=6))
def test_evidence_of_hotpot_is_its_sentences(sentences: list[tuple[str, bool]]) -> None:
    texts = [text for text, _ in sentences]
    facts = [number for number, (_, wanted) in enumerate(sentences) if wanted]
    row = HOTPOT_ROW | {
        "supporting_facts": {"title": ["T"] * len(facts), "sent_id": facts},
        "context": {"title": ["T"], "sentences": [texts]},
    }
    expected = [texts[n].strip() for n in facts if texts[n].strip()]
    if not expected:
        with pytest.raises(InputError, match="no supporting fact"):
            records_of([row], HOTPOT, "h")
        return
    [made] = records_of([row], HOTPOT, "h")
    [passage] = made.passages
    assert passage.text == "".join(texts)
    assert [passage.text[s:e] for s, e in passage.evidence] == expected


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([{}], ["text", "label"], r"set: has the columns label, text; expected those of SQuAD"),
        ([squad_row(0), squad_row(1, context=" ")], SQUAD, r"set: row 1: 'context' is empty"),
        ([squad_row(0, question=None)], SQUAD, r"set: row 0: 'question' is empty or no text"),
        ([squad_row(0, answers={"text": ["x"]})], SQUAD, r"set: row 0: lacks 'answer_start'"),
        ([squad_row(0, answers=["x"])], SQUAD, r"set: row 0: list indices"),
        (
            [squad_row(0, answers={"text": ["nowhere"], "answer_start": [0]})],
            SQUAD,
            r"set: row 0: the answer 'nowhere' does not stand in its context",
        ),
        ([squad_row(0, answers={"text": [""], "answer_start": [0]})], SQUAD, "an answer is empty"),
        (
            [HOTPOT_ROW | {"supporting_facts": {"title": ["No"], "sent_id": [0]}}],
            HOTPOT,
            "set: row 0: no supporting fact is among its sentences",
        ),
        ([HOTPOT_ROW | {"context": None}], HOTPOT, r"set: row 0: 'NoneType'"),
    ],
)
def test_what_cannot_be_used_is_named(rows: list[Any], columns: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        records_of(rows, columns, "set")


def test_long_work_shows_progress() -> None:
    seen: list[tuple[str, int, int | None]] = []
    records_of(SQUAD_ROWS, SQUAD_COLUMNS, "s", lambda *given: seen.append(given))
    assert seen == [("distractors", 16, 16)]


class Rows(list[dict[str, Any]]):
    column_names = SQUAD_COLUMNS


class DatasetsError(Exception):
    pass


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Stand in for the `datasets` package; returns what it is asked for."""
    calls: list[tuple[Any, ...]] = []

    def load_dataset(place: str, config: str | None, *, split: str) -> Rows:
        calls.append((place, config, split))
        if place == "no/where":
            raise DatasetsError("Dataset 'no/where'\n cannot be accessed")
        return Rows(SQUAD_ROWS)

    library = SimpleNamespace(
        load_dataset=load_dataset,
        disable_progress_bars=lambda: None,
        exceptions=SimpleNamespace(DatasetsError=DatasetsError),
    )
    monkeypatch.setattr(hub, "require", lambda module, purpose: library)
    return calls


@pytest.mark.parametrize(
    ("name", "place", "source"),
    [
        ("hub:rajpurkar/squad", ("rajpurkar/squad", None, "train"), "rajpurkar/squad"),
        ("hub:a/b:validation", ("a/b", None, "validation"), "a/b"),
        ("hub:a/b/c:train[:10%]", ("a/b", "c", "train[:10%]"), "a/b"),
    ],
)
def test_names_of_hub_data_sets(
    asked: list[tuple[Any, ...]], name: str, place: tuple[str, ...], source: str
) -> None:
    records = read_source(name)
    assert asked == [place]
    assert {r.source for r in records} == {source}
    assert len(read_source(name, [source])) == len(records) == 16
    assert read_source(name, ["other"]) == []


def test_a_data_set_that_cannot_be_had_is_named(asked: list[tuple[Any, ...]]) -> None:
    with pytest.raises(
        InputError, match="hub:no/where, split train: Dataset 'no/where' cannot be accessed"
    ):
        read_source("hub:no/where")
    for name in ("hub:", "hub:squad", "hub:a//b", "hub:a/b/c/d", "hub:../a/b", "hub:a/b:"):
        with pytest.raises(InputError, match=r"expected hub:OWNER/NAME"):
            read_source(name)


def test_offline_a_hub_data_set_is_refused(
    monkeypatch: pytest.MonkeyPatch, asked: list[tuple[Any, ...]]
) -> None:
    monkeypatch.setenv("RAGIB_OFFLINE", "1")
    with pytest.raises(OfflineError, match="fetching the data set rajpurkar/squad needs the net"):
        read_source("hub:rajpurkar/squad")
    assert asked == []


def test_without_the_package_the_pip_line_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'ragib\[train\]'"):
        read_source("hub:rajpurkar/squad")


def test_command_trains_on_a_hub_data_set(
    asked: list[tuple[Any, ...]], tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    arguments = [
        "train", "compressor", "--data", "hub:rajpurkar/squad:train", "--out", str(tmp_path / "w"),
        "--base", str(tiny_encoder_dir), "--steps", "2", "--held-out", "0.7",
    ]  # fmt: skip
    result = CliRunner().invoke(cli, arguments)
    assert asked == [("rajpurkar/squad", None, "train")]
    assert result.exit_code == 2
    assert "held-out questions with evidence are too few" in result.output


def test_other_names_are_files(tmp_path: Path) -> None:
    made = [record(number) for number in range(3)]
    path = write(made, tmp_path / "train.jsonl")
    assert read_source(path) == read_source(str(path)) == made


def test_rows_of_the_real_package(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    for rows in (SQUAD_ROWS, [HOTPOT_ROW]):
        made = datasets.Dataset.from_list(rows)
        monkeypatch.setattr(datasets, "load_dataset", lambda *_, made=made, **__: made)
        assert read_source("hub:a/b") == records_of(rows, rows[0].keys(), "a/b")
