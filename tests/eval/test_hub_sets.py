from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from ragib.errors import InputError, MissingExtraError, OfflineError
from ragib.eval.evalset import EvalQuery
from ragib.eval.read import read_eval_set

FLASH = [{"id": "1", "question": "who?", "golden_answers": ["Rome"], "metadata": None}]
SQUAD = [
    {
        "id": "a",
        "title": "T",
        "context": "by Rome",
        "question": "who?",
        "answers": {"text": ["Rome"]},
    },
    {"id": "b", "title": "T", "context": "by Rome", "question": "why?", "answers": {"text": []}},
    {"id": "c", "title": "", "context": "a dog", "question": "what?", "answers": ["dog"]},
]


class Rows(list):
    @property
    def column_names(self) -> list[str]:
        return list(self[0])


class DatasetsError(Exception):
    """As the package has it: no OSError."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict]:
    """A hub with one data set, in place of the package that reaches the real one."""
    monkeypatch.delenv("RAGIB_OFFLINE", raising=False)
    held: dict = {"rows": FLASH, "asked": []}

    def load_dataset(name: str, config: str | None, *, split: str) -> Rows:
        held["asked"].append((name, config, split))
        if "error" in held:
            raise held["error"]
        return Rows(held["rows"])

    module = ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    module.disable_progress_bars = lambda: None  # type: ignore[attr-defined]
    module.exceptions = SimpleNamespace(DatasetsError=DatasetsError)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    yield held


def test_questions_of_flashrag(hub: dict, tmp_path: Path) -> None:
    corpus = tmp_path / "docs.jsonl"
    corpus.write_text('{"id": "d", "contents": "text"}\n')
    data = read_eval_set("hub:owner/sets/nq", corpus=corpus, split="dev")
    assert hub["asked"] == [("owner/sets", "nq", "dev")]
    assert data.name == "owner/sets/nq"
    assert data.queries == (EvalQuery("1", "who?", ("Rome",), True),)
    assert [document.id for document in data.documents()] == ["d"]
    with pytest.raises(InputError, match="hub:owner/sets: these questions come without documents"):
        read_eval_set("hub:owner/sets")
    assert hub["asked"][-1] == ("owner/sets", None, "test")
    read_eval_set("hub:owner/sets:train[:9]", corpus=corpus)
    assert hub["asked"][-1] == ("owner/sets", None, "train[:9]")


def test_questions_of_squad_bring_their_contexts(hub: dict) -> None:
    hub["rows"] = SQUAD
    data = read_eval_set("hub:owner/squad", split="validation")
    assert [(q.id, q.answers, q.answerable, q.gold, q.cluster) for q in data.queries] == [
        ("a", ("Rome",), True, ("context-0",), "T"),
        ("b", (), False, (), "T"),
        ("c", ("dog",), True, ("context-1",), "context-1"),
    ]
    for _ in range(2):
        assert [(d.id, d.title, d.text) for d in data.documents()] == [
            ("context-0", "T", "by Rome"),
            ("context-1", "", "a dog"),
        ]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"text": "x", "label": 1}], "has the columns label, text; expected"),
        ([*FLASH, *FLASH], "row 1: query id '1' occurs twice"),
        ([SQUAD[0], SQUAD[0]], "row 1: query id 'a' occurs twice"),
        ([{**FLASH[0], "golden_answers": "Rome"}], "row 0: 'golden_answers' is of type str"),
        ([{**SQUAD[0], "answers": {"start": [1]}}], "row 0: no 'text' among start"),
        ([{**SQUAD[0], "answers": None}], "row 0: 'answers' is null"),
        ([{**SQUAD[0], "context": ""}], "row 0: 'context' is empty"),
    ],
)
def test_rows_that_cannot_be_used(hub: dict, rows: list, said: str) -> None:
    hub["rows"] = rows
    with pytest.raises(InputError, match=f"hub:owner/name: {said}"):
        read_eval_set("hub:owner/name")


@pytest.mark.parametrize(
    "error",
    [ConnectionError("no\nroute"), ValueError("no\nroute"), DatasetsError("no\nroute")],
)
def test_a_set_that_cannot_be_fetched(hub: dict, error: Exception) -> None:
    hub["error"] = error
    with pytest.raises(InputError, match=r"^hub:owner/name, split test: no route$"):
        read_eval_set("hub:owner/name")


@pytest.mark.parametrize("name", ["squad", "/tmp/x", "a/b/c/d", "../a/b", "a b/c", ""])
def test_names_that_are_none(hub: dict, name: str) -> None:
    with pytest.raises(InputError, match="expected hub:OWNER/NAME"):
        read_eval_set(f"hub:{name}")
    assert hub["asked"] == []


def test_offline(hub: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGIB_OFFLINE", "1")
    with pytest.raises(OfflineError, match="fetching the data set owner/name needs the network"):
        read_eval_set("hub:owner/name")
    assert hub["asked"] == []


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAGIB_OFFLINE", raising=False)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'ragib\[train\]'"):
        read_eval_set("hub:owner/name")
