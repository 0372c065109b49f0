from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ragib.cli.main import cli
from ragib.compressor.model import from_base
from ragib.config import ChunkConfig, Config, IndexConfig
from ragib.errors import ConfigError
from ragib.generators.completing import Completion
from ragib.generators.salt import salt_of
from ragib.indexes.index import Index
from ragib.multistep import loading
from ragib.pipeline import RAG
from ragib.types import Answer, Document

DOCUMENTS = [
    Document("sun", "The maker of The Iron Sun was Anna Kell.", "Iron Sun", {"year": 1900}),
    Document("kell", "Anna Kell came from the city of Torun.", "Anna Kell", {"year": 1900}),
    Document("anna", "Anna Kell was born on the red planet.", "Anna Kell", {"year": 2000}),
    Document("secret", "Anna Kell was born in a secret place.", "Anna", {"year": 1900}, ("staff",)),
]
ASKED = "Where was the maker of The Iron Sun born?"
VALUES = {
    "retriever": {"k": 1},
    "compressor": {"name": "bm25-sentence", "keep": 1.0},
    "generator": {"name": "sentence"},
    "steps": {"mode": "iterate", "max_steps": 2, "min_gain": -100},
}


@pytest.fixture(autouse=True)
def small_judge(tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "load", lambda folder: from_base(str(tiny_encoder_dir)))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = IndexConfig(kinds=("sparse",), chunk=ChunkConfig(max_tokens=40, overlap_tokens=0))
    folder = tmp_path_factory.mktemp("steps") / "idx"
    Index.build(DOCUMENTS, folder, config)
    return folder


@pytest.fixture
def index(place: Path) -> Index:
    return Index.open(place)


def rag(index: Index, **steps: object) -> RAG:
    values = {**VALUES, "steps": {**VALUES["steps"], **steps}}  # type: ignore[dict-item]
    return RAG.from_config(Config.model_validate(values), index=index)


def found(answer: Answer) -> list[str]:
    return [hit.passage.doc_id for hit in answer.hits]


def test_filters_and_groups_hold_at_every_step(index: Index) -> None:
    old = rag(index).ask(ASKED, where={"year": 1900})
    assert found(old) == ["sun", "kell"]
    new = rag(index).ask(ASKED, where={"year": 2000})
    assert found(new) == ["anna"]
    assert "secret" not in {name for answer in (old, new) for name in found(answer)}
    staff = rag(index).ask(ASKED, where={"year": 1900}, allow=("public", "staff"))
    assert found(staff) == ["sun", "secret"]
    for refused in (rag(index).ask(ASKED, where={}), rag(index).ask(ASKED, allow=())):
        assert found(refused) == []
        assert refused.abstained


def test_an_answer_tells_its_steps(index: Index) -> None:
    answer = rag(index).ask(ASKED, where={"year": 1900})
    first, second = answer.steps
    assert first.queries == (ASKED,)
    assert second.queries == (f"{ASKED} Anna Kell",)
    assert second.stopped == "max_steps: 2"
    assert answer.evidence == second.evidence
    assert set(answer.timings) == {"retrieve", "compress", "plan", "generate", "total"}
    for citation in answer.citations:
        text = next(d.text for d in DOCUMENTS if d.id == citation.doc_id)
        assert text[citation.start : citation.end] == citation.text
    assert "plan_tokens" not in answer.usage


def test_every_way_of_asking_takes_the_same_steps(index: Index) -> None:
    pipeline = rag(index)
    alone = pipeline.ask(ASKED)
    *_, streamed = pipeline.stream(ASKED)
    assert isinstance(streamed, Answer)
    others = [asyncio.run(pipeline.aask(ASKED)), streamed, *pipeline.ask_batch([ASKED, ASKED])]
    for answer in others:
        assert [step.queries for step in answer.steps] == [step.queries for step in alone.steps]
        assert (answer.text, answer.evidence) == (alone.text, alone.evidence)


def test_one_step_is_the_default(index: Index) -> None:
    pipeline = RAG.from_config(Config.model_validate({**VALUES, "steps": {}}), index=index)
    assert pipeline.steps is None
    assert pipeline.ask(ASKED).steps == ()


def test_a_language_model_that_answers_also_plans(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    salts: list[str | None] = []

    class Planner:
        def complete(self, chats, *, max_tokens, seconds, salt):
            assert 0 < seconds <= 30
            salts.append(salt)
            usage = {"prompt_tokens": 40, "completion_tokens": 2}
            return [Completion('{"next": "Torun", "answer": "Anna"}', usage) for _ in chats]

    monkeypatch.setattr(loading, "completer_of", lambda generator: Planner())
    answer = rag(index).ask(ASKED)
    assert [step.queries for step in answer.steps] == [(ASKED,), ("Torun",)]
    assert answer.steps[0].answer == "Anna"
    assert answer.usage["plan_tokens"] == 42
    parted = rag(index, mode="decompose").ask(ASKED)
    assert [step.queries for step in parted.steps] == [(ASKED, "Torun")]
    rag(index).ask(ASKED, allow=("public", "staff"))
    assert salts == [salt_of(["public"])] * 2 + [salt_of(["public", "staff"])]


def test_queries_of_words_and_queries_of_operators_do_not_mix() -> None:
    with pytest.raises(ConfigError, match=r"retriever\.syntax"):
        RAG.from_config(index=None, overrides=["steps.mode=iterate", "retriever.syntax=true"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value", ["steps.mode=twice", "steps.max_steps=0", "steps.deadline=0", "steps.min_gain=.nan"]
)
def test_wrong_values_are_named(value: str) -> None:
    with pytest.raises(ConfigError, match=value.partition("=")[0]):
        RAG.from_config(index=None, overrides=[value])  # type: ignore[arg-type]


def test_the_command_line_shows_the_steps(place: Path) -> None:
    options = [
        *("--set", "retriever.k=1", "--set", "generator.name=sentence"),
        *("--set", "compressor={name: bm25-sentence, keep: 1.0}"),
        *("--set", "steps={mode: iterate, max_steps: 2, min_gain: -100}"),
    ]
    shown = CliRunner().invoke(cli, ["ask", str(place), ASKED, *options])
    assert shown.exit_code == 0, shown.output
    assert f"step 1    {ASKED}; 1 new passage;" in shown.stdout
    assert f"step 2    {ASKED} Anna Kell; 1 new passage;" in shown.stdout
    assert "max_steps: 2" in shown.stdout
    told = json.loads(
        CliRunner().invoke(cli, ["ask", str(place), ASKED, *options, "--json"]).stdout
    )
    assert [len(step["hits"]) for step in told["steps"]] == [1, 1]
    assert told["steps"][1]["stopped"] == "max_steps: 2"
