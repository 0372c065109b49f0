from __future__ import annotations

import gzip
import io
import os
import tracemalloc
from pathlib import Path

import pytest
from corpus_files import jsonl

from ragib.corpus import BadRecords, read_corpus
from ragib.errors import CorpusError

GOOD = b'{"id": "good", "text": "good"}\n'

BAD_LINES = {
    b'{"id": "good", "text": "again"}': "id 'good' is there twice",
    b'{"id": "a", "text": " \\n"}': "the text is empty",
    b'{"id": "a", "text": "b"': "not valid JSON: Expecting ',' delimiter at column",
    b'{"id": "a", "text": "b", "x": NaN}': "NaN is not a JSON number",
    b'["a", "b"]': "expected one JSON object a line, found a list",
    b'{"id": "a"}': "no text: expected 'text' or 'contents', found id",
    b'{"id": "a", "texts": "b"}': "did you mean 'texts'?",
    b'{"text": "b"}': "no id: expected '_id' or 'id'",
    b'{"id": 1.5, "text": "b"}': "'id' is of type float, expected a string",
    b'{"id": true, "text": "b"}': "'id' is of type bool",
    b'{"id": null, "text": "b"}': "'id' is null",
    b'{"id": "", "text": "b"}': "'id' is empty",
    b'{"id": "\\ud800", "text": "b"}': "half a surrogate pair",
    b'{"id": "a", "text": 3}': "'text' is of type int",
    b'{"id": "a", "text": "b", "title": ["t"]}': "'title' is of type list",
    b'{"id": "a", "text": "b", "access": null}': "'access' is null, expected a list of groups",
    b'{"id": "a", "text": "b", "access": [3]}': "'access' names 3",
    b'{"id": "a", "text": "b", "metadata": [1]}': "'metadata' is of type list",
    b'{"id": "a", "text": "b", "k": 1, "metadata": {"k": 2}}': "'k' is both",
    b'{"id": "a", "text": "b", "k": 1e999}': "metadata holds inf",
    b'{"id": "a", "text": "Gr\xfc\xdfe"}': "byte 54 (0xfc) is not valid UTF-8",
    b'{"id": "a", "text": "b", "k": ' + b"[" * 100_000: "nested too deeply",
}


def write(folder: Path, name: str, data: bytes) -> Path:
    (folder / name).write_bytes(data)
    return folder / name


@pytest.mark.parametrize("line", BAD_LINES)
def test_bad_lines_are_named_or_skipped_and_counted(tmp_path: Path, line: bytes) -> None:
    last = b'{"id": "last", "text": "last"}'
    path = write(tmp_path, "c.jsonl", GOOD + line + b"\n" + last)
    with pytest.raises(CorpusError) as error:
        list(read_corpus(path))
    message = str(error.value)
    assert message.startswith(f"{path}:2: ")
    assert BAD_LINES[line] in message
    assert "--skip-bad" in message
    assert "\n" not in message
    bad = BadRecords()
    assert [document.id for document in read_corpus(path, bad=bad)] == ["good", "last"]
    assert bad.count == 1
    assert bad.first[0][0] == f"{path}:2"


BAD_ROWS = {
    "id,text\ng,good\na,b,c\nz,last\n": (3, "3 fields, but the header names 2"),
    "id,text\ng,good\na\nz,last\n": (3, "1 fields"),
    'id,text\ng,"two\nlines"\na,"b"c\nz,last\n': (4, "not valid CSV"),
    "id,text\ng,good\n,b\nz,last\n": (3, "'id' is empty"),
    "id\ttext\ng\tgood\na\t\nz\tlast\n": (3, "the text is empty"),
    'id\ttext\ng\tgood\n"a\nz\tlast\n': (3, "not valid CSV"),
    "id,text\ng,good\na,b\udcff\nz,last\n": (3, "byte 18 (0xff) is not valid UTF-8"),
    "id,text,metadata\ng,good,\na,b,oops\nz,last,\n": (3, "not a JSON object"),
}


