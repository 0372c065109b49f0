"""Makes a causal language model small enough for any test: random weights, own tokenizer."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_MARKERS = ("[1]", "[2]", "[3]", "[1,2]", "[7]", '[1:"the"]', '[2:"is"]', '[1:"invented"]')
_WORDS = ("king", "queen", "tower", "bridge", "the", "is", "was", "old", "new", "war", "peace")
_UTTERED = [
    f"\u0120{piece}{mark}" for piece in (*_MARKERS, *_WORDS) for mark in ("", ".", ",", ";")
]


def make_tiny_llama(folder: Path, window: int = 4096, more: Iterable[str] = ()) -> Path:
    """Write a Llama of 2 layers and 64 dimensions and return its folder.

    It reads bytes, and writes bytes, words and citations, right ones and wrong ones, and `more`.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

    special = ["<pad>", "<bos>", "<|im_start|>", "<|im_end|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = dict.fromkeys([*special, *alphabet, *_UTTERED, *more])
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<bos>",
        eos_token="<|im_end|>",
        pad_token="<pad>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=window,
    )
    set_seed(11)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vocabulary),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=window,
            initializer_range=0.4,
            bos_token_id=vocabulary["<bos>"],
            eos_token_id=vocabulary["<|im_end|>"],
            pad_token_id=vocabulary["<pad>"],
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
