"""Linear layers of an ONNX graph in 8-bit integers.

Dynamic quantisation (Jacob et al. 2018, arXiv:1712.05877; of BERT: Zafrir et al. 2019,
arXiv:1910.06188): weights become signed integers with a scale for every output, the inputs of a
layer unsigned ones with one scale and zero point, found from their range when they come:

    x w ~ s_x s_w (q_x - z) q_w

Sums of products are exact. All else, attention included, stays in float32, as do the word
embeddings. ONNX Runtime fuses the nodes of a layer into one.
"""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragib.compressor.onnx_export import PURPOSE
from ragib.extras import require

BITS_8, BITS_7 = 127, 63
"""Largest integers of weights."""


def quantise(model: Any, largest: int) -> None:  # noqa: ANN401
    """Quantise every product with a constant matrix, in place.

    Parameters
    ----------
    model
        An `onnx.ModelProto` in float32.
    largest
        Weights become integers from `-largest` to `largest`.
    """
    onnx = require("onnx", PURPOSE)
    graph = model.graph
    matrices = {t.name: t for t in graph.initializer if len(t.dims) == 2}
    made: dict[str, Any] = {}
    nodes = []
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in matrices:
            nodes += _layer(onnx.helper, node, made)
        else:
            nodes.append(node)
    for name in {n.input[1] for n in nodes if n.op_type == "MatMulInteger"}:
        matrix = name.removesuffix(_INTEGERS)
        integers, scales = to_integers(onnx.numpy_helper.to_array(matrices[matrix]), largest)
        for array, end in ((integers, _INTEGERS), (scales, _SCALE)):
            graph.initializer.append(onnx.numpy_helper.from_array(array, matrix + end))
    used = {name for node in nodes for name in node.input}
    _replace(graph.node, nodes)
    _replace(graph.initializer, [t for t in graph.initializer if t.name in used])
    del graph.value_info[:]


def to_integers(
    matrix: NDArray[np.float32], largest: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return the integers of a matrix `(n, m)` and the scale of each column, `(m,)`."""
    scales = np.abs(matrix).max(axis=0) / np.float32(largest)
    scales[scales == 0] = 1.0
    return np.rint(matrix / scales).astype(np.int8), scales


def largest_integer() -> int:
    """Return the largest weight with which sums of products do not overflow here.

    x86 processors without VNNI add two products of 8-bit integers in 16 bits: they get 7 bits.
    """
    torch = require("torch", PURPOSE)
    known: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    vnni = known.get("avx512_vnni", False) or known.get("avx_vnni", False)
    return BITS_7 if platform.machine().lower() in ("x86_64", "amd64") and not vnni else BITS_8


_INTEGERS, _SCALE, _ZERO = "/integers", "/scale", "/zero"


def _layer(helper: Any, node: Any, made: dict[str, Any]) -> list[Any]:  # noqa: ANN401
    """Return the nodes that stand for one product, in the form that ONNX Runtime fuses."""
    x, matrix, out = node.input[0], node.input[1], node.output[0]
    nodes = []
    if x not in made:  # query, key and value have one input
        parts = [x + _INTEGERS, x + _SCALE, x + _ZERO]
        made[x] = helper.make_node("DynamicQuantizeLinear", [x], parts)
        nodes.append(made[x])
    return [
        *nodes,
        helper.make_node(
            "MatMulInteger", [x + _INTEGERS, matrix + _INTEGERS, x + _ZERO], [f"{out}/sums"]
        ),
        helper.make_node("Cast", [f"{out}/sums"], [f"{out}/float"], to=1),
        helper.make_node("Mul", [x + _SCALE, matrix + _SCALE], [out + _SCALE]),
        helper.make_node("Mul", [f"{out}/float", out + _SCALE], [out]),
    ]


def _replace(field: Any, items: list[Any]) -> None:  # noqa: ANN401
    del field[:]
    field.extend(items)
