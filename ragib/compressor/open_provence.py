"""OpenProvence: a reranker that also says of each token of a passage whether it helps to answer.

Weights such as `hotchpotch/open-provence-reranker-v1`, an open form of Provence (Chirkova et al.
2025, arXiv:2501.16214). Their modelling code lies beside them on the hub and is never run; what is
read here follows the source of the `open_provence` package:

- `config.json`: `model_type` "open_provence", `base_model_config` (that of the encoder),
  `max_length`, `num_labels` of the ranking head, and `default_threadshold` (so spelt), 0.1 if none;
- `model.safetensors`: `ranking_model.*`, a sequence classifier of transformers (older files
  without the prefix), and `pruning_head.classifier.{weight, bias}`, one linear layer onto two
  labels, of which 1 is "keep";
- the pruning head reads the states that the last layer puts out, which in ModernBERT are those in
  front of the final norm;
- a sentence has the mean probability of its tokens, and is kept above the threshold.

Checked against that source and against weights made in the same form, not against published ones.
Unlike there, the title is read in front of every window of a passage, not only of the first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ragib.compressor.selection import ScoredSentence, Sentence, select, sentence_spans
from ragib.compressor.token_classifier import (
    LOAD_ERRORS,
    Framed,
    TokenClassifier,
    best_device,
    keep_probabilities,
    load_tokenizer,
    longest_sequence,
    one_reason,
)
from ragib.compressor.windows import Batch, Ids, Prefix, Special, tokenise
from ragib.config import EncoderConfig
from ragib.errors import InputError
from ragib.extras import require
from ragib.models import locate, quiet
from ragib.types import Compressed, Passage, Question

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_THRESHOLD = 0.1
DEFAULT_TOKENS = 512
"""What a checkpoint that says nothing else was trained with."""

_PURPOSE = "compressing with OpenProvence"
_RANKING = "ranking_model."
_PRUNING = "pruning_head.classifier."


@dataclass(frozen=True, slots=True)
class Frame:
    """The special tokens in front of a question and between it and a passage."""

    start: Ids
    middle: Ids


@dataclass(frozen=True, slots=True)
class OpenProvence:
    """Keeps the sentences whose tokens are likeliest to be kept for the question.

    `keep`, `budget` and `threshold` are those of `ragib.compressor.selection.select`; scores are
    probabilities, and the tokens of a budget are those of the classifier.
    """

    classifier: TokenClassifier
    frame: Frame
    keep: float | None = None
    budget: int | None = None
    threshold: float | None = None

    name: ClassVar[str] = "open-provence"

    def compress(self, questions: Sequence[Question]) -> list[Compressed]:
        """Read all passages of all questions together, then select question by question."""
        asked = [(q.text, p) for q in questions for p in q.passages]
        framed = self._framed(asked)
        read = zip(framed, keep_probabilities(self.classifier, framed), strict=True)
        results = []
        for question in questions:
            scored: list[ScoredSentence] = []
            for number in range(len(question.passages)):
                text, keep = next(read)
                for span in text.sentences:
                    inside = text.tokens.within(*span)
                    tokens = inside.stop - inside.start
                    score = float(keep[inside].mean()) if tokens else 0.0
                    scored.append(ScoredSentence(Sentence(number, *span), score, tokens))
            results.append(
                select(
                    question,
                    scored,
                    keep=self.keep,
                    budget=self.budget,
                    threshold=self.threshold,
                )
            )
        return results

    def _framed(self, asked: Sequence[tuple[str, Passage]]) -> list[Framed]:
        """Put question and title in front of each passage; too long a question or title is cut."""
        texts: dict[str, None] = {}
        for question, passage in asked:
            texts |= {question: None, _head(passage): None, passage.text: None}
        known = dict(zip(texts, tokenise(self.classifier.tokenizer, list(texts)), strict=True))
        sentences = {text: sentence_spans(text) for text in {p.text for _, p in asked}}
        most = self.classifier.max_tokens
        framed: list[Framed] = []
        for question, passage in asked:
            parts = [self.frame.start, known[question].ids[: most // 4], self.frame.middle]
            segment = sum(map(len, parts))
            ids = np.concatenate([*parts, known[_head(passage)].ids[: most // 10]])
            framed.append(
                Framed(Prefix(ids, segment), known[passage.text], sentences[passage.text])
            )
        return framed


def load_open_provence(
    model: str,
    keep: float | None = None,
    budget: int | None = None,
    threshold: float | None = None,
) -> OpenProvence:
    """Load a checkpoint.

    Parameters
    ----------
    model
        A folder, or a hub name.
    keep, budget, threshold
        The limits; see `OpenProvence`. With none of them, the checkpoint's own threshold.

    Raises
    ------
    InputError
        There is no such model, or it has another form.
    OfflineError
        The model would have to be fetched and the network is switched off.
    """
    folder, _ = locate(EncoderConfig(model=model))
    values = _read_config(folder, model)
    encoder, head = _load_modules(folder, model, values)
    tokenizer, special = load_tokenizer(folder, model)
    device = best_device()
    encoder.to(device).eval()
    head.to(device).eval()
    limit = longest_sequence(model, encoder.config, values["max_length"])
    classifier = TokenClassifier(_forward(encoder, head), tokenizer, special, limit, device)
    if keep is None and budget is None and threshold is None:
        threshold = values["threshold"]
    return OpenProvence(classifier, frame_of(tokenizer, special), keep, budget, threshold)


def frame_of(tokenizer: Any, special: Special) -> Frame:  # noqa: ANN401
    """Find which special tokens a tokenizer puts in front of a pair and into its middle.

    A tokenizer that puts none there gets its first and its closing token.
    """
    encoded = tokenizer("a", "a", return_special_tokens_mask=True)
    ids, marks = encoded["input_ids"], encoded["special_tokens_mask"]
    words = [place for place, mark in enumerate(marks) if not mark]
    start = ids[: words[0]]
    middle = [token for token, mark in zip(ids, marks, strict=True) if mark][len(start) :]
    after = len(ids) - 1 - words[-1]
    middle = middle[: len(middle) - after]
    if not start or not middle:
        start, middle = [special.cls], [special.sep]
    return Frame(np.array(start, np.int32), np.array(middle, np.int32))


def _head(passage: Passage) -> str:
    return f"{passage.title}\n" if passage.title else ""


def _read_config(folder: Path, model: str) -> dict[str, Any]:
    try:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if values["model_type"] != "open_provence":
            raise ValueError(f"its model_type is {values['model_type']!r}")
        base = values["base_model_config"]
        if not isinstance(base, dict) or not isinstance(base.get("model_type"), str):
            raise ValueError("its base_model_config names no model_type")
        threshold = values.get("default_threadshold", values.get("default_threshold"))
        return {
            "base": base | {"num_labels": int(values.get("num_labels") or 1)},
            "max_length": int(values.get("max_length") or DEFAULT_TOKENS),
            "threshold": DEFAULT_THRESHOLD if threshold is None else float(threshold),
        }
    except LOAD_ERRORS as error:
        reason = f"no {error} in config.json" if isinstance(error, KeyError) else one_reason(error)
        raise InputError(
            f"model {model}: is no OpenProvence checkpoint: {reason}; name one, as "
            "hotchpotch/open-provence-reranker-v1"
        ) from None


def _load_modules(folder: Path, model: str, values: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the encoder and the pruning head; the ranking head is checked and left out."""
    torch = require("torch", _PURPOSE)
    library = require("transformers", _PURPOSE)
    files = require("safetensors.torch", _PURPOSE)
    try:
        base = dict(values["base"])
        tensors = files.load_file(folder / "model.safetensors")
        pruning = {
            name.removeprefix(_PRUNING): tensors.pop(name).float()
            for name in [*tensors]
            if name.startswith("pruning_head.")
        }
        ranking = {name.removeprefix(_RANKING): tensor for name, tensor in tensors.items()}
        with quiet():
            config = library.AutoConfig.for_model(base.pop("model_type"), **base)
            ranker = library.AutoModelForSequenceClassification.from_config(config)
        ranker.load_state_dict({name: tensor.float() for name, tensor in ranking.items()})
        head = torch.nn.Linear(config.hidden_size, 2)
        head.load_state_dict(pruning)
    except LOAD_ERRORS as error:
        raise InputError(f"model {model}: cannot be loaded: {one_reason(error)}") from None
    encoder = ranker.base_model
    if hasattr(encoder, "final_norm"):
        encoder.final_norm = torch.nn.Identity()
    return encoder, head


def _forward(encoder: Any, head: Any) -> Any:  # noqa: ANN401
    torch = require("torch", _PURPOSE)
    typed = getattr(encoder.config, "type_vocab_size", 0) > 1

    def forward(batch: Batch) -> Tensor:
        ids, types, mask = (
            torch.from_numpy(part).to(encoder.device)
            for part in (batch.ids, batch.types, batch.mask)
        )
        inputs = {"token_type_ids": types} if typed else {}
        states = encoder(input_ids=ids, attention_mask=mask, **inputs).last_hidden_state
        logits: Tensor = head(states)
        return logits

    return forward
