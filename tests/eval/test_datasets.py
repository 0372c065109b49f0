import gzip
import json

import pytest

from ragib.errors import InputError
from ragib.eval.datasets import read_beir, read_qrels, read_queries


@pytest.fixture
def beir(tmp_path):
    documents = [{"_id": "d1", "title": "", "text": "iron"}, {"_id": "d2", "text": "gold"}]
    with gzip.open(tmp_path / "corpus.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(document) + "\n" for document in documents)
    queries = '{"_id": "q1", "text": "metal?"}\n{"_id": 2, "text": "nobody judged me"}\n'
    (tmp_path / "queries.jsonl").write_text(queries)
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\n"
    )
    return tmp_path


def test_only_judged_queries_are_kept(beir):
    data = read_beir(beir, "test")
    assert data.queries == {"q1": "metal?"}
    assert data.qrels == {"q1": {"d1": 2, "d2": 0}}
    assert [document.id for document in data.documents()] == ["d1", "d2"]


def test_missing_files_are_named(beir):
    with pytest.raises(InputError, match=r"qrels/dev\.tsv: no such file"):
        read_beir(beir, "dev")
    (beir / "corpus.jsonl.gz").unlink()
    with pytest.raises(InputError, match=r"no corpus\.jsonl"):
        read_beir(beir, "test")


def test_judged_query_without_text(beir):
    with (beir / "qrels" / "test.tsv").open("a") as file:
        file.write("q9\td1\t1\n")
    with pytest.raises(InputError, match="1 judged queries have no text, as 'q9'"):
        read_beir(beir, "test")


@pytest.mark.parametrize("line", ["{", '["q"]', '{"_id": "q"}', "7"])
def test_broken_query_names_its_line(tmp_path, line):
    path = tmp_path / "queries.jsonl"
    path.write_text(f'{{"_id": "a", "text": "b"}}\n\n{line}\n')
    with pytest.raises(InputError, match=r"queries\.jsonl:3: "):
        read_queries(path)


def test_query_id_twice(tmp_path):
    path = tmp_path / "queries.jsonl"
    path.write_text('{"id": 1, "question": "b"}\n{"id": "1", "question": "c"}\n')
    with pytest.raises(InputError, match=":2: query id '1' occurs twice"):
        read_queries(path)


@pytest.mark.parametrize("line", ["q1\td1", "q1\td1\thigh", "q1 d1 1"])
def test_broken_judgement_names_its_line(tmp_path, line):
    path = tmp_path / "test.tsv"
    path.write_text(f"query-id\tcorpus-id\tscore\n{line}\n")
    with pytest.raises(InputError, match=r"test\.tsv:2: "):
        read_qrels(path)


def test_wrong_encoding(tmp_path):
    path = tmp_path / "queries.jsonl"
    path.write_bytes(b'{"_id": "a", "text": "caf\xe9"}\n')
    with pytest.raises(InputError, match=r":1: byte 25 \(0xe9\) is not valid UTF-8"):
        read_queries(path)
