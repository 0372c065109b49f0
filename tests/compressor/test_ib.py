from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragib.compressor.calibration import (
    Calibration,
    conformal_threshold,
    load_calibration,
    save_calibration,
)
from ragib.compressor.ib import IBCompressor, load_ib
from ragib.compressor.model import from_base, save
from ragib.compressor.registry import load_compressor
from ragib.config import CompressorConfig
from ragib.errors import ConfigError, InputError
from ragib.types import Passage, Question

TWICE = Calibration(
    first=(0.0, 1.0, 0.1, 0.1),
    second=(0.0, 1.0, 0.1, 0.1, 0.5, 0.1, 0.1),
    lowest=tuple(i / 100 for i in range(1, 40)),
    threshold=0.2,
)
TEXTS = (
    "The tower of Paris was built by a king. It is old. A dog and a cat were by the water.",
    "The moon is cold at night. The sun is a star.",
)


def question(*texts: str, asks: str = "who built the tower of paris?") -> Question:
    passages = (Passage(f"p{i}", f"p{i}", t, "Towers") for i, t in enumerate(texts))
    return Question("q", asks, tuple(passages))


@pytest.fixture(scope="module")
def weights(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    model = from_base(str(tiny_encoder_dir))
    model.freeze_words()
    save(model, folder)
    save_calibration(TWICE, folder)
    return folder


@pytest.fixture(scope="module")
def compressor(weights: Path) -> IBCompressor:
    return load_ib(weights, CompressorConfig(name=str(weights), keep=0.4))


def test_registry_loads_a_folder(weights: Path) -> None:
    config = CompressorConfig(name=str(weights), keep=0.5)
    [result] = load_compressor(config).compress([question(*TEXTS)])
    assert result.evidence
    assert result.words_kept <= 0.5 * result.words_in


def test_second_reading_adds_three_features(compressor: IBCompressor, weights: Path) -> None:
    [twice] = compressor.score([question(*TEXTS)])
    once = IBCompressor(compressor.model, Calibration())
    [single] = once.score([question(*TEXTS)])
    assert twice.features.shape == (5, 6)
    assert single.features.shape == (5, 3)
    np.testing.assert_allclose(twice.features[:, :3], single.features, atol=1e-4)


def test_scores_are_the_logistic_function_of_the_features(compressor: IBCompressor) -> None:
    [scored] = compressor.score([question(*TEXTS)])
    assert TWICE.second is not None
    logits = scored.features @ np.array(TWICE.second[1:])
    np.testing.assert_allclose(scored.scores, 1 / (1 + np.exp(-logits)), rtol=1e-5)


def test_same_input_same_result(compressor: IBCompressor) -> None:
    assert compressor.compress([question(*TEXTS)]) == compressor.compress([question(*TEXTS)])


def test_questions_do_not_disturb_each_other(compressor: IBCompressor) -> None:
    asked = [question(*TEXTS), question(TEXTS[1], asks="what is cold?")]
    together = compressor.compress(asked)
    for alone, result in zip(asked, together, strict=True):
        [expected] = compressor.compress([alone])
        assert [(e.start, e.end) for e in expected.evidence] == [
            (e.start, e.end) for e in result.evidence
        ]


def test_no_passages_and_empty_passages(compressor: IBCompressor) -> None:
    for asked in (question(), question(""), question("", " \n", "")):
        [result] = compressor.compress([asked])
        assert result.abstained
        assert result.evidence == ()
    assert compressor.compress([]) == []


def test_a_very_long_passage(compressor: IBCompressor) -> None:
    text = TEXTS[0] * 200
    [result] = compressor.compress([question(text, "A bird.")])
    assert result.words_kept <= 0.4 * result.words_in


def test_budget_counts_tokens_of_the_model(weights: Path) -> None:
    compressor = load_ib(weights, CompressorConfig(name=str(weights), budget=14))
    [result] = compressor.compress([question(*TEXTS)])
    tokenizer = compressor.model.tokenizer
    assert result.evidence
    kept = sum(len(tokenizer(e.text, add_special_tokens=False).input_ids) for e in result.evidence)
    assert kept <= 14


def test_default_is_the_threshold_of_the_calibration(weights: Path) -> None:
    assert load_ib(weights, CompressorConfig(name=str(weights))).threshold == 0.2
    high = load_ib(weights, CompressorConfig(name=str(weights), threshold=1.1))
    [result] = high.compress([question(*TEXTS)])
    assert result.abstained
    assert all("below threshold" in d.reason for d in result.dropped)


def test_risk_is_turned_into_a_threshold(weights: Path) -> None:
    config = CompressorConfig(name=str(weights), risk=0.1)
    assert load_ib(weights, config).threshold == conformal_threshold(TWICE.lowest, 0.1) == 0.04
    with pytest.raises(ConfigError, match="at least 99 questions"):
        load_ib(weights, CompressorConfig(name=str(weights), risk=0.01))


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.lists(st.text(max_size=60) | st.sampled_from(TEXTS), max_size=4),
    st.text(min_size=1, max_size=30),
    st.sampled_from([0.1, 0.5, 1.0]),
)
def test_evidence_is_verbatim_and_never_overlaps(
    compressor: IBCompressor, texts: list[str], asks: str, keep: float
) -> None:
    asked = question(*texts, asks=asks)
    [result] = IBCompressor(compressor.model, TWICE, keep).compress([asked])
    by_id = {p.id: p.text for p in asked.passages}
    seen: set[tuple[str, int]] = set()
    for evidence in result.evidence:
        assert by_id[evidence.passage_id][evidence.start : evidence.end] == evidence.text
        places = {(evidence.passage_id, i) for i in range(evidence.start, evidence.end)}
        assert not places & seen
        seen |= places
    assert result.words_kept <= result.words_in


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.floats(0.02, 0.9))
def test_threshold_keeps_its_promise_on_the_calibration_set(
    scores: list[float], risk: float
) -> None:
    lowest = sorted(scores)
    if int((len(lowest) + 1) * risk) < 1:
        with pytest.raises(ConfigError):
            conformal_threshold(lowest, risk)
        return
    threshold = conformal_threshold(lowest, risk)
    assert sum(score < threshold for score in lowest) < (len(lowest) + 1) * risk


def test_conformal_coverage_of_new_questions() -> None:
    rng = np.random.default_rng(0)
    covered = [
        rng.random() >= conformal_threshold(sorted(rng.random(49)), 0.1) for _ in range(4000)
    ]
    assert 0.885 < np.mean(covered) < 0.92


def test_calibration_is_read_as_it_was_written(tmp_path: Path) -> None:
    save_calibration(TWICE, tmp_path)
    assert load_calibration(tmp_path) == TWICE


def test_without_a_calibration_the_token_head_scores(tmp_path: Path) -> None:
    assert load_calibration(tmp_path) == Calibration()


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        '{"first": [1], "second": null, "lowest": [], "threshold": 0.5}',
        '{"first": [1, NaN, 1, 1], "second": null, "lowest": [], "threshold": 0.5}',
    ],
)
def test_damaged_calibration_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "calibration.json").write_text(content)
    with pytest.raises(InputError, match="not a calibration"):
        load_calibration(tmp_path)
