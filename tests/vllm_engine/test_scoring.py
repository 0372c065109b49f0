"""Log-probabilities by the engine, in this process and over HTTP, are those of transformers."""

from __future__ import annotations

import pytest

from ragib.compressor.ib_score import Kept, score_with_lm
from ragib.compressor.scorer_server import server_scorer
from ragib.compressor.scorers import Metered, transformers_scorer, vllm_scorer
from ragib.errors import GenerationError

pytest.importorskip("vllm", reason="the vLLM engine is not installed; run: make test-vllm")
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.filterwarnings("ignore"),  # the engine's own, of which there are many
]

PASSAGES = (
    "The old bridge was built by the first king. It crosses the river at night.",
    "The new tower stands in Paris. A red light burns on it all year.",
)
QUESTION = "Who built the bridge?"
SENTENCES = ["The old bridge was built by the first king.", "A red light burns on it all year."]
CANDIDATES = [
    Kept(QUESTION, kept, 28, [answer], PASSAGES)
    for kept in (SENTENCES, SENTENCES[:1], SENTENCES[1:], [])
    for answer in ("the first king", "a queen")
] * 5


@pytest.fixture(scope="module")
def judge(llama):
    """The model as transformers computes it."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(llama, dtype="float32").eval()
    tokenizer = AutoTokenizer.from_pretrained(llama)
    return transformers_scorer(model, tokenizer), tokenizer


@pytest.fixture(scope="module")
def engine(llama):
    import vllm

    from ragib.generators.vllm import _hide_llvmlite

    _hide_llvmlite()
    llm = vllm.LLM(model=str(llama), enforce_eager=True, max_model_len=4096, dtype="float32")
    yield llm
    llm.llm_engine.engine_core.shutdown()


@pytest.fixture(params=["in_process", "over_http"])
def other(request, judge):
    if request.param == "in_process":
        return vllm_scorer(request.getfixturevalue("engine"))
    return server_scorer(request.getfixturevalue("server"), "tiny", judge[1])


@pytest.mark.parametrize("variant", ["log", "paper"])
def test_scores_are_those_of_transformers(judge, other, variant):
    ours, theirs = Metered(other), Metered(judge[0])
    expected = score_with_lm(theirs, CANDIDATES, variant=variant)
    assert score_with_lm(ours, CANDIDATES, variant=variant) == pytest.approx(expected, abs=1e-4)
    assert len({f"{score:.3g}" for score in expected}) > 4
    assert ours.tokens == theirs.tokens > 5000
    assert ours.seconds > 0


def test_every_piece_is_that_of_transformers(judge, other):
    texts = [["The king", " built", " it.", "", " A queen was in the tower. " * 40], ["a", " b"]]
    texts += [["The king", " built", " it."]] * 2  # what a prefix cache could serve
    for ours, theirs in zip(other(texts), judge[0](texts), strict=True):
        assert [piece.tokens for piece in ours] == [piece.tokens for piece in theirs]
        for a, b in zip(ours, theirs, strict=True):
            assert a.a_token() == pytest.approx(b.a_token(), abs=1e-4)
    assert other([]) == []


def test_a_server_that_does_not_know_the_model(judge, server):
    with pytest.raises(GenerationError, match="404"):
        server_scorer(server, "another", judge[1])([["a", " b"]])


def test_a_text_longer_than_the_window_is_an_error_of_the_server(judge, server):
    with pytest.raises(GenerationError, match=r"400.*4096"):
        server_scorer(server, "tiny", judge[1])([["a", " b" * 5000]])
