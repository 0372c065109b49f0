"""Who writes for the generative compressor: transformers, or the vLLM engine in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ragib.compressor.windows import by_length
from ragib.extras import require
from ragib.padding import pad_id, padded

Writer = Callable[[Sequence[list[int]]], list[str]]
"""Goes on from prompts of token ids, taking the likeliest token each time."""

_PURPOSE = "the generative compressor"
_BATCH_TOKENS = 8192


def written_tokens(max_tokens: int) -> int:
    """Return how many of its tokens a model has for what it writes."""
    return max_tokens // 4


def transformers_writer(model: Any, tokenizer: Any, max_tokens: int) -> Writer:  # noqa: ANN401
    """Write with a model of the transformers library, prompts of like length together."""
    torch = require("torch", _PURPOSE)
    pad = pad_id(tokenizer)

    def read(prompts: Sequence[list[int]]) -> list[str]:
        ids, mask = padded(prompts, pad, "left")
        with torch.inference_mode():
            output = model.generate(
                ids.to(model.device),
                attention_mask=mask.to(model.device),
                max_new_tokens=written_tokens(max_tokens),
                do_sample=False,
                pad_token_id=pad,
                eos_token_id=tokenizer.eos_token_id,
            )
        written = output[:, ids.shape[1] :]
        return [str(tokenizer.decode(row, skip_special_tokens=True)) for row in written]

    def write(prompts: Sequence[list[int]]) -> list[str]:
        found = [""] * len(prompts)
        for group in by_length([len(one) for one in prompts], _BATCH_TOKENS):
            for number, text in zip(group, read([prompts[i] for i in group]), strict=True):
                found[number] = text
        return found

    return write


def vllm_writer(engine: Any, max_tokens: int) -> Writer:  # noqa: ANN401
    """Write with a `vllm.LLM`, all prompts in one call."""
    vllm = require("vllm", _PURPOSE)
    params = vllm.SamplingParams(temperature=0.0, max_tokens=written_tokens(max_tokens))

    def write(prompts: Sequence[list[int]]) -> list[str]:
        asked = [{"prompt_token_ids": ids} for ids in prompts]
        outputs = engine.generate(asked, params, use_tqdm=False) if asked else []
        return [str(output.outputs[0].text) for output in outputs]

    return write
