from __future__ import annotations

import fcntl
import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ragib.compressor import io
from ragib.compressor.bm25_sentence import BM25Sentence
from ragib.compressor.io import compress_file
from ragib.compressor.records import read_questions
from ragib.corpus.records import BadRecords
from ragib.errors import InputError, RagibError
from ragib.types import Compressed, Question

TEXT = "Eiffel built the tower {}. It is tall \u2028and old. 你好。\x00"


def record(number: int, **changes: Any) -> dict[str, Any]:
    passages = [
        {"id": f"p{number}-{i}", "title": "Tower", "text": TEXT.format(i), "gold": True}
        for i in range(3)
    ]
    return {"id": f"q{number}", "question": f"who built {number}?", "passages": passages} | changes


def write(path: Path, records: Sequence[object]) -> Path:
    lines = "".join(r if isinstance(r, str) else json.dumps(r) + "\n" for r in records)
    data = lines.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@dataclass
class Stopping:
    """Compresses, until it is told to stop."""

    after: int
    asked: list[str] = field(default_factory=list)
    name: str = "stopping"

    def compress(self, questions: Sequence[Question]) -> list[Compressed]:
        if self.after == 0:
            raise KeyboardInterrupt
        self.after -= 1
        self.asked += [question.id for question in questions]
        return BM25Sentence(keep=0.3).compress(questions)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io, "BATCH", 4)


@pytest.mark.parametrize("name", ["qa.jsonl", "qa.jsonl.gz"])
def test_one_line_a_question_in_their_order(tmp_path: Path, name: str) -> None:
    source = write(tmp_path / name, [*map(record, range(10)), "\n"])
    seen: list[tuple[str, int, int | None]] = []
    summary = compress_file(
        source,
        tmp_path / "out.jsonl",
        BM25Sentence(keep=0.3),
        "s",
        progress=lambda *args: seen.append(args),
    )
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").split("\n")
    assert lines.pop() == ""
    results = [json.loads(line) for line in lines]
    assert [r["id"] for r in results] == [f"q{i}" for i in range(10)]
    for number, result in enumerate(results):
        assert set(result) == {
            "id", "evidence", "dropped", "words_in", "words_kept", "abstained"
        }  # fmt: skip
        texts = {p["id"]: p["text"] for p in record(number)["passages"]}
        for e in result["evidence"]:
            assert texts[e["passage_id"]][e["start"] : e["end"]] == e["text"]
    assert seen == [("compress", done, 10) for done in (4, 8, 10)]
    assert (summary.questions, summary.resumed) == (10, 0)
    assert summary.words_in == sum(r["words_in"] for r in results)
    assert 0 < summary.words_kept == sum(r["words_kept"] for r in results)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["out.jsonl", name])


def test_an_empty_file_gives_an_empty_one(tmp_path: Path) -> None:
    source = write(tmp_path / "qa.jsonl", [])
    assert compress_file(source, tmp_path / "out", Stopping(9), "s").questions == 0
    assert (tmp_path / "out").read_bytes() == b""


def whole(source: Path, target: Path) -> bytes:
    compress_file(source, target, Stopping(99), "s")
    data = target.read_bytes()
    target.unlink()
    return data


def test_a_stopped_run_resumes_wherever_it_was_cut(tmp_path: Path) -> None:
    source, target = write(tmp_path / "qa.jsonl", list(map(record, range(10)))), tmp_path / "out"
    expected = whole(source, target)
    with pytest.raises(KeyboardInterrupt):
        compress_file(source, target, Stopping(2), "s")
    assert not target.exists()
    [partial] = tmp_path.glob("*.partial")
    assert expected.startswith(partial.read_bytes())
    for size in [*range(0, len(expected), 397), len(expected)]:
        partial.write_bytes(expected[:size])
        again = Stopping(99)
        summary = compress_file(source, target, again, "s")
        assert target.read_bytes() == expected
        done = expected[:size].count(b"\n")
        assert again.asked == [f"q{i}" for i in range(done, 10)]
        assert (summary.questions, summary.resumed) == (10, done)
        assert not partial.exists()


@pytest.mark.parametrize("damage", [b'{"id": "q1"}\n', b"\xff\n", b"[]\n", b'{"id": "q9"}\n'])
def test_what_is_no_result_is_done_again(tmp_path: Path, damage: bytes) -> None:
    source, target = write(tmp_path / "qa.jsonl", list(map(record, range(6)))), tmp_path / "out"
    expected = whole(source, target)
    with pytest.raises(KeyboardInterrupt):
        compress_file(source, target, Stopping(1), "s")
    [partial] = tmp_path.glob("*.partial")
    lines = expected.splitlines(keepends=True)
    partial.write_bytes(lines[0] + damage + lines[2])
    assert compress_file(source, target, Stopping(99), "s").resumed == 1
    assert target.read_bytes() == expected


def test_other_settings_or_another_input_start_anew(tmp_path: Path) -> None:
    source, target = write(tmp_path / "qa.jsonl", list(map(record, range(6)))), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        compress_file(source, target, Stopping(1), "s")
    assert compress_file(source, target, Stopping(99), "other").resumed == 0
    changed = record(0, question="what is tall?")
    write(source, [changed, *map(record, range(1, 6))])
    assert compress_file(source, target, Stopping(99), "s").resumed == 0


