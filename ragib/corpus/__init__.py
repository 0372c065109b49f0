"""Corpora: files in, documents out, cut into passages."""

from __future__ import annotations

from ragib.corpus.chunking import chunk, word_tokens
from ragib.corpus.read import read_corpus
from ragib.corpus.records import BadRecords

__all__ = ["BadRecords", "chunk", "read_corpus", "word_tokens"]
