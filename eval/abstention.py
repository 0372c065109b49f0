"""Does a pipeline know when it does not know? Risk against coverage, AURC and AUROC.

If only the answers with the highest confidence are given, some share of questions is covered, and
some share of the answers given is wrong, the risk. El-Yaniv and Wiener 2010, "On the Foundations
of Noise-free Selective Classification", JMLR 11; the area under the curve: Geifman, Uziel and
El-Yaniv 2019, https://arxiv.org/abs/1805.08206.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def confidences(values: Sequence[float | None]) -> NDArray[np.float64]:
    """Return confidences as an array; where there is none (an abstention, an error) it is -inf."""
    return np.array([-np.inf if value is None else value for value in values], dtype=np.float64)


def risk_coverage(right: ArrayLike, confidence: ArrayLike) -> list[tuple[float, float]]:
    """Return the curve as (coverage, risk), one point for each confidence, highest first.

    Parameters
    ----------
    right
        1 for a right answer, 0 for a wrong one, shape (n,).
    confidence
        Higher is surer, on any scale, shape (n,); -inf for answers that come last.
    """
    order, last = _ranked(right, confidence)
    if not len(order):
        return []
    wrong = np.cumsum(1.0 - order)[last]
    return [
        (float((k + 1) / len(order)), float(w / (k + 1))) for k, w in zip(last, wrong, strict=True)
    ]


def aurc(right: ArrayLike, confidence: ArrayLike) -> float:
    r"""Return the area under the risk-coverage curve: lower is better.

    :math:`\frac1n \sum_{k=1}^n r_k`, where :math:`r_k` is the risk of the k surest answers; among
    answers of one confidence, the mean over every order of theirs.
    """
    order, last = _ranked(right, confidence)
    if not len(order):
        return 0.0
    ends = np.concatenate([[0.0], last + 1.0])
    wrong = np.concatenate([[0.0], np.cumsum(1.0 - order)[last]])
    k = np.arange(1, len(order) + 1)
    return float(np.mean(np.interp(k, ends, wrong) / k))


def auroc(positive: ArrayLike, negative: ArrayLike) -> float:
    """Return the probability that a positive scores above a negative, ties counting half.

    Hanley and McNeil 1982, "The meaning and use of the area under a ROC curve", Radiology 143(1).
    It is 0.5 where either has no members.
    """
    above = np.asarray(positive, dtype=np.float64)
    below = np.sort(np.asarray(negative, dtype=np.float64))
    if not len(above) or not len(below):
        return 0.5
    lower = np.searchsorted(below, above, side="left")
    not_higher = np.searchsorted(below, above, side="right")
    return float((lower + not_higher).sum() / (2 * len(above) * len(below)))


def auroc_of(right: ArrayLike, confidence: ArrayLike) -> float:
    """Return how well confidence tells right answers from wrong ones (see `auroc`)."""
    is_right = np.asarray(right, dtype=np.float64) == 1.0
    values = np.asarray(confidence, dtype=np.float64)
    return auroc(values[is_right], values[~is_right])


def _ranked(
    right: ArrayLike, confidence: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Sort answers by confidence, and find the last of each group of ties."""
    values = np.asarray(confidence, dtype=np.float64)
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    ends = np.append(ranked[1:] != ranked[:-1], True)[: len(ranked)]
    return np.asarray(right, dtype=np.float64)[order], np.flatnonzero(ends)
