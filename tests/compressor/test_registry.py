from __future__ import annotations

from pathlib import Path

import pytest

from ragib.compressor import registry
from ragib.compressor.registry import BASELINES, COMPRESSORS, DEFAULT_KEEP, load_compressor
from ragib.config import CompressorConfig, EncoderConfig
from ragib.encoders import Encoder, load_encoder
from ragib.errors import ConfigError, InputError
from ragib.types import Passage, Question

TEXT = " ".join(f"The tower number {i} is old." for i in range(10))
ASKED = Question("q", "which tower is old?", (Passage("p", "p", TEXT),))


@pytest.fixture(scope="module")
def encoder(tiny_encoder_dir: Path) -> Encoder:
    return load_encoder(EncoderConfig(model=str(tiny_encoder_dir), device="cpu"))


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_carry_their_name_and_keep_their_default(name: str, encoder: Encoder) -> None:
    compressor = load_compressor(CompressorConfig(name=name), encoder)
    assert compressor.name == name
    [result] = compressor.compress([ASKED])
    assert result.words_kept == (60 if name == "none" else DEFAULT_KEEP * 60)


@pytest.mark.parametrize("name", BASELINES[1:])
def test_limits_reach_the_compressor(name: str, encoder: Encoder) -> None:
    [result] = load_compressor(CompressorConfig(name=name, keep=0.5), encoder).compress([ASKED])
    assert result.words_kept == 30
    [result] = load_compressor(CompressorConfig(name=name, budget=21), encoder).compress([ASKED])
    assert 0 < sum(encoder.count_tokens([e.text for e in result.evidence])) <= 21


@pytest.mark.parametrize(
    ("name", "limit", "hint"),
    [
        ("none", {"keep": 0.5}, "compressor.keep: none does not know it; drop keep"),
        ("none", {"budget": 5}, "compressor.budget: none does not know it; drop budget"),
        ("truncate", {"threshold": 0.5}, "truncate does not know it; set keep or budget instead"),
        ("bm25-sentence", {"risk": 0.1}, "only a trained compressor .ib. is calibrated"),
        ("none", {"risk": 0.1}, "drop risk"),
    ],
)
def test_a_limit_that_a_compressor_cannot_keep_is_refused(name, limit, hint) -> None:
    with pytest.raises(ConfigError, match=hint):
        load_compressor(CompressorConfig(name=name, **limit))


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'truncate'.; there are none, truncate"):
        load_compressor(CompressorConfig(name="trunkate"))


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{tmp_path}: no evidence model"):
        load_compressor(CompressorConfig(name=str(tmp_path)))


def test_settings_tell_limits_and_weights_apart(tmp_path: Path) -> None:
    def settings(**values: object) -> str:
        return registry.settings_of(CompressorConfig(**values))

    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    before = settings(name=str(tmp_path))
    assert before == settings(name=str(tmp_path))
    weights.write_bytes(b"another")
    made = [before, settings(name=str(tmp_path)), settings(keep=0.1), settings(keep=0.2)]
    made += [settings(name=name) for name in COMPRESSORS]
    assert len(set(made)) == len(made)
