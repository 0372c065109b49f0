"""LLMLingua-2: tokens worth preserving whatever the question (Pan et al. 2024, arXiv:2403.12968).

A token classifier (label 1: preserve) reads the passages alone. As in the paper, the probability
of a word is the mean over its tokens; the paper then drops words, which breaks the text, and here
a sentence has the mean over its words, so that what is kept is verbatim. Titles are not read.

Weights: `microsoft/llmlingua-2-bert-base-multilingual-cased-meetingbank` or
`microsoft/llmlingua-2-xlm-roberta-large-meetingbank`, or any token classifier of two labels.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

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
from ragib.compressor.windows import Batch, Ids, Prefix, tokenise
from ragib.config import EncoderConfig
from ragib.errors import InputError
from ragib.extras import require
from ragib.models import locate, quiet
from ragib.text import Span
from ragib.types import Compressed, Question

if TYPE_CHECKING:
    from torch import Tensor

MAX_TOKENS = 512
"""The length of the windows that the published weights were trained on."""

_PURPOSE = "compressing with LLMLingua-2"


@dataclass(frozen=True, slots=True)
class LLMLingua2:
    """Keeps the sentences whose words are likeliest to be preserved; never reads the question.

    `keep`, `budget` and `threshold` are those of `ragib.compressor.selection.select`; scores are
    probabilities, and the tokens of a budget are those of the classifier.
    """

    classifier: TokenClassifier
    keep: float | None = None
    budget: int | None = None
    threshold: float | None = None

    name: ClassVar[str] = "llmlingua-2"

    def compress(self, questions: Sequence[Question]) -> list[Compressed]:
        """Read every passage once, then select question by question."""
        texts = list(dict.fromkeys(p.text for q in questions for p in q.passages))
        scored = dict(zip(texts, self._scored(texts), strict=True))
        return [
            select(
                question,
                [
                    ScoredSentence(Sentence(number, *span), score, tokens)
                    for number, passage in enumerate(question.passages)
                    for span, score, tokens in scored[passage.text]
                ],
                keep=self.keep,
                budget=self.budget,
                threshold=self.threshold,
            )
            for question in questions
        ]

    def _scored(self, texts: Sequence[str]) -> list[list[tuple[Span, float, int]]]:
        """Return the sentences of each text with their scores and numbers of tokens."""
        classifier = self.classifier
        # There is one segment only, so none begins within the longest sequence.
        prefix = Prefix(np.array([classifier.special.cls], np.int32), classifier.max_tokens)
        framed = [
            Framed(prefix, tokens, sentence_spans(text))
            for text, tokens in zip(texts, tokenise(classifier.tokenizer, texts), strict=True)
        ]
        rows: list[list[tuple[Span, float, int]]] = []
        for text, keep in zip(framed, keep_probabilities(classifier, framed), strict=True):
            begins = word_begins(classifier.tokenizer, text.tokens.ids)
            inside = [text.tokens.within(*span) for span in text.sentences]
            rows.append(
                [
                    (span, word_mean(keep[i], begins[i]), i.stop - i.start)
                    for span, i in zip(text.sentences, inside, strict=True)
                ]
            )
        return rows


def word_begins(tokenizer: Any, ids: Ids) -> NDArray[np.bool_]:  # noqa: ANN401
    """Say which tokens begin a word, by the rules of the published code: `(t,)` bool.

    A word piece continues a word if it is marked so; a piece of SentencePiece begins one if it
    is marked so or is a punctuation mark.
    """
    pieces = tokenizer.convert_ids_to_tokens(ids.tolist())
    if type(tokenizer.backend_tokenizer.model).__name__ == "WordPiece":
        begins = [not piece.startswith("##") for piece in pieces]
    else:
        begins = [piece.startswith("\u2581") or piece in string.punctuation for piece in pieces]
    return np.array(begins, dtype=np.bool_)


def word_mean(keep: NDArray[np.float64], begins: NDArray[np.bool_]) -> float:
    """Average probabilities over the tokens of each word, then over the words; 0 without any."""
    if not len(keep):
        return 0.0
    word = np.cumsum(begins) - begins[0]
    return float(np.mean(np.bincount(word, weights=keep) / np.bincount(word)))


def load_llmlingua2(
    model: str,
    keep: float | None = None,
    budget: int | None = None,
    threshold: float | None = None,
) -> LLMLingua2:
    """Load the weights.

    Parameters
    ----------
    model
        A folder, or a hub name.
    keep, budget, threshold
        The limits; see `LLMLingua2`.

    Raises
    ------
    InputError
        There is no such model, or it is no token classifier of two labels.
    OfflineError
        The model would have to be fetched and the network is switched off.
    """
    library = require("transformers", _PURPOSE)
    folder, _ = locate(EncoderConfig(model=model))
    with quiet():
        try:
            module, info = library.AutoModelForTokenClassification.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                dtype="float32",
                output_loading_info=True,
            )
        except LOAD_ERRORS as error:
            raise InputError(f"model {model}: cannot be loaded: {one_reason(error)}") from None
    if info["missing_keys"] or module.config.num_labels != 2:
        raise InputError(
            f"model {model}: is no token classifier of two labels (architecture "
            f"{module.config.architectures}, labels {module.config.num_labels}); name LLMLingua-2 "
            "weights, as microsoft/llmlingua-2-bert-base-multilingual-cased-meetingbank"
        )
    tokenizer, special = load_tokenizer(folder, model)
    device = best_device()
    module.to(device).eval()
    limit = longest_sequence(model, module.config, MAX_TOKENS, tokenizer.model_max_length)
    classifier = TokenClassifier(_forward(module), tokenizer, special, limit, device)
    return LLMLingua2(classifier, keep, budget, threshold)


def _forward(module: Any) -> Any:  # noqa: ANN401
    torch = require("torch", _PURPOSE)

    def forward(batch: Batch) -> Tensor:
        ids, mask = (torch.from_numpy(part).to(module.device) for part in (batch.ids, batch.mask))
        logits: Tensor = module(input_ids=ids, attention_mask=mask).logits
        return logits

    return forward
