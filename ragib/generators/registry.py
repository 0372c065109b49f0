"""Generators by name."""

from __future__ import annotations

from ragib.config import GeneratorConfig
from ragib.errors import ConfigError, did_you_mean
from ragib.generators.base import Generator
from ragib.generators.ordering import Ordered

GENERATORS = ("reader", "sentence", "vllm", "openai", "transformers")


def load_generator(config: GeneratorConfig) -> Generator:
    """Return the generator a configuration names; engines and models load at their first use.

    Raises
    ------
    ConfigError
        The name is unknown, or the configuration lacks what this generator needs.
    MissingExtraError
        An optional package is not installed.
    """
    generator = _load(config)
    return Ordered(generator) if config.ordering == "prefix" else generator


def _load(config: GeneratorConfig) -> Generator:
    match config.name:
        case "reader":
            from ragib.generators.reader import load_reader

            return load_reader(config.model)
        case "sentence":
            from ragib.generators.sentence import SentenceGenerator

            return SentenceGenerator()
        case "vllm":
            from ragib.generators.vllm import VLLMGenerator

            return VLLMGenerator(config)
        case "openai":
            from ragib.generators.openai import OpenAIGenerator

            return OpenAIGenerator(config)
        case "transformers":
            from ragib.generators.transformers import TransformersGenerator

            return TransformersGenerator(config)
    raise ConfigError(
        f"generator.name: no generator {config.name!r}{did_you_mean(config.name, GENERATORS)}; "
        f"there are {', '.join(GENERATORS)}"
    )
