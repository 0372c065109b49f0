"""Rerankers by name."""

from __future__ import annotations

from pathlib import Path

from ragib.compressor.base import Compressor
from ragib.compressor.model import load
from ragib.compressor.registry import WEIGHTS
from ragib.config import RerankerConfig
from ragib.errors import ConfigError
from ragib.generators.base import Generator
from ragib.generators.completing import COMPLETING, Completer, completer_of, load_completer
from ragib.rerankers.base import Judge, Reranker
from ragib.rerankers.budgeted import Budgeted

RERANKERS = ("none", "relevance", "cross-encoder", "pointwise", "groupwise", "criteria")


def load_reranker(
    config: RerankerConfig,
    generator: Generator | None = None,
    compressor: Compressor | None = None,
) -> Reranker | None:
    """Return the reranker that a configuration names, or nothing for `none`.

    Parameters
    ----------
    config
        The section `reranker`.
    generator
        Whose language model is asked, where the configuration names none.
    compressor
        Whose model `relevance` reads with, if it is a trained one and the configuration names no
        other; without it, the weights that are shipped are loaded.

    Raises
    ------
    ConfigError
        A language model is needed and there is none.
    InputError
        A cross-encoder cannot be read.
    MissingExtraError
        An optional package is not installed.
    """
    if config.name == "none":
        return None
    judge = _judge(config, generator, compressor)
    return Budgeted(judge, config.depth, config.budget_tokens, config.budget_ms)


def _judge(
    config: RerankerConfig, generator: Generator | None, compressor: Compressor | None
) -> Judge:
    match config.name:
        case "relevance":
            from ragib.compressor.ib import IBCompressor
            from ragib.rerankers.relevance import RelevanceJudge

            if config.model is None and isinstance(compressor, IBCompressor):
                return RelevanceJudge(lambda: compressor.model)
            place = WEIGHTS if config.model is None else Path(config.model).expanduser()
            return RelevanceJudge(lambda: load(place))
        case "cross-encoder":
            from ragib.rerankers.cross_encoder import load_cross_encoder

            return load_cross_encoder(str(config.model))
    completer = _completer(config, generator)
    match config.name:
        case "groupwise":
            from ragib.rerankers.groupwise import groupwise

            return groupwise(completer, config.group)
        case "criteria":
            from ragib.rerankers.criteria import criteria

            return criteria(completer, config.criteria)
    from ragib.rerankers.pointwise import pointwise

    return pointwise(completer)


def _completer(config: RerankerConfig, generator: Generator | None) -> Completer:
    if config.generator is not None:
        return load_completer(config.generator)
    completer = None if generator is None else completer_of(generator)
    if completer is None:
        raise ConfigError(
            f"reranker.name: {config.name} asks a language model, and the generator is none; set "
            f"reranker.generator.name to one of {', '.join(COMPLETING)}, and its model"
        )
    return completer
