from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragib.eval.abstention import aurc, auroc, auroc_of, confidences, risk_coverage

answers = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([-np.inf, 0.0, 0.5, 1.0])),
    min_size=1,
    max_size=6,
)


def test_the_curve_by_hand() -> None:
    right = [1, 0, 1, 1, 0]
    confidence = [0.9, 0.8, 0.8, 0.1, -np.inf]
    assert risk_coverage(right, confidence) == [
        (0.2, 0.0),
        (0.6, pytest.approx(1 / 3)),
        (0.8, 0.25),
        (1.0, 0.4),
    ]
    # Risks at 1 to 5 answers; of the two in a tie the wrong one comes first or second.
    assert aurc(right, confidence) == pytest.approx((0 + 0.5 / 2 + 1 / 3 + 1 / 4 + 2 / 5) / 5)


def test_a_pipeline_that_knows_what_it_knows() -> None:
    right, confidence = [1] * 8 + [0] * 2, [1.0] * 8 + [0.0] * 2
    assert risk_coverage(right, confidence)[0] == (0.8, 0.0)
    assert auroc_of(right, confidence) == 1
    assert aurc(right, confidence) < aurc(right, [0.0] * 10) == pytest.approx(0.2)
    assert aurc(right, [0.0] * 8 + [1.0] * 2) > 0.2


def test_abstentions_come_last() -> None:
    assert confidences([0.3, None, -2.0]).tolist() == [0.3, -np.inf, -2.0]
    assert risk_coverage([1, 0, 1], confidences([0.3, None, -2.0])) == [
        (pytest.approx(1 / 3), 0.0),
        (pytest.approx(2 / 3), 0.0),
        (1.0, pytest.approx(1 / 3)),
    ]


def test_nothing_asked() -> None:
    assert risk_coverage([], []) == []
    assert aurc([], []) == 0
    assert auroc_of([], []) == auroc_of([1, 1], [0.1, 0.2]) == 0.5


@given(answers)
def test_aurc_is_the_mean_over_all_orders_of_ties(pairs: list[tuple[float, float]]) -> None:
    areas = []
    for order in permutations(pairs):
        if all(a[1] >= b[1] for a, b in pairwise(order)):
            wrong = np.cumsum([1 - right for right, _ in order])
            areas.append(np.mean(wrong / np.arange(1, len(order) + 1)))
    right, confidence = zip(*pairs, strict=True)
    assert aurc(right, confidence) == pytest.approx(np.mean(areas))


@given(answers)
def test_the_curve_ends_at_the_share_of_wrong_answers(pairs: list[tuple[float, float]]) -> None:
    right, confidence = zip(*pairs, strict=True)
    curve = risk_coverage(right, confidence)
    assert curve[-1] == (1.0, pytest.approx(1 - np.mean(right)))
    assert len(curve) == len(set(confidence))
    for coverage, risk in curve:
        given_ = sorted(pairs, key=lambda pair: -pair[1])[: round(coverage * len(pairs))]
        assert risk == pytest.approx(1 - np.mean([r for r, _ in given_]))


@given(answers, answers)
def test_auroc_is_the_share_of_pairs_in_order(above: list, below: list) -> None:
    positive, negative = [c for _, c in above], [c for _, c in below]
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert auroc(positive, negative) == pytest.approx(np.mean(pairs))
