"""Published token classifiers: how a text becomes one keep-probability a token.

Long texts are read in windows of whole sentences, as many as fit; only a sentence that is longer
than a window is cut. Every token is read once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from ragib.compressor.reading import BATCH_TOKENS, half_precision
from ragib.compressor.windows import (
    Batch,
    Pair,
    Prefix,
    Special,
    Tokens,
    by_length,
    collate,
    make_pair,
    special_ids,
)
from ragib.errors import InputError
from ragib.extras import require
from ragib.models import quiet
from ragib.text import Span

if TYPE_CHECKING:
    import torch

LOAD_ERRORS = (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError)
"""What the libraries raise for files that are no model, or another one than they say."""

LEAST_TOKENS = 32
_PURPOSE = "reading with a token classifier"


@dataclass(frozen=True, slots=True)
class TokenClassifier:
    """A model that gives every token two logits, of which the second is for keeping it.

    `forward` turns a batch of `(b, t)` into logits `(b, t, 2)`; sequences have at most
    `max_tokens` tokens.
    """

    forward: Callable[[Batch], torch.Tensor]
    tokenizer: Any
    special: Special
    max_tokens: int
    device: torch.device


@dataclass(frozen=True, slots=True)
class Framed:
    """A text as tokens, with its sentences and with what is read in front of it."""

    prefix: Prefix
    tokens: Tokens
    sentences: Sequence[Span]


def keep_probabilities(
    classifier: TokenClassifier, texts: Sequence[Framed]
) -> list[NDArray[np.float64]]:
    """Read texts in batches of similar length.

    Returns
    -------
    list
        One array `(t,)` a text, in their order: the probability of keeping each of its tokens.
    """
    torch = require("torch", _PURPOSE)
    pairs: list[Pair] = []
    places: list[tuple[int, int, int]] = []
    for number, text in enumerate(texts):
        size = text.prefix.room(classifier.max_tokens)
        for first, last in sentence_windows(text.tokens, text.sentences, size):
            pairs.append(make_pair(classifier.special, text.prefix, text.tokens.ids[first:last]))
            places.append((number, first, last))
    found = [np.zeros(len(text.tokens)) for text in texts]
    for group in by_length([len(pair.ids) for pair in pairs], BATCH_TOKENS):
        batch = collate([pairs[i] for i in group], classifier.special.pad)
        with torch.inference_mode(), half_precision(classifier.device):
            logits = classifier.forward(batch)
        keep = torch.softmax(logits.double(), dim=-1)[..., 1].cpu().numpy()
        for row, i in enumerate(group):
            number, first, last = places[i]
            body = pairs[i].body
            found[number][first:last] = keep[row, body : body + last - first]
    return found


def sentence_windows(tokens: Tokens, sentences: Sequence[Span], size: int) -> list[tuple[int, int]]:
    """Cover all tokens, each once, with windows of at most `size` that end where sentences do."""
    ends = [tokens.within(start, end).stop for start, end in sentences]
    windows: list[tuple[int, int]] = []
    first = 0
    while first < len(tokens):
        last = min(first + size, len(tokens))
        if last < len(tokens) and (known := bisect_right(ends, last)) and ends[known - 1] > first:
            last = ends[known - 1]
        windows.append((first, last))
        first = last
    return windows


def load_tokenizer(folder: Path, model: str) -> tuple[Any, Special]:
    """Load `tokenizer.json` as it stands, whatever class the model names for it.

    Raises
    ------
    InputError
        There is none, or one without the tokens that begin, close and fill a sequence.
    """
    library = require("transformers", _PURPOSE)
    if not (folder / "tokenizer.json").is_file():
        raise InputError(f"model {model}: has no tokenizer.json; save its tokenizer again as fast")
    with quiet():
        try:
            tokenizer = library.PreTrainedTokenizerFast.from_pretrained(
                folder, local_files_only=True
            )
            special = special_ids(tokenizer)
        except LOAD_ERRORS as error:
            raise InputError(f"model {model}: its tokenizer: {one_reason(error)}") from None
    if not all(isinstance(token, int) for token in (special.cls, special.sep, special.pad)):
        raise InputError(f"model {model}: its tokenizer lacks a first, closing or padding token")
    return tokenizer, special


def longest_sequence(model: str, config: Any, *limits: int) -> int:  # noqa: ANN401
    """Return how many tokens an encoder can read, at most the smallest of the limits.

    RoBERTa and its kin begin counting positions behind that of the padding.

    Raises
    ------
    InputError
        They are too few to hold a question and a part of a passage.
    """
    positions: int = config.max_position_embeddings
    if "roberta" in config.model_type:
        positions -= config.pad_token_id + 1
    longest = min(positions, *limits)
    if longest < LEAST_TOKENS:
        raise InputError(f"model {model}: reads {longest} tokens at once, too few for a passage")
    return longest


def best_device() -> torch.device:
    """Return the first GPU, or else the CPU."""
    library = require("torch", _PURPOSE)
    device: torch.device = library.device("cuda" if library.cuda.is_available() else "cpu")
    return device


def one_reason(error: Exception) -> str:
    """Put what a library says on one line."""
    return " ".join(str(error).split()) or type(error).__name__
