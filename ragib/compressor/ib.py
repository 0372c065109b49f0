"""The trained compressor: keeps the sentences that the evidence model gives a high probability.

Every passage is read with the question. Unless that finds a sure answer, all are read again with
the question and the best sentences found, because what the second hop of a question is about is
often said only in the first (after MDR: Xiong et al. 2021, arXiv:2009.12756, where retrieval is
conditioned likewise).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ragib.compressor.calibration import Calibration, load_calibration
from ragib.compressor.int8 import to_int8
from ragib.compressor.model import EvidenceModel, load
from ragib.compressor.reading import (
    NO_IDS,
    Reading,
    Text,
    read,
    sentence_features,
    texts_of,
)
from ragib.compressor.registry import WEIGHTS
from ragib.compressor.selection import ScoredSentence, Sentence, select, sentences_of
from ragib.compressor.windows import KEPT_TOKENS, Ids
from ragib.config import CompressorConfig
from ragib.text import Span
from ragib.types import Compressed, Question

SURE = 4.0
"""Log-odds of an answer at which the passages are not read again."""

SHOWN = 2
"""Sentences that a second reading is shown, of as many passages."""


@dataclass(frozen=True, slots=True)
class Scored:
    """The sentences of one question: `features` is `(n, 3)` or `(n, 6)`, `scores` `(n,)`."""

    sentences: Sequence[Sentence]
    features: NDArray[np.float32]
    scores: NDArray[np.float64]
    readings: Sequence[Reading]

    def pieces(self) -> list[ScoredSentence]:
        """Return the sentences with their scores, ready to be selected from."""
        return [
            ScoredSentence(sentence, float(score))
            for sentence, score in zip(self.sentences, self.scores, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class IBCompressor:
    """Keeps sentences by their probability of carrying evidence.

    `keep`, `budget` and `threshold` are those of `ragib.compressor.selection.select`; scores are
    probabilities, and the tokens of a budget are those of the model.
    """

    model: EvidenceModel
    calibration: Calibration
    keep: float | None = None
    budget: int | None = None
    threshold: float | None = None

    name: ClassVar[str] = "ib"

    def compress(self, questions: Sequence[Question]) -> list[Compressed]:
        """Read all passages of all questions together, then select question by question."""
        results = []
        for question, scored in zip(questions, self.score(questions), strict=True):
            pieces = [
                replace(piece, tokens=self._tokens(scored, piece.sentence))
                for piece in scored.pieces()
            ]
            results.append(
                select(
                    question,
                    pieces,
                    keep=self.keep,
                    budget=self.budget,
                    threshold=self.threshold,
                )
            )
        return results

    def score(self, questions: Sequence[Question]) -> list[Scored]:
        """Score all sentences of each question."""
        asked = [(q.text, [(p.title, p.text) for p in q.passages]) for q in questions]
        texts = texts_of(self.model, asked)
        found = [sentences_of(question) for question in questions]
        readings = self._read(texts)
        scored = [
            self._scored(sentences, row, _features(sentences, row))
            for sentences, row in zip(found, readings, strict=True)
        ]
        if self.calibration.second is None:
            return scored
        unsure = [number for number, first in enumerate(scored) if not _has_answer(first)]
        again = [
            [replace(text, evidence=best_evidence(scored[i], texts[i])) for text in texts[i]]
            for i in unsure
        ]
        for i, row in zip(unsure, self._read(again), strict=True):
            sentences, features = scored[i].sentences, scored[i].features
            both = np.hstack([features, _features(sentences, row)])
            scored[i] = self._scored(sentences, row, both)
        return scored

    def _read(self, texts: Sequence[Sequence[Text]]) -> list[list[Reading]]:
        flat = iter(read(self.model, [text for row in texts for text in row]))
        return [[next(flat) for _ in row] for row in texts]

    def _scored(
        self, sentences: Sequence[Sentence], readings: Sequence[Reading], x: NDArray[np.float32]
    ) -> Scored:
        return Scored(sentences, x, self.calibration.score(x), readings)

    def _tokens(self, scored: Scored, sentence: Sentence) -> int | None:
        if self.budget is None:
            return None
        inside = scored.readings[sentence.passage].tokens.within(sentence.start, sentence.end)
        return int(inside.stop - inside.start)


def load_ib(folder: str | Path | None, config: CompressorConfig) -> IBCompressor:
    """Load a trained compressor.

    Parameters
    ----------
    folder
        Where `ragib train compressor` put it; none takes the weights that are shipped.
    config
        Its limits; with none, the threshold of the weights' calibration. And its precision.

    Raises
    ------
    InputError
        The folder holds no model.
    ConfigError
        The weights are not calibrated to so small a risk.
    MissingExtraError
        What the precision needs is not installed.
    """
    place = WEIGHTS if folder is None else Path(folder)
    calibration = load_calibration(place)
    threshold = config.threshold
    if config.risk is not None:
        threshold = calibration.threshold_for(config.risk)
    elif config.keep is None and config.budget is None and threshold is None:
        threshold = calibration.threshold
    model = to_int8(load(place, "cpu")) if config.precision == "int8" else load(place)
    return IBCompressor(model, calibration, config.keep, config.budget, threshold)


def best_evidence(scored: Scored, texts: Sequence[Text]) -> Ids:
    """Return titles and tokens of the best sentences, as second readings are shown them."""
    parts: dict[int, Ids] = {}
    for number in np.argsort(-scored.scores, kind="stable"):
        best = scored.sentences[int(number)]
        if best.passage not in parts:
            text = texts[best.passage]
            inside = text.passage.within(best.start, best.end)
            told = np.concatenate([text.title, text.passage.ids[inside]])
            parts[best.passage] = told[:KEPT_TOKENS]
        if len(parts) == SHOWN:
            break
    return np.concatenate(list(parts.values())) if parts else NO_IDS


def _has_answer(scored: Scored) -> bool:
    return bool((scored.features[:, 2] > SURE).any())


def _features(sentences: Sequence[Sentence], readings: Sequence[Reading]) -> NDArray[np.float32]:
    by_passage: list[list[Span]] = [[] for _ in readings]
    for sentence in sentences:
        by_passage[sentence.passage].append((sentence.start, sentence.end))
    parts = [sentence_features(r, s) for r, s in zip(readings, by_passage, strict=True)]
    return np.concatenate(parts) if parts else np.zeros((0, 3), np.float32)