def test_an_old_result_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    source, target = write(tmp_path / "qa.jsonl", list(map(record, range(6)))), tmp_path / "out"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        compress_file(source, target, Stopping(1), "s")
    assert target.read_text() == "old"
    compress_file(source, target, Stopping(9), "s")
    assert target.read_text() != "old"


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    source, target = write(tmp_path / "qa.jsonl", list(map(record, range(6)))), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        compress_file(source, target, Stopping(1), "s")
    [partial] = tmp_path.glob("*.partial")
    before = partial.read_bytes()
    with partial.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process is writing it"):
            compress_file(source, target, Stopping(9), "s")
    assert partial.read_bytes() == before


def test_a_full_disk_is_an_error_that_keeps_what_is_done(tmp_path: Path, monkeypatch) -> None:
    source, target = write(tmp_path / "qa.jsonl", list(map(record, range(6)))), tmp_path / "out"

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(io.os, "fsync", full)
    with pytest.raises(RagibError, match="No space left on device; the results so far are kept"):
        compress_file(source, target, Stopping(9), "s")
    monkeypatch.undo()
    assert compress_file(source, target, Stopping(9), "s").resumed == 6


BAD = {
    "not json": ("{nope\n", "not valid JSON: .* at column 2"),
    "an array": ("[1]\n", "expected one JSON object a line, found of type list"),
    "bytes": ("\udcff\n", "not valid UTF-8"),
    "no question": ({"id": "x", "qestion": "?", "passages": []}, "no 'question' .*'qestion'"),
    "empty question": (record(7, question=" "), "'question' is empty"),
    "number for a question": (record(7, question=3), "'question' is of type int"),
    "no passages": ({"id": "x", "question": "?"}, "no 'passages'"),
    "passages an object": (record(7, passages={}), "'passages' is of type dict, expected a list"),
    "passage a string": (record(7, passages=["t"]), "passage 1 is of type str"),
    "passage without text": (record(7, passages=[{"id": "p"}]), "passage 1: no 'text'"),
    "passage without id": (record(7, passages=[{"text": "p"}]), "passage 1: no 'id'"),
    "null text": (record(7, passages=[{"id": "p", "text": None}]), "passage 1: 'text' is null"),
    "title a number": (record(7, passages=[{"id": "p", "text": "", "title": 1}]), "'title' is"),
    "id twice": (record(0), "id 'q0' is used in line 1 already"),
    "id null": (record(7, id=None), "'id' is null"),
    "id empty": (record(7, id=""), "'id' is empty"),
    "id true": (record(7, id=True), "'id' is of type bool"),
    "one id for two texts": (
        record(7, passages=[{"id": "p", "text": "a"}, {"id": "p", "text": "b"}]),
        "passage 2: id 'p' is that of another text",
    ),
    "nested too deeply": ("[" * 200_000 + "\n", "recursion"),
}


@pytest.mark.parametrize(("item", "why"), BAD.values(), ids=BAD)
def test_a_bad_record_is_named_or_skipped_and_counted(tmp_path: Path, item, why) -> None:
    lines = [record(0), item, record(2)]
    data = "".join(r if isinstance(r, str) else json.dumps(r) + "\n" for r in lines)
    source = tmp_path / "qa.jsonl"
    source.write_bytes(data.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=rf"qa.jsonl:2: .*{why}.*--skip-bad"):
        compress_file(source, tmp_path / "out", Stopping(9), "s")
    bad = BadRecords()
    summary = compress_file(source, tmp_path / "out", Stopping(9), "s", bad=bad)
    assert (summary.questions, bad.count) == (2, 1)
    assert bad.first[0][0] == f"{source}:2"


def test_odd_but_good_records(tmp_path: Path) -> None:
    same = {"id": 5, "text": "a \ud800 b"}
    source = write(tmp_path / "q", [record(0, id=3, passages=[same, same]), record(1, passages=[])])
    first, second = read_questions(source)
    assert (first.id, first.passages[0].id, first.passages[0].text) == ("3", "5", "a \ufffd b")
    assert second.passages == ()
    assert compress_file(source, tmp_path / "out", Stopping(9), "s").questions == 2


def test_a_truncated_gzip_file(tmp_path: Path) -> None:
    source = write(tmp_path / "qa.jsonl.gz", list(map(record, range(50))))
    source.write_bytes(source.read_bytes()[:-200])
    with pytest.raises(InputError, match="truncated"):
        compress_file(source, tmp_path / "out", Stopping(99), "s")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("source", "target", "why"),
    [
        ("none", "out", "none: there is no such file"),
        ("qa", "folder", "is a folder"),
        ("qa", "no/out", "there is no folder"),
        ("qa", "qa", "is the input as well"),
        ("qa", "out.gz", "drop the .gz"),
    ],
)
def test_files_that_cannot_be(tmp_path: Path, source: str, target: str, why: str) -> None:
    (tmp_path / "folder").mkdir()
    write(tmp_path / "qa", [record(0)])
    with pytest.raises(InputError, match=why):
        compress_file(tmp_path / source, tmp_path / target, Stopping(9), "s")
    assert (tmp_path / "qa").read_bytes() == write(tmp_path / "again", [record(0)]).read_bytes()
