from __future__ import annotations

import csv
import gzip
import io
from datetime import date
from pathlib import Path

import pytest
from corpus_files import jsonl, pdf

from ragib.corpus import BadRecords, read_corpus
from ragib.types import Document

PAIRS = [("1", "One is odd."), ("2", 'Two,\tis "even".'), ("drei", "Größe 三 😀")]


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def pairs(path: Path) -> list[tuple[str, str]]:
    return [(document.id, document.text) for document in read_corpus(path)]


def table(delimiter: str, header: list[str]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerows([header, *PAIRS])
    return out.getvalue().encode()


def parquet_file() -> bytes:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    out = io.BytesIO()
    columns = {"id": [i for i, _ in PAIRS], "text": [t for _, t in PAIRS]}
    parquet.write_table(pyarrow.table(columns), out)
    return out.getvalue()


FORMATS = {
    "beir": lambda: jsonl({"_id": i, "title": "", "text": t} for i, t in PAIRS),
    "anserini": lambda: jsonl({"id": i, "contents": t} for i, t in PAIRS),
    "id-title-text": lambda: jsonl({"id": i, "title": "t", "text": t} for i, t in PAIRS),
    "csv": lambda: table(",", ["id", "text"]),
    "semicolons": lambda: table(";", ["_id", "contents"]),
    "tsv": lambda: table("\t", ["id", "text"]),
    "parquet": parquet_file,
    "bom": lambda: b"\xef\xbb\xbf" + jsonl({"id": i, "text": t} for i, t in PAIRS),
    "utf-16": lambda: jsonl({"id": i, "text": t} for i, t in PAIRS).decode().encode("utf-16"),
    "utf-16-be csv": lambda: ("\ufeff" + table(",", ["id", "text"]).decode()).encode("utf-16-be"),
    "blank lines": lambda: jsonl({"id": i, "text": t} for i, t in PAIRS).replace(b"\n", b"\n\r\n"),
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("form", FORMATS)
def test_records_are_read_whatever_the_file_is_called(
    tmp_path: Path, form: str, zipped: bool
) -> None:
    data = FORMATS[form]()
    path = write(tmp_path, "no-name-that-helps", gzip.compress(data) if zipped else data)
    assert pairs(path) == PAIRS


def test_utf_16_lines_break_at_line_feeds_only(tmp_path: Path) -> None:
    odd = "\u0a0a \u010a \u0a00."  # characters whose UTF-16 holds the byte of a line feed
    text = "".join(f'{{"id": "{i}", "text": "{odd}"}}\n' for i in range(3))
    for encoding in ("utf-16-le", "utf-16-be", "utf-32-le"):
        path = write(tmp_path, "x", ("\ufeff" + text).encode(encoding))
        assert pairs(path) == [(str(i), odd) for i in range(3)]


def test_optional_fields(tmp_path: Path) -> None:
    records = [
        {"id": 7, "text": "a", "title": None, "metadata": {"year": 1999}, "tags": ["x", 2]},
        {"id": "b", "text": "b", "access": ["staff", "board", "staff"], "gone": None},
        {"id": "c", "text": "c", "access": []},
        {"id": "d", "text": "d", "access": "staff, board"},
    ]
    assert list(read_corpus(write(tmp_path, "c.jsonl", jsonl(records)))) == [
        Document("7", "a", metadata={"year": 1999, "tags": ["x", 2]}),
        Document("b", "b", access=("staff", "board")),
        Document("c", "c", access=()),
        Document("d", "d", access=("staff", "board")),
    ]


def test_optional_columns(tmp_path: Path) -> None:
    data = (
        b"id,title,text,access,year,metadata\n"
        b'1,T,"two\nlines",,1999,"{""a"": [1, 2.5]}"\n'
        b'2,,b,"staff,board",,\n'
    )
    assert list(read_corpus(write(tmp_path, "c.csv", data))) == [
        Document("1", "two\nlines", "T", {"year": "1999", "a": [1, 2.5]}, ()),
        Document("2", "b", access=("staff", "board")),
    ]


def test_parquet_columns_of_every_type(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {
        "id": [1, 2],
        "text": ["a", "b"],
        "access": [[], ["staff"]],
        "day": [date(2020, 1, 2), None],
        "metadata": [{"x": 1.5}, {"x": None}],
    }
    path = tmp_path / "c.parquet"
    parquet.write_table(pyarrow.table(columns), path)
    first, second = read_corpus(path)
    assert first == Document("1", "a", metadata={"day": "2020-01-02", "x": 1.5}, access=())
    assert (second.id, second.access) == ("2", ("staff",))


def test_tabs_need_no_quotes(tmp_path: Path) -> None:
    data = b'id\ttext\n1\t"Weird Al" sings\n2\t"never closed\n3\t"as ""csv"" does"\n'
    assert [text for _, text in pairs(write(tmp_path, "c.tsv", data))] == [
        '"Weird Al" sings',
        '"never closed',
        'as "csv" does',
    ]


def test_a_text_may_be_longer_than_the_field_limit_of_csv(tmp_path: Path) -> None:
    path = write(tmp_path, "c.csv", b"id,text\n1," + b"word " * 60_000 + b"end\n")
    assert len(next(read_corpus(path)).text) == 300_003


def test_nul_and_half_surrogates_become_replacement_characters(tmp_path: Path) -> None:
    path = write(tmp_path, "c.jsonl", b'{"id": "1", "text": "a\\u0000b\\ud800c", "k": "\\udc00"}\n')
    assert list(read_corpus(path)) == [Document("1", "a\ufffdb\ufffdc", metadata={"k": "\ufffd"})]


def test_folder_of_everything(tmp_path: Path) -> None:
    pytest.importorskip("pypdf")
    write(tmp_path, "b/note.txt", "Grüße.\r\n".encode())
    write(tmp_path, "b/page.html", b"<html><title> A  page </title><p>One<p>Two</html>")
    write(tmp_path, "a.md", b"intro\n```\n# no\n```\n## Real heading ##\nbody\n")
    write(tmp_path, "c.pdf", pdf("Hello from a page", "A paper"))
    write(tmp_path, "d.txt.gz", gzip.compress(b"zipped"))
    write(tmp_path, "part-0.jsonl", jsonl([{"id": "x", "text": "from a record"}]))
    write(tmp_path, ".hidden/secret.txt", b"no")
    write(tmp_path, ".hidden.txt", b"no")
    write(tmp_path, "e.png", b"\x89PNG\r\n\x1a\n\x00\x00")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    bad = BadRecords()
    found = {d.id: (d.title, d.text) for d in read_corpus(tmp_path, bad=bad)}
    assert list(found) == ["a.md", "b/note.txt", "b/page.html", "c.pdf", "d.txt.gz", "x"]
    assert found["a.md"] == ("Real heading", "intro\n```\n# no\n```\n## Real heading ##\nbody\n")
    assert found["b/note.txt"] == ("", "Grüße.\r\n")
    assert found["b/page.html"] == ("A page", "One\n\nTwo")
    assert found["c.pdf"] == ("A paper", "Hello from a page")
    assert bad.count == 1
    assert bad.first[0][0].endswith("e.png")
    assert "not a text file" in bad.first[0][1]


def test_binary_files_in_a_folder_are_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "a.txt", b"text")
    write(tmp_path, "b.zip", b"PK\x03\x04....")
    assert [document.id for document in read_corpus(tmp_path)] == ["a.txt"]
    assert "1 files passed over" in caplog.text
    assert "b.zip: a zip file" in caplog.text


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.jsonl.gz"])
def test_beir_folder(tmp_path: Path, name: str) -> None:
    data = jsonl([{"_id": "1", "title": "t", "text": "x"}])
    write(tmp_path, name, gzip.compress(data) if name.endswith("gz") else data)
    write(tmp_path, "queries.jsonl", jsonl([{"_id": "q", "text": "?"}]))
    write(tmp_path, "qrels/test.tsv", b"query-id\tcorpus-id\tscore\nq\t1\t1\n")
    assert pairs(tmp_path) == [("1", "x")]


def test_single_files(tmp_path: Path) -> None:
    heading = b"Title\n=====\n\nbody"
    document = next(read_corpus(write(tmp_path, "one.markdown", heading)))
    assert document == Document("one.markdown", heading.decode(), "Title")
    zipped = write(tmp_path, "one.pdf.gz", gzip.compress(pdf("Hi", "T")))
    pytest.importorskip("pypdf")
    assert next(read_corpus(zipped)) == Document("one.pdf.gz", "Hi", "T")


def test_html_as_text(tmp_path: Path) -> None:
    page = """<!DOCTYPE html><html><head><title>T</title><style>p{}</style></head><body>
    <nav><a href=x>Home</a></nav><h1>Head</h1><!-- no -->
    <p>One <b>bold</b>,
       one   line.<br>Next &amp; last.</p><script>bad()</script>
    <ul><li>first<li>second</ul>
    <table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>
    <pre>  kept
    as is</pre><footer>imprint</footer></body></html>"""
    (document,) = read_corpus(write(tmp_path, "p", page.encode()))
    assert document.title == "T"
    assert document.text == (
        "Head\n\nOne bold, one line.\nNext & last.\n\nfirst\nsecond\n\na b\nc\n\n  kept\n    as is"
    )


def test_html_encodings(tmp_path: Path) -> None:
    page = '<html><meta charset="iso-8859-1"><body>Größe</body></html>'
    (document,) = read_corpus(write(tmp_path, "p.html", page.encode("latin-1")))
    assert document.text == "Größe"


def test_xhtml_is_read_as_html(tmp_path: Path) -> None:
    page = b'<?xml version="1.0" encoding="utf-8"?>\n<html><title>T</title><p>One</p></html>'
    assert next(read_corpus(write(tmp_path, "p", page))) == Document("p", "One", "T")


def test_html_may_nest_deeper_than_python(tmp_path: Path) -> None:
    page = b"<html>" + b"<div>" * 5000 + b"deep"
    assert pairs(write(tmp_path, "p.html", page)) == [("p.html", "deep")]
