"""Judged retrieval sets in BEIR layout: a corpus, queries, and who judged what relevant.

Layout: Thakur et al. 2021, "BEIR: A Heterogeneous Benchmark for Zero-shot Evaluation of
Information Retrieval Models", https://arxiv.org/abs/2104.08663.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ragib.corpus import BadRecords, read_corpus
from ragib.errors import InputError
from ragib.eval.lines import id_of, json_lines, numbered_lines, text_of
from ragib.types import Document

Qrels = Mapping[str, Mapping[str, int]]
"""Query id -> document id -> grade (0 is judged not relevant)."""


@dataclass(frozen=True, slots=True)
class JudgedSet:
    """A retrieval set: only queries with at least one judgement are in `queries`."""

    name: str
    corpus: Path
    queries: Mapping[str, str]
    qrels: Qrels

    def documents(self, bad: BadRecords | None = None) -> Iterator[Document]:
        """Read the corpus anew; records that cannot be read go into `bad`, or raise."""
        return read_corpus(self.corpus, bad=bad)


def read_beir(folder: str | Path, split: str) -> JudgedSet:
    """Read a BEIR folder: `corpus.jsonl`, `queries.jsonl` and `qrels/{split}.tsv`, or `.gz` each.

    Raises
    ------
    InputError
        A file is missing, or a line of it cannot be read; the message names file and line.
    """
    folder = Path(folder)
    corpus = plain_or_gz(folder / "corpus.jsonl")
    if not corpus.exists():
        raise InputError(f"{folder}: no corpus.jsonl or corpus.jsonl.gz in this folder")
    qrels = read_qrels(plain_or_gz(folder / "qrels" / f"{split}.tsv"))
    texts = read_queries(plain_or_gz(folder / "queries.jsonl"))
    unknown = [query for query in qrels if query not in texts]
    if unknown:
        raise InputError(f"{folder}: {len(unknown)} judged queries have no text, as {unknown[0]!r}")
    return JudgedSet(folder.name, corpus, {query: texts[query] for query in qrels}, qrels)


def plain_or_gz(path: Path) -> Path:
    """Return the path, or the one with `.gz` behind it where only that is there."""
    zipped = path.with_name(f"{path.name}.gz")
    return zipped if zipped.exists() and not path.exists() else path


def read_queries(path: Path) -> dict[str, str]:
    """Read `{"_id", "text"}` lines (`id` and `question` are taken as well).

    Raises
    ------
    InputError
        The file cannot be read, a line lacks id or text, or an id occurs twice.
    """
    queries: dict[str, str] = {}
    for where, record in json_lines(path):
        key = id_of(where, record, "_id", "id")
        if key in queries:
            raise InputError(f"{where}: query id {key!r} occurs twice")
        if not str(record.get("text", record.get("question", "?"))).strip():
            raise InputError(f"{where}: the text of query {key!r} is empty")
        queries[key] = text_of(where, record, "text", "question")
    return queries


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Read tab-separated `query-id, corpus-id, score` with a header line.

    Raises
    ------
    InputError
        The file or a line cannot be read; the message names file and line.
    """
    qrels: dict[str, dict[str, int]] = {}
    for number, line in numbered_lines(path):
        row = line.split("\t")
        if number == 1 and row[-1:] == ["score"]:
            continue
        try:
            query, document, grade = row
            qrels.setdefault(query, {})[document] = int(grade)
        except ValueError:
            raise InputError(
                f"{path}:{number}: expected query-id, corpus-id and a whole number, tab-separated"
            ) from None
    return qrels
