"""Embedding similarity: cosine of the question and each sentence, by any encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ragib.compressor.selection import ScoredSentence, select, sentences_of
from ragib.encoders import Encoder
from ragib.types import Compressed, Question


@dataclass(frozen=True, slots=True)
class EmbeddingSentence:
    """Keeps the sentences nearest in meaning to the question.

    `keep`, `budget` and `threshold` are those of `ragib.compressor.selection.select`; scores are
    cosines in [-1, 1], and the tokens of a budget are those of the encoder.
    """

    encoder: Encoder
    keep: float | None = None
    budget: int | None = None
    threshold: float | None = None

    name: ClassVar[str] = "embedding-sentence"

    def compress(self, questions: Sequence[Question]) -> list[Compressed]:
        """Encode all sentences of all questions in one call, then select question by question."""
        found = [sentences_of(question) for question in questions]
        texts = [
            [sentence.text(question) for sentence in row]
            for question, row in zip(questions, found, strict=True)
        ]
        row_of = {text: i for i, text in enumerate(dict.fromkeys(t for row in texts for t in row))}
        sentences = self._encode_passages(list(row_of))
        asked = self._encode_questions([question.text for question in questions])
        results = []
        for number, question in enumerate(questions):
            rows = [row_of[text] for text in texts[number]]
            scores = (sentences[rows] @ asked[number]).tolist() if rows else []
            tokens = self._tokens(texts[number])
            scored = [
                ScoredSentence(*row) for row in zip(found[number], scores, tokens, strict=True)
            ]
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

    def _encode_passages(self, texts: list[str]) -> NDArray[np.float32]:
        dense = self.encoder.passages([("", t) for t in texts], dense=True, tokens=False).dense
        assert dense is not None
        return dense

    def _encode_questions(self, texts: list[str]) -> NDArray[np.float32]:
        dense = self.encoder.queries(texts, dense=True, tokens=False).dense
        assert dense is not None
        return dense

    def _tokens(self, texts: list[str]) -> list[int] | list[None]:
        return self.encoder.count_tokens(texts) if self.budget is not None else [None] * len(texts)
