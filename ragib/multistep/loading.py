"""Several steps as a configuration asks for them, around the parts of a pipeline."""

from __future__ import annotations

from ragib.compressor.base import Compressor
from ragib.compressor.ib import IBCompressor
from ragib.compressor.model import EvidenceModel, load
from ragib.compressor.registry import WEIGHTS
from ragib.config import StepsConfig
from ragib.generators.base import Generator
from ragib.generators.completing import completer_of
from ragib.generators.reader import Reader
from ragib.multistep.gather import MultiStep
from ragib.multistep.judge import Judge


def load_steps(
    config: StepsConfig, compressor: Compressor, generator: Generator, language: str
) -> MultiStep:
    """Let the model of the compressor, or else of the reader, judge; else the one shipped.

    Parameters
    ----------
    config
        How many steps, and of which kind.
    compressor, generator
        Those of the pipeline; a language model that answers is also asked what to search for.
    language
        That of the index's terms.
    """
    judge = Judge(_model(compressor, generator))
    return MultiStep(config, judge, completer_of(generator), language)


def _model(compressor: Compressor, generator: Generator) -> EvidenceModel:
    if isinstance(compressor, IBCompressor):
        return compressor.model
    return generator.loaded[0] if isinstance(generator, Reader) else load(WEIGHTS)
