"""An index of three documents, two of them for everybody; and what its texts are."""

from __future__ import annotations

import os

import pytest

from ragib.config import ChunkConfig, Config, IndexConfig
from ragib.indexes.index import Index
from ragib.types import Document

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "false"  # read when Haystack is imported

DOCUMENTS = (
    Document(
        "bridge",
        "The moon was red. The dog slept well. Nobody in the town saw it.\n\n"
        "The king built a bridge of stone. It took nine long years. Birds sang all the time.",
        "Bridge",
        {"year": 1200, "score": "mine"},
    ),
    Document(
        "tower",
        "The queen built a tower. Rain fell on the river and on the sea.",
        "Tower",
        {"year": 1300},
    ),
    Document("crown", "The king built a vault. The crown is in it.", "", {}, ("court",)),
)


@pytest.fixture
def texts():
    return {document.id: document.text for document in DOCUMENTS}


@pytest.fixture
def index(tmp_path):
    config = IndexConfig(kinds=("sparse",), chunk=ChunkConfig(max_tokens=20, overlap_tokens=0))
    return Index.build(DOCUMENTS, tmp_path / "idx", config)


@pytest.fixture
def config():
    return Config.model_validate(
        {"retriever": {"k": 2}, "compressor": {"name": "bm25-sentence", "threshold": 0.1}}
    )
