"""After any history of changes an index answers like one built afresh."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragib.config import ChunkConfig, IndexConfig
from ragib.indexes.index import Index
from ragib.indexes.verify import verify
from ragib.types import Document

CONFIG = IndexConfig(kinds=("sparse",), chunk=ChunkConfig(max_tokens=8, overlap_tokens=0))
WORDS = ["king", "queen", "river", "bridge", "poem", "ship"]

names = st.sampled_from([f"d{i}" for i in range(6)])
texts = st.lists(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(lambda w: " ".join(w) + "."),
    min_size=1,
    max_size=3,
).map(" ".join)
steps = st.one_of(
    st.tuples(st.just("add"), st.dictionaries(names, texts, min_size=1, max_size=3)),
    st.tuples(st.just("delete"), st.sets(names, min_size=1, max_size=3)),
    st.tuples(st.just("compact"), st.none()),
    st.tuples(st.just("reopen"), st.none()),
)


def documents(content: dict[str, str]) -> list[Document]:
    return [Document(name, text, metadata={"n": len(text)}) for name, text in content.items()]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(names, texts, min_size=1), st.lists(steps, max_size=6))
def test_history_leaves_no_trace(start, history):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "idx"
        index = Index.build(documents(start), path, CONFIG)
        live = dict(start)
        for verb, what in history:
            if verb == "add":
                index.add(documents(what))
                for name in what:
                    live.pop(name, None)
                live |= what
            elif verb == "delete":
                gone = what & set(live)
                assert index.delete(what, missing_ok=True) == len(gone)
                for name in gone:
                    del live[name]
            elif verb == "compact":
                index.compact()
            else:
                index = Index.open(path, verify=True)
        assert verify(path) == []
        assert index.info()["documents"] == len(live)
        if not live:
            assert index.search("king river") == []
            return
        fresh = Index.build(documents(live), Path(folder) / "fresh", CONFIG)
        assert len(index) == len(fresh)
        assert list(index.passages()) == list(fresh.passages())
        for question in ("king", "poem ship bridge", "queen queen river"):
            for where in (None, {"n": {"gte": 15}}):
                ours, theirs = (i.search(question, 50, where=where) for i in (index, fresh))
                assert [hit.passage for hit in ours] == [hit.passage for hit in theirs]
                assert [h.score for h in ours] == pytest.approx([h.score for h in theirs], abs=1e-5)
