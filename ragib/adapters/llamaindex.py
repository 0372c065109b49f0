"""LlamaIndex: a retriever over an index, and a postprocessor that keeps what carries the answer.

Both go where LlamaIndex takes its own, as in `RetrieverQueryEngine(retriever,
node_postprocessors=[compressor])` (https://developers.llamaindex.ai/python/framework/).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from pydantic import PrivateAttr

from ragib.adapters.common import (
    Finding,
    Given,
    Keeping,
    Kept,
    about,
    compressor_of,
    finder_of,
    keep,
)
from ragib.compressor.base import Compressor
from ragib.errors import InputError
from ragib.extras import require
from ragib.indexes.filters import Where
from ragib.indexes.index import Index
from ragib.types import PUBLIC, Hit

require("llama_index.core", "ragib.adapters.llamaindex")

from llama_index.core.callbacks import CallbackManager
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import (
    BaseNode,
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)

NOT_FOR_READING = ["doc_id", "passage_id"]
"""Metadata that LlamaIndex is told to keep out of what models read."""


class RagibRetriever(BaseRetriever):  # type: ignore[misc]
    """Finds the passages of an index; a scored node a hit, best first.

    The id of a node is that of the passage, its source the document, its place
    (`start_char_idx`, `end_char_idx`) counts characters in the document as it was read. Its
    metadata are the passage's own and, over them, `doc_id`, `passage_id` and `title`.

    `retrieve` has no room for filters: make one retriever an asker, over the same index; that
    costs nothing.

    Parameters
    ----------
    index
        What to search.
    config
        How, and how many; all defaults if not given.
    where, allow
        Metadata filter, and the groups whose documents may be seen.
    callback_manager
        LlamaIndex's own.

    Raises
    ------
    InputError
        `allow` is one string; from a call: the question is empty, or it or the filter cannot be
        used.
    """

    def __init__(
        self,
        index: Index,
        config: Finding | None = None,
        *,
        where: Where | None = None,
        allow: Iterable[str] = (PUBLIC,),
        callback_manager: CallbackManager | None = None,
    ) -> None:
        self._finder = finder_of(index, config, where, allow)
        super().__init__(callback_manager=callback_manager)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [_node(hit) for hit in self._finder.find(query_bundle.query_str)]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)


class RagibCompressor(BaseNodePostprocessor):  # type: ignore[misc]
    """Keeps what carries the answer; a scored node a piece of evidence, verbatim.

    It has the metadata and the relations of the node it is out of, the id `id:start-end`, and
    a place of its own. That counts in the document as it was read if the node had a place there,
    as those of `RagibRetriever` do, else in the text of the node.

    Parameters
    ----------
    compressor
        The name of a compressor, the folder of a trained one, or a configuration.

    Raises
    ------
    ConfigError, InputError, MissingExtraError
        There is no such compressor, its weights cannot be read, or a package is missing.
    InputError
        From a call: there is no question, or it is empty.
    """

    compressor: Keeping = "ib"

    _loaded: Compressor = PrivateAttr()

    @classmethod
    def class_name(cls) -> str:
        """Return the name it is saved under."""
        return "RagibCompressor"

    def model_post_init(self, context: Any, /) -> None:  # noqa: ANN401
        """Load the compressor."""
        super().model_post_init(context)
        self._loaded = compressor_of(self.compressor)

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise InputError("evidence is kept for a question; give query_str or query_bundle")
        kept = keep(self._loaded, query_bundle.query_str, [_given(one.node) for one in nodes])
        return [_evidence(nodes[one.source].node, one) for one in kept]


def _node(hit: Hit) -> NodeWithScore:
    passage = hit.passage
    node = TextNode(
        id_=passage.id,
        text=passage.text,
        metadata=about(passage),
        start_char_idx=passage.start,
        end_char_idx=passage.end,
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=passage.doc_id)},
        excluded_embed_metadata_keys=NOT_FOR_READING,
        excluded_llm_metadata_keys=NOT_FOR_READING,
    )
    return NodeWithScore(node=node, score=hit.score)


def _given(node: BaseNode) -> Given:
    place = (getattr(node, key, None) for key in ("start_char_idx", "end_char_idx"))
    return Given(node.get_content(), node.metadata.get("title"), *place)


def _evidence(source: BaseNode, kept: Kept) -> NodeWithScore:
    node = TextNode(
        id_=kept.id(source.node_id),
        text=kept.text,
        metadata=dict(source.metadata),
        start_char_idx=kept.start,
        end_char_idx=kept.end,
        relationships=dict(source.relationships),
        excluded_embed_metadata_keys=source.excluded_embed_metadata_keys,
        excluded_llm_metadata_keys=source.excluded_llm_metadata_keys,
    )
    return NodeWithScore(node=node, score=kept.score)
