"""From an encoder of the transformers library to an ONNX graph."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from typing import Any

from ragib.errors import InputError
from ragib.extras import require

PURPOSE = "the compressor in int8"
PACKAGES = ("onnxruntime", "onnx", "onnxscript")
"""What it needs besides torch; also what decides the result."""

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""Names of the graph's inputs, `(b, t)` int64; the last only where the encoder knows segments."""

_EXAMPLE = (2, 16)
"""Shape of what the encoder is traced with; both dimensions are left open."""


def export(encoder: Any) -> Any:  # noqa: ANN401
    """Return an encoder as an `onnx.ModelProto` in float32; its output `states` is `(b, t, h)`.

    Parameters
    ----------
    encoder
        A model of the transformers library, on the CPU and not in training.

    Raises
    ------
    InputError
        The encoder does something that has no form in ONNX.
    MissingExtraError
        A package is not installed; the message holds the pip line.
    """
    require("onnxscript", PURPOSE)
    torch = require("torch", PURPOSE)
    names = INPUTS if getattr(encoder.config, "type_vocab_size", 0) > 1 else INPUTS[:2]
    dynamic = torch.export.Dim.DYNAMIC
    example = {name: torch.zeros(_EXAMPLE, dtype=torch.int64) for name in names}
    example["attention_mask"] = torch.ones(_EXAMPLE, dtype=torch.int64)
    try:
        with _silently(), torch.inference_mode():
            program = torch.onnx.export(
                encoder,
                kwargs=example,
                input_names=list(names),
                output_names=["states"],
                dynamic_shapes={name: {0: dynamic, 1: dynamic} for name in names},
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise InputError(
            f"compressor.precision: {type(encoder).__name__} cannot be turned into ONNX, which "
            f"int8 needs: {reason}; set it to auto"
        ) from None
    return program.model_proto


@contextmanager
def _silently() -> Iterator[None]:
    """Keep what the exporter says of its own work, and of code that it fails on, to itself."""
    logs = [logging.getLogger(name) for name in ("torch.onnx", "torch.fx")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
