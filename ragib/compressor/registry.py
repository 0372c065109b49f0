"""Compressors by name."""

from __future__ import annotations

import math
from pathlib import Path

from ragib.compressor.base import Compressor, TokenCounter
from ragib.config import CompressorConfig, EncoderConfig
from ragib.encoders import Encoder, load_encoder
from ragib.errors import ConfigError, did_you_mean

BASELINES = ("none", "truncate", "bm25-sentence", "embedding-sentence")
MODELS = {
    "llmlingua-2": "microsoft/llmlingua-2-bert-base-multilingual-cased-meetingbank",
    "open-provence": "hotchpotch/open-provence-reranker-v1",
    "generative": "my-weights, made by ragib train compressor --form generative --out my-weights",
}
"""Compressors that need `model`, and what that is, for example."""
COMPRESSORS = (*BASELINES, "ib", *MODELS)

WEIGHTS = Path(__file__).parent.parent / "weights"
"""Where an installation ships trained weights."""

DEFAULT_KEEP = 0.3
"""Share of the words that a baseline keeps when no limit is given (`none` keeps all)."""

_LIMITS: dict[str, tuple[str, ...]] = {
    "none": (),
    "truncate": ("keep", "budget"),
    "bm25-sentence": ("keep", "budget", "threshold"),
    "embedding-sentence": ("keep", "budget", "threshold"),
    "llmlingua-2": ("keep", "budget", "threshold"),
    "open-provence": ("keep", "budget", "threshold"),
    "generative": ("keep", "budget", "threshold"),
}


def load_compressor(config: CompressorConfig, encoder: Encoder | None = None) -> Compressor:
    """Return the compressor that a configuration names.

    Parameters
    ----------
    config
        `name` is one of `COMPRESSORS`, or a folder with the weights of a trained compressor;
        `model` says where those of `MODELS` are. Baselines and `llmlingua-2` keep
        `DEFAULT_KEEP` of the words where no limit is given. Only a trained compressor knows a
        `precision`.
    encoder
        Scores sentences for `embedding-sentence`, and counts the tokens of a budget; without one,
        the built-in encoder is loaded where one is needed.

    Raises
    ------
    ConfigError
        The name is unknown, the compressor does not know the limit that is set, or `model` is
        missing or not for it.
    InputError
        The weights cannot be read.
    MissingExtraError
        An optional package is not installed.
    """
    name = config.name
    if config.threshold is not None and not math.isfinite(config.threshold):
        raise ConfigError(f"compressor.threshold: {config.threshold} is no score; give a number")
    _check_model(config)
    if name == "ib" or (name not in COMPRESSORS and Path(name).is_dir()):
        from ragib.compressor.ib import load_ib

        return load_ib(None if name == "ib" else Path(name), config)
    if name not in COMPRESSORS:
        raise ConfigError(
            f"compressor.name: no compressor and no folder {name!r}"
            f"{did_you_mean(name, COMPRESSORS)}; there are {', '.join(COMPRESSORS)}"
        )
    _check_limits(config)
    if config.precision != "auto":
        raise ConfigError(
            f"compressor.precision: only a trained compressor (ib) computes in {config.precision}, "
            f"{name} does not; drop it"
        )
    if name == "open-provence":
        from ragib.compressor.open_provence import load_open_provence

        return load_open_provence(str(config.model), config.keep, config.budget, config.threshold)
    if name == "generative":
        from ragib.compressor.generative import load_generative

        return load_generative(config)
    keep, budget, threshold = config.keep, config.budget, config.threshold
    if keep is None and budget is None and threshold is None:
        keep = DEFAULT_KEEP
    match name:
        case "none":
            from ragib.compressor.none import KeepAll

            return KeepAll()
        case "truncate":
            from ragib.compressor.truncate import Truncate

            return Truncate(keep, budget, _counter(budget, encoder))
        case "bm25-sentence":
            from ragib.compressor.bm25_sentence import BM25Sentence

            return BM25Sentence(keep, budget, threshold, _counter(budget, encoder))
        case "llmlingua-2":
            from ragib.compressor.llmlingua2 import load_llmlingua2

            return load_llmlingua2(str(config.model), keep, budget, threshold)
    from ragib.compressor.embedding_sentence import EmbeddingSentence

    encoder = encoder or load_encoder(EncoderConfig())
    if encoder.dense_dim is None:
        raise ConfigError(
            f"compressor.name: embedding-sentence needs one vector a text, and {encoder.name} is "
            "a late-interaction model that has none; name another compressor or another encoder"
        )
    return EmbeddingSentence(encoder, keep, budget, threshold)


def settings_of(config: CompressorConfig) -> str:
    """Return all that decides what a compressor keeps, as one string: limits and weights too."""
    folder = Path(config.name) if config.name not in COMPRESSORS else WEIGHTS
    if config.name in MODELS and config.model is not None:
        folder = Path(config.model).expanduser()
    used = folder.glob("*") if config.name not in BASELINES else ()
    weights = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(used)]
    return f"{config!r} {DEFAULT_KEEP} {weights}"


def _check_model(config: CompressorConfig) -> None:
    wanted = MODELS.get(config.name)
    if wanted is not None and config.model is None:
        raise ConfigError(
            f"compressor.model: {config.name} needs weights; give a folder or a hub name, as "
            f"{wanted}"
        )
    if wanted is None and config.model is not None:
        raise ConfigError(
            f"compressor.model: only {' and '.join(MODELS)} take one, {config.name} does not; "
            "drop it, or put a folder with weights of your own into compressor.name"
        )


def _check_limits(config: CompressorConfig) -> None:
    known = _LIMITS[config.name]
    for limit in ("keep", "budget", "threshold", "risk"):
        if getattr(config, limit) is None or limit in known:
            continue
        why = f"{config.name} does not know it"
        if limit == "risk":
            why = f"only a trained compressor (ib) is calibrated to a risk, {config.name} is not"
        instead = f"set {' or '.join(known)} instead" if known else f"drop {limit}"
        raise ConfigError(f"compressor.{limit}: {why}; {instead}")


def _counter(budget: int | None, encoder: Encoder | None) -> TokenCounter | None:
    if budget is None:
        return None
    return (encoder or load_encoder(EncoderConfig())).count_tokens
