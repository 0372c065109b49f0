"""Damaged files of every kind give documents or a plain error, never anything else."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest
from corpus_files import jsonl, pdf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragib.corpus import BadRecords, read_corpus
from ragib.errors import CorpusError


def parquet_file() -> bytes:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    out = io.BytesIO()
    parquet.write_table(pyarrow.table({"id": ["a", "b"], "text": ["one", "two"]}), out)
    return out.getvalue()


RECORDS = [{"id": str(i), "text": f"text {i}", "tags": ["a", {"b": 1}]} for i in range(20)]
KINDS = {
    "jsonl": jsonl(RECORDS),
    "jsonl.gz": gzip.compress(jsonl(RECORDS)),
    "utf-16": jsonl(RECORDS).decode().encode("utf-16"),
    "csv": b'id,text,access\n1,"one ""two""\nthree",a\n2,four,\n' * 3,
    "tsv": b'id\ttext\n1\tone\n2\t"two"\n' * 3,
    "html": b"<html><title>a</title><body><p>one<pre> two</pre><ul><li>x</ul></html>",
    "md": b"# Title\n\n```\ncode\n```\ntext \xc3\xa9\n",
    "pdf": pdf("Hello", "T"),
    "parquet": b"",
}

EDITS = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 4), st.binary(max_size=3)),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("kind", KINDS)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(edits=EDITS)
def test_damage(kind: str, tmp_path: Path, edits: list[tuple[float, int, bytes]]) -> None:
    data = bytearray(KINDS[kind] or parquet_file())
    for share, length, new in edits:
        at = int(share * len(data))
        data[at : at + length] = new
    path = tmp_path / f"c.{kind}"
    path.write_bytes(data)
    for bad in (None, BadRecords()):
        try:
            for document in read_corpus(path, bad=bad):
                assert document.text.strip()
                document.text.encode()
        except CorpusError as error:
            assert str(path) in str(error)
            assert "\n" not in str(error)
