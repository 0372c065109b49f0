"""Pooling the token vectors of 5,000 passages: the compiled loops against SciPy's, one core.

    python -m ragib.eval.bench.pooling [--data clustered] [--json] [--page docs/benchmarks.md]

Peers: the same pooling with SciPy's `linkage` and `fcluster` a passage; these two calls alone,
without the means that pooling is for; and `HierarchicalTokenPooling` of sentence-transformers.
Vectors are drawn at random or, with `--data clustered`, around common centres. Times are CPU
time of a process whose libraries keep to one thread, the least of several rounds in which all
ways take turns. Compiling, which a process does once, is timed by itself.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ragib.eval.bench.common import markdown_table, provenance, report, run
from ragib.eval.bench.maxsim import draw, measure
from ragib.extras import require
from ragib.indexes.pooling import PROTECTED, Pooled, pool_batch
from ragib.indexes.ward import Matrix, by_numba, by_scipy

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
LOOP = "SciPy loop"


def clusters_alone(passages: list[Matrix], factor: float) -> None:
    """Cluster the passages with two calls of SciPy each, and do nothing with it."""
    hierarchy = require("scipy.cluster.hierarchy", "this benchmark")
    distance = require("scipy.spatial.distance", "this benchmark")
    for vectors in passages:
        rest = vectors[PROTECTED:]
        apart = np.clip(1 - rest @ rest.T, 0, 2)
        tree = hierarchy.linkage(distance.squareform(apart, checks=False), method="ward")
        hierarchy.fcluster(tree, t=max(int(len(rest) // factor), 1), criterion="maxclust")


def same(left: list[Pooled], right: list[Pooled]) -> bool:
    """Say whether two ways gave the same vectors and the same labels, to the last bit."""
    return all(
        np.array_equal(one[0], two[0]) and np.array_equal(one[1], two[1])
        for one, two in zip(left, right, strict=True)
    )


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """Time all ways; returns what is printed."""
    torch = require("torch", "this benchmark")
    torch.set_num_threads(1)
    modules = require("sentence_transformers.multi_vector_encoder.modules", "this benchmark")
    library = modules.HierarchicalTokenPooling(args.factor)
    rng = np.random.default_rng(args.seed)
    centres = None if args.data == "random" else draw(rng, 2000, args.dim, None)
    passages = [draw(rng, args.tokens, args.dim, centres) for _ in range(args.passages)]
    tensors = [torch.from_numpy(vectors) for vectors in passages]
    begun = time.thread_time()
    by_numba(passages[0][PROTECTED:], 1)
    compiling = time.thread_time() - begun
    ways: dict[str, Callable[[], Any]] = {
        LOOP: lambda: pool_batch(passages, args.factor, by_scipy),
        "SciPy clusters alone": lambda: clusters_alone(passages, args.factor),
        "sentence-transformers": lambda: [library.pool_one(tensor) for tensor in tensors],
        "compiled loops": lambda: pool_batch(passages, args.factor, by_numba),
    }
    times = measure(ways, args.repeats)
    rows = [
        {
            "way": name,
            "min_s": min(seconds),
            "median_s": float(np.median(seconds)),
            "us_a_passage": 1e6 * min(seconds) / args.passages,
            "loop_over_this": min(times[LOOP]) / min(seconds),
        }
        for name, seconds in times.items()
    ]
    return {
        "data": f"{args.passages} x {args.tokens} x {args.dim} {args.data}, seed {args.seed}, "
        f"pool factor {args.factor:g}; {args.repeats} rounds, 1 thread",
        "same": same(ways["compiled loops"](), ways[LOOP]()),
        "compile_s": compiling,
        "rows": rows,
    }


def show(result: dict[str, Any]) -> str:
    """Lay the result out as a Markdown table."""
    rows = [
        [
            row["way"],
            f"{row['min_s']:.2f}",
            f"{row['median_s']:.2f}",
            f"{row['us_a_passage']:.0f}",
            f"{row['loop_over_this']:.2f}",
        ]
        for row in result["rows"]
    ]
    header = ("way", "s, least", "s, median", "µs a passage", f"{LOOP} / this")
    agreed = "the same to the last bit" if result["same"] else "NOT the same"
    return (
        f"{result['data']}. Vectors and labels of the compiled loops and the SciPy loop: {agreed}. "
        f"Compiling took {result['compile_s']:.1f} s.\n\n{markdown_table(header, rows)}"
    )


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m ragib.eval.bench.pooling")
    parser.add_argument("--passages", type=int, default=5000)
    parser.add_argument("--tokens", type=int, default=128, help="tokens a passage")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--factor", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--data", choices=("random", "clustered"), default="random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    parser.add_argument("--page", type=Path, help="write the table into this page as well")
    args = parser.parse_args(arguments)
    # NumPy's library reads these when it is loaded, so they are set for a process of its own.
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result = pool.apply(compare, (args,))
    if args.json:
        print(json.dumps({**provenance(), **result}, indent=1))
    else:
        report("pooling", show(result), result, args.page)


if __name__ == "__main__":
    run(main)
