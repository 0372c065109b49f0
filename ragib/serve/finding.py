"""`/search` and `/compress`: the first two stages by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator
from starlette.requests import Request
from starlette.responses import Response

from ragib.config import Using
from ragib.serve.access import groups_of
from ragib.serve.bodies import Body, Text
from ragib.serve.service import Service, service_of
from ragib.serve.settings import MAX_QUESTION
from ragib.serve.values import JSON, plain
from ragib.types import Compressed, Hit, Passage, Question

MAX_HITS = 1000
MAX_PASSAGES = 200


class _Asking(Body):
    question: Text = Field(max_length=MAX_QUESTION)
    where: dict[str, Any] | None = None

    @field_validator("question")
    @classmethod
    def _has_a_word(cls, question: str) -> str:
        if not question.strip():
            raise ValueError("a question needs at least one word")
        return question


class SearchRequest(_Asking):
    """What to search for; without `k` and `using`, as many and where the configuration says."""

    k: Annotated[int, Field(ge=1, le=MAX_HITS)] | None = None
    using: Using | None = None


class _Given(Body):
    text: Text
    title: Text = ""
    id: Text | None = None


def _given(passage: object) -> object:
    return {"text": passage} if isinstance(passage, str) else passage


_Passage = Annotated[_Given, BeforeValidator(_given)]


class CompressRequest(_Asking):
    """What to compress: `passages`, or the `k` best of the index."""

    passages: list[_Passage] | None = Field(None, min_length=1, max_length=MAX_PASSAGES)
    k: Annotated[int, Field(ge=1, le=MAX_PASSAGES)] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> CompressRequest:
        if self.passages is not None and (self.k is not None or self.where is not None):
            raise ValueError("k and where choose hits of the index; drop them or the passages")
        names = [passage.id for passage in self.given()]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"two passages have the id {twice!r}")
        return self

    def given(self) -> list[Passage]:
        """Return the passages of the request; those without an id get their number, from 1."""
        texts = self.passages or []
        names = [text.id or str(number) for number, text in enumerate(texts, 1)]
        return [
            Passage(name, name, text.text, text.title, 0, len(text.text))
            for name, text in zip(names, texts, strict=True)
        ]


async def search(request: Request) -> Response:
    """Find the best passages."""
    service = service_of(request)
    body = await service.body(request, SearchRequest)
    find = partial(_hits, service, body, body.k, body.using, groups_of(request.headers))
    hits = await service.work(request.receive, lambda: asyncio.to_thread(find))
    return JSON({"question": body.question, "hits": [_hit(hit) for hit in hits]})


async def compress(request: Request) -> Response:
    """Keep the sentences that carry the answer."""
    service = service_of(request)
    body = await service.body(request, CompressRequest)
    keep = partial(_compressed, service, body, groups_of(request.headers))
    passages, result = await service.work(request.receive, lambda: asyncio.to_thread(keep))
    service.metrics.kept(result.words_in, result.words_kept)
    texts = {passage.id: passage.text for passage in passages}
    return JSON(
        {
            "question": body.question,
            "passages": [_passage(passage) for passage in passages],
            "evidence": result.evidence,
            "dropped": [
                {**plain(out), "text": texts[out.passage_id][out.start : out.end]}
                for out in result.dropped
            ],
            "words_in": result.words_in,
            "words_kept": result.words_kept,
            "abstained": result.abstained,
        }
    )


def _hits(
    service: Service, body: _Asking, k: int | None, using: Using | None, allow: Sequence[str]
) -> list[Hit]:
    retriever = service.rag.retriever
    chosen = {key: value for key, value in (("k", k), ("using", using)) if value is not None}
    config = retriever.config.model_copy(update=chosen)
    rag = replace(service.rag, retriever=replace(retriever, config=config))
    return rag.search([body.question], where=body.where, allow=allow)[0]


def _compressed(
    service: Service, body: CompressRequest, allow: Sequence[str]
) -> tuple[list[Passage], Compressed]:
    passages = body.given()
    if body.passages is None:
        passages = [hit.passage for hit in _hits(service, body, body.k, None, allow)]
    question = Question("1", body.question, tuple(passages))
    return passages, service.rag.compressor.compress([question])[0]


def _hit(hit: Hit) -> dict[str, Any]:
    return {
        "passage": _passage(hit.passage),
        "score": hit.score,
        "ranks": hit.ranks,
        "scores": hit.scores,
    }


def _passage(passage: Passage) -> dict[str, Any]:
    """Show all of a passage but the groups that may see it."""
    keys = ("id", "doc_id", "title", "start", "end", "text", "metadata")
    return {key: getattr(passage, key) for key in keys}
