"""Loading causal language models: safetensors only, and no code that came with a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ragib.compressor.token_classifier import LOAD_ERRORS, best_device, one_reason
from ragib.errors import InputError
from ragib.extras import offline, require
from ragib.models import quiet

_PURPOSE = "a language model"


def load_tokenizer(model: str | Path) -> Any:  # noqa: ANN401
    """Load the tokenizer of a model: a folder, or a hub name, of which nothing else is fetched.

    Raises
    ------
    InputError
        There is none, or one that is not fast or has no token that ends a text.
    MissingExtraError
        transformers is not installed.
    """
    library = require("transformers", _PURPOSE)
    try:
        with quiet():
            tokenizer = library.AutoTokenizer.from_pretrained(model, local_files_only=offline())
    except LOAD_ERRORS as error:
        raise InputError(f"model {model}: its tokenizer: {one_reason(error)}") from None
    if not tokenizer.is_fast or tokenizer.eos_token is None:
        lacks = "a token that ends a text" if tokenizer.is_fast else "a fast form"
        raise InputError(f"model {model}: its tokenizer lacks {lacks}")
    return tokenizer


def load_language_model(folder: Path) -> Any:  # noqa: ANN401
    """Load a causal language model onto the first GPU in bfloat16, or the CPU in float32.

    Raises
    ------
    InputError
        The folder holds none.
    MissingExtraError
        torch or transformers is not installed.
    """
    torch = require("torch", _PURPOSE)
    library = require("transformers", _PURPOSE)
    dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    try:
        with quiet():
            model = library.AutoModelForCausalLM.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=dtype
            )
    except LOAD_ERRORS as error:
        raise InputError(f"{folder}: no causal language model: {one_reason(error)}") from None
    return model.to(best_device()).eval()
