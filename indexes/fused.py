"""MaxSim in one fused kernel, where the package late-interaction-kernels has one that works here.

Its Triton kernel reads every code once and writes no products out: what is left is the card's
bandwidth. Eight-bit codes are widened to half precision in its registers, which holds them
exactly; queries come in half precision too, finer than the eight bits that they have elsewhere.
It is tried on a few passages first, and taken only if their scores are right.
"""

from __future__ import annotations

import logging
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from ragib.extras import installed, require
from ragib.indexes.maxsim import largest

if TYPE_CHECKING:
    from torch import Tensor

_PURPOSE = "multi-vector search on a GPU"

_log = logging.getLogger("ragib.indexes")


class Kernel(Protocol):
    """What late-interaction-kernels 0.4 calls `maxsim_varlen`."""

    def __call__(
        self,
        queries: Tensor,
        passages: Tensor,
        query_offsets: Tensor,
        passage_offsets: Tensor,
        most_query: int,
        most_passage: int,
        /,
    ) -> Tensor:
        """Score packed vectors, `(v, d)` and `(t, d)`, cut at offsets: `(q, n)` float32."""
        ...


def offsets(counts: NDArray[np.int64], device: str) -> Tensor:
    """Return where runs of `counts` lines begin and end, `(n + 1,)` int32."""
    ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    found: Tensor = require("torch", _PURPOSE).from_numpy(ends).to(device)
    return found


@cache
def fused(dim: int, device: str) -> Kernel | None:
    """Return the kernel of late-interaction-kernels, if it scores `dim` dimensions rightly here."""
    torch = require("torch", _PURPOSE)
    if not installed("late_interaction_kernels"):
        return None
    counts, lengths = np.array([1, 2, 40]), np.array([3, 33])
    codes = torch.arange(int(counts.sum()) * dim, dtype=torch.int32).view(-1, dim) * 37 % 255 - 127
    queries = torch.linspace(-1, 1, int(lengths.sum()) * dim).view(-1, dim).half()
    expected = torch.stack(
        [
            largest(codes.double() @ query.double().T, counts).sum(dim=1)
            for query in queries.split(lengths.tolist())
        ]
    )
    try:
        kernel: Kernel = import_module("late_interaction_kernels").maxsim_varlen
        found = kernel(
            queries.to(device),
            codes.to(torch.int8).to(device),
            offsets(lengths, device),
            offsets(counts, device),
            int(lengths.max()),
            int(counts.max()),
        )
        if torch.allclose(found.cpu().double(), expected, rtol=1e-3, atol=1e-2):
            return kernel
        reason = "its scores are wrong"
    except Exception as error:  # a kernel is compiled here, and much can be in the way of that
        reason = str(error)
    _log.warning("late-interaction-kernels is not used: %s", reason)
    return None
