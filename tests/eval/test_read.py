from __future__ import annotations

import codecs
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ragib.errors import InputError
from ragib.eval.evalset import EvalQuery
from ragib.eval.read import read_eval_set

TEXT = "It was built by Rome."


def passage(name: str, text: str = TEXT, *, gold: bool = False, title: str = "") -> dict:
    spans = [[16, 20]] if gold else []
    return {"id": name, "title": title, "text": text, "gold": gold, "answer_spans": spans}


def record(name: str, **more: object) -> dict:
    passages = [passage("n", "noise"), passage("g", gold=True, title="Towers")]
    return {
        "id": name,
        "question": f"who {name}?",
        "answers": ["Rome"],
        "passages": passages,
        **more,
    }


def lines(*rows: object) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "docs.jsonl"
    path.write_bytes(lines({"id": "d1", "contents": "iron"}, {"id": "d2", "contents": "gold"}))
    return path


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    folder = tmp_path / "metals"
    (folder / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{n}", "title": "", "text": f"metal {n}"} for n in range(4)]
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(lines(*documents, {"_id": "bad"})))
    (folder / "queries.jsonl").write_bytes(
        lines(*({"_id": f"q{n}", "text": f"metal {n}?"} for n in range(9)))
    )
    (folder / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\nq0\td0\t1\nq1\td1\t2\nq1\td2\t1\nq2\td0\t1\nq2\td3\t0\n"
        "q3\tgone\t1\nq3\tlost\t0\nq4\tgone\t1\n"
    )
    return folder


def test_qa_records(tmp_path: Path) -> None:
    path = tmp_path / "dev.jsonl"
    other = [passage("n", "noise"), passage("h", "more noise", title="Rivers")]
    rows = [record("a"), record("b", answerable=False, answers=[], passages=other)]
    path.write_bytes(lines(*rows))
    data = read_eval_set(path)
    assert (data.name, data.notes, data.files) == ("dev", (), (path,))
    assert [(d.id, d.title, d.text) for d in data.documents()] == [
        ("n", "", "noise"), ("g", "Towers", TEXT), ("h", "Rivers", "more noise"),
    ]  # fmt: skip
    assert list(data.documents()) == list(data.documents())
    a, b = data.queries
    assert (a.text, a.answers, a.answerable, a.gold) == ("who a?", ("Rome",), True, ("g",))
    assert (b.answers, b.answerable, b.gold) == ((), False, ())
    assert data.qrels == {"a": {"g": 1}}
    assert data.clusters == {"a": "Towers", "b": "Rivers"}
    assert a.record is not None
    assert [p.id for p in a.record.passages] == ["n", "g"]
    assert a.record.passages[1].answers == ((16, 20),)


def test_answers_that_no_passage_holds_are_not_to_be_given(tmp_path: Path) -> None:
    path = tmp_path / "qa.jsonl"
    path.write_bytes(lines(record("a"), record("b", answerable=False)))
    data = read_eval_set(path)
    assert [(q.answers, q.answerable) for q in data.queries] == [(("Rome",), True), ((), False)]
    assert data.notes == (
        "1 questions have answers that none of their passages holds: they count as unanswerable",
    )


def test_a_set_without_any_answers(tmp_path: Path) -> None:
    path = tmp_path / "qa.jsonl"
    path.write_bytes(lines(record("a", answers=[]), record("b", answers=[], answerable=False)))
    data = read_eval_set(path)
    assert [query.answerable for query in data.queries] == [None, None]
    assert data.notes == ("no question has answers: measures of answers are left out",)


