"""Are two pipelines different? Paired intervals and tests over queries, which may share documents.

Queries that were written about one document go right or wrong together, so all of a cluster is
drawn, or flipped, at once; a query with an empty cluster is a cluster of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragib.eval.results import Comparison, Interval

RESAMPLES = 2000
FLIPS = 10_000
_CELLS = 1 << 22
"""Numbers that are drawn at once."""


def bootstrap_interval(
    values: ArrayLike,
    clusters: Sequence[str] | None = None,
    *,
    resamples: int = RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    r"""Return the mean of values with its percentile bootstrap interval.

    Clusters are drawn with replacement, as many as there are; a resample's mean is
    :math:`\sum_c s_c / \sum_c n_c` over the clusters drawn, of sums s and sizes n. The bounds are
    the :math:`(1 \mp level)/2` quantiles of the resamples' means. Efron and Tibshirani 1993, "An
    Introduction to the Bootstrap", chapter 13; of whole clusters: Field and Welsh 2007,
    "Bootstrapping clustered data", J. R. Stat. Soc. B 69(3).

    Intervals of under some twenty clusters are too narrow.

    Parameters
    ----------
    values
        One value a query, shape (n,). For the interval of a difference, paired differences.
    clusters
        The cluster of each value; without them every value stands alone.
    resamples
        How many times to draw.
    level
        Coverage wanted.
    seed
        Of the draws.
    """
    array = np.asarray(values, dtype=np.float64)
    if not len(array):
        return Interval(0.0, 0.0, 0.0, 0)
    sums, sizes = _by_cluster(array, clusters)
    means = np.empty(resamples)
    done = 0
    for rows in _drawn(len(sums), resamples, seed):
        means[done : done + len(rows)] = sums[rows].sum(axis=1) / sizes[rows].sum(axis=1)
        done += len(rows)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(array.mean()), float(low), float(high), len(array))


def bootstrap_statistic(
    statistic: Callable[[NDArray[np.intp]], float],
    size: int,
    clusters: Sequence[str] | None = None,
    *,
    resamples: int = RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return a statistic of all queries, such as AURC, with its percentile bootstrap interval.

    Parameters
    ----------
    statistic
        Called with the row numbers of the queries to compute it from, repeats included.
    size
        How many queries there are.
    clusters, resamples, level, seed
        As in `bootstrap_interval`.
    """
    if not size:
        return Interval(0.0, 0.0, 0.0, 0)
    members = _members(size, clusters)
    alone = len(members) == size
    values = [
        statistic(row if alone else np.concatenate([members[cluster] for cluster in row]))
        for rows in _drawn(len(members), resamples, seed)
        for row in rows
    ]
    tail = (1 - level) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return Interval(statistic(np.arange(size)), float(low), float(high), size)


def sign_flip_p(
    differences: ArrayLike,
    clusters: Sequence[str] | None = None,
    *,
    flips: int = FLIPS,
    seed: int = 0,
) -> float:
    r"""Return the two-sided p-value of paired differences, by flipping signs.

    If neither of two pipelines is better, a difference is as likely to be found with the other
    sign. The signs of whole clusters are flipped at random B times, and :math:`p = (c + 1)/(B +
    1)`, where c counts the flips whose mean is as far from zero as the one observed, or farther.
    Fisher 1935, "The Design of Experiments", section 21; the added one, without which p could be
    0: Phipson and Smyth 2010, "Permutation P-values should never be zero", Stat. Appl. Genet.
    Mol. Biol. 9(1).

    Parameters
    ----------
    differences
        One paired difference a query, shape (n,).
    clusters
        The cluster of each; without them every difference stands alone.
    flips
        How many times to flip, B.
    seed
        Of the flips.
    """
    sums, _ = _by_cluster(np.asarray(differences, dtype=np.float64), clusters)
    sums = sums[sums != 0]  # flipping these would change nothing
    observed = abs(sums.sum())
    least = observed - 1e-9 * np.abs(sums).sum()  # sums of the same numbers differ in rounding
    generator = np.random.default_rng(seed)
    count = 0
    for some in _chunks(len(sums), flips):
        signs = generator.integers(0, 2, size=(some, len(sums)), dtype=np.int8) * 2.0 - 1
        count += int((np.abs(signs @ sums) >= least).sum())
    return (count + 1) / (flips + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    r"""Correct p-values of a table so that the chance of any false alarm in it stays below level.

    Of m values in rising order, :math:`\tilde p_{(i)} = \max_{j \le i} \min(1, (m - j + 1)\,
    p_{(j)})`. Holm 1979, "A simple sequentially rejective multiple test procedure", Scand. J.
    Stat. 6(2). The result is in the order of the input.
    """
    m = len(p_values)
    corrected = [0.0] * m
    highest = 0.0
    for rank, i in enumerate(sorted(range(m), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (m - rank) * p_values[i]))
        corrected[i] = highest
    return corrected


def corrected(table: Sequence[Comparison]) -> list[Comparison]:
    """Return the comparisons of a whole table with Holm's correction over all of them."""
    values = holm([comparison.p for comparison in table])
    return [replace(row, p_holm=value) for row, value in zip(table, values, strict=True)]


def _labels(size: int, clusters: Sequence[str] | None) -> tuple[NDArray[np.intp], int]:
    """Give each value the number of its cluster, in the order in which they first occur."""
    if clusters is None:
        return np.arange(size), size
    if len(clusters) != size:
        raise ValueError(f"{size} values, but {len(clusters)} clusters")
    numbers: dict[object, int] = {}
    keys = ((name,) if name else row for row, name in enumerate(clusters))
    labels = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.intp)
    return labels, len(numbers)


def _by_cluster(
    values: NDArray[np.float64], clusters: Sequence[str] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    labels, count = _labels(len(values), clusters)
    sums = np.bincount(labels, values, minlength=count)
    return sums.astype(np.float64), np.bincount(labels, minlength=count).astype(np.float64)


def _members(size: int, clusters: Sequence[str] | None) -> list[NDArray[np.intp]]:
    labels, count = _labels(size, clusters)
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.cumsum(np.bincount(labels, minlength=count))[:-1])


def _chunks(width: int, total: int) -> Iterator[int]:
    most = max(1, _CELLS // max(1, width))
    for start in range(0, total, most):
        yield min(most, total - start)


def _drawn(count: int, resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Yield the clusters of each resample, some resamples at a time."""
    generator = np.random.default_rng(seed)
    for some in _chunks(count, resamples):
        yield generator.integers(0, count, size=(some, count))