@pytest.mark.parametrize("table", BAD_ROWS)
def test_bad_rows_are_named_or_skipped_and_counted(tmp_path: Path, table: str) -> None:
    path = write(tmp_path, "c", table.encode("utf-8", "surrogateescape"))
    number, why = BAD_ROWS[table]
    with pytest.raises(CorpusError) as error:
        list(read_corpus(path))
    assert str(error.value).startswith(f"{path}:{number}: ")
    assert why in str(error.value)
    bad = BadRecords()
    assert [document.id for document in read_corpus(path, bad=bad)] == ["g", "z"]
    assert bad.count == 1


def test_an_unclosed_quote_is_no_silent_loss(tmp_path: Path) -> None:
    path = write(tmp_path, "c.csv", b'id,text\ng,good\na,"b\nz,last\n')
    bad = BadRecords()
    assert [document.id for document in read_corpus(path, bad=bad)] == ["g"]
    assert bad.first == [(f"{path}:3", "not valid CSV: unexpected end of data")]


def parquet_with_bad_rows() -> bytes:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    out = io.BytesIO()
    columns = {"id": ["g", None, "a", "z"], "text": ["good", "b", "", "last"]}
    parquet.write_table(pyarrow.table(columns), out)
    return out.getvalue()


def test_bad_parquet_rows(tmp_path: Path) -> None:
    path = write(tmp_path, "c.parquet", parquet_with_bad_rows())
    bad = BadRecords()
    assert [document.id for document in read_corpus(path, bad=bad)] == ["g", "z"]
    assert bad.first == [
        (f"{path}:2", "'id' is null, expected a string"),
        (f"{path}:3", "the text is empty"),
    ]


# Whole files that cannot be used: name, content, part of the message.
BAD_FILES = [
    ("empty.jsonl", b"", "holds no document"),
    ("blank.jsonl", b"\n \n", "holds no document"),
    ("empty.txt", b"", "the text is empty"),
    ("header.csv", b"id,text\n", "holds no document"),
    ("no-header.tsv", b"1\tone\n2\ttwo\n", ":1: the first line names no id and text columns"),
    ("bare-return.csv", b"id,te\rxt,text\n1,x,y\n", ":1: not valid CSV: new-line character seen"),
    ("twice.csv", b"id,text,a,a\n1,x,1,2\n", ":1: the header names column 'a' twice"),
    ("array.json", b'[\n{"id": "a", "text": "b"}\n]\n', "one JSON value over many lines"),
    ("latin.txt", "eins\nGröße".encode("latin-1"), "line 2: byte 7 (0xf6) is not valid UTF-8"),
    ("half.txt", b"\xff\xfea\x00b", "is not valid UTF-16-LE"),
    ("a.zip", b"PK\x03\x04rest", "a zip file: unpack it first"),
    ("a.bin", b"abc\x00def", "not a text file"),
    ("a.gz", gzip.compress(gzip.compress(GOOD)), "gzip data within gzip data"),
    ("a.pdf", b"%PDF-1.4\nnothing", "the PDF cannot be read"),
    ("a.parquet", b"PAR1nothing", "not valid Parquet"),
    ("a.txt.gz", gzip.compress(b"words " * 999)[:30], "the gzip data ends early"),
    ("b.txt.gz", gzip.compress(b"words " * 999)[:-8] + b"12345678", "the gzip data is damaged"),
    ("p.html", b'<html><meta charset="martian">x', "unknown encoding 'martian'"),
    ("q.html", b'<html><meta charset="ascii">\xff', "byte 28 (0xff) is not valid UTF-8"),
]


@pytest.mark.parametrize("name, data, why", BAD_FILES, ids=[name for name, _, _ in BAD_FILES])
def test_bad_files(tmp_path: Path, name: str, data: bytes, why: str) -> None:
    pytest.importorskip("pypdf")
    pytest.importorskip("pyarrow")
    path = write(tmp_path, name, data)
    with pytest.raises(CorpusError) as error:
        list(read_corpus(path))
    assert str(error.value).startswith(str(path))
    assert why in str(error.value)
    with pytest.raises(CorpusError, match=str(path)):
        list(read_corpus(path, bad=BadRecords()))


def test_a_bad_file_does_not_spoil_its_folder(tmp_path: Path) -> None:
    write(tmp_path, "a.pdf", b"%PDF-1.4\nnothing")
    write(tmp_path, "b.txt", "ö".encode("latin-1"))
    write(tmp_path, "c.txt", b"fine")
    with pytest.raises(CorpusError, match=r"a\.pdf: the PDF cannot be read"):
        list(read_corpus(tmp_path))
    bad = BadRecords()
    assert [document.id for document in read_corpus(tmp_path, bad=bad)] == ["c.txt"]
    assert [Path(where).name for where, _ in bad.first] == ["a.pdf", "b.txt"]


