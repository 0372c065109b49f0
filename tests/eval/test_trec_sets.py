from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from ragib.errors import InputError
from ragib.eval.read import read_eval_set
from ragib.eval.trec import read_topics

SGML = """
<top>
<num> Number: 301
<title> International Organized
 Crime &amp; Law

<desc> Description:
Identify organizations.
</top>

<top>
<num> Number: 302 </num>
<title> Topic: Poliomyelitis </title>
</top>
"""
XML = """<?xml version="1.0"?>
<topics>
  <topic number="301" type="x">
    <query>International Organized Crime &amp; Law</query>
    <question>who?</question>
  </topic>
  <topic number='302'><title>Poliomyelitis</title></topic>
</topics>
"""
TABLE = "301\tInternational Organized Crime & Law\n302\tPoliomyelitis\n"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "docs.jsonl"
    rows = [{"id": f"FT-{n}", "contents": f"text {n}"} for n in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def trec(tmp_path: Path) -> Path:
    folder = tmp_path / "robust"
    folder.mkdir()
    (folder / "topics.301-302").write_text(SGML)
    (folder / "qrels.301-302").write_text("301 0 FT-0 2\n301 0 FT-9 0\n302\tQ0\tFT-2  1\n")
    return folder


@pytest.mark.parametrize("content", [SGML, XML, TABLE])
def test_topics(tmp_path: Path, content: str) -> None:
    path = tmp_path / "topics"
    path.write_text(content)
    expected = {"301": "International Organized Crime & Law", "302": "Poliomyelitis"}
    assert read_topics(path) == expected
    path.write_bytes(gzip.compress(content.encode()))
    assert read_topics(path) == expected


@pytest.mark.parametrize("name", ["", "topics.301-302"])
def test_a_set_by_its_folder_or_its_topics(trec: Path, corpus: Path, name: str) -> None:
    data = read_eval_set(trec / name, corpus=corpus)
    assert data.name == "topics"
    assert data.qrels == {"301": {"FT-0": 2, "FT-9": 0}, "302": {"FT-2": 1}}
    assert [query.text for query in data.queries][1] == "Poliomyelitis"
    assert [document.id for document in data.documents()] == ["FT-0", "FT-1", "FT-2"]
    assert data.notes[0].startswith("1 judgements are of 1 documents")


def test_the_topics_of_a_split(trec: Path, corpus: Path) -> None:
    (trec / "topics.dev").write_text("1\twho?\n")
    (trec / "qrels.dev").write_text("1 0 FT-1 1\n")
    [query] = read_eval_set(trec, corpus=corpus, split="dev").queries
    assert query.text == "who?"
    with pytest.raises(InputError, match=r"one file topics\*, found topics\.301-302, topics\.dev"):
        read_eval_set(trec, corpus=corpus)
    with pytest.raises(InputError, match=r"one file topics\* of train, found none"):
        read_eval_set(trec, corpus=corpus, split="train")


@pytest.mark.parametrize(
    ("topics", "said"),
    [
        ("<top>\n<num> 1\n</top>\n", ":1: a topic without title"),
        ("\n<top>\n<title> x\n</top>\n", ":2: a topic without number"),
        ("301\tx\n301\ty\n", ":2: query id '301' occurs twice"),
        ("301\tx\n302 y\n", ":2: expected <top>"),
        ("1\t \n", ":1: a topic without title"),
        ("301\tx\n", "1 judged queries have no text, as '302'"),
    ],
)
def test_broken_topics(trec: Path, corpus: Path, topics: str, said: str) -> None:
    (trec / "topics.301-302").write_text(topics)
    with pytest.raises(InputError, match=said):
        read_eval_set(trec, corpus=corpus)


@pytest.mark.parametrize("line", ["301 0 FT-0", "301 0 FT-0 high", "301 0 FT 0 1"])
def test_broken_judgements(trec: Path, corpus: Path, line: str) -> None:
    (trec / "qrels.301-302").write_text(f"301 0 FT-0 1\n{line}\n")
    with pytest.raises(InputError, match=r"qrels\.301-302:2: expected query, iteration"):
        read_eval_set(trec, corpus=corpus)


def test_topics_need_judgements_and_documents(trec: Path, corpus: Path) -> None:
    with pytest.raises(InputError, match="name a corpus as well"):
        read_eval_set(trec)
    (trec / "qrels.301-302").unlink()
    with pytest.raises(InputError, match=r"expected one file qrels\*, found none"):
        read_eval_set(trec, corpus=corpus)
