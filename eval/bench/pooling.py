"""Pooling the token vectors of 5,000 passages: the compiled loops against SciPy's, one core.

    python -m ragib.eval.bench.pooling [--data FOLDER] [--json] [--page docs/benchmarks.md]

Peers: the same pooling with SciPy's `linkage` and `fcluster` a passage; these two calls alone,
without the means that pooling is for; and `HierarchicalTokenPooling` of sentence-transformers.
Vectors are drawn at random and, with `--data`, taken from passages spread over a corpus, encoded
and projected as an index has them. Times are CPU time of a process whose libraries keep to one
thread, the least of several rounds in which all ways take turns; those of a GPU, where there is
one, are the clock's. Compiling, which a process does once, is timed by itself.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from functools import partial
from pathlib import Path
from timeit import timeit
from typing import Any

import numpy as np

from ragib.config import EncoderConfig
from ragib.corpus import read_corpus
from ragib.encoders import load_encoder
from ragib.eval.bench.common import markdown_table, provenance, report, run
from ragib.eval.bench.maxsim import draw, measure
from ragib.extras import require
from ragib.indexes.pooling import PROTECTED, Pooled, normalised, one_by_one, pool_batch
from ragib.indexes.projection import fit_projection
from ragib.indexes.ward import Matrix, by_numba, by_scipy
from ragib.indexes.ward_batch import by_torch
from ragib.text import batched

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
LOOP, COMPILED, GPU = "SciPy loop", "compiled loops", "torch on the GPU"
_SAMPLE = 1000
_BATCH = 256


def clusters_alone(passages: list[Matrix], factor: float) -> None:
    """Cluster the passages with two calls of SciPy each, and do nothing with it."""
    hierarchy = require("scipy.cluster.hierarchy", "this benchmark")
    distance = require("scipy.spatial.distance", "this benchmark")
    for vectors in passages:
        rest = vectors[PROTECTED:]
        apart = np.clip(1 - rest @ rest.T, 0, 2)
        tree = hierarchy.linkage(distance.squareform(apart, checks=False), method="ward")
        hierarchy.fcluster(tree, t=max(int(len(rest) // factor), 1), criterion="maxclust")


def token_vectors(folder: Path, count: int, dim: int) -> list[Matrix]:
    """Encode passages spread over a corpus; `(t, dim)` unit vectors of each that has any."""
    texts = [(document.title, document.text) for document in read_corpus(folder)]
    texts = texts[:: max(len(texts) // count, 1)][:count]
    encoder = load_encoder(EncoderConfig())
    found: list[Matrix] = []
    for some in batched(texts, _BATCH):
        tokens = encoder.passages(some, dense=False, tokens=True).tokens
        assert tokens is not None
        found += [text.vectors for text in tokens]
        print(f"encoded: {len(found):,} of {len(texts):,}", file=sys.stderr)
    if encoder.token_dim > dim:
        projection = fit_projection(np.concatenate(found[:_SAMPLE]), dim)
        found = [vectors @ projection for vectors in found]
    return [normalised(vectors) for vectors in found if len(vectors)]


def agreed(left: list[Pooled], right: list[Pooled]) -> int:
    """Count the pooled vectors of one way that were made of the same tokens as one of another."""
    equal = 0
    for (_, one), (_, two) in zip(left, right, strict=True):
        (ones, twos), both = np.unique(np.stack([one, two]), axis=1, return_counts=True)
        equal += int(((both == np.bincount(one)[ones]) & (both == np.bincount(two)[twos])).sum())
    return equal


def same(left: list[Pooled], right: list[Pooled]) -> bool:
    """Say whether two ways gave the same vectors and the same labels, to the last bit."""
    return all(
        np.array_equal(one[0], two[0]) and np.array_equal(one[1], two[1])
        for one, two in zip(left, right, strict=True)
    )


def timed(name: str, passages: list[Matrix], factor: float, repeats: int) -> dict[str, Any]:
    """Pool in every way, compare what they give, and time them."""
    torch = require("torch", "this benchmark")
    modules = require("sentence_transformers.multi_vector_encoder.modules", "this benchmark")
    library = modules.HierarchicalTokenPooling(factor)
    tensors = [torch.from_numpy(vectors) for vectors in passages]
    pooling = {
        LOOP: partial(pool_batch, passages, factor, one_by_one(by_scipy)),
        COMPILED: partial(pool_batch, passages, factor, one_by_one(by_numba)),
    }
    if torch.cuda.is_available():
        pooling[GPU] = partial(pool_batch, passages, factor, partial(by_torch, device="cuda"))
    results = {way: pool() for way, pool in pooling.items()}
    gpu = pooling.pop(GPU, None)
    times = measure(
        {
            LOOP: pooling[LOOP],
            "SciPy clusters alone": lambda: clusters_alone(passages, factor),
            "sentence-transformers": lambda: [library.pool_one(tensor) for tensor in tensors],
            COMPILED: pooling[COMPILED],
        },
        repeats,
    )
    if gpu is not None:
        times[GPU] = [timeit(gpu, number=1) for _ in range(repeats)]
    return {
        "vectors": name,
        "passages": len(passages),
        "tokens": sum(map(len, passages)),
        "pooled": sum(len(vectors) for vectors, _ in results[LOOP]),
        "same": same(results[COMPILED], results[LOOP]),
        "agreed": {way: agreed(results[LOOP], found) for way, found in results.items()},
        "rows": [
            {
                "way": way,
                "min_s": min(seconds),
                "median_s": float(np.median(seconds)),
                "us_a_passage": 1e6 * min(seconds) / len(passages),
                "loop_over_this": min(times[LOOP]) / min(seconds),
            }
            for way, seconds in times.items()
        ],
    }


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """Time all ways on vectors drawn at random and, of a corpus, real ones."""
    torch = require("torch", "this benchmark")
    torch.set_num_threads(1)
    rng = np.random.default_rng(args.seed)
    drawn = [draw(rng, args.tokens, args.dim, None) for _ in range(args.passages)]
    begun = time.thread_time()
    by_numba(drawn[0][PROTECTED:], 1)
    compiling = time.thread_time() - begun
    parts = [timed("random", drawn, args.factor, args.repeats)]
    if args.data is not None:
        read = token_vectors(args.data, args.texts, args.dim)
        parts.append(timed(args.data.name, read, args.factor, args.repeats))
    return {
        "data": f"{args.passages} x {args.tokens} x {args.dim} random, seed {args.seed}, "
        f"pool factor {args.factor:g}; {args.repeats} rounds, 1 thread",
        "compile_s": compiling,
        "parts": parts,
    }


def show(result: dict[str, Any]) -> str:
    """Lay the result out as a Markdown table."""
    lines = [f"{result['data']}. Compiling took {result['compile_s']:.1f} s."]
    rows = []
    for part in result["parts"]:
        name = part["vectors"]
        agreement = "the same to the last bit" if part["same"] else "NOT the same"
        lines.append(
            f"{name}, {part['passages']:,} passages of {part['tokens'] / part['passages']:.0f} "
            f"tokens: vectors and labels of the {COMPILED} and the {LOOP} are {agreement}. "
            "Made of the same tokens as one of SciPy's: "
            + "; ".join(
                f"{way} {count:,} of {part['pooled']:,}"
                for way, count in part["agreed"].items()
                if way != LOOP
            )
            + "."
        )
        rows += [
            [
                f"{name}: {row['way']}",
                f"{row['min_s']:.2f}",
                f"{row['median_s']:.2f}",
                f"{row['us_a_passage']:.0f}",
                f"{row['loop_over_this']:.2f}",
            ]
            for row in part["rows"]
        ]
    header = ("way", "s, least", "s, median", "µs a passage", f"{LOOP} / this")
    return "\n\n".join([*lines, markdown_table(header, rows)])


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m ragib.eval.bench.pooling")
    parser.add_argument("--passages", type=int, default=5000)
    parser.add_argument("--tokens", type=int, default=128, help="tokens a passage")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--factor", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--data", type=Path, help="a corpus to take real vectors from as well")
    parser.add_argument("--texts", type=int, default=2000, help="passages of that corpus")
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
