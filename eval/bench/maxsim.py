"""MaxSim over 10,000 passages: our search against single-precision einsum, one thread.

    python -m ragib.eval.bench.maxsim [--data clustered] [--json] [--page docs/benchmarks.md]

Unit vectors drawn at random are the hardest case for recall, since the best passages hardly stand
out; `--data clustered` draws them around common centres, as token vectors of a language do. The
peer is written in torch in three ways, on the vectors as they are. Times are the thread's own
CPU time, the least of several rounds in which all ways take turns, so that other work on the
machine favours none of them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ragib.config import MultiVectorConfig
from ragib.encoders import Encoded, TokenVectors
from ragib.eval.bench.common import markdown_table, provenance, report, run
from ragib.extras import require
from ragib.indexes.base import Batch, Queries
from ragib.indexes.maxsim import exact_int8
from ragib.indexes.multivector import MultiVectorEngine
from ragib.indexes.multivector_search import MultiVectorSearcher
from ragib.indexes.pooling import normalised
from ragib.types import Passage

if TYPE_CHECKING:
    from torch import Tensor

Matrix = NDArray[np.float32]
K = 10


def draw(rng: np.random.Generator, count: int, dim: int, centres: Matrix | None) -> Matrix:
    """Draw `count` unit vectors, around random ones of `centres` if there are any."""
    rows = rng.standard_normal((count, dim), dtype=np.float32)
    if centres is not None:
        rows = centres[rng.integers(0, len(centres), count)] + rows * np.float32(0.5 / dim**0.5)
    return normalised(rows)


def build(vectors: Matrix, passages: int, rescore: int, folder: Path) -> MultiVectorSearcher:
    """Index `(passages * v, d)` vectors without pooling them."""
    engine = MultiVectorEngine(MultiVectorConfig(pool_factor=1, rescore=rescore), None)
    pieces = np.split(vectors, passages)
    nowhere = np.full((len(pieces[0]), 2), -1, np.int32)
    batch = Batch(
        [Passage(str(i), "", "") for i in range(passages)],
        Encoded(None, [TokenVectors(piece, nowhere) for piece in pieces]),
    )
    folder.mkdir()
    engine.encode(batch, folder)
    return engine.open([folder], np.ones(passages, np.bool_))


def peers(vectors: Matrix, passages: int) -> dict[str, Callable[[Matrix], Tensor]]:
    """Give the ways to score all passages in single precision; each returns `(passages,)`."""
    torch = require("torch", "this benchmark")
    flat = torch.from_numpy(vectors)
    padded = flat.view(passages, -1, flat.shape[1])
    width = padded.shape[1]

    def einsum(query: Matrix) -> Tensor:
        products = torch.einsum("qd,pvd->pqv", torch.from_numpy(query), padded)
        scores: Tensor = products.amax(-1).sum(-1)
        return scores

    def matmul(query: Matrix) -> Tensor:
        products = flat @ torch.from_numpy(query).T
        scores: Tensor = products.view(passages, width, -1).amax(1).sum(-1)
        return scores

    def tiled(query: Matrix) -> Tensor:
        columns = torch.from_numpy(query).T
        scores: Tensor = torch.empty(passages)
        for first in range(0, passages, 128):
            tile = padded[first : first + 128]
            products = (tile.reshape(-1, tile.shape[2]) @ columns).view(len(tile), width, -1)
            scores[first : first + 128] = products.amax(1).sum(-1)
        return scores

    return {"fp32 einsum": einsum, "fp32 matmul": matmul, "fp32 tiled": tiled}


def measure(ways: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Time all ways in turn, so that a busy moment falls on each of them; CPU seconds."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.thread_time()
            way()
            times[name].append(time.thread_time() - start)
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
        ours = {
            "int8 scan": build(vectors, args.passages, 0, folder / "scan"),
            "int8 scan + rescoring": build(vectors, args.passages, 4, folder / "rescored"),
        }
        ways: dict[str, Callable[[], Any]] = {
            name: partial(way, queries[0]) for name, way in rivals.items()
        }
        for name, searcher in ours.items():
            ways[name] = partial(searcher.search, asked(0), K, None)
        measure(ways, 2)
        times = measure(ways, args.repeats)
        exact = [set(rivals["fp32 tiled"](q).topk(K).indices.tolist()) for q in queries]
        best = min(min(times[name]) for name in rivals)
        for name, seconds in times.items():
            recall, size = 1.0, 4.0 * args.dim
            if name in ours:
                found = [ours[name].search(asked(i), K, None).rows[0] for i in range(len(queries))]
                recall = sum(len(exact[i] & set(row.tolist())) for i, row in enumerate(found)) / (
                    K * len(found)
                )
                part = folder / ("scan" if name == "int8 scan" else "rescored")
                held = sum(f.stat().st_size for f in part.iterdir() if f.name != "tokens.npy")
                size = held / len(vectors)
            rows.append(
                {
                    "way": name,
                    "min_ms": 1e3 * min(seconds),
                    "median_ms": 1e3 * float(np.median(seconds)),
                    "einsum_over_this": min(times["fp32 einsum"]) / min(seconds),
                    "best_peer_over_this": best / min(seconds),
                    "recall@10": recall,
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
            f"{row['best_peer_over_this']:.2f}",
            f"{row['recall@10']:.3f}",
            f"{row['bytes_a_vector']:.1f}",
        ]
        for row in result["rows"]
    ]
    header = (
        "way",
        "ms, least",
        "ms, median",
        "einsum / this",
        "best peer / this",
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
