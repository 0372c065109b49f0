"""Language models as judges of the IB score: one reading a candidate, many candidates at once.

The pieces of a text (what was kept, the answer, the passages) are tokenised apart, so that their
borders lie where they are meant to, and joined; all their log-probabilities come out of a single
reading. So what two probabilities are conditioned on is read once, without a cache: an engine's
prefix cache would not serve, for it keeps no log-probabilities and vLLM does not read it where
they are asked for. All scorers give the same numbers, up to the precision of the engine.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ragib.compressor.ib_score import LogProbability, Scorer
from ragib.compressor.reading import BATCH_TOKENS
from ragib.compressor.windows import by_length
from ragib.extras import require
from ragib.padding import padded

_PURPOSE = "the IB score by a language model"


@dataclass
class Metered:
    """A scorer that counts what it costs: `tokens` scored and `seconds` taken by all calls."""

    scorer: Scorer
    tokens: int = field(default=0, init=False)
    seconds: float = field(default=0.0, init=False)

    def __call__(self, texts: Sequence[Sequence[str]]) -> list[list[LogProbability]]:
        """Score as the scorer within does."""
        begin = time.perf_counter()
        found = self.scorer(texts)
        self.seconds += time.perf_counter() - begin
        self.tokens += sum(piece.tokens for pieces in found for piece in pieces)
        return found


@dataclass(frozen=True, slots=True)
class Pieces:
    """A text as tokens: the `ids` of all of it, and the `sizes` of its pieces."""

    ids: list[int]
    sizes: tuple[int, ...]

    def scored(self, nats: Sequence[float]) -> list[LogProbability]:
        """Sum up the log-probabilities of all tokens but the first, piece by piece."""
        rest = iter([0.0, *nats])
        found = []
        for number, size in enumerate(self.sizes):
            own = list(islice(rest, size))
            first = size > 0 and not any(self.sizes[:number])
            found.append(LogProbability(float(sum(own)), size - first))
        return found


def tokenised(tokenizer: Any, texts: Sequence[Sequence[str]]) -> Iterator[Pieces]:  # noqa: ANN401
    """Tokenise texts piece by piece; only the first piece gets a tokenizer's special tokens."""
    for text in texts:
        ids = [
            list(tokenizer(piece, add_special_tokens=number == 0).input_ids)
            for number, piece in enumerate(text)
        ]
        yield Pieces([token for piece in ids for token in piece], tuple(map(len, ids)))


def transformers_scorer(model: Any, tokenizer: Any) -> Scorer:  # noqa: ANN401
    """Score by a causal language model of the transformers library, in padded batches."""
    torch = require("torch", _PURPOSE)

    def read(rows: Sequence[Sequence[int]]) -> list[list[float]]:
        ids, mask = padded(rows, 0, "right")
        ids = ids.to(model.device)
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=mask.to(model.device)).logits[:, :-1]
            chosen = logits.gather(2, ids[:, 1:, None])[..., 0].float()
            # Row by row: a batch of a large vocabulary takes gigabytes in float32.
            norms = torch.stack([row.float().logsumexp(dim=-1) for row in logits])
        nats = (chosen - norms).tolist()
        return [one[: len(row) - 1] for one, row in zip(nats, rows, strict=True)]

    def score(texts: Sequence[Sequence[str]]) -> list[list[LogProbability]]:
        pieces = list(tokenised(tokenizer, texts))
        found: dict[int, list[float]] = {}
        for group in by_length([len(one.ids) for one in pieces], BATCH_TOKENS):
            found.update(zip(group, read([pieces[i].ids for i in group]), strict=True))
        return [one.scored(found[number]) for number, one in enumerate(pieces)]

    return score


def vllm_scorer(engine: Any) -> Scorer:  # noqa: ANN401
    """Score by a `vllm.LLM`, in one call, through the log-probabilities of prompt tokens."""
    vllm = require("vllm", _PURPOSE)
    tokenizer = engine.get_tokenizer()
    params = vllm.SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False)

    def score(texts: Sequence[Sequence[str]]) -> list[list[LogProbability]]:
        pieces = list(tokenised(tokenizer, texts))
        prompts = [{"prompt_token_ids": one.ids} for one in pieces]
        outputs = engine.generate(prompts, params, use_tqdm=False) if prompts else []
        return [
            one.scored(
                [
                    row[token].logprob
                    for row, token in zip(output.prompt_logprobs[1:], one.ids[1:], strict=True)
                ]
            )
            for one, output in zip(pieces, outputs, strict=True)
        ]

    return score
