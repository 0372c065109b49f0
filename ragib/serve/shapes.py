"""Answers in the shapes of OpenAI's chat completions.

https://platform.openai.com/docs/api-reference/chat. What is ragib's own stands under the key
`ragib`, which clients of OpenAI pass over.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import Any

from ragib.generators.prompt import NO_ANSWER
from ragib.serve.citing import cite
from ragib.serve.watching import Kept, Retrieved, Seen
from ragib.types import Answer


@dataclass(frozen=True, slots=True)
class Completion:
    """One completion: what all its chunks have in common."""

    id: str
    created: int
    model: str

    def whole(self, answer: Answer, trace: list[Seen] | None) -> dict[str, Any]:
        """Return the completion at once; with a trace, what was seen on the way too."""
        message = {
            "role": "assistant",
            "content": content(answer),
            "refusal": None,
            "annotations": cite(answer),
        }
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        seen = {} if trace is None else {"trace": [traced(one) for one in trace]}
        return {
            **self._head("chat.completion"),
            "choices": [choice],
            "usage": usage(answer),
            "ragib": {**about(answer), **seen},
        }

    def chunk(
        self, delta: dict[str, Any] | None, finish: str | None = None, **more: object
    ) -> dict[str, Any]:
        """Return one chunk; without a delta, one that holds no choice but `more`."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        choices = [] if delta is None else [choice]
        return {**self._head("chat.completion.chunk"), "choices": choices, **more}

    def last(self, answer: Answer) -> dict[str, Any]:
        """Return the chunk that ends the answer."""
        return self.chunk({"annotations": cite(answer)}, "stop", ragib=about(answer))

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def new_completion(model: str) -> Completion:
    """Begin a completion under the name that the client knows the model by."""
    return Completion(f"chatcmpl-{uuid.uuid4().hex}", int(time.time()), model)


def content(answer: Answer) -> str:
    """Return what a chat shows: the answer, or a sentence that says that there is none."""
    return NO_ANSWER if answer.abstained and not answer.text else answer.text


def usage(answer: Answer) -> dict[str, int]:
    """Count tokens as OpenAI does, 0 where the engine does not tell; and words kept."""
    prompt = answer.usage.get("prompt_tokens", 0)
    completion = answer.usage.get("completion_tokens", 0)
    return {
        **answer.usage,
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def about(answer: Answer) -> dict[str, Any]:
    """Return what a person may want to know of an answer; times are seconds."""
    return {
        "abstained": answer.abstained,
        "confidence": answer.confidence,
        "flags": answer.flags,
        "timings": answer.timings,
        "words_in": answer.usage.get("words_in", 0),
        "words_kept": answer.usage.get("words_kept", 0),
    }


def traced(seen: Seen) -> dict[str, Any]:
    """Return an event of a trace.

    Spans count in their passage; `start` and `end` of a passage count in its document.
    """
    match seen:
        case Retrieved(passages):
            keys = ("id", "doc_id", "title", "start", "end", "text")
            return {"passages": [{key: getattr(p, key) for key in keys} for p in passages]}
        case Kept(evidence, dropped):
            return {
                "kept": [
                    {"passage_id": e.passage_id, "start": e.start, "end": e.end, "score": e.score}
                    for e in evidence
                ],
                "dropped": dropped,
            }
