"""Every parser of a file that may come from elsewhere, with valid files to start from."""

from __future__ import annotations

import gzip
import io
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from ragib.compressor.calibration import FILE, Calibration, load_calibration, save_calibration
from ragib.compressor.model import load
from ragib.compressor.records import read_questions
from ragib.compressor.training.records import read_records
from ragib.config import ChunkConfig, IndexConfig, load_config
from ragib.corpus import BadRecords, read_corpus
from ragib.errors import RagibError
from ragib.eval.datasets import read_qrels, read_queries
from ragib.eval.grid import read_grid
from ragib.eval.qa import qa_documents, read_qa
from ragib.eval.trec import read_topics, read_trec_qrels
from ragib.indexes.index import Index
from ragib.indexes.manifest import from_bytes
from ragib.indexes.passages import NAME, PassageReader
from ragib.indexes.resume import finished, once
from ragib.indexes.store import commit, pin
from ragib.indexes.verify import verify
from ragib.types import Document
from tests.fuzz.running import Target

ROOT = Path(__file__).parent.parent.parent

LAUGHS = b"a: &a [x, x]\n" + b"".join(
    b"%c: &%c [*%c, *%c, *%c]\n" % (i, i, i - 1, i - 1, i - 1) for i in range(98, 123)
)
"""Aliases of aliases: three to the 25th times two values."""


def all_targets(folder: Path) -> list[Target]:
    """Make the valid files of every target below `folder`: always the same; return the targets."""
    return [
        *_index(folder),
        _receipt(folder),
        Target("config", [*_yaml(grids=False), LAUGHS], load_config, ".yaml"),
        Target("grid", [*_yaml(grids=True), LAUGHS], read_grid, ".yaml"),
        *_corpora(),
        *_records(),
        *_models(folder),
    ]


def _index(folder: Path) -> list[Target]:
    path = folder / "idx"
    config = IndexConfig(kinds=("sparse",), chunk=ChunkConfig(max_tokens=8, overlap_tokens=0))
    documents = [
        Document(f"d{i}", f"The poem of the king {i}. A bridge.", "t", {"year": i, "by": ["a"]})
        for i in range(12)
    ]
    index = Index.build(documents, path, config)
    restricted = [replace(document, access=("staff",)) for document in documents[8:]]
    index.add(restricted).delete(["d1"])
    content = list(index.passages())
    index.close()
    manifest, descriptor = pin(path)
    os.close(descriptor)
    settled = {"created": "2026-01-01T00:00:00+00:00", "seconds": {"encode": 0.125}}
    commit(path, manifest.model_copy(update=settled))

    def reader(name: str) -> Callable[[Path], object]:
        target = path / name
        sound = target.read_bytes()

        def read(mutated: Path) -> None:
            """Be found damaged, or give what was there."""
            target.write_bytes(mutated.read_bytes())
            try:
                problems = verify(path)
                with Index.open(path, verify=True) as opened:
                    assert not problems, problems
                    assert list(opened.passages()) == content
            finally:
                target.write_bytes(sound)

        return read

    names = sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file())
    names.remove("LOCK")
    whole = [Target(f"index/{n}", [(path / n).read_bytes()], reader(n)) for n in names]
    manifests = [p.read_bytes() for p in sorted((path / "generations").iterdir())]
    databases = [p.read_bytes() for p in sorted(path.rglob(NAME))]
    return [
        *whole,
        Target("manifest", manifests, lambda p: from_bytes(p.read_bytes(), p)),
        Target("passages", databases, _read_passages, ".sqlite"),
    ]


def _read_passages(path: Path) -> None:
    """Read a database as if nobody had compared its hash."""
    reader = PassageReader(path)
    try:
        reader.problems()
        reads: list[Callable[[], object]] = [
            lambda: reader.documents,
            lambda: reader.access,
            reader.metadata,
            reader.document_ids,
            lambda: reader.slice(0, 100),
            lambda: reader.rows([0, 3, 99]),
            lambda: reader.find_documents(["d2"]),
            lambda: reader.find_passage("d2#0"),
        ]
        for read in reads:
            try:
                read()
            except RagibError:
                continue
    finally:
        reader.close()


def _receipt(folder: Path) -> Target:
    def work(out: Path) -> None:
        (out / "part").mkdir()
        (out / "part" / "rows.npy").write_bytes(b"rows")

    spec = {"shard": "abc", "config": {"kinds": ["sparse"]}}
    receipt = once(folder, "encode", spec, work)
    file = receipt.folder / "receipt.json"

    def read(path: Path) -> None:
        file.write_bytes(path.read_bytes())
        assert finished(folder, "encode", spec) in (None, receipt)

    return Target("receipt", [file.read_bytes()], read)


def _yaml(*, grids: bool) -> list[bytes]:
    """Return the files in `configs/` that are grids, or those that are not: grids have a `base`."""
    files = [path.read_bytes() for path in sorted((ROOT / "configs").glob("*.yaml"))]
    return [data for data in files if (b"\nbase:" in b"\n" + data) is grids]


