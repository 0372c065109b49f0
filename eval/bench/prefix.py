"""What the order of passages does for an engine's prefix cache: tokens not read again, and TTFT.

The same questions, evidence and engine, one request after the other: passages in the order of
retrieval; in the order that goes on from what was served before, as questions come in; and with
all questions known beforehand. The model is a small Llama with random weights and a tokenizer
trained on the passages: how many tokens the cache had does not depend on weights, while the time
to the first token is that of this model on this machine.
`python -m ragib.eval.bench.prefix --data SET`, with the Python of `make test-vllm`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from ragib.compressor.registry import load_compressor
from ragib.config import CompressorConfig, GeneratorConfig, IndexConfig, RetrieverConfig
from ragib.errors import RagibError
from ragib.eval.bench.common import markdown_table, report, run
from ragib.eval.latency import summary
from ragib.eval.read import read_eval_set
from ragib.extras import require
from ragib.generators.base import Generator, Request
from ragib.generators.ordering import Ordered, PrefixTree, arrange
from ragib.generators.vllm import VLLMGenerator
from ragib.indexes.index import Index
from ragib.types import Passage, Question

K = 5
BLOCK = 32
"""Tokens of a block of the cache, which holds whole blocks only."""

_WINDOW = 16384
_VOCABULARY = 16384
ENGINE = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "2",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
}
_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SPECIAL = ("<pad>", "<|im_start|>", "<|im_end|>")


def make_model(folder: Path, texts: Sequence[str]) -> None:
    """Write a Llama of 4 layers and 256 dimensions with random weights, and its tokenizer."""
    tokenizers = require("tokenizers", "a tokenizer for the benchmark")
    transformers = require("transformers", "a model for the benchmark")
    byte_level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    backend.pre_tokenizer = byte_level
    backend.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=list(_SPECIAL),
        initial_alphabet=byte_level.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",  # noqa: S106 (no password)
        eos_token="<|im_end|>",  # noqa: S106
        additional_special_tokens=["<|im_start|>"],
        chat_template=_TEMPLATE,
        model_max_length=_WINDOW,
    )
    transformers.set_seed(0)
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=backend.get_vocab_size(),
            hidden_size=256,
            intermediate_size=688,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=_WINDOW,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def requests_for(
    found: Sequence[tuple[str, Sequence[Passage]]], compressor: CompressorConfig
) -> list[Request]:
    """Make the requests of questions with their passages; those with no evidence are left out."""
    questions = [Question(str(n), text, tuple(hits)) for n, (text, hits) in enumerate(found)]
    kept = load_compressor(compressor).compress(questions)
    return [
        Request(q.text, one.evidence, {p.id: p.title for p in q.passages if p.title})
        for q, one in zip(questions, kept, strict=True)
        if one.evidence
    ]


def served(generator: Generator, requests: Sequence[Request], salt: str) -> dict[str, Any]:
    """Ask one after the other; the salt is new, so the cache has nothing of before."""
    usage = []
    for request in requests:
        (answer,) = generator.generate([replace(request, salt=salt)])
        if answer.error is not None:
            raise RagibError(f"the engine did not answer: {answer.error}")
        usage.append(answer.usage)
    return {
        "prompt_tokens": sum(one["prompt_tokens"] for one in usage),
        "cached_tokens": sum(one["cached_tokens"] for one in usage),
        "ttft_ms": summary([one["first_token_ms"] / 1000 for one in usage]),
    }


def planned(requests: Sequence[Request]) -> list[Request]:
    """Put a whole batch and its evidence in order beforehand."""
    return [
        replace(requests[n], evidence=tuple(requests[n].evidence[place] for place in order))
        for n, order in arrange(PrefixTree(), requests)
    ]


def measure(
    generator: VLLMGenerator, evidence: str, requests: Sequence[Request]
) -> list[dict[str, Any]]:
    """Serve the requests in each order."""
    ways: list[tuple[str, Generator, Sequence[Request]]] = [
        ("retrieval", generator, requests),
        ("prefix, as they come", Ordered(generator), requests),
        ("prefix, all known", generator, planned(requests)),
    ]
    return [
        {"evidence": evidence, "order": way, **served(answering, batch, f"{evidence} {way}")}
        for way, answering, batch in ways
    ]


def told(rows: Sequence[dict[str, Any]], questions: int, passages: int) -> str:
    """Lay out what was measured."""
    cells = [
        [
            f"{row['evidence']}: {row['order']}",
            f"{row['prompt_tokens']:,}",
            f"{row['cached_tokens']:,}",
            f"{row['cached_tokens'] / row['prompt_tokens']:.1%}",
            f"{row['ttft_ms']['p50']:.0f}",
            f"{row['ttft_ms']['p95']:.0f}",
        ]
        for row in rows
    ]
    header = ("evidence: order", "prompt tokens", "cached", "share", "TTFT p50 ms", "p95 ms")
    return (
        f"{questions} questions, {K} passages each of {passages:,} (sparse index), one request at "
        f"a time, every row from an empty cache of blocks of {BLOCK} tokens. Llama of 4 layers and "
        f"256 dimensions with random weights, tokenizer of {_VOCABULARY:,} trained on the "
        f"passages: the tokens hold for any weights, TTFT is of this model.\n\n"
        f"{markdown_table(header, cells)}"
    )


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--questions", type=click.IntRange(min=1), default=300, show_default=True)
@click.option("--page", type=click.Path(exists=True, path_type=Path), help="page to write into")
def main(data: Path, questions: int, page: Path | None) -> None:
    """Serve questions of the evaluation set DATA in several orders of their passages."""
    for name, value in ENGINE.items():
        os.environ.setdefault(name, value)
    asked = read_eval_set(data, limit=questions)
    texts = [query.text for query in asked.queries]
    with TemporaryDirectory() as folder:
        place, model = Path(folder) / "index", Path(folder) / "model"
        with Index.build(asked.documents(), place, IndexConfig(kinds=("sparse",))) as index:
            passages = len(index)
            config = RetrieverConfig(using="sparse", k=K)
            hits = index.retrieve(texts, config)
        found = [(t, [hit.passage for hit in some]) for t, some in zip(texts, hits, strict=True)]
        make_model(model, [f"{d.title}\n{d.text}" for d in asked.documents()])
        generator = VLLMGenerator(
            GeneratorConfig(
                name="vllm",
                model=str(model),
                max_tokens=1,
                engine_args={
                    "enforce_eager": True,
                    "dtype": "bfloat16",
                    "block_size": BLOCK,
                    "max_num_batched_tokens": _WINDOW,
                },
            )
        )
        rows = []
        for name, compressor in (
            ("all of it", CompressorConfig(name="none")),
            ("ib keep=0.2", CompressorConfig(name="ib", keep=0.2)),
        ):
            requests = requests_for(found, compressor)
            served(generator, requests[:3], "warm-up")
            rows += measure(generator, name, requests)
        generator.close()
    report("prefix", told(rows, len(texts), passages), {"rows": rows}, page)


if __name__ == "__main__":
    run(main)
