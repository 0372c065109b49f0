"""MaxSim over 10,000 passages: our search against single-precision ways to score, one thread.

    python -m ragib.eval.bench.maxsim [--data clustered] [--json] [--page docs/benchmarks.md]

Unit vectors drawn at random are the hardest case for recall, since the best passages hardly stand
out; `--data clustered` draws them around common centres, as token vectors of a language do. The
peer is written in torch in three ways, on the vectors as they are; maxsim-cpu is another where it
is installed (`pip install maxsim-cpu==0.1.0`). Times are the process's own CPU time, the least of
several rounds in which all ways take turns, so that other work on the machine favours none.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragib.config import MultiVectorConfig, TokenStorage
from ragib.encoders import Encoded, TokenVectors
from ragib.eval.bench.common import markdown_table, provenance, report, run
from ragib.extras import installed, require
from ragib.indexes.base import Batch, Queries
from ragib.indexes.maxsim import exact_int8
from ragib.indexes.multivector import MultiVectorEngine
from ragib.indexes.multivector_search import MultiVectorSearcher
from ragib.indexes.pooling import normalised
from ragib.types import Passage

Matrix = NDArray[np.float32]
Scorer = Callable[[Matrix], NDArray[np.float32]]
K = 10

FORMS: dict[str, tuple[TokenStorage, int]] = {
    "int8 scan": ("int8", 0),
    "int8 scan + rescoring": ("int8", 4),
    "int4 scan": ("int4", 0),
    "int4 scan + rescoring": ("int4", 4),
    "1-bit scan": ("1bit", 0),
    "1-bit scan + rescoring": ("1bit", 20),
}
"""What is compared: the storage, and how many candidates a result are rescored."""


def draw(rng: np.random.Generator, count: int, dim: int, centres: Matrix | None) -> Matrix:
    """Draw `count` unit vectors, around random ones of `centres` if there are any."""
    rows = rng.standard_normal((count, dim), dtype=np.float32)
    if centres is not None:
        rows = centres[rng.integers(0, len(centres), count)] + rows * np.float32(0.5 / dim**0.5)
    return normalised(rows)


def build(
    vectors: Matrix, passages: int, form: tuple[TokenStorage, int], folder: Path
) -> MultiVectorSearcher:
    """Index `(passages * v, d)` vectors without pooling them."""
    storage, rescore = form
    config = MultiVectorConfig(storage=storage, pool_factor=1, rescore=rescore)
    engine = MultiVectorEngine(config, None)
    pieces = np.split(vectors, passages)
    nowhere = np.full((len(pieces[0]), 2), -1, np.int32)
    batch = Batch(
        [Passage(str(i), "", "") for i in range(passages)],
        Encoded(None, [TokenVectors(piece, nowhere) for piece in pieces]),
    )
    folder.mkdir()
    engine.encode(batch, folder)
    return engine.open([folder], np.ones(passages, np.bool_))


def peers(vectors: Matrix, passages: int) -> dict[str, Scorer]:
    """Give the ways to score all passages in single precision; each returns `(passages,)`."""
    torch = require("torch", "this benchmark")
    flat = torch.from_numpy(vectors)
    padded = flat.view(passages, -1, flat.shape[1])
    width = padded.shape[1]

    def einsum(query: Matrix) -> NDArray[np.float32]:
        products = torch.einsum("qd,pvd->pqv", torch.from_numpy(query), padded)
        scores: NDArray[np.float32] = products.amax(-1).sum(-1).numpy()
        return scores

    def matmul(query: Matrix) -> NDArray[np.float32]:
        products = flat @ torch.from_numpy(query).T
        scores: NDArray[np.float32] = products.view(passages, width, -1).amax(1).sum(-1).numpy()
        return scores

    def tiled(query: Matrix) -> NDArray[np.float32]:
        columns = torch.from_numpy(query).T
        scores = torch.empty(passages)
        for first in range(0, passages, 128):
            tile = padded[first : first + 128]
            products = (tile.reshape(-1, tile.shape[2]) @ columns).view(len(tile), width, -1)
            scores[first : first + 128] = products.amax(1).sum(-1)
        found: NDArray[np.float32] = scores.numpy()
        return found

    ways: dict[str, Scorer] = {"fp32 einsum": einsum, "fp32 matmul": matmul, "fp32 tiled": tiled}
    if installed("maxsim_cpu"):
        os.environ["RAYON_NUM_THREADS"] = "1"  # read when its threads start
        package = import_module("maxsim_cpu")
        documents = vectors.reshape(passages, width, -1)

        def compiled(query: Matrix) -> NDArray[np.float32]:
            return np.asarray(package.maxsim_scores(query, documents), np.float32)

        ways[f"maxsim-cpu {version('maxsim-cpu')}"] = compiled
    return ways


def best_of(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the rows of the ten best scores."""
    return np.argsort(-scores, kind="stable")[:K]


