from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]

TEXT = "Eiffel built the iron tower in 1889. It rains.\n\nThe moon is red. A dog sleeps."
BM25 = ("--compressor", "bm25-sentence")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = tmp_path / "notes.txt"
    path.write_text(TEXT)
    return path


def qa(path: Path, count: int, passages: int = 2) -> Path:
    records = (
        {
            "id": f"q{i}",
            "question": "who built the tower?",
            "passages": [{"id": f"p{j}", "title": "", "text": TEXT} for j in range(passages)],
        }
        for i in range(count)
    )
    path.write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in records).encode()))
    return path


def test_files_are_passages(run: Run, notes: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt.gz"
    other.write_bytes(gzip.compress(b"The tower stands in Paris."))
    result = run("compress", "-q", "who built the tower?", notes, other, *BM25, "--keep", 0.5)
    assert result.exit_code == 0
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{notes}:0-36  ")
    assert lines[0].endswith("  Eiffel built the iron tower in 1889.")
    assert lines[-1] == (
        "kept 9 of 21 words (43%), 2 of 5 spans; --show-dropped says why the others went"
    )


def test_dropped_spans_are_listed_with_their_reasons(run: Run, notes: Path) -> None:
    result = run("compress", "-q", "tower", notes, *BM25, "--threshold", 0.2, "--show-dropped")
    assert "kept 7 of 16 words (44%), 1 of 4 spans\n" in result.stdout
    assert f"dropped {notes}:37-46  score 0.00 below threshold 0.20  It rains.\n" in result.stdout


def test_json_is_one_value(run: Run, notes: Path) -> None:
    result = run("compress", "-q", "tower", notes, *BM25, "--json")
    value = json.loads(result.stdout)
    assert list(value) == ["id", "evidence", "dropped", "words_in", "words_kept", "abstained"]
    for item in value["evidence"]:
        assert TEXT[item["start"] : item["end"]] == item["text"]
    assert len(value["evidence"]) + len(value["dropped"]) == 4


def test_standard_input(run: Run) -> None:
    result = run("compress", "-q", "tower", "-", *BM25, stdin=TEXT.encode())
    assert result.stdout.startswith("-:37-46") or result.stdout.startswith("-:0-36")
    assert result.exit_code == 0


def test_nothing_kept(run: Run, notes: Path) -> None:
    result = run("compress", "-q", "bridge", notes, *BM25, "--threshold", 1)
    assert result.exit_code == 0
    assert result.stdout.startswith("nothing was kept\nkept 0 of 16 words (0%), 0 of 4 spans")


def test_control_characters_do_not_reach_the_terminal(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "evil.txt"
    path.write_bytes(b"The tower \x1b[31m is \x07 red.")
    result = run("compress", "-q", "tower", path, *BM25)
    assert "\x1b" not in result.stdout
    assert "\x07" not in result.stdout


def test_a_data_set(run: Run, tmp_path: Path) -> None:
    source, target = qa(tmp_path / "qa.jsonl.gz", 3), tmp_path / "out.jsonl"
    result = run("compress", "--input", source, "--output", target, *BM25, "--keep", 0.3)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "questions 3; words in 96, kept 27 (28.1%), removed 69 (71.9%); abstained 0" in (
        result.stderr
    )
    lines = target.read_bytes().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["q0", "q1", "q2"]


def test_bad_records_end_the_run_or_are_listed(run: Run, tmp_path: Path) -> None:
    source, target = qa(tmp_path / "qa.jsonl", 2), tmp_path / "out.jsonl"
    with source.open("ab") as file:
        file.write(gzip.compress(b'{"id": "x"}\nnope\n'))
    command = ("compress", "--input", source, "--output", target, *BM25)
    result = run(*command)
    assert result.exit_code == 2
    assert f"{source}:3: no 'question' among id" in result.stderr
    assert not target.exists()
    result = run(*command, "--skip-bad", "--json")
    assert result.exit_code == 0
    assert "skipped 2;" in result.stderr
    assert f"skipped {source}:4: not valid JSON" in result.stderr
    value = json.loads(result.stdout)
    assert (value["summary"]["questions"], value["skipped"]) == (2, 2)


def test_killed_at_any_moment_nothing_is_lost_or_torn(tmp_path: Path) -> None:
    source, target = qa(tmp_path / "qa.jsonl.gz", 1500, passages=8), tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "ragib", "compress", "--input", str(source)]
    command += ["--output", str(target), *BM25]
    for _ in range(3):
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        before = sum(p.stat().st_size for p in tmp_path.glob("*.partial"))
        while process.poll() is None:
            if sum(p.stat().st_size for p in tmp_path.glob("*.partial")) > before:
                process.kill()
                break
            time.sleep(0.005)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not target.exists()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "resumed after " in done.stderr
    interrupted = target.read_bytes()
    env = os.environ | {"PYTHONHASHSEED": "7"}
    subprocess.run(command, capture_output=True, check=True, env=env)
    assert target.read_bytes() == interrupted
    assert [json.loads(line)["id"] for line in interrupted.splitlines()] == [
        f"q{i}" for i in range(1500)
    ]
    assert {p.name for p in tmp_path.iterdir()} == {"qa.jsonl.gz", "out.jsonl"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give --question and FILEs, or --input and --output"),
        (("-q", "x"), "give --question and FILEs"),
        (("NOTES",), "give --question and FILEs"),
        (("--input", "x"), "--input and --output go together"),
        (("--output", "x"), "--input and --output go together"),
        (("--input", "x", "--output", "y", "-q", "x"), "give either --question"),
        (("--input", "x", "--output", "y", "--show-dropped"), "--show-dropped is for FILEs"),
        (("-q", "x", "NOTES", "--skip-bad"), "--skip-bad is for --input"),
        (("-q", " ", "NOTES"), "--question is empty"),
        (("-q", "x", "no-such-file"), "no-such-file: cannot be read (No such file"),
        (("-q", "x", "."), ".: cannot be read (Is a directory)"),
        (("-q", "x", "NOTES", "--keep", "0"), "compressor.keep: Input should be greater than 0"),
        (("-q", "x", "NOTES", "--keep", "nan"), "compressor.keep"),
        (("-q", "x", "NOTES", "--budget", "0"), "compressor.budget"),
        (("-q", "x", "NOTES", "--keep", ".1", "--budget", "9"), "only one of keep and budget"),
        (("-q", "x", "NOTES", "--compressor", "bm25-sentences"), "did you mean 'bm25-sentence'?"),
        (("-q", "x", "NOTES", *BM25, "--risk", ".1"), "only a trained compressor (ib)"),
        (("-q", "x", "NOTES", *BM25, "--threshold", "nan"), "compressor.threshold"),
        (
            ("--input", "no-such-file", "--output", "y", *BM25),
            "no-such-file: there is no such file",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run, notes: Path, arguments, message) -> None:
    given = [str(notes) if a == "NOTES" else a for a in arguments]
    result = run("compress", *given)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_a_file_that_is_not_text(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(b"\x89PNG\r\n\xff")
    result = run("compress", "-q", "x", path, *BM25)
    assert result.exit_code == 2
    assert "image.png: line 1: byte 0 (0x89) is not valid UTF-8" in result.stderr
