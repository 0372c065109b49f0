"""The built-in reader: the answer is a span of the evidence, found by the evidence model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import cached_property
from pathlib import Path

from ragib.compressor.answers import FoundAnswer, find_answers
from ragib.compressor.calibration import Calibration, load_calibration
from ragib.compressor.model import EvidenceModel, load
from ragib.compressor.registry import WEIGHTS
from ragib.generators.base import Generation, Quote, Request

_USAGE = {"prompt_tokens": 0, "completion_tokens": 0}


class Reader:
    """Answers with a verbatim span, cites the evidence it stands in, or abstains.

    It abstains when there is no evidence, and when the model finds it likelier that the evidence
    holds no answer than that the best span is one. `confidence` is the calibrated probability
    that the span is right.

    Parameters
    ----------
    source
        Gives the model and its calibration; called at the first request.
    """

    name = "reader"

    def __init__(self, source: Callable[[], tuple[EvidenceModel, Calibration]]) -> None:
        self._source = source

    @cached_property
    def loaded(self) -> tuple[EvidenceModel, Calibration]:
        """The model and its calibration."""
        return self._source()

    def generate(self, requests: Sequence[Request]) -> list[Generation]:
        """Answer a batch; one generation a request, in their order."""
        model, calibration = self.loaded
        titles = {name: title for request in requests for name, title in request.titles.items()}
        asked = [(request.question, request.evidence) for request in requests]
        found = find_answers(model, asked, titles)
        return [_generation(answer, calibration) for answer in found]

    async def agenerate(self, request: Request) -> Generation:
        """Answer one request on a thread."""
        return (await asyncio.to_thread(self.generate, [request]))[0]

    async def stream(self, request: Request) -> AsyncIterator[str | Generation]:
        """Yield the answer in one piece, then the generation."""
        generation = await self.agenerate(request)
        if generation.text:
            yield generation.text
        yield generation


def load_reader(folder: str | Path | None) -> Reader:
    """Return a reader with the weights of a folder; none takes the weights that are shipped.

    Raises
    ------
    InputError
        At the first request: the folder holds no model.
    """
    place = WEIGHTS if folder is None else Path(folder)
    return Reader(lambda: (load(place), load_calibration(place)))


def _generation(answer: FoundAnswer | None, calibration: Calibration) -> Generation:
    if answer is None or answer.score < 0:
        confidence = None if answer is None else calibration.answer_confidence(answer.score)
        return Generation("", abstained=True, usage=_USAGE, confidence=confidence)
    return Generation(
        answer.text,
        (Quote(answer.evidence),),
        usage=_USAGE,
        confidence=calibration.answer_confidence(answer.score),
    )