def _corpora() -> list[Target]:
    def read(path: Path) -> None:
        skipping = BadRecords()
        for bad in (None, skipping):
            try:
                documents = list(read_corpus(path, bad=bad))
            except RagibError:
                continue
            assert all(document.id and document.text.strip() for document in documents)

    records = [
        {"_id": f"d{i}", "title": "T", "text": f"Poem {i}. König.", "metadata": {"year": i}}
        for i in range(5)
    ]
    rows = [{**r, "metadata": json.dumps(r["metadata"]), "access": "a,b"} for r in records]
    jsonl = "".join(json.dumps(record) + "\n" for record in records).encode()
    page = (
        b"<!DOCTYPE html><html><head><meta charset=utf-8><title>A t</title><style>p{}</style>"
        b"</head><body><h1>K&ouml;nig</h1><p>A <b>poem</b>.<br>Two.<pre> x  y\n z</pre>"
        b"<ul><li>a<li>b</ul>"
        b"<table><tr><td>1<td>2</table><!-- c --><script>1</script></body></html>"
    )
    table = "\n".join(["id,title,text,year", 'a,T,"A ""poem"", of\ntwo lines",1', "b,,König,2"])
    tabs = "\n".join(["_id\ttext\taccess", "a\tA poem\tx", 'b\t"Two"\t'])
    markdown = b"# Head\n\nText of it.\n\n```\ncode\n```\n\nUnder\n=====\n\nMore.\n"
    return [
        Target("jsonl", [jsonl, gzip.compress(jsonl, mtime=0)], read, ".jsonl"),
        Target("table", [table.encode(), tabs.encode(), table.encode("utf-16")], read, ".csv"),
        Target("html", [page, gzip.compress(page, mtime=0)], read, ".html"),
        Target("markdown", [markdown], read, ".md"),
        Target("text", [b"A poem.\n\nOf the king.", "König".encode("utf-16")], read, ".txt"),
        Target("pdf", [_pdf()], read, ".pdf"),
        Target("parquet", [_parquet(rows)], read, ".parquet"),
    ]


def _pdf() -> bytes:
    """Write a PDF of one page with a compressed font and some text."""
    from pypdf import PdfWriter
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = PdfWriter()
    page = writer.add_blank_page(200, 200)
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    fonts = DictionaryObject({NameObject("/F1"): writer._add_object(font)})
    page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    content = DecodedStreamObject()
    content.set_data(b"BT /F1 12 Tf 20 100 Td (The poem of the king.) Tj ET")
    page[NameObject("/Contents")] = writer._add_object(content.flate_encode())
    writer.add_metadata({"/Title": "A poem"})
    data = io.BytesIO()
    writer.write(data)
    return data.getvalue()


def _parquet(rows: list[dict[str, object]]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    data = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), data)
    return data.getvalue()


def _records() -> list[Target]:
    passage = {"id": "p", "title": "T", "text": "The king built it.", "gold": True}
    passage |= {"answer_spans": [[4, 8]], "evidence": [[0, 18]]}
    record = {"id": "q1", "source": "s", "question": "Who?", "answers": ["The king"]}
    record |= {"answerable": True, "evidence_kind": "sentence", "passages": [passage]}
    other = {"id": "q2", "question": "When?", "answers": [], "answerable": False}
    other |= {"passages": [{**passage, "id": "p2", "gold": False, "answer_spans": []}]}
    lines = "".join(json.dumps(values) + "\n" for values in (record, other)).encode()
    queries = b'{"_id": "1", "text": "who"}\n{"id": 2, "question": "when"}\n'
    topics = (
        b"<top>\n<num> Number: 301\n<title> Poems &amp; kings\n<desc> D\n</top>\n"
        b"<top>\n<num> 302\n<title> Bridges\n</top>\n"
    )
    xml = b'<topics><topic number="1"><query>poems</query></topic></topics>\n'

    def each(read: Callable[[Path], Iterable[object]]) -> Callable[[Path], object]:
        return lambda path: list(read(path))

    return [
        Target("questions", [lines], each(read_questions), ".jsonl"),
        Target("records", [lines], each(read_records), ".jsonl"),
        Target("qa", [lines], lambda path: (read_qa(path), list(qa_documents(path))), ".jsonl"),
        Target("queries", [queries], read_queries, ".jsonl"),
        Target("qrels", [b"query-id\tcorpus-id\tscore\n1\td1\t1\n1\td2\t0\n"], read_qrels),
        Target("trec-qrels", [b"301 0 d1 1\n301 0 d2 -1\n302 0 d1 2\n"], read_trec_qrels),
        Target("topics", [topics, xml, b"1\tpoems of kings\n2\tbridges\n"], read_topics),
    ]


def _models(folder: Path) -> list[Target]:
    home = folder / "model"
    home.mkdir()
    save_calibration(Calibration(second=(0.5,) * 7, lowest=(0.1, 0.2, 0.9)), home)
    plain = (home / FILE).read_bytes()

    def calibration(path: Path) -> None:
        (home / FILE).write_bytes(path.read_bytes())
        load_calibration(home)

    values = {"base": "none", "base_revision": "0", "max_tokens": 64, "overlap": 16}
    settings = json.dumps(values)
    weights = save({f"{name}.bias": np.zeros(3, np.float16) for name in ("tokens", "passage")})

    def model(name: str) -> Callable[[Path], object]:
        def read(path: Path) -> None:
            """Read both files; the base they name is nowhere, so no weights are loaded."""
            (home / "evidence.json").write_text(settings)
            (home / "model.safetensors").write_bytes(weights)
            (home / name).write_bytes(path.read_bytes())
            try:
                load(home, "cpu")
            except RagibError:
                return
            raise AssertionError("a model without a base was loaded")

        return read

    # The first time much is imported, which takes longer than a case may.
    (folder / "settings").write_text(settings)
    model("evidence.json")(folder / "settings")
    return [
        Target("calibration", [plain], calibration),
        Target("evidence", [settings.encode()], model("evidence.json")),
        Target("safetensors", [weights], model("model.safetensors")),
    ]
