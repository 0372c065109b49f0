"""Answers as JSON: what shape is asked for, and how strictly a reply is read.

`abstained` comes first, so that whoever streams knows whether there will be an answer before its
first word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from ragib.errors import GenerationError
from ragib.generators.base import Generation, Quote
from ragib.generators.citations import MarkerParser
from ragib.text import one_line


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Citation(_Strict):
    evidence: int
    quote: str


class _Reply(_Strict):
    abstained: bool
    answer: str
    citations: list[_Citation]


SCHEMA: dict[str, Any] = _Reply.model_json_schema()
"""The JSON schema of a reply; `evidence` counts from 1, as the blocks of the prompt do."""


class Parser(Protocol):
    """Turns generated text, piece by piece, into the text to show and a generation."""

    def feed(self, piece: str) -> str:
        """Take a piece of generated text; return what can be shown of it by now."""
        ...

    def finish(self, usage: Mapping[str, int] | None = None) -> tuple[str, Generation]:
        """Return the last piece to show, and the generation as a whole.

        Raises
        ------
        GenerationError
            The text is not of the shape that was asked for.
        """
        ...


class ReplyParser:
    """A `Parser` of one JSON reply; its answer is shown while it is being written.

    Markers such as `[1]` in the answer are taken out and count as citations too.
    """

    def __init__(self) -> None:
        self._raw = ""
        self._fed = ""
        self._inner = MarkerParser()

    def feed(self, piece: str) -> str:
        """Take a piece of the reply; return what can be shown of the answer by now."""
        self._raw += piece
        try:
            value = from_json(self._raw, allow_partial="trailing-strings")
        except ValueError:
            return ""
        match value:
            case {"abstained": False, "answer": str(answer)} if answer.startswith(self._fed):
                return self._show(answer)
        return ""

    def finish(self, usage: Mapping[str, int] | None = None) -> tuple[str, Generation]:
        """Return the rest of the answer, and the generation; raises as `Parser.finish`."""
        try:
            reply = _Reply.model_validate_json(self._raw)
        except ValidationError as error:
            raise GenerationError(f"{_complaint(error)}: {_excerpt(self._raw)}") from None
        if reply.abstained:
            reply.answer = ""
        if not reply.answer.startswith(self._fed):
            raise GenerationError(f"the reply holds two answers: {_excerpt(self._raw)}")
        shown = self._show(reply.answer)
        last, generation = self._inner.finish(usage)
        if not generation.abstained:
            named = (Quote(one.evidence - 1, one.quote.strip()) for one in reply.citations)
            quotes = tuple(dict.fromkeys((*generation.quotes, *named)))
            generation = replace(generation, quotes=quotes)
        return shown + last, generation

    def _show(self, answer: str) -> str:
        new, self._fed = answer[len(self._fed) :], answer
        return self._inner.feed(new)


def parser_for(structured: bool) -> Parser:
    """Return a parser of one answer: JSON of the schema, or text with markers."""
    return ReplyParser() if structured else MarkerParser()


def read(text: str, structured: bool, usage: Mapping[str, int]) -> Generation:
    """Read a generated text at once; one that is not of the shape asked for has an `error`."""
    parser = parser_for(structured)
    parser.feed(text)
    try:
        return parser.finish(usage)[1]
    except GenerationError as error:
        return Generation("", usage=dict(usage), error=str(error))


def _complaint(error: ValidationError) -> str:
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return (
            "the reply is no whole JSON object; if it was cut off, raise generator.max_tokens "
            f"({first['ctx']['error']})"
        )
    where = ".".join(map(str, first["loc"]))
    return f"the reply is not of the shape asked for: {where}: {first['msg']}"


def _excerpt(text: str) -> str:
    return one_line(text)[:300] or "nothing at all"
