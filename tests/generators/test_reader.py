"""The built-in reader: verbatim spans of the evidence, or no answer."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ragib.compressor.calibration import Calibration
from ragib.compressor.model import EvidenceModel, from_base
from ragib.config import GeneratorConfig
from ragib.errors import InputError
from ragib.generators.base import Quote, Request
from ragib.generators.reader import Reader
from ragib.generators.registry import load_generator
from ragib.types import Evidence

PIECES = (
    Evidence("a", 0, 30, "The tower was built by a king.", 0.9),
    Evidence("a", 31, 41, "It is old.", 0.5),
    Evidence("b", 5, 31, "The moon is cold at night.", 0.4),
)


def biased(model: EvidenceModel, relevance: float) -> EvidenceModel:
    """Make every passage so relevant: the sign decides whether the reader answers."""
    head = model.modules["passage"]
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.constant_(head.bias, relevance)
    return model


@pytest.fixture
def model(tiny_encoder_dir: Path) -> EvidenceModel:
    return biased(from_base(str(tiny_encoder_dir)), 50.0)


def reader(model: EvidenceModel) -> Reader:
    return Reader(lambda: (model, Calibration(answer=(0.0, 0.01))))


def test_an_answer_is_a_span_of_the_evidence_that_it_cites(model: EvidenceModel) -> None:
    requests = [Request("who built it?", PIECES, {"a": "Tower"}), Request("what?", PIECES[2:])]
    for request, given in zip(requests, reader(model).generate(requests), strict=True):
        [quote] = given.quotes
        assert given.text != ""
        assert given.text in request.evidence[quote.evidence].text
        assert quote == Quote(quote.evidence)
        assert not given.abstained
        assert given.confidence is not None
        assert 0.5 < given.confidence < 1
        assert given.usage == {"prompt_tokens": 0, "completion_tokens": 0}


def test_it_abstains_where_no_answer_is_likelier(model: EvidenceModel) -> None:
    [given] = reader(biased(model, -50.0)).generate([Request("who?", PIECES)])
    assert (given.text, given.quotes, given.abstained) == ("", (), True)
    assert given.confidence is not None
    assert given.confidence < 0.5


def test_without_evidence_there_is_nothing_to_read(model: EvidenceModel) -> None:
    [given] = reader(model).generate([Request("who?", ())])
    assert (given.text, given.abstained, given.confidence) == ("", True, None)
    assert reader(model).generate([]) == []


def test_streaming_gives_the_same(model: EvidenceModel) -> None:
    one = reader(model)

    async def collect(request: Request) -> list[object]:
        return [part async for part in one.stream(request)]

    request = Request("who?", PIECES)
    [given] = one.generate([request])
    assert asyncio.run(collect(request)) == [given.text, given]
    nothing = replace(request, evidence=())
    assert asyncio.run(collect(nothing)) == one.generate([nothing])


def test_the_model_is_loaded_once_and_late(model: EvidenceModel) -> None:
    loaded = []

    def source() -> tuple[EvidenceModel, Calibration]:
        loaded.append(1)
        return model, Calibration()

    one = Reader(source)
    assert not loaded
    one.generate([Request("who?", PIECES)])
    one.generate([Request("what?", PIECES)])
    assert loaded == [1]


def test_a_folder_without_weights_is_named_at_the_first_request(tmp_path: Path) -> None:
    generator = load_generator(GeneratorConfig(name="reader", model=str(tmp_path)))
    with pytest.raises(InputError, match=f"{tmp_path}: no evidence model"):
        generator.generate([Request("who?", PIECES)])
