from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from ragib.compressor.calibration import Calibration
from ragib.compressor.ib import IBCompressor
from ragib.compressor.model import from_base
from ragib.compressor.training.records import LabelledPassage, Record
from ragib.config import IndexConfig
from ragib.errors import InputError
from ragib.eval.bench import multistep
from ragib.eval.remembering import remember
from ragib.indexes.index import Index
from ragib.types import Document

TEXTS = {
    "sun": ("Iron Sun", "The maker of The Iron Sun was Anna Kell."),
    "kell": ("Anna Kell", "Anna Kell came from Torun."),
    **{
        f"n{i}": (f"Maker {i}", f"The maker of sun {i} was born where it is cold.")
        for i in range(9)
    },
}


def asked() -> Record:
    passages = []
    for name, (title, text) in TEXTS.items():
        gold = name in ("sun", "kell")
        spans = ((0, len(text)),) if gold else ()
        passages.append(LabelledPassage(name, title, text, gold, (), spans))
    question = "Where was the maker of The Iron Sun born?"
    return Record("q", "made", question, ("Torun",), True, "human", tuple(passages))


def test_every_pipeline_is_asked_every_question(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    documents = [Document(name, text, title) for name, (title, text) in TEXTS.items()]
    index = Index.build(documents, tmp_path / "idx", IndexConfig(kinds=("sparse",)))
    model = from_base(str(tiny_encoder_dir))
    compressor = remember(IBCompressor(model, Calibration(), budget=1000), {})
    assert isinstance(compressor, IBCompressor)
    made = multistep.pipelines(index, compressor)
    rows = multistep.measure_all([asked()], made)
    assert list(rows) == list(multistep.SYSTEMS)
    assert rows["one step of 5"][0]["passages"] == 5
    assert rows["two steps of 5"][0]["passages"] == 10
    for [row] in rows.values():
        assert row["evidence-recall"] == (1.0 if row["all gold found"] else 0.5)
        assert row["all evidence kept"] == row["all gold found"]
    assert rows["one step of 15"][0]["passages"] == 10
    assert rows["one step of 15"][0]["all gold found"] == 0.0
    assert [row["steps"] for [row] in rows.values()][:5] == [1, 1, 1, 1, 2]


def test_the_tables_say_what_is_better_than_the_baseline() -> None:
    keys = (*multistep.MEASURES, *multistep.COSTS)
    rows = {
        multistep.BASELINE: [dict.fromkeys(keys, 0.0)] * 40,
        "more": [dict.fromkeys(keys, float(i % 4 < 2)) for i in range(40)],
    }
    text = multistep.tables(rows, ["b", "a"] * 20)
    assert "| more | 50.0 | 50.0 | 50.0 | 50.0 | 50.0 | 0.5 | 0.5 | 0.5 |" in text
    assert "| more | +50.0 (" in text
    assert "| found in | a | b |" in text


def test_what_was_chosen_by_is_not_published(tmp_path: Path) -> None:
    page, data = tmp_path / "page.md", tmp_path / "data.jsonl"
    page.write_text("")
    data.write_text("")
    call = ["--data", str(data), "--tune", "--page", str(page)]
    assert isinstance(CliRunner().invoke(multistep.main, call).exception, InputError)
    with pytest.raises(InputError, match="no answerable question"):
        multistep.main(["--data", str(data)], standalone_mode=False)