def measure(ways: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Time all ways in turn, so that a busy moment falls on each of them; CPU seconds."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.process_time()
            way()
            times[name].append(time.process_time() - start)
    return times


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """Build, time and compare; returns what is printed."""
    torch = require("torch", "this benchmark")
    torch.set_num_threads(1)
    rng = np.random.default_rng(args.seed)
    centres = None if args.data == "random" else draw(rng, 2000, args.dim, None)
    vectors = draw(rng, args.passages * args.vectors, args.dim, centres)
    queries = [draw(rng, args.query, args.dim, centres) for _ in range(args.queries)]
    rivals = peers(vectors, args.passages)

    def asked(number: int) -> Queries:
        tokens = TokenVectors(queries[number], np.full((args.query, 2), -1, np.int32))
        return Queries([""], Encoded(None, [tokens]))

    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        ours = {name: build(vectors, args.passages, FORMS[name], folder / name) for name in FORMS}
        ways: dict[str, Callable[[], Any]] = {
            name: partial(way, queries[0]) for name, way in rivals.items()
        }
        for name, searcher in ours.items():
            ways[name] = partial(searcher.search, asked(0), K, None)
        measure(ways, 2)
        times = measure(ways, args.repeats)
        exact = [best_of(rivals["fp32 tiled"](query)) for query in queries]
        torch_ways = [name for name in rivals if name.startswith("fp32")]
        best = min(min(times[name]) for name in torch_ways)
        other = min((min(times[name]) for name in rivals if name not in torch_ways), default=None)
        for name, seconds in times.items():
            if name in ours:
                found = [ours[name].search(asked(i), K, None).rows[0] for i in range(len(queries))]
                held = [f for f in (folder / name).iterdir() if f.name != "tokens.npy"]
                size = sum(file.stat().st_size for file in held) / len(vectors)
            else:
                found = [best_of(rivals[name](query)) for query in queries]
                size = 4.0 * args.dim
            shared = sum(map(len, map(np.intersect1d, exact, found)))
            rows.append(
                {
                    "way": name,
                    "min_ms": 1e3 * min(seconds),
                    "median_ms": 1e3 * float(np.median(seconds)),
                    "einsum_over_this": min(times["fp32 einsum"]) / min(seconds),
                    "best_torch_over_this": best / min(seconds),
                    "maxsim_cpu_over_this": other and other / min(seconds),
                    "recall@10": shared / (K * len(queries)),
                    "bytes_a_vector": size,
                }
            )
    return {
        "data": f"{args.passages} x {args.vectors} x {args.dim} {args.data}, seed {args.seed}; "
        f"{args.queries} queries of {args.query} vectors; {args.repeats} rounds, 1 thread",
        "eight_bit_products": exact_int8(args.dim),
        "rows": rows,
    }


def show(result: dict[str, Any]) -> str:
    """Lay the result out as a Markdown table."""
    rows = [
        [
            row["way"],
            f"{row['min_ms']:.1f}",
            f"{row['median_ms']:.1f}",
            f"{row['einsum_over_this']:.2f}",
            f"{row['best_torch_over_this']:.2f}",
            "" if other is None else f"{other:.2f}",
            f"{row['recall@10']:.3f}",
            f"{row['bytes_a_vector']:.1f}",
        ]
        for row in result["rows"]
        for other in (row["maxsim_cpu_over_this"],)
    ]
    header = (
        "way",
        "ms, least",
        "ms, median",
        "einsum / this",
        "best torch / this",
        "maxsim-cpu / this",
        "recall@10",
        "bytes a vector",
    )
    eight_bit = "" if result["eight_bit_products"] else "; no exact 8-bit products on this CPU"
    return f"{result['data']}{eight_bit}\n\n{markdown_table(header, rows)}"


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m ragib.eval.bench.maxsim")
    parser.add_argument("--passages", type=int, default=10_000)
    parser.add_argument("--vectors", type=int, default=64, help="vectors a passage")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--query", type=int, default=32, help="vectors a query")
    parser.add_argument("--queries", type=int, default=50, help="queries for recall")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--data", choices=("random", "clustered"), default="random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    parser.add_argument("--page", type=Path, help="write the table into this page as well")
    args = parser.parse_args(arguments)
    result = compare(args)
    if args.json:
        print(json.dumps({**provenance(), **result}, indent=1))
    else:
        report("maxsim", show(result), result, args.page)


if __name__ == "__main__":
    run(main)
