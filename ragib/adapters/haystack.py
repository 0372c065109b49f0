"""Haystack: two components, a retriever over an index and a compressor of documents.

Both are saved with the pipeline they are in and loaded with it
(https://docs.haystack.deepset.ai/docs/serialization); loading needs
`allowed_modules=["ragib.adapters.haystack"]`, as for every module that is not Haystack's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ragib.adapters.common import (
    Finding,
    Given,
    Keeping,
    Kept,
    about,
    compression_of,
    compressor_of,
    finder_of,
    keep,
    retrieval_of,
)
from ragib.config import parse_config
from ragib.extras import require
from ragib.indexes.index import Index
from ragib.indexes.qdrant.generation import open_index
from ragib.types import PUBLIC, Hit

require("haystack", "ragib.adapters.haystack")

from haystack import Document, component, default_to_dict


@component
class RagibRetriever:
    """Finds the passages of an index; a document a hit, best first.

    The id of a document is that of the passage. Its `meta` are the passage's metadata and, over
    them, `doc_id`, `passage_id`, `title`, `start` and `end` (characters in the document as it was
    read).

    Parameters
    ----------
    index
        What to search: an index, or its directory.
    config
        How, and how many; all defaults if not given.
    where, allow
        Metadata filter (ragib's, not Haystack's), and the groups whose documents may be seen;
        those of a run take their place.

    Raises
    ------
    InputError
        `allow` is one string.
    IndexDirError, StoreError
        There is no such index.
    """

    def __init__(
        self,
        index: Index | str | Path,
        config: Finding | None = None,
        where: dict[str, Any] | None = None,
        allow: Iterable[str] = (PUBLIC,),
    ) -> None:
        self._place = None if isinstance(index, Index) else str(index)
        if not isinstance(index, Index):
            index = open_index(index, retrieval_of(config).store)
        self._finder = finder_of(index, config, where, allow)

    def to_dict(self) -> dict[str, Any]:
        """Return what a pipeline is saved as; raises `StoreError` for an `Index` on a server."""
        retriever = self._finder.retriever
        saved: dict[str, Any] = default_to_dict(
            self,
            index=self._place or str(retriever.index.path),
            config=_changed(retriever.config),
            where=self._finder.where,
            allow=list(self._finder.allow),
        )
        return saved

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RagibRetriever:
        """Make the component again and open its index; raises `ConfigError` for a wrong key."""
        return cls(**_parsed(data, "config", "retriever"))

    @component.output_types(documents=list[Document])  # type: ignore[untyped-decorator]
    def run(
        self, query: str, where: dict[str, Any] | None = None, allow: list[str] | None = None
    ) -> dict[str, list[Document]]:
        """Find the passages for a question.

        Raises
        ------
        InputError
            The question is empty, or it or the filter cannot be used.
        """
        return {"documents": [_document(hit) for hit in self._finder.find(query, where, allow)]}

    @component.output_types(documents=list[Document])  # type: ignore[untyped-decorator]
    async def run_async(
        self, query: str, where: dict[str, Any] | None = None, allow: list[str] | None = None
    ) -> dict[str, list[Document]]:
        """Do what `run` does without blocking the event loop."""
        return await asyncio.to_thread(self.run, query, where, allow)


@component
class RagibCompressor:
    """Keeps what carries the answer; a document a piece of evidence, verbatim.

    Its `meta` are those of the document it is out of, with `start` and `end` of the evidence, its
    id is `id:start-end`. Offsets count in the document as it was read if the retriever told
    `start` and `end`, as `RagibRetriever` does, else in the text that came in. Documents without
    text have no evidence.

    Parameters
    ----------
    compressor
        The name of a compressor, the folder of a trained one, or a configuration.

    Raises
    ------
    ConfigError, InputError, MissingExtraError
        There is no such compressor, its weights cannot be read, or a package is missing.
    """

    def __init__(self, compressor: Keeping = "ib") -> None:
        self._config = compression_of(compressor)
        self._compressor = compressor_of(self._config)

    def to_dict(self) -> dict[str, Any]:
        """Return what a pipeline is saved as."""
        saved: dict[str, Any] = default_to_dict(self, compressor=_changed(self._config))
        return saved

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RagibCompressor:
        """Make the component again; raises `ConfigError` for a wrong key."""
        return cls(**_parsed(data, "compressor", "compressor"))

    @component.output_types(documents=list[Document])  # type: ignore[untyped-decorator]
    def run(self, query: str, documents: list[Document]) -> dict[str, list[Document]]:
        """Return the evidence for a question in the order of the documents.

        Raises
        ------
        InputError
            The question is empty.
        """
        texts = [Given.told(document.content or "", document.meta) for document in documents]
        kept = keep(self._compressor, query, texts)
        return {"documents": [_evidence(documents[one.source], one) for one in kept]}

    @component.output_types(documents=list[Document])  # type: ignore[untyped-decorator]
    async def run_async(self, query: str, documents: list[Document]) -> dict[str, list[Document]]:
        """Do what `run` does without blocking the event loop."""
        return await asyncio.to_thread(self.run, query, documents)


def _document(hit: Hit) -> Document:
    passage = hit.passage
    meta = {**about(passage), "start": passage.start, "end": passage.end}
    return Document(id=passage.id, content=passage.text, meta=meta, score=hit.score)


def _evidence(source: Document, kept: Kept) -> Document:
    meta = {**source.meta, "start": kept.start, "end": kept.end}
    return Document(id=kept.id(source.id), content=kept.text, meta=meta, score=kept.score)


def _changed(config: BaseModel) -> dict[str, Any]:
    """Return what differs from the defaults, as JSON values."""
    return config.model_dump(mode="json", exclude_defaults=True)


def _parsed(data: Mapping[str, Any], key: str, section: str) -> dict[str, Any]:
    """Return the parameters of a saved component, with its configuration read.

    Haystack's own `default_from_dict` would take a filter on a key named `type` for a class.
    """
    parameters = dict(data.get("init_parameters", {}))
    if isinstance(parameters.get(key), Mapping):
        config = parse_config({section: parameters[key]}, str(data.get("type")))
        parameters[key] = getattr(config, section)
    return parameters
