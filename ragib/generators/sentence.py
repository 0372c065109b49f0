"""The plainest generator: the answer is the best sentence of the evidence, word for word."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence

from ragib.generators.base import Generation, Quote, Request
from ragib.text import count_words, sentences

_WORD = re.compile(r"\w+")
_HEADING_WORDS = 3
_SENTENCE_ENDS = (".", "!", "?", "\u2026", "\u3002", '"', "\u201d", ")")


class SentenceGenerator:
    """Extracts one sentence; needs no model, no network and no time.

    The sentence comes from the evidence the compressor scored highest. Where that holds several,
    the one that shares the largest part of the question's words is taken, the first among
    equals. Headings, up to three words that do not end as a sentence does, are passed over where
    there is anything else. It abstains when there is no evidence. `confidence` is the score of the
    evidence.
    """

    name = "sentence"

    def generate(self, requests: Sequence[Request]) -> list[Generation]:
        """Answer a batch; one generation a request, in their order."""
        return [_answer(request) for request in requests]

    async def agenerate(self, request: Request) -> Generation:
        """Answer one request."""
        return _answer(request)

    async def stream(self, request: Request) -> AsyncIterator[str | Generation]:
        """Yield the answer in one piece, then the generation."""
        generation = _answer(request)
        if generation.text:
            yield generation.text
        yield generation


def _answer(request: Request) -> Generation:
    usage = {"prompt_tokens": 0, "completion_tokens": 0}
    numbered = [(n, piece) for n, piece in enumerate(request.evidence) if piece.text.strip()]
    if not numbered:
        return Generation("", abstained=True, usage=usage)
    prose = [entry for entry in numbered if not _is_heading(entry[1].text)]
    number, best = max(prose or numbered, key=lambda entry: entry[1].score)
    asked = _words(request.question)
    candidates = [best.text[start:end] for start, end in sentences(best.text)]
    text = max(candidates, key=lambda sentence: len(asked & _words(sentence)))
    return Generation(text, (Quote(number, text),), usage=usage, confidence=best.score)


def _is_heading(text: str) -> bool:
    return count_words(text) <= _HEADING_WORDS and not text.rstrip().endswith(_SENTENCE_ENDS)


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.casefold()))
