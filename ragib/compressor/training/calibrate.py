"""Calibration on held-out questions: from log-odds to probabilities, and thresholds for risks.

The questions are split by turns: one half fits the regressions, the other gives the conformal
scores, so that these are exchangeable with those of new questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ragib.compressor.answers import FoundAnswer, find_answers
from ragib.compressor.calibration import Calibration, conformal_threshold
from ragib.compressor.ib import IBCompressor, Scored
from ragib.compressor.model import EvidenceModel
from ragib.compressor.training.data import evidence_sentences
from ragib.compressor.training.loop import Progress
from ragib.compressor.training.records import Record
from ragib.errors import InputError
from ragib.text import batched
from ragib.types import Evidence, Passage, Question

DEFAULT_RISK = 0.1
_AT_ONCE = 32


def calibrate(
    model: EvidenceModel,
    records: Sequence[Record],
    *,
    twice: bool = True,
    progress: Progress | None = None,
) -> Calibration:
    """Fit a calibration.

    Parameters
    ----------
    model
        The trained model.
    records
        Questions it was not trained on.
    twice
        Whether passages without a sure answer are to be read a second time.
    progress
        Called with stage, questions done, questions in all.

    Raises
    ------
    InputError
        There are too few questions, or none of them has evidence.
    """
    fit_on, rest = records[::2], records[1::2]
    if not any(record.answerable for record in rest):
        raise InputError(f"{len(records)} held-out questions are too few to calibrate on")
    calibration = Calibration()
    first = _fit(model, calibration, fit_on, 3, progress)
    if first is None:
        raise InputError(f"{len(fit_on)} held-out questions have no passage to calibrate on")
    calibration = replace(calibration, first=first)
    if twice:
        trial = replace(calibration, second=(0.0,) * 7)
        calibration = replace(calibration, second=_fit(model, trial, fit_on, 6, progress))
    lowest = []
    for record, scored in _scored(model, calibration, rest, progress):
        gold = labels(record, scored)
        if gold.any():
            lowest.append(float(scored.scores[gold].min()))
    lowest.sort()
    if len(lowest) * DEFAULT_RISK < 1:
        raise InputError(f"{len(lowest)} held-out questions with evidence are too few")
    threshold = conformal_threshold(lowest, DEFAULT_RISK)
    calibration = replace(calibration, lowest=tuple(lowest), threshold=threshold)
    return replace(calibration, answer=_fit_answers(model, calibration, rest))


def labels(record: Record, scored: Scored) -> NDArray[np.bool_]:
    """Mark the sentences that are gold evidence: `(n,)` bool."""
    gold = [set(evidence_sentences(passage)) for passage in record.passages]
    found = [(s.start, s.end) in gold[s.passage] for s in scored.sentences]
    return np.array(found, dtype=np.bool_)


def logistic_regression(
    features: NDArray[np.float64], wanted: NDArray[np.bool_], ridge: float = 1.0
) -> tuple[float, ...]:
    """Fit bias and weights by Newton's method; `ridge` penalises the weights, not the bias."""
    x = np.hstack([np.ones((len(features), 1)), features])
    penalty = ridge * np.eye(x.shape[1])
    penalty[0, 0] = 1e-6
    weights = np.zeros(x.shape[1])
    for _ in range(50):
        probability = 1 / (1 + np.exp(-x @ weights))
        gradient = x.T @ (probability - wanted) + penalty @ weights
        curvature = (x * (probability * (1 - probability))[:, None]).T @ x + penalty
        step = np.linalg.solve(curvature, gradient)
        weights -= step
        if np.abs(step).max() < 1e-8:
            break
    return tuple(float(w) for w in weights)


def _fit(
    model: EvidenceModel,
    calibration: Calibration,
    records: Sequence[Record],
    width: int,
    progress: Progress | None,
) -> tuple[float, ...] | None:
    """Fit the scores of the questions that have so many log-odds a sentence, if there are any."""
    rows, wanted = [], []
    for record, scored in _scored(model, calibration, records, progress):
        if scored.features.shape[1] == width and len(scored.features):
            rows.append(scored.features)
            wanted.append(labels(record, scored))
    if not rows:
        return None
    return logistic_regression(np.concatenate(rows).astype(np.float64), np.concatenate(wanted))


def _fit_answers(
    model: EvidenceModel, calibration: Calibration, records: Sequence[Record]
) -> tuple[float, ...]:
    """Fit the probability that the built-in reader, given what is kept, finds a right answer."""
    compressor = IBCompressor(model, calibration, threshold=calibration.threshold)
    scores, right = [], []
    for batch in batched(records, _AT_ONCE):
        kept = [c.evidence for c in compressor.compress([_question(r) for r in batch])]
        titles = {p.id: p.title for r in batch for p in r.passages}
        asked = [(r.question, evidence) for r, evidence in zip(batch, kept, strict=True)]
        for record, evidence, found in zip(
            batch, kept, find_answers(model, asked, titles), strict=True
        ):
            if found is not None:
                scores.append(found.score)
                right.append(_is_right(record, evidence[found.evidence], found))
    return logistic_regression(np.array(scores)[:, None], np.array(right, dtype=np.bool_))


def _is_right(record: Record, evidence: Evidence, found: FoundAnswer) -> bool:
    """Say whether a span shares at least half of the characters with an answer that is marked."""
    start, end = evidence.start + found.start, evidence.start + found.end
    return any(
        2 * (min(end, e) - max(start, s)) >= max(end, e) - min(start, s)
        for p in record.passages
        if p.id == evidence.passage_id
        for s, e in p.answers
    )


def _scored(
    model: EvidenceModel,
    calibration: Calibration,
    records: Sequence[Record],
    progress: Progress | None,
) -> list[tuple[Record, Scored]]:
    compressor = IBCompressor(model, calibration)
    pairs: list[tuple[Record, Scored]] = []
    for batch in batched(records, _AT_ONCE):
        pairs += zip(batch, compressor.score([_question(r) for r in batch]), strict=True)
        if progress is not None:
            progress("calibrate", len(pairs), len(records))
    return pairs


def _question(record: Record) -> Question:
    passages = (Passage(p.id, p.id, p.text, p.title) for p in record.passages)
    return Question(record.id, record.question, tuple(passages))
