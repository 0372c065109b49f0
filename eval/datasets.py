"""Judged retrieval sets in BEIR layout: a corpus, queries, and who judged what relevant.

Layout: Thakur et al. 2021, "BEIR: A Heterogeneous Benchmark for Zero-shot Evaluation of
Information Retrieval Models", https://arxiv.org/abs/2104.08663.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ragib.corpus import BadRecords, read_corpus
from ragib.errors import InputError
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
    """Read a BEIR folder: `corpus.jsonl[.gz]`, `queries.jsonl` and `qrels/{split}.tsv`.

    Raises
    ------
    InputError
        A file is missing, or a line of it cannot be read; the message names file and line.
    """
    folder = Path(folder)
    corpus = next(
        (path for name in ("corpus.jsonl", "corpus.jsonl.gz") if (path := folder / name).exists()),
        None,
    )
    if corpus is None:
        raise InputError(f"{folder}: no corpus.jsonl or corpus.jsonl.gz in this folder")
    qrels = read_qrels(folder / "qrels" / f"{split}.tsv")
    texts = read_queries(folder / "queries.jsonl")
    unknown = [query for query in qrels if query not in texts]
    if unknown:
        raise InputError(f"{folder}: {len(unknown)} judged queries have no text, as {unknown[0]!r}")
    return JudgedSet(folder.name, corpus, {query: texts[query] for query in qrels}, qrels)


def read_queries(path: Path) -> dict[str, str]:
    """Read `{"_id", "text"}` lines (`id` and `question` are taken as well)."""
    queries: dict[str, str] = {}
    for number, line in _lines(path):
        try:
            record = json.loads(line)
            key = record["_id"] if "_id" in record else record["id"]
            text = record["text"] if "text" in record else record["question"]
        except (ValueError, KeyError, TypeError):
            raise InputError(
                f"{path}:{number}: expected one JSON object with '_id' and 'text'"
            ) from None
        if str(key) in queries:
            raise InputError(f"{path}:{number}: query id {key!r} occurs twice")
        queries[str(key)] = str(text)
    return queries


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Read tab-separated `query-id, corpus-id, score` with a header line."""
    qrels: dict[str, dict[str, int]] = {}
    for number, line in _lines(path):
        row = next(csv.reader([line], delimiter="\t", quoting=csv.QUOTE_NONE))
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


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line.rstrip("\n")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}") from None
