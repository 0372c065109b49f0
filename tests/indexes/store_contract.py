"""What every store must do alike: the corpus, the questions and filters, and how to compare.

Scores of different kernels may differ in their last digits, so two passages whose scores are that
near may change places: each must have the score that the reference gives it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ragib.config import ChunkConfig, EncoderConfig, IndexConfig, MultiVectorConfig, SparseConfig
from ragib.indexes.index import Index
from ragib.types import Document, Hit

TOLERANCE = 1e-4

TEXTS = (
    "The king of Rome built bridge number {i}. The queen wrote a poem by the river.",
    "A stone tower in Paris. Who built the iron tower number {i}? The author was old.",
    "The moon and the star shine by night. A red bird sat on tree {i} at dawn.",
    "History of war and peace, volume {i}. The engine of a ship is made of iron.",
    "The dog and the cat. Fish swim in the river {i} where the horse drank.",
)

QUESTIONS = (
    "who built the bridge",
    "iron tower of Paris 11",
    "river river river",
    "moon and star by night",
    "poem of the queen number 10",
)

WHERE: tuple[dict[str, Any], ...] = (
    {},
    {"year": 1903},
    {"year": 1903.0},
    {"year": "1903"},
    {"year": [1901, 1902, 1950]},
    {"year": {"gte": 1905, "lt": 1912}},
    {"year": {"gt": 1905}, "lang": "en"},
    {"year": {"lte": 1903.5}},
    {"year": []},
    {"year": {}},
    {"lang": ["en", "de"]},
    {"lang": {"ne": "en"}},
    {"lang": {"gte": "e"}},
    {"lang": {"lt": "fr"}},
    {"lang": {"gt": "en", "lte": "fr"}},
    {"lang": {"gte": 3}},
    {"year": {"gte": "1"}},
    {"date": {"gte": "1905-06-01", "lt": "1911"}},
    {"date": {"gt": "1905-01-02"}},
    {"date": {"lte": "1905-01-02"}},
    {"tags": "rot"},
    {"tags": ["blau", "grün"]},
    {"tags": {"ne": "rot"}},
    {"tags": {"gte": "g"}},
    {"scores": {"gte": 5, "lt": 3}},
    {"draft": True},
    {"draft": 1},
    {"draft": {"exists": False}},
    {"nothing": None},
    {"nothing": {"exists": True}},
    {"gone": None},
    {"gone": 1},
    {"gone": {"ne": 1}},
    {"gone": {"gte": 1}},
    {"gone": {"exists": False}},
    {"empty": {"exists": True}},
    {"empty": "x"},
    {"source.kind": "web"},
    {"source.page.n": {"gt": 7}},
    {"source.kind.x": "web"},
    {"a.b": "dotted"},
    {'größe "x"[0]': 3},
    {"year": {"lt": float("inf")}},
    {"lang": "half \ud800 a pair"},
)

ALLOW: tuple[tuple[str, ...], ...] = (
    ("public",),
    ("staff",),
    ("public", "staff", "böse"),
    ("nobody",),
    ("half \ud800",),
    (),
)


def documents() -> list[Document]:
    """Thirty documents; among their metadata is all that filters tell apart."""
    made = []
    for i in range(30):
        metadata: dict[str, Any] = {
            "year": 1900 + i if i % 7 else float(1900 + i),
            "lang": ("en", "de", "fr")[i % 3],
            "date": f"19{i:02d}-01-02",
            "tags": (["rot", "blau"], "grün", [], ["grün", None, ["rot"]])[i % 4],
            "scores": [i % 7, i % 3],
            "source": {"kind": ("web", "book")[i % 2], "page": {"n": i}},
            "empty": [],
            'größe "x"[0]': i % 4,
        }
        if i % 2:
            metadata |= {"draft": bool(i % 4 == 1), "nothing": None}
        if i % 5 == 0:
            metadata |= {"a.b": "dotted", "big": 2**70 + i}
        access = ((), ("staff",), ("public", "staff"))[i % 3] if i % 4 == 0 else ("public",)
        made.append(
            Document(
                f"dök/{i} 𝄞",
                TEXTS[i % len(TEXTS)].format(i=i),
                title=("", f"Kapitel {i}")[i % 2],
                metadata=metadata,
                access=access,
            )
        )
    return made


def build(folder: Path, model: Path, **other: Any) -> Index:
    """Build an index of all kinds in two segments, with two documents deleted."""
    values = {"multivector": MultiVectorConfig(dim=16), **other}
    config = IndexConfig(
        encoder=EncoderConfig(model=str(model), max_tokens=64, device="cpu"),
        chunk=ChunkConfig(max_tokens=14, overlap_tokens=0),
        **values,
    )
    made = documents()
    gone = [
        Document("gone", "The king is gone.", metadata={"lang": "zz", "secret": "never pushed"}),
        Document("gone too", "The queen is gone.", metadata={"lang": "yy"}),
    ]
    index = Index.build([*made[:12], gone[0]], folder, config)
    index.add([*made[12:], gone[1], made[3]])
    index.delete(["gone", "gone too"])
    return index


def sparse_config(engine: str) -> dict[str, Any]:
    """Return the configuration of a sparse index alone."""
    return {"kinds": ("sparse",), "sparse": SparseConfig(engine=engine)}


def assert_same(found: Sequence[Hit], all_hits: Sequence[Hit], k: int) -> None:
    """Compare the best `k` with a reference's ranking of everything that can be found."""
    best = all_hits[:k]
    assert len(found) == len(best)
    assert [hit.score for hit in found] == pytest.approx([h.score for h in best], abs=TOLERANCE)
    expected = {hit.passage.id: hit for hit in all_hits}
    assert len({hit.passage.id for hit in found}) == len(found)
    for hit in found:
        other = expected[hit.passage.id]
        assert hit.passage == other.passage
        assert hit.score == pytest.approx(other.score, abs=TOLERANCE)
        for kind, score in hit.scores.items():
            assert score == pytest.approx(other.scores[kind], abs=TOLERANCE)


def ids(hits: Sequence[Hit]) -> list[str]:
    """Return the ids of the passages that were hit."""
    return [hit.passage.id for hit in hits]
