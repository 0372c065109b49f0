"""One question through the pipeline, as events in the order in which they come about."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from ragib.errors import GenerationError
from ragib.indexes.filters import Where
from ragib.pipeline import RAG
from ragib.serve.watching import Seen, listening
from ragib.types import Answer

Event = Seen | str | Answer


async def events(
    rag: RAG, question: str, where: Where | None, allow: Sequence[str]
) -> AsyncGenerator[Event, None]:
    """Yield what is seen on the way, pieces of the answer, and at the end the `Answer`.

    Closing the iterator stops the generator where it can be stopped.

    Parameters
    ----------
    rag
        An `observed` one.
    question, where, allow
        As `RAG.ask` takes them.

    Raises
    ------
    RagibError
        As `RAG.stream` raises; `GenerationError` also if what the generator yields is not an
        answer.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[object] = asyncio.Queue()
    end = object()

    async def ask() -> None:
        try:
            async with aclosing(_stream(rag, question, where, allow)) as parts:
                async for part in parts:
                    queue.put_nowait(part)
        finally:
            queue.put_nowait(end)

    with listening(lambda seen: loop.call_soon_threadsafe(queue.put_nowait, seen)):
        task = asyncio.create_task(ask())
    try:
        while (event := await queue.get()) is not end:
            yield event  # type: ignore[misc]
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _stream(
    rag: RAG, question: str, where: Where | None, allow: Sequence[str]
) -> AsyncGenerator[str | Answer, None]:
    shown: list[str] = []
    source = rag.astream(question, where=where, allow=allow)
    async with aclosing(source) as parts:  # type: ignore[type-var]
        async for part in parts:
            if isinstance(part, str):
                shown.append(part)
            elif not isinstance(part, Answer):
                raise GenerationError(f"it yielded {type(part).__name__}, not text")
            elif part.text != "".join(shown):
                raise GenerationError("its pieces do not make up its answer")
            yield part
