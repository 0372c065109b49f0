"""The evidence model in 8-bit integers, for processors that do without bfloat16.

ONNX Runtime computes the encoder, whose linear layers are quantised (see `quantise`); the three
heads stay as they are. Making the graph takes seconds, so that it is kept in the user's cache,
under the SHA-256 of the weights and of what else it depends on.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from ragib.compressor.cache import cached
from ragib.compressor.model import EvidenceModel
from ragib.compressor.onnx_export import INPUTS, PACKAGES, PURPOSE, export
from ragib.compressor.quantise import largest_integer, quantise
from ragib.compressor.windows import Batch
from ragib.extras import installed, require

if TYPE_CHECKING:
    import torch

_FORMAT = 1
"""Of the graphs in the cache; goes up when they are made in another way."""

_log = logging.getLogger("ragib.compressor")


def to_int8(model: EvidenceModel) -> EvidenceModel:
    """Let ONNX Runtime compute the encoder, its linear layers in 8-bit integers.

    Parameters
    ----------
    model
        A model on the CPU. Its weights are not changed.

    Returns
    -------
    EvidenceModel
        One that reads as `model` does, with as many threads as torch has now. It holds no encoder
        to train or to save.

    Raises
    ------
    InputError
        The encoder has no form in ONNX, or the cache cannot be written to.
    MissingExtraError
        A package is not installed; the message holds the pip line.
    """
    torch = require("torch", PURPOSE)
    for package in PACKAGES:
        if not installed(package):
            require(package, PURPOSE)
    encoder: Any = model.modules["encoder"]

    def make() -> bytes:
        _log.warning("making the int8 form of the compressor, once; this takes some seconds")
        graph = export(encoder.eval())
        quantise(graph, largest_integer())
        made: bytes = graph.SerializeToString()
        return made

    session = open_session(cached(f"int8-{fingerprint(encoder)}.onnx", make))
    heads = {name: model.modules[name] for name in ("tokens", "passage")}
    return replace(model, modules=torch.nn.ModuleDict(heads), encode=partial(encode, session))


def fingerprint(encoder: Any) -> str:  # noqa: ANN401
    """Return the SHA-256 of all that the quantised graph of an encoder depends on."""
    torch = require("torch", PURPOSE)
    versions = [torch.__version__, require("onnxruntime", PURPOSE).__version__]
    versions += [version(name) for name in ("transformers", "onnx", "onnxscript")]
    digest = hashlib.sha256(f"{_FORMAT} {largest_integer()} {versions}".encode())
    digest.update(encoder.config.to_json_string().encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def open_session(graph: bytes) -> Any:  # noqa: ANN401
    """Open an ONNX graph on the CPU, with as many threads as torch has."""
    torch = require("torch", PURPOSE)
    runtime = require("onnxruntime", PURPOSE)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def encode(session: Any, batch: Batch) -> torch.Tensor:  # noqa: ANN401
    """Return the last hidden states of a batch, `(b, t, h)` float32."""
    given = dict(zip(INPUTS, (batch.ids, batch.mask, batch.types), strict=True))
    [states] = session.run(["states"], {i.name: given[i.name] for i in session.get_inputs()})
    found: torch.Tensor = require("torch", PURPOSE).from_numpy(states)
    return found
