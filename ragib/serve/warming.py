"""Loading, before the first client comes, what would otherwise be loaded while it waits."""

from __future__ import annotations

import os
import sys

from ragib.errors import GenerationError
from ragib.generators.base import Request
from ragib.pipeline import RAG
from ragib.types import Evidence, Hit, Passage, Question

_QUESTION = "How warm is it?"
_TEXT = "It is warm. It was cold."


def warm_up(rag: RAG, *, generator: bool, reranker: bool) -> None:
    """Send a made-up question through every stage.

    Parameters
    ----------
    rag
        The pipeline.
    generator, reranker
        Have these work too; one that asks another server had better not.

    Raises
    ------
    RagibError
        Something cannot be loaded.
    """
    rag.retriever.retrieve([_QUESTION])
    passage = Passage("warm-up", "warm-up", _TEXT, end=len(_TEXT))
    if reranker and rag.reranker is not None:
        rag.reranker.rerank(_QUESTION, [Hit(passage, 1.0)])
    rag.compressor.compress([Question("warm-up", _QUESTION, (passage,))])
    if generator:
        evidence = Evidence(passage.id, 0, len(_TEXT), _TEXT, 1.0)
        [answer] = rag.generator.generate([Request(_QUESTION, (evidence,))])
        if answer.error is not None:
            raise GenerationError(answer.error)


def share_cores(concurrency: int) -> None:
    """Give each of `concurrency` threads its part of the cores, where torch was loaded.

    It holds for threads that are started afterwards. Ones that compete for cores with those of
    each other's matrix products are several times slower.
    """
    torch = sys.modules.get("torch")
    if torch is not None:
        cores = len(os.sched_getaffinity(0))
        torch.set_num_threads(max(1, cores // concurrency))
