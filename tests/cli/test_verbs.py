"""Every verb on a small corpus: what it prints, and what it leaves on the disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]


def _json(result: Result) -> dict:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def _found(run: Run, index: Path, *options: object) -> list[str]:
    hits = _json(run("search", index, *options, "--json"))["hits"]
    return [hit["passage"]["doc_id"] for hit in hits]


def test_index_says_what_it_made(run: Run, corpus: Path, tmp_path: Path) -> None:
    result = run("index", corpus, "--out", tmp_path / "i", "--kind", "sparse")
    assert result.exit_code == 0
    assert any(line.split() == ["documents", "4"] for line in result.stdout.splitlines())
    assert result.stderr == ""


def test_index_all_three_ways(
    run: Run, corpus: Path, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(f"index: {{encoder: {{model: {json.dumps(str(tiny_encoder_dir))}}}}}\n")
    out = tmp_path / "i"
    options = ("--config", config, "--set", "index.multivector.dim=16")
    assert run("index", corpus, "--out", out, *options).exit_code == 0
    facts = _json(run("info", out, "--json"))
    assert set(facts["kinds"]) == {"dense", "multivector", "sparse"}
    hits = _json(run("search", out, "who built the tower?", "--json"))["hits"]
    assert set(hits[0]["ranks"]) <= {"dense", "multivector", "sparse"}
    assert len(hits) == 3
    for kind in ("dense", "multivector", "sparse"):
        assert "tower" in _found(run, out, "iron tower", "--using", kind)


def test_index_refuses_to_overwrite_unless_asked(
    run: Run, corpus: Path, sparse_index: Path
) -> None:
    again = ("index", corpus, "--out", sparse_index, "--kind", "sparse")
    assert run(*again).exit_code != 0
    assert run(*again, "--overwrite").exit_code == 0
    assert _found(run, sparse_index, "iron tower") == ["tower"]


def test_index_skips_and_lists_bad_records(run: Run, corpus: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text(corpus.read_text() + '{"_id": "x"\n' * 12)
    options = ("--out", tmp_path / "i", "--kind", "sparse")
    refused = run("index", bad, *options)
    assert refused.exit_code == 2
    assert "bad.jsonl:5" in refused.stderr
    skipped = run("index", bad, *options, "--skip-bad")
    assert skipped.exit_code == 0
    assert "skipped 12 records" in skipped.stderr
    assert "bad.jsonl:5" in skipped.stderr
    assert "and 2 more" in skipped.stderr


def test_add_delete_compact(run: Run, sparse_index: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.jsonl"
    more.write_text(
        '{"_id": "tower", "text": "A wooden tower."}\n{"_id": "n", "text": "New fish."}\n'
    )
    added = run("add", sparse_index, more)
    assert added.stdout == "5 documents, 1 more than before\n"
    assert _found(run, sparse_index, "iron") == []
    assert set(_found(run, sparse_index, "wooden fish")) == {"n", "tower"}
    deleted = run("delete", sparse_index, "--ids", "-", stdin=b"n\r\n\ntower\n")
    assert deleted.stdout == "2 documents deleted\n"
    assert _found(run, sparse_index, "wooden fish") == []
    assert run("compact", sparse_index).exit_code == 0
    facts = _json(run("info", sparse_index, "--json", "--verify"))
    assert (facts["documents"], facts["deleted_passages"]) == (3, 0)


def test_delete_unknown_id(run: Run, sparse_index: Path, tmp_path: Path) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text("tower\nnobody\n")
    result = run("delete", sparse_index, "--ids", ids)
    assert result.exit_code == 2
    assert "nobody" in result.stderr
    assert _found(run, sparse_index, "iron") == ["tower"]
    assert run("delete", sparse_index, "--ids", ids, "--missing-ok").stdout.startswith("1 ")


def test_verify_finds_a_flipped_bit(run: Run, sparse_index: Path) -> None:
    assert run("verify", sparse_index).stdout == "all files are as written\n"
    victim = max(
        (path for path in (sparse_index / "segments").rglob("*") if path.is_file()),
        key=lambda path: path.stat().st_size,
    )
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    result = run("verify", sparse_index)
    assert result.exit_code == 1
    assert victim.name in result.stdout
    report = json.loads(run("verify", sparse_index, "--json").stdout)
    assert not report["ok"]
    for reading in (
        ("search", sparse_index, "q"),
        ("ask", sparse_index, "q"),
        ("info", sparse_index),
    ):
        refused = run(*reading, "--verify")
        assert refused.exit_code == 1
        assert victim.name in refused.stderr


def test_search_shows_place_and_text(run: Run, sparse_index: Path) -> None:
    result = run("search", sparse_index, "iron tower")
    assert result.exit_code == 0
    first, second = result.stdout.splitlines()
    assert "tower:0-" in first
    assert "[sparse 1]" in first
    assert second.strip().startswith("Gustave Eiffel built")
    assert run("search", sparse_index, "zebra").stdout == "nothing found\n"


def test_search_filters_before_it_scores(run: Run, sparse_index: Path) -> None:
    assert _found(run, sparse_index, "bridge gold") == ["bridge"]
    assert set(_found(run, sparse_index, "bridge gold", "--allow", "crown")) == {"bridge", "secret"}
    question = "tower bridge moon"
    assert set(_found(run, sparse_index, question, "--where", "lang=en")) == {"tower", "bridge"}
    assert _found(run, sparse_index, question, "--where", "year>=1900") == ["mond"]
    assert _found(run, sparse_index, question, "--where", "lang=fr") == []
    both = ("--where", "lang=en", "--where", "year<1000")
    assert _found(run, sparse_index, question, *both) == ["bridge"]


def test_search_writes_a_run(run: Run, sparse_index: Path, tmp_path: Path) -> None:
    queries = tmp_path / "q.jsonl"
    queries.write_text('{"_id": "1", "text": "tower or bridge"}\n{"_id": "2", "text": "zebra"}\n')
    out = tmp_path / "out.trec"
    result = run("search", sparse_index, "--queries", queries, "--run", out, "--tag", "t")
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in out.read_text().splitlines()]
    assert {row[2] for row in rows} == {"tower", "bridge"}
    assert [row[:2] + row[3:4] + row[5:] for row in rows] == [
        ["1", "Q0", "1", "t"],
        ["1", "Q0", "2", "t"],
    ]
    assert "2 queries" in result.stderr


def test_search_as_a_configuration_says(run: Run, sparse_index: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("retriever: {k: 1, syntax: true}\n")
    question = "tower bridge moon -old"
    assert len(_found(run, sparse_index, "tower bridge moon")) == 3
    assert len(_found(run, sparse_index, "tower bridge moon", "--config", config)) == 1
    found = _found(run, sparse_index, question, "--config", config, "-k", "9")
    assert set(found) == {"bridge", "mond"}
    assert len(_found(run, sparse_index, question, "--set", "retriever.k=2")) == 2
    wrong = run("search", sparse_index, "q", "--set", "retriever.using=dense")
    assert wrong.exit_code == 2
    assert "'dense' is not in this index" in wrong.stderr
    assert _found(run, sparse_index, "moon", "--set", "retriever.using=dense", "--using", "sparse")


def test_run_has_k_documents_though_one_has_many_passages(run: Run, tmp_path: Path) -> None:
    corpus = tmp_path / "c.jsonl"
    long = " ".join(f"The tower of stone number {n} is old." for n in range(200))
    rest = [{"_id": f"d{n}", "text": f"A tower {'and a river ' * 9}."} for n in range(5)]
    records = [{"_id": "long", "text": long}, *rest]
    corpus.write_text("".join(json.dumps(record) + "\n" for record in records))
    index, queries, out = tmp_path / "i", tmp_path / "q.jsonl", tmp_path / "o.trec"
    chunks = ("--set", "index.chunk.max_tokens=16", "--set", "index.chunk.overlap_tokens=0")
    assert run("index", corpus, "--out", index, "--kind", "sparse", *chunks).exit_code == 0
    queries.write_text('{"_id": "1", "text": "tower"}\n')
    assert run("search", index, "--queries", queries, "--run", out, "-k", "4").exit_code == 0
    documents = [line.split()[2] for line in out.read_text().splitlines()]
    assert len(documents) == len(set(documents)) == 4
    assert documents[0] == "long"


def test_control_characters_of_a_corpus_stay_off_the_screen(run: Run, tmp_path: Path) -> None:
    corpus = tmp_path / "c.jsonl"
    corpus.write_text(json.dumps({"_id": "a", "text": "A tower\x1b[2J\x07 of stone."}) + "\n")
    run("index", corpus, "--out", tmp_path / "i", "--kind", "sparse")
    shown = run("search", tmp_path / "i", "tower").stdout
    assert "tower" in shown
    assert "\x1b" not in shown
    assert "\x07" not in shown


def test_ask_cites_what_it_says(run: Run, sparse_index: Path) -> None:
    options = ("--set", "compressor.name=bm25-sentence")
    answer = _json(run("ask", sparse_index, "who built the iron tower?", *options, "--json"))
    assert "Eiffel" in answer["text"]
    source = "Gustave Eiffel built the iron tower. It is old."
    for citation in answer["citations"]:
        assert citation["doc_id"] == "tower"
        assert source[citation["start"] : citation["end"]] == citation["text"]
    assert answer["citations"]
    shown = run("ask", sparse_index, "who built the iron tower?", *options).stdout
    assert "Eiffel" in shown
    assert "cites     tower:0-" in shown
    assert "words " in shown
    assert "retrieve " in shown


def test_ask_tells_what_was_dropped_and_why(run: Run, sparse_index: Path) -> None:
    options = ("--set", "compressor.name=bm25-sentence", "--set", "compressor.keep=0.6", "--json")
    answer = _json(run("ask", sparse_index, "who built the iron tower?", *options))
    texts = {hit["passage"]["id"]: hit["passage"]["text"] for hit in answer["hits"]}
    [dropped] = answer["dropped"]
    assert texts[dropped["passage_id"]][dropped["start"] : dropped["end"]] == "It is old."
    assert dropped["reason"]
    assert [kept["text"] for kept in answer["evidence"]] == ["Gustave Eiffel built the iron tower."]


def test_ask_without_a_match_abstains(run: Run, sparse_index: Path) -> None:
    options = ("--set", "compressor.name=bm25-sentence")
    result = run("ask", sparse_index, "zebra?", *options)
    assert result.exit_code == 0
    assert "no answer in the passages found" in result.stdout


def test_demo_takes_the_whole_way(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_encoder_dir: Path
) -> None:
    from itertools import islice

    from ragib.cli import demo as module
    from ragib.config import parse_config
    from ragib.corpus import stdlib

    everything = stdlib.documents
    monkeypatch.setattr(stdlib, "documents", lambda: islice(everything(), 3))
    values = {
        "index": {"encoder": {"model": str(tiny_encoder_dir)}, "multivector": {"dim": 16}},
        "compressor": {"name": "bm25-sentence"},
    }
    monkeypatch.setattr(module, "Config", lambda **keys: parse_config(values, "test"))
    result = run("demo", "--out", tmp_path / "demo")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("question  ") == 3
    assert "3 documents" in result.stdout
