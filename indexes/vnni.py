"""MaxSim of codes in one fused loop, for processors with AVX-512 VNNI.

`torch._int_mm` writes every product out before the largest of them can be taken. Here sixteen
query vectors sit in the lanes of a register, four dimensions of a passage vector are broadcast to
all lanes, and `vpdpbusd` adds their products up; eight passage vectors are in flight, and only
their running maximum is ever stored. The loop is written as LLVM code and compiled when it is
first needed, with the compiler that numba brings.

The instruction takes unsigned by signed bytes: 128 is added to the passage's codes, which adds
the same to all products of a query vector, so the maximum stays where it is. Codes of four bits
or one are unsigned as they lie (`ragib.indexes.lowbit`): a shift and a mask bring four of them out
of the register that holds eight or thirty-two, so fewer bits take no more time, and less memory.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ragib.extras import installed, require
from ragib.indexes.native import compile_loop

LANES = 16
_ROWS = 8
"""Passage vectors a round: with two registers of query vectors that makes 16 sums in registers."""

_PURPOSE = "compiled multi-vector search"


def available(dim: int) -> bool:
    """Say whether this processor and installation can run the loop on `dim` dimensions."""
    return dim > 0 and dim % 4 == 0 and _vnni()


def best_products(
    codes: int,
    starts: NDArray[np.int64],
    counts: NDArray[np.int64],
    queries: NDArray[np.int8],
    bits: int = 8,
) -> NDArray[np.int32]:
    """Take the largest product of each passage with each query vector.

    Parameters
    ----------
    codes
        Address of the passages' codes: `(t, d)` int8, or `(t, d * bits / 8)` uint8.
    starts, counts
        `(n,)` int64 first row and number of rows of each passage; each has at least one.
    queries
        `(v, d)` int8 codes; `d` a multiple of `32 / bits`.
    bits
        8, 4 or 1.

    Returns
    -------
    NDArray[np.int32]
        `(n, v)` dot products; fewer than eight bits `u` count as `2u + 1 - 2**bits`.
    """
    total, dim = queries.shape
    ends = starts + counts
    found = np.empty((len(starts), total), np.int32)
    for first in range(0, total, 2 * LANES):
        part = queries[first : first + 2 * LANES]
        groups = 1 if len(part) <= LANES else 2
        padded = np.zeros((groups * LANES, dim), np.int8)
        padded[: len(part)] = part
        # (lane, step, 4 dimensions) -> (step, lane, 4 dimensions), as the loop reads them.
        laid = np.ascontiguousarray(padded.reshape(-1, dim // 4, 4).swapaxes(0, 1))
        best = np.empty((len(starts), groups * LANES), np.int32)
        _engine, loop = _compiled(groups, bits)
        loop(
            codes,
            starts.ctypes.data,
            ends.ctypes.data,
            len(starts),
            laid.ctypes.data,
            dim * bits // 32,
            best.ctypes.data,
        )
        whole, taken = part.sum(axis=1, dtype=np.int32), best[:, : len(part)]
        found[:, first : first + len(part)] = (
            taken - 128 * whole if bits == 8 else 2 * taken - ((1 << bits) - 1) * whole
        )
    return found


@cache
def _vnni() -> bool:
    if not installed("llvmlite"):
        return False
    binding = require("llvmlite.binding", _PURPOSE)
    features = binding.get_host_cpu_features()
    return bool(features.get("avx512vnni") and features.get("avx512f"))


@cache
def _compiled(groups: int, bits: int) -> tuple[object, Callable[..., None]]:
    """Compile the loop; its code lives as long as the first of the two, the engine, is held."""
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    arguments = (pointer, pointer, pointer, number, pointer, number, pointer)
    return compile_loop(_source(groups, bits), "best", arguments, _PURPOSE)


def _source(groups: int, bits: int) -> str:
    """Write the loop for `groups` registers of query vectors: passages, rounds of rows, steps.

    A step takes four bytes of each row, which hold `8 / bits` times four dimensions.
    """
    v = "<16 x i32>"
    fields = 8 // bits
    mask = sum(((1 << bits) - 1) << byte for byte in (0, 8, 16, 24))
    sums = [(row, g) for row in range(_ROWS) for g in range(groups)]
    lines = [
        f"declare {v} @llvm.x86.avx512.vpdpbusd.512({v}, {v}, {v})",
        f"declare {v} @llvm.smax.v16i32({v}, {v})",
        "declare i64 @llvm.smin.i64(i64, i64)",
        "define void @best(ptr %codes, ptr %starts, ptr %ends, i64 %n, ptr %query, i64 %steps, "
        "ptr %out) {",
        "entry:",
        "  %width = shl i64 %steps, 2",
        "  %any = icmp sgt i64 %n, 0",
        "  br i1 %any, label %passage, label %exit",
        "passage:",
        "  %p = phi i64 [0, %entry], [%p.next, %store]",
        "  %start.at = getelementptr i64, ptr %starts, i64 %p",
        "  %start = load i64, ptr %start.at",
        "  %end.at = getelementptr i64, ptr %ends, i64 %p",
        "  %end = load i64, ptr %end.at",
        "  %last = sub i64 %end, 1",
        "  br label %round",
        "round:",
        "  %t = phi i64 [%start, %passage], [%t.next, %reduce]",
    ]
    least = f"splat (i32 {-(2**31)})"
    lines += [
        f"  %top{g} = phi {v} [{least}, %passage], [%max{g}.{_ROWS - 1}, %reduce]"
        for g in range(groups)
    ]
    for row in range(_ROWS):
        # Past the end the last row is taken again, which leaves the maximum as it is.
        lines += [
            f"  %over{row} = add i64 %t, {row}",
            f"  %row{row} = call i64 @llvm.smin.i64(i64 %over{row}, i64 %last)",
            f"  %byte{row} = mul i64 %row{row}, %width",
            f"  %at{row} = getelementptr i8, ptr %codes, i64 %byte{row}",
        ]
    lines += ["  br label %step", "step:", "  %k = phi i64 [0, %round], [%k.next, %step]"]
    lines += [
        f"  %sum{row}.{g} = phi {v} [zeroinitializer, %round], [%new{fields - 1}.{row}.{g}, %step]"
        for row, g in sums
    ]
    lines += [
        "  %k.byte = shl i64 %k, 2",
        f"  %q.step = mul i64 %k, {fields * groups * LANES * 4}",
        "  %q.at = getelementptr i8, ptr %query, i64 %q.step",
    ]
    for row in range(_ROWS):
        lines += [
            f"  %four.at{row} = getelementptr i8, ptr %at{row}, i64 %k.byte",
            f"  %four{row} = load i32, ptr %four.at{row}, align 1",
            f"  %lane{row} = insertelement {v} poison, i32 %four{row}, i64 0",
            f"  %wide{row} = shufflevector {v} %lane{row}, {v} poison, {v} zeroinitializer",
        ]
    for f in range(fields):
        for g in range(groups):
            lines += [
                f"  %q.at{f}.{g} = getelementptr i8, ptr %q.at, i64 {(f * groups + g) * LANES * 4}",
                f"  %q{f}.{g} = load {v}, ptr %q.at{f}.{g}, align 4",
            ]
        for row in range(_ROWS):
            lines += _unsigned(v, row, f, bits, mask)
            for g in range(groups):
                before = f"%sum{row}.{g}" if f == 0 else f"%new{f - 1}.{row}.{g}"
                lines.append(
                    f"  %new{f}.{row}.{g} = call {v} @llvm.x86.avx512.vpdpbusd.512("
                    f"{v} {before}, {v} %u{f}.{row}, {v} %q{f}.{g})"
                )
    lines += [
        "  %k.next = add i64 %k, 1",
        "  %k.more = icmp slt i64 %k.next, %steps",
        "  br i1 %k.more, label %step, label %reduce",
        "reduce:",
    ]
    for row, g in sums:
        before = f"%top{g}" if row == 0 else f"%max{g}.{row - 1}"
        lines.append(
            f"  %max{g}.{row} = call {v} @llvm.smax.v16i32("
            f"{v} {before}, {v} %new{fields - 1}.{row}.{g})"
        )
    lines += [
        f"  %t.next = add i64 %t, {_ROWS}",
        "  %t.more = icmp slt i64 %t.next, %end",
        "  br i1 %t.more, label %round, label %store",
        "store:",
        f"  %o = mul i64 %p, {groups * LANES}",
        "  %out.at = getelementptr i32, ptr %out, i64 %o",
    ]
    for g in range(groups):
        lines += [
            f"  %out.at{g} = getelementptr i32, ptr %out.at, i64 {g * LANES}",
            f"  store {v} %max{g}.{_ROWS - 1}, ptr %out.at{g}, align 4",
        ]
    lines += [
        "  %p.next = add i64 %p, 1",
        "  %p.more = icmp slt i64 %p.next, %n",
        "  br i1 %p.more, label %passage, label %exit",
        "exit:",
        "  ret void",
        "}",
    ]
    return "\n".join(lines)


def _unsigned(v: str, row: int, field: int, bits: int, mask: int) -> list[str]:
    """Bring one field of a row's broadcast bytes into `%u`, as unsigned bytes."""
    if bits == 8:
        return [f"  %u0.{row} = xor {v} %wide{row}, splat (i32 {-0x7F7F7F80})"]
    return [
        f"  %s{field}.{row} = lshr {v} %wide{row}, splat (i32 {bits * field})",
        f"  %u{field}.{row} = and {v} %s{field}.{row}, splat (i32 {mask})",
    ]