def test_some_questions_without_their_answers(tmp_path: Path) -> None:
    path = tmp_path / "qa.jsonl"
    path.write_bytes(lines(record("a"), record("b", answers=[])))
    data = read_eval_set(path)
    assert [query.answerable for query in data.queries] == [True, None]
    [note] = data.notes
    assert note.startswith("1 questions are said to have answers but list none")


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_packed_and_marked_files(
    tmp_path: Path, mark: bytes, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "qa.jsonl.any"
    path.write_bytes(pack(mark + lines(record("a"), record("b"))))
    data = read_eval_set(path)
    assert [query.id for query in data.queries] == ["a", "b"]
    assert [document.id for document in data.documents()] == ["n", "g"]


def test_utf_16(tmp_path: Path, corpus: Path) -> None:
    path = tmp_path / "flash.jsonl"
    path.write_text('{"id": "1", "question": "où?", "golden_answers": []}\n', encoding="utf-16")
    assert read_eval_set(path, corpus=corpus).queries == (EvalQuery("1", "où?", (), False),)


def test_flashrag(tmp_path: Path, corpus: Path) -> None:
    path = tmp_path / "nq.jsonl"
    rows = [
        {"id": "1", "question": "who?", "golden_answers": ["Rome", "Roma", "Rome"], "metadata": {}},
        {"id": 2, "question": "what?", "golden_answers": []},
    ]
    path.write_bytes(lines(*rows))
    data = read_eval_set(path, corpus=corpus)
    assert data.queries == (
        EvalQuery("1", "who?", ("Rome", "Roma"), True),
        EvalQuery("2", "what?", (), False),
    )
    assert [document.text for document in data.documents()] == ["iron", "gold"]
    assert (data.qrels, data.notes, data.files) == ({}, (), (path, corpus))
    with pytest.raises(InputError, match="these questions come without documents"):
        read_eval_set(path)


def test_a_beir_folder(beir: Path) -> None:
    data = read_eval_set(beir)
    assert data.name == "metals"
    assert [query.id for query in data.queries] == ["q0", "q1", "q2", "q3", "q4"]
    assert data.queries[1].judged == {"d1": 2, "d2": 1}
    assert data.queries[2].gold == ("d0",)
    assert [document.id for document in data.documents()] == ["d0", "d1", "d2", "d3"]
    assert data.clusters == {"q0": "d0", "q1": "", "q2": "d0", "q3": "gone", "q4": "gone"}
    corpus, judgements, answers = data.notes
    assert corpus.startswith("1 records of the corpus are left out, as ")
    assert "corpus.jsonl.gz:5: no text" in corpus
    assert judgements == (
        "3 judgements are of 2 documents that the corpus does not hold, as 'gone': they count as "
        "not found"
    )
    assert answers == "no question has answers: measures of answers are left out"


def test_the_files_of_a_beir_folder_may_be_packed(beir: Path) -> None:
    whole = read_eval_set(beir)
    for path in (beir / "queries.jsonl", beir / "qrels" / "test.tsv"):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    packed = read_eval_set(beir)
    assert (packed.queries, packed.notes) == (whole.queries, whole.notes)


def test_splits(beir: Path) -> None:
    (beir / "qrels" / "dev.tsv").write_text("q5\td0\t1\n")
    assert len(read_eval_set(beir).queries) == 5
    assert [query.id for query in read_eval_set(beir, split="dev").queries] == ["q5"]
    (beir / "qrels" / "test.tsv").rename(beir / "qrels" / "train.tsv")
    with pytest.raises(InputError, match="name a split; there are: dev, train"):
        read_eval_set(beir)
    with pytest.raises(InputError, match=r"tests\.tsv: no such file"):
        read_eval_set(beir, split="tests")


def test_another_corpus_for_a_beir_folder(beir: Path, corpus: Path) -> None:
    data = read_eval_set(beir, corpus=corpus)
    assert [document.text for document in data.documents()] == ["iron", "gold"]
    (beir / "corpus.jsonl.gz").unlink()
    with pytest.raises(InputError, match="name a corpus"):
        read_eval_set(beir)


def test_a_draw_is_the_same_every_time_and_leaves_the_documents(beir: Path) -> None:
    drawn = [read_eval_set(beir, limit=2) for _ in range(2)]
    assert drawn[0].queries == drawn[1].queries
    names = [query.id for query in drawn[0].queries]
    assert len(names) == 2
    assert names == sorted(names)
    assert [document.id for document in drawn[0].documents()] == ["d0", "d1", "d2", "d3"]
    assert read_eval_set(beir, limit=99).queries == read_eval_set(beir).queries
    draws = {tuple(q.id for q in read_eval_set(beir, limit=n).queries) for n in range(1, 6)}
    assert len({name for draw in draws if len(draw) == 1 for name in draw}) == 1
    with pytest.raises(InputError, match="limit is 0"):
        read_eval_set(beir, limit=0)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([record("a"), record("a")], ":2: query id 'a' occurs twice"),
        ([record("a"), {**record("b"), "question": " "}], ":2: 'question' is empty"),
        ([{**record("a"), "question": 7}], ":1: 'question' is of type int"),
        ([{**record("a"), "answers": "Rome"}], ":1: 'answers' is of type str, expected a list"),
        ([{**record("a"), "answers": ["Rome", 7]}], ":1: 'answers' holds of type int"),
        ([{**record("a"), "answers": [" "]}], ":1: 'answers' holds an empty text"),
        ([record("a", answerable="no")], ":1: 'answerable' is of type str, expected true or f"),
        ([record("a", passages={})], ":1: 'passages' is of type dict, expected a list"),
        ([record("a", passages=[])], ":1: 'passages' is empty"),
        ([record("a", passages=["g"])], ":1: passage 1 is of type str"),
        ([record("a", passages=[passage("g"), {"id": "h"}])], ":1: passage 2: 'text' is null"),
        ([record("a", passages=[{"id": "g", "text": "x"}])], ":1: passage 1: 'gold' is null"),
        (
            [record("a", passages=[{**passage("g"), "answer_spans": [[3, 99]]}])],
            r":1: not a record: span \[3, 99\)",
        ),
        (
            [record("a"), record("b", passages=[passage("g", "another text")])],
            ":2: passage id 'g' is that of another text",
        ),
        ([record("a"), {"id": "b", "question": "?"}], ":2: no 'answers' among id, question"),
        ([record("a"), ["b"]], ":2: expected one JSON object a line, found of type list"),
        ([{"id": "a", "query": "who?"}], ":1: expected 'passages' .* found id, query"),
    ],
)
def test_records_that_cannot_be_used(tmp_path: Path, rows: list, said: str) -> None:
    path = tmp_path / "qa.jsonl"
    path.write_bytes(lines(*rows))
    with pytest.raises(InputError, match=rf"^{path}{said}") as raised:
        read_eval_set(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"id": "1", "question": "x", "golden_answers": "Rome"}, "is of type str"),
        ({"id": "1", "question": "x", "golden_answers": None}, "is null, expected a list"),
        ({"id": "", "question": "x", "golden_answers": []}, "'id' is empty"),
        ({"id": True, "question": "x", "golden_answers": []}, "'id' is of type bool"),
        ({"qid": "1", "question": "x", "golden_answers": []}, "expected 'id'.* did you mean 'qid'"),
    ],
)
def test_flashrag_rows_that_cannot_be_used(
    tmp_path: Path, corpus: Path, row: dict, said: str
) -> None:
    path = tmp_path / "nq.jsonl"
    path.write_bytes(lines(row))
    with pytest.raises(InputError, match=rf":1: .*{said}"):
        read_eval_set(path, corpus=corpus)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"\n \n", "the file is empty"),
        (b"[1, 2]\n", ":1: expected one JSON object a line, found of type list"),
        (b"{\n", ":1: not valid JSON"),
        (b'{"passages": "\xff"}\n', ":1: byte 14 \\(0xff\\) is not valid UTF-8"),
        (gzip.compress(b'{"id": 1}\n' * 99)[:-9], "the gzip data"),
        (b"[" * 100_000 + b"\n", ":1: the JSON is nested too deeply"),
    ],
)
def test_files_that_are_no_sets(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "set.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_eval_set(path)


def test_places_with_no_set(tmp_path: Path, beir: Path, corpus: Path) -> None:
    with pytest.raises(InputError, match=r"metal: no such file or folder; did you mean 'metals'"):
        read_eval_set(tmp_path / "metal")
    (tmp_path / "void").mkdir()
    with pytest.raises(InputError, match=r"expected one file topics\*, found none; a folder is a"):
        read_eval_set(tmp_path / "void")
    (beir / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n")
    with pytest.raises(InputError, match=r"test\.tsv: holds no judgement"):
        read_eval_set(beir)
    path = tmp_path / "qa.jsonl"
    path.write_bytes(lines(record("a")))
    with pytest.raises(InputError, match="bring their own documents"):
        read_eval_set(path, corpus=corpus)
    with pytest.raises(InputError, match="has no splits, so no 'dev'"):
        read_eval_set(path, split="dev")
