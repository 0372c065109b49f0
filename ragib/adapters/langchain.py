"""LangChain: a retriever over an index, and a compressor of what any retriever found.

Both are used as LangChain's own (https://reference.langchain.com/python/langchain_core/): the
retriever is a runnable, the compressor fits `ContextualCompressionRetriever`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from pydantic import PrivateAttr

from ragib.adapters.common import (
    Finder,
    Finding,
    Given,
    Keeping,
    about,
    compressor_of,
    finder_of,
    keep,
)
from ragib.compressor.base import Compressor
from ragib.extras import require
from ragib.indexes.index import Index
from ragib.types import PUBLIC, Hit

require("langchain_core", "ragib.adapters.langchain")

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
    Callbacks,
)
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.retrievers import BaseRetriever


class RagibRetriever(BaseRetriever):  # type: ignore[misc]
    """Finds the passages of an index; a document a hit, best first.

    The id of a document is that of the passage. Its metadata are the passage's own and, over
    them, `doc_id`, `passage_id`, `title`, `start`, `end` (characters in the document as it was
    read) and `score`.

    Parameters
    ----------
    index
        What to search.
    config
        How, and how many; all defaults if not given.
    where, allow
        Metadata filter, and the groups whose documents may be seen. Those of a call,
        `invoke(question, where=…, allow=…)`, take their place.

    Raises
    ------
    InputError
        From a call: the question is empty, or it or the filter cannot be used.
    """

    index: Index
    config: Finding | None = None
    where: dict[str, Any] | None = None
    allow: tuple[str, ...] = (PUBLIC,)

    _finder: Finder = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:  # noqa: ANN401
        """Settle how to search."""
        super().model_post_init(context)
        self._finder = finder_of(self.index, self.config, self.where, self.allow)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        where: dict[str, Any] | None = None,
        allow: Sequence[str] | None = None,
    ) -> list[Document]:
        return [_document(hit) for hit in self._finder.find(query, where, allow)]

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        where: dict[str, Any] | None = None,
        allow: Sequence[str] | None = None,
    ) -> list[Document]:
        hits = await asyncio.to_thread(self._finder.find, query, where, allow)
        return [_document(hit) for hit in hits]


class RagibCompressor(BaseDocumentCompressor):  # type: ignore[misc]
    """Keeps what carries the answer; a document a piece of evidence, verbatim.

    Its metadata are those of the document it is out of, with `start`, `end` and `score` of the
    evidence; a document with an id gives its evidence one too, `id:start-end`. Offsets count in
    the document as it was read if the retriever told `start` and `end`, as `RagibRetriever` does,
    else in the text that came in.

    Parameters
    ----------
    compressor
        The name of a compressor, the folder of a trained one, or a configuration.

    Raises
    ------
    ConfigError, InputError, MissingExtraError
        There is no such compressor, its weights cannot be read, or a package is missing.
    InputError
        From a call: the question is empty.
    """

    compressor: Keeping = "ib"

    _loaded: Compressor = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:  # noqa: ANN401
        """Load the compressor."""
        super().model_post_init(context)
        self._loaded = compressor_of(self.compressor)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks = None
    ) -> list[Document]:
        """Return the evidence for a question in the order of the documents."""
        texts = [Given.told(document.page_content, document.metadata) for document in documents]
        found = []
        for kept in keep(self._loaded, query, texts):
            source = documents[kept.source]
            place = {"start": kept.start, "end": kept.end, "score": kept.score}
            found.append(
                Document(
                    kept.text,
                    id=None if source.id is None else kept.id(source.id),
                    metadata={**source.metadata, **place},
                )
            )
        return found


def _document(hit: Hit) -> Document:
    place = {"start": hit.passage.start, "end": hit.passage.end, "score": hit.score}
    return Document(hit.passage.text, id=hit.passage.id, metadata={**about(hit.passage), **place})
