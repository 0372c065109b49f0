"""Tiny random weights in the forms in which token classifiers of others are published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertConfig,
    ModernBertConfig,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    set_seed,
)

SIZES = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)


def special_ids(tokenizer: Any) -> dict[str, int]:
    return dict(
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.cls_token_id,
        cls_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        sep_token_id=tokenizer.sep_token_id,
    )


def sentence_pieces() -> PreTrainedTokenizerFast:
    """A tokenizer of XLM-R's form: marked word beginnings, two closing tokens in a pair."""
    letters = [chr(c) for c in range(33, 127)]
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "\u2581", *letters]
    pieces += [f"\u2581{word}" for word in "the a of to in is was tower king old".split()]
    pieces += ["<mask>"]
    backend = Tokenizer(models.Unigram([(p, -float(i)) for i, p in enumerate(pieces)], unk_id=3))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_max_length=128,
    )


def encoder_config(kind: str, tokenizer: Any, labels: int) -> Any:
    common = dict(SIZES, vocab_size=len(tokenizer), num_labels=labels)
    if kind == "modernbert":
        return ModernBertConfig(
            **common, **special_ids(tokenizer), max_position_embeddings=128, local_attention=16
        )
    if kind == "xlm-roberta":
        positions = 128 + tokenizer.pad_token_id + 1
        return XLMRobertaConfig(
            **common,
            pad_token_id=tokenizer.pad_token_id,
            max_position_embeddings=positions,
            type_vocab_size=1,
        )
    return BertConfig(**common, max_position_embeddings=128)


def tokenizer_of(kind: str, tiny_encoder_dir: Path) -> Any:
    if kind == "xlm-roberta":
        return sentence_pieces()
    return AutoTokenizer.from_pretrained(tiny_encoder_dir.parent / "bare", local_files_only=True)


def make_llmlingua2(kind: str, tiny_encoder_dir: Path, folder: Path, labels: int = 2) -> Path:
    tokenizer = tokenizer_of(kind, tiny_encoder_dir)
    set_seed(3)
    model = AutoModelForTokenClassification.from_config(encoder_config(kind, tokenizer, labels))
    with torch.no_grad():  # so that probabilities are not all near one half
        model.classifier.weight *= 60
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_open_provence(
    kind: str, tiny_encoder_dir: Path, folder: Path, prefix: str = "ranking_model.", **config: Any
) -> Path:
    tokenizer = tokenizer_of(kind, tiny_encoder_dir)
    set_seed(5)
    ranker = AutoModelForSequenceClassification.from_config(encoder_config(kind, tokenizer, 1))
    tensors = {f"{prefix}{name}": tensor for name, tensor in ranker.state_dict().items()}
    tensors["pruning_head.classifier.weight"] = torch.randn(2, SIZES["hidden_size"])
    tensors["pruning_head.classifier.bias"] = torch.randn(2)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({n: t.contiguous() for n, t in tensors.items()}, folder / "model.safetensors")
    values = {
        "model_type": "open_provence",
        "mode": "reranking_pruning",
        "base_model_config": ranker.config.to_dict(),
        "pruning_config": {"hidden_size": 32, "num_labels": 2, "classifier_dropout": 0.1},
        "max_length": 128,
        "num_labels": 1,
        "num_pruning_labels": 2,
        "encoder_architecture": kind,
        **config,
    }
    (folder / "config.json").write_text(json.dumps(values))
    tokenizer.save_pretrained(folder)
    return folder
