"""Retrieval-augmented generation with an information-bottleneck filter.

>>> import ragib
>>> index = ragib.Index.open("idx")                      # doctest: +SKIP
>>> rag = ragib.RAG.from_config(index=index)             # doctest: +SKIP
>>> print(rag.ask("who wrote it?").text)                 # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from ragib.errors import RagibError
from ragib.types import Answer, Citation, Document, Evidence, Hit, Passage

if TYPE_CHECKING:
    from ragib.indexes.index import Index
    from ragib.pipeline import RAG

__all__ = [
    "RAG",
    "Answer",
    "Citation",
    "Document",
    "Evidence",
    "Hit",
    "Index",
    "Passage",
    "RagibError",
]
__version__ = version("ragib")

_LAZY = {"Index": "ragib.indexes.index", "RAG": "ragib.pipeline"}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'ragib' has no attribute {name!r}")
