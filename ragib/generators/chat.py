"""Chat messages to the tokens of one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ragib.errors import ConfigError, OfflineError
from ragib.extras import offline
from ragib.generators.prompt import defuse


def tokens(tokenizer: Any, messages: Sequence[Mapping[str, str]]) -> list[int]:  # noqa: ANN401
    """Return the prompt's token ids: by the model's chat template, else as plain text.

    Control tokens of this very tokenizer are broken up first, so that retrieved text can forge
    none. Templates without a system role get its text in front of the user's.
    """
    control = {
        *tokenizer.all_special_tokens,
        *(str(t) for t in tokenizer.added_tokens_decoder.values() if t.special),
    }
    clean = [{**m, "content": defuse(m["content"], sorted(control))} for m in messages]
    if not getattr(tokenizer, "chat_template", None):
        text = "\n\n".join([*(message["content"] for message in clean), "Answer:"])
        return list(tokenizer(text)["input_ids"])
    from jinja2 import TemplateError

    try:
        text = _render(tokenizer, clean)
    except TemplateError:
        merged = "\n\n".join(message["content"] for message in clean)
        text = _render(tokenizer, [{"role": "user", "content": merged}])
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def too_long(prompt: int, answer: int, window: int | None) -> str | None:
    """Say why a prompt does not fit a model, or nothing if it does; all in tokens.

    Models that tell no `window` are taken to read any prompt.
    """
    if window is None or prompt + answer <= window:
        return None
    return (
        f"the prompt has {prompt} tokens and the answer may take {answer}, but the model reads "
        f"{window}; lower compressor.budget, retriever.k or generator.max_tokens"
    )


def local_model(model: str | None, generator: str) -> str:
    """Return the model to load.

    Raises
    ------
    ConfigError
        None is named.
    OfflineError
        It is not a local folder, and the network is switched off.
    """
    if not model:
        raise ConfigError(
            f"generator.model: the {generator} generator needs a model, a local folder or a hub "
            "name; set generator.model"
        )
    if offline() and not Path(model).is_dir():
        raise OfflineError(
            f"generator.model: {model!r} is not a local folder, and the network is switched off"
        )
    return model


def _render(tokenizer: Any, messages: Sequence[Mapping[str, str]]) -> str:  # noqa: ANN401
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
