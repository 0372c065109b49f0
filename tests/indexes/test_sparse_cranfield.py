"""BM25 on real text against bm25s used directly; skipped where the collections are not."""

import gzip
import json
from pathlib import Path

import bm25s
import numpy as np
import pytest

from ragib.config import SparseConfig
from ragib.indexes.base import Batch, Queries
from ragib.indexes.sparse import SparseEngine
from ragib.indexes.terms import terms
from ragib.types import Passage

DATA = Path(__file__).parents[3] / "shared" / "data" / "ir"


@pytest.mark.parametrize("name", ["cranfield", "vaswani"])
def test_scores_equal_those_of_bm25s(name: str, tmp_path: Path) -> None:
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    passages = [Passage(r["_id"], r["_id"], r["text"], r.get("title") or "") for r in records]
    with (folder / "queries.jsonl").open(encoding="utf-8") as lines:
        questions = [json.loads(line)["text"] for line in lines][:50]

    engine = SparseEngine(SparseConfig())
    parts = []
    for start in range(0, len(passages), 1000):
        parts.append(tmp_path / str(start))
        parts[-1].mkdir()
        engine.encode(Batch(passages[start : start + 1000]), parts[-1])
    found = engine.open(parts, np.ones(len(passages), bool)).search(Queries(questions), 100, None)

    library = bm25s.BM25(k1=0.9, b=0.4)
    corpus = [terms(f"{p.title}\n{p.text}", "english") for p in passages]
    library.index(corpus, show_progress=False)
    for i, question in enumerate(questions):
        scores = library.get_scores(terms(question, "english"))
        best = np.sort(scores)[::-1][:100]
        np.testing.assert_allclose(found.scores[i][best > 0], best[best > 0], rtol=1e-4)
        held = found.rows[i] >= 0
        np.testing.assert_allclose(scores[found.rows[i][held]], found.scores[i][held], rtol=1e-4)