def test_truncated_gzip_names_the_line_it_ends_at(tmp_path: Path) -> None:
    lines = [{"id": str(i), "text": os.urandom(200).hex()} for i in range(2000)]
    path = write(tmp_path, "c.jsonl.gz", gzip.compress(jsonl(lines))[:-20_000])
    bad = BadRecords()
    read = sum(1 for _ in read_corpus(path, bad=bad))
    assert 0 < read < 2000
    assert bad.first == [(f"{path}:{read + 1}", "the gzip data ends early: the file is truncated")]
    with pytest.raises(CorpusError, match=f"jsonl.gz:{read + 1}: the gzip data ends early"):
        list(read_corpus(path))


def test_missing_paths_suggest_a_neighbour_at_once(tmp_path: Path) -> None:
    write(tmp_path, "corpus.jsonl", GOOD)
    with pytest.raises(CorpusError, match=r"no such file or folder; did you mean 'corpus.jsonl'\?"):
        read_corpus(tmp_path / "corpus.json")
    with pytest.raises(CorpusError, match=r"no such file or folder$"):
        read_corpus(tmp_path / "nowhere" / "corpus.json")
    with pytest.raises(CorpusError, match="File name too long"):
        read_corpus(tmp_path / ("x" * 300))


def test_pipes_and_empty_folders(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CorpusError, match="neither a file nor a folder"):
        read_corpus(tmp_path / "pipe")
    with pytest.raises(CorpusError, match=r"holds no document$"):
        list(read_corpus(tmp_path))
    write(tmp_path, "a.bin", b"\x00")
    with pytest.raises(CorpusError, match="holds no document that can be used: 1 skipped, such as"):
        list(read_corpus(tmp_path, bad=BadRecords()))


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.txt")).write_text("text", encoding="utf-8")
    with pytest.raises(CorpusError) as error:
        list(read_corpus(tmp_path))
    assert "half a surrogate pair" in str(error.value)
    str(error.value).encode()


def test_only_the_first_hundred_are_kept_and_all_counted(tmp_path: Path) -> None:
    path = write(tmp_path, "c.jsonl", b"oops\n" * 250 + GOOD)
    bad = BadRecords()
    assert len(list(read_corpus(path, bad=bad))) == 1
    assert bad.count == 250
    assert len(bad.first) == 100
    assert bad.first[-1][0] == f"{path}:100"


@pytest.mark.parametrize("name", ["c.jsonl.gz", "c.csv.gz", "c.txt.gz"])
def test_a_record_without_end_is_not_read_to_its_end(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragib.corpus.opening.LARGEST_RECORD", 100_000)
    monkeypatch.setattr("ragib.corpus.read.LARGEST_RECORD", 100_000)
    start = {"c.jsonl.gz": GOOD, "c.csv.gz": b"id,text\ngood,good\n", "c.txt.gz": b"x"}[name]
    path = write(tmp_path, name, gzip.compress(start + b" " * 50_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(CorpusError, match=r"more than 100,000 bytes|longer than 100,000 bytes"):
            list(read_corpus(path))
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_memory_does_not_grow_with_the_corpus(tmp_path: Path, form: str) -> None:
    count, text = 4000, "word " * 1000
    path = tmp_path / f"c.{form}.gz"
    if form == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        columns = {"id": [str(i) for i in range(count)], "text": [text] * count}
        with gzip.open(path, "wb") as file:
            parquet.write_table(pyarrow.table(columns), file, row_group_size=500)
    else:
        with gzip.open(path, "wb", compresslevel=1) as file:
            file.write(b"id,text\n" if form == "csv" else b"")
            for i in range(count):
                line = f"{i},{text}\n" if form == "csv" else f'{{"id": {i}, "text": "{text}"}}\n'
                file.write(line.encode())
    documents = read_corpus(path)
    next(documents)
    tracemalloc.start()
    try:
        assert sum(len(document.text) for document in documents) == (count - 1) * len(text)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000  # the texts are 20 MB
