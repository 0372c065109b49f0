"""Products of one-bit codes with a query, in one loop over all of them.

Eight passages lie in the lanes of a register. A query is given as planes, the bits of its values
from the lowest up, and the bits in which a code differs from a plane are counted: the product of
+1 and -1 with a plane is the dimensions less twice that count. The loop is written as LLVM code of
no particular processor and compiled for the one at hand, when it is first needed, with the
compiler that numba brings; where the processor counts the bits of a register in one step
(AVX-512 VPOPCNTDQ), it does.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ragib.extras import installed
from ragib.indexes.base import Mask
from ragib.indexes.native import compile_loop

LANES = 8
"""Passages a block."""

FACTORS = 8
"""64-bit words at the end of a block: two factors a passage, in single precision."""

_PURPOSE = "dense search over one-bit codes"


def available() -> bool:
    """Say whether the compiler that the loop needs is installed."""
    return installed("llvmlite")


def scan(
    blocks: NDArray[np.uint64],
    planes: NDArray[np.uint64],
    scale: float,
    dim: int,
    allowed: Mask,
) -> NDArray[np.float32]:
    """Score passages.

    Parameters
    ----------
    blocks
        `(b, LANES * w + FACTORS)`, C-contiguous: `w` words of each passage, word by word, then a
        multiplier and a summand of each.
    planes
        `(w, p)` words of the query's bits, lowest plane first; a bit stands for +1 or -1.
    scale
        What half of the query's steps are worth.
    dim
        Bits of a code that count; all others are 0 in codes and planes.
    allowed
        `(b * LANES,)`; blocks without any are passed over.

    Returns
    -------
    NDArray[np.float32]
        `(b * LANES,)` multiplier * scale * product + summand, -inf where not allowed.
    """
    words, count = planes.shape
    if blocks.shape[1] != LANES * words + FACTORS or len(allowed) != LANES * len(blocks):
        raise ValueError(f"{blocks.shape} blocks, {planes.shape} planes, {len(allowed)} flags")
    flags, query = np.ascontiguousarray(allowed), np.ascontiguousarray(planes)
    scores = np.empty(len(flags), np.float32)
    _engine, loop = _compiled(count)
    loop(
        blocks.ctypes.data,
        len(blocks),
        words,
        query.ctypes.data,
        ((1 << count) - 1) * dim,
        scale,
        flags.ctypes.data,
        scores.ctypes.data,
    )
    return scores


@cache
def _compiled(planes: int) -> tuple[object, Callable[..., None]]:
    """Compile the loop; its code lives as long as the first of the two, the engine, is held."""
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    arguments = (pointer, number, number, pointer, number, ctypes.c_float, pointer, pointer)
    return compile_loop(_source(planes), "scan", arguments, _PURPOSE)


def _source(planes: int) -> str:
    """Write the loop for so many planes of the query: blocks, then words."""
    word, single = f"<{LANES} x i64>", f"<{LANES} x float>"
    lines = [
        f"declare {word} @llvm.ctpop.v{LANES}i64({word})",
        "define void @scan(ptr %blocks, i64 %n, i64 %words, ptr %query, i64 %whole, float %scale, "
        "ptr %allowed, ptr %out) {",
        "entry:",
        f"  %codes = mul i64 %words, {LANES}",
        f"  %size = add i64 %codes, {FACTORS}",
        *_splat("wholes", "i64", "%whole"),
        *_splat("scales", "float", "%scale"),
        "  %any = icmp sgt i64 %n, 0",
        "  br i1 %any, label %block, label %exit",
        "block:",
        "  %b = phi i64 [0, %entry], [%b.next, %store]",
        "  %at = phi i64 [0, %entry], [%at.next, %store]",
        f"  %lane = mul i64 %b, {LANES}",
        "  %flags.at = getelementptr i8, ptr %allowed, i64 %lane",
        f"  %flags = load <{LANES} x i8>, ptr %flags.at, align 1",
        f"  %packed = bitcast <{LANES} x i8> %flags to i64",
        "  %none = icmp eq i64 %packed, 0",
        "  br i1 %none, label %store, label %word",
        "word:",
        "  %w = phi i64 [0, %block], [%w.next, %word]",
    ]
    lines += [
        f"  %sum{p} = phi {word} [zeroinitializer, %block], [%new{p}, %word]" for p in range(planes)
    ]
    lines += [
        f"  %w.lane = mul i64 %w, {LANES}",
        "  %place = add i64 %at, %w.lane",
        "  %code.at = getelementptr i64, ptr %blocks, i64 %place",
        f"  %code = load {word}, ptr %code.at, align 8",
        f"  %w.plane = mul i64 %w, {planes}",
        "  %plane.at = getelementptr i64, ptr %query, i64 %w.plane",
    ]
    for p in range(planes):
        lines += [
            f"  %plane.at{p} = getelementptr i64, ptr %plane.at, i64 {p}",
            f"  %plane{p} = load i64, ptr %plane.at{p}, align 8",
            *_splat(f"wide{p}", "i64", f"%plane{p}"),
            f"  %apart{p} = xor {word} %code, %wide{p}",
            f"  %bits{p} = call {word} @llvm.ctpop.v{LANES}i64({word} %apart{p})",
            f"  %new{p} = add {word} %sum{p}, %bits{p}",
        ]
    lines += [
        "  %w.next = add i64 %w, 1",
        "  %w.more = icmp slt i64 %w.next, %words",
        "  br i1 %w.more, label %word, label %score",
        "score:",
        f"  %all0 = add {word} %new0, zeroinitializer",
    ]
    for p in range(1, planes):
        lines += [
            f"  %worth{p} = shl {word} %new{p}, splat (i64 {p})",
            f"  %all{p} = add {word} %all{p - 1}, %worth{p}",
        ]
    lines += [
        f"  %twice = shl {word} %all{planes - 1}, splat (i64 1)",
        f"  %product = sub {word} %wholes, %twice",
        f"  %narrow = trunc {word} %product to <{LANES} x i32>",
        f"  %real = sitofp <{LANES} x i32> %narrow to {single}",
        "  %factors = add i64 %at, %codes",
        "  %times.at = getelementptr i64, ptr %blocks, i64 %factors",
        f"  %times = load {single}, ptr %times.at, align 4",
        f"  %plus.at = getelementptr float, ptr %times.at, i64 {LANES}",
        f"  %plus = load {single}, ptr %plus.at, align 4",
        f"  %scaled = fmul {single} %real, %scales",
        f"  %multiplied = fmul {single} %scaled, %times",
        f"  %total = fadd {single} %multiplied, %plus",
        f"  %wanted = icmp ne <{LANES} x i8> %flags, zeroinitializer",
        f"  %kept = select <{LANES} x i1> %wanted, {single} %total, "
        f"{single} splat (float 0xFFF0000000000000)",
        "  br label %store",
        "store:",
        f"  %found = phi {single} [splat (float 0xFFF0000000000000), %block], [%kept, %score]",
        "  %out.at = getelementptr float, ptr %out, i64 %lane",
        f"  store {single} %found, ptr %out.at, align 4",
        "  %b.next = add i64 %b, 1",
        "  %at.next = add i64 %at, %size",
        "  %b.more = icmp slt i64 %b.next, %n",
        "  br i1 %b.more, label %block, label %exit",
        "exit:",
        "  ret void",
        "}",
    ]
    return "\n".join(lines)


def _splat(name: str, kind: str, value: str) -> list[str]:
    """Put one value into all lanes."""
    wide = f"<{LANES} x {kind}>"
    return [
        f"  %{name}.first = insertelement {wide} poison, {kind} {value}, i64 0",
        f"  %{name} = shufflevector {wide} %{name}.first, {wide} poison, "
        f"<{LANES} x i32> zeroinitializer",
    ]
