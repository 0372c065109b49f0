import json

import pytest
from click.testing import CliRunner

from ragib.config import EncoderConfig, IndexConfig
from ragib.encoders import load_encoder
from ragib.errors import InputError
from ragib.eval.bench import retrieval, scale
from ragib.eval.bench.common import markdown_table, write_section
from ragib.eval.datasets import read_beir

pytest.importorskip("ir_measures")

TEXTS = {
    "d1": "the old tower in paris",
    "d2": "a river of iron and gold",
    "d3": "who wrote the poem of the moon",
    "d4": "the king built a bridge",
}


@pytest.fixture
def judged(tmp_path):
    rows = [{"_id": key, "title": "", "text": text} for key, text in TEXTS.items()]
    rows.append({"_id": "d5", "title": "", "text": TEXTS["d4"], "dup_of": "d4"})
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    queries = {"q1": "bridge king", "q2": "poem moon"}
    (tmp_path / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": key, "text": text}) + "\n" for key, text in queries.items())
    )
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("q1\td4\t1\nq1\td5\t1\nq2\td3\t1\n")
    return read_beir(tmp_path, "test")


def test_every_system_is_measured_on_a_set(judged, tiny_encoder_dir, tmp_path):
    encoder = load_encoder(EncoderConfig(model=str(tiny_encoder_dir)))
    rows = retrieval.measure_set(judged, encoder, tmp_path / "indexes")
    assert [row["system"] for row in rows] == list(retrieval.SYSTEMS)
    by_system = {row["system"]: row for row in rows}
    assert by_system["sparse"]["nDCG@10"] == by_system["bm25s used directly"]["nDCG@10"] == 1
    assert by_system["dense"]["R@100"] == 1
    sizes = [by_system[f"multi-vector, pool factor {n}"]["bytes"] for n in retrieval.POOL_FACTORS]
    assert sizes == sorted(sizes, reverse=True)
    means = retrieval.averages([*rows, *rows])
    assert [row["nDCG@10"] for row in means] == [row["nDCG@10"] for row in rows]


def test_a_corpus_without_its_repeats(judged, tmp_path):
    data = scale.without_repeats(judged)
    assert data.qrels == {"q1": {"d4": 1}, "q2": {"d3": 1}}
    assert [document.id for document in scale.subset(data, 3)] == ["d3", "d4", "d1"]
    built = scale.build(data, IndexConfig(kinds=("sparse",)), None, tmp_path / "idx")
    row = scale.measure(data, "sparse", tmp_path / "idx")
    assert (row["documents"], row["nDCG@10"]) == (4, 1)
    assert built["build_peak_bytes"] > 1 << 20


def test_a_folder_without_the_sets_is_an_error(tmp_path):
    result = CliRunner().invoke(retrieval.main, ["--data", str(tmp_path), "--set", "cranfield"])
    assert isinstance(result.exception, InputError)


def test_only_the_named_section_of_a_page_changes(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x -->\nold\n<!-- /x -->\nb\n")
    write_section(page, "x", markdown_table(["k", "v"], [["one", 1]]))
    expected = "a\n<!-- x -->\n| k | v |\n|---|---:|\n| one | 1 |\n<!-- /x -->\nb\n"
    assert page.read_text() == expected
    with pytest.raises(InputError, match="no section <!-- y -->"):
        write_section(page, "y", "text")
