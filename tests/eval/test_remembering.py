"""A model that remembers reads each pair once, and says the same."""

import random

import numpy as np
import pytest

from ragib.compressor.calibration import Calibration, save_calibration
from ragib.compressor.ib import load_ib
from ragib.compressor.model import EvidenceModel, from_base, save
from ragib.compressor.none import KeepAll
from ragib.config import CompressorConfig
from ragib.eval import remembering
from ragib.eval.remembering import remember, remembering_reader
from ragib.generators.base import Request
from ragib.generators.reader import load_reader
from ragib.generators.sentence import SentenceGenerator
from ragib.types import Evidence, Passage, Question

TWICE = Calibration(
    first=(0.0, 1.0, 0.1, 0.1),
    second=(0.0, 1.0, 0.1, 0.1, 0.5, 0.1, 0.1),
    lowest=tuple(i / 100 for i in range(1, 40)),
    threshold=0.2,
)
PASSAGES = [
    Passage(f"p{i}", f"p{i}", f"the {a} of paris was built by a king. it was {b}.", b)
    for i, (a, b) in enumerate(
        [("tower", "old"), ("bridge", "new"), ("book", "red"), ("war", "cold")]
    )
]


@pytest.fixture(scope="module")
def weights(tiny_encoder_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    model = from_base(str(tiny_encoder_dir))
    model.freeze_words()
    save(model, folder)
    save_calibration(TWICE, folder)
    return folder


@pytest.fixture
def reads(monkeypatch):
    counted = []
    real = EvidenceModel.forward

    def forward(self, batch, gate=None):
        counted.append(len(batch.ids))
        return real(self, batch, gate)

    monkeypatch.setattr(EvidenceModel, "forward", forward)
    return counted


def questions(seed):
    generator = random.Random(seed)
    texts = ["who built the tower of paris?", "what was cold?"]
    return [Question(str(i), texts[i % 2], tuple(generator.sample(PASSAGES, 3))) for i in range(4)]


def test_a_compressor_reads_each_pair_once(weights, reads):
    plain = load_ib(weights, CompressorConfig(name=str(weights), keep=0.4))
    again = remember(plain, {})
    known = again.model.known
    for seed in range(3):
        for a, b in zip(plain.score(questions(seed)), again.score(questions(seed)), strict=True):
            np.testing.assert_allclose(a.scores, b.scores, atol=0.01)
    before, size = len(reads), len(known)
    assert again.compress(questions(1)) == again.compress(questions(1))
    assert len(reads) == before
    assert len(known) == size


def test_old_ones_are_forgotten(weights, reads, monkeypatch):
    monkeypatch.setattr(remembering, "MOST", 4)
    again = remember(load_ib(weights, CompressorConfig(name=str(weights), keep=0.4)), {})
    for seed in range(3):
        again.compress(questions(seed))
        assert len(again.model.known) <= 4 + 2 * 12


def test_a_reader_reads_each_pair_once(weights, reads):
    plain = load_reader(weights)
    again = remembering_reader(plain, {})
    requests = [
        Request("who built it?", tuple(Evidence(p.id, 0, 20, p.text[:20], 1.0) for p in chosen))
        for chosen in (PASSAGES[:2], PASSAGES[1:], PASSAGES)
    ]
    for a, b in zip(plain.generate(requests), again.generate(requests), strict=True):
        assert (a.text, a.abstained) == (b.text, b.abstained)
        assert a.confidence == pytest.approx(b.confidence, abs=0.01)
    before = len(reads)
    again.generate(requests)
    assert len(reads) == before


def test_what_has_no_model_is_left_alone():
    generator, compressor = SentenceGenerator(), KeepAll()
    assert remember(compressor, {}) is compressor
    assert remembering_reader(generator, {}) is generator


def test_a_reader_need_not_read_what_the_compressor_has(weights, reads):
    memory = {}
    compressor = remember(load_ib(weights, CompressorConfig(name=str(weights), keep=0.4)), memory)
    reader = remembering_reader(load_reader(weights), memory)
    compressor.compress([Question("1", "who built it?", tuple(PASSAGES))])
    before = len(reads)
    whole = tuple(Evidence(p.id, 0, len(p.text), p.text, 1.0) for p in PASSAGES)
    titles = {p.id: p.title for p in PASSAGES}
    [answer] = reader.generate([Request("who built it?", whole, titles)])
    assert len(reads) == before
    assert (
        answer.text
        == load_reader(weights).generate([Request("who built it?", whole, titles)])[0].text
    )
