"""Measures of retrieval, by their ir-measures names.

MacAvaney et al. 2022, "Streamlining Evaluation with ir-measures",
https://arxiv.org/abs/2111.13466.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ragib.errors import InputError
from ragib.eval.datasets import Qrels
from ragib.extras import require
from ragib.types import Hit

Run = Mapping[str, Mapping[str, float]]
"""Query id -> document id -> score (higher is better)."""


def retrieval(qrels: Qrels, run: Run, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Score a run: measure name -> query id -> value in [0, 1].

    Every judged query counts: one that is missing from the run scores zero. Documents of one score
    are ranked as the program does that ir-measures asks: trec_eval puts the higher id first, the
    script of MS MARCO, which computes `RR@k`, the lower.

    Parameters
    ----------
    qrels, run
        Judgements and scores, both by query and document.
    names
        ir-measures names, such as `nDCG@10`, `R@100`, `RR@10`.

    Raises
    ------
    InputError
        ir-measures does not know a name.
    """
    ir_measures = require("ir_measures", "scoring retrieval")
    values = {name: dict.fromkeys(qrels, 0.0) for name in names}
    measures = {}
    for name in names:
        try:
            measures[ir_measures.parse_measure(name)] = name
        except (ValueError, NameError):
            raise InputError(f"unknown measure {name!r}; try nDCG@10, R@100 or RR@10") from None
    for metric in ir_measures.iter_calc(list(measures), qrels, run):
        values[measures[metric.measure]][metric.query_id] = float(metric.value)
    return values


def mean(values: Mapping[str, float]) -> float:
    """Average over the queries; zero when there is none."""
    return sum(values.values()) / len(values) if values else 0.0


def document_scores(hits: Sequence[Hit]) -> dict[str, float]:
    """Score documents by their best passage (MaxP: Dai and Callan 2019, SIGIR)."""
    scores: dict[str, float] = {}
    for hit in hits:
        document = hit.passage.doc_id
        scores[document] = max(hit.score, scores.get(document, float("-inf")))
    return scores
