"""An evidence model that remembers what it has read.

The pipelines of a grid find much the same passages for a question. Read by one of them, a pair of
question and passage need not be read again for the others, in whatever company it comes; nor by
the reader, if it has the same weights as the compressor.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ragib.compressor.base import Compressor
from ragib.compressor.calibration import Calibration
from ragib.compressor.ib import IBCompressor
from ragib.compressor.model import EvidenceModel, Outputs
from ragib.compressor.windows import Batch
from ragib.extras import require
from ragib.generators.base import Generator
from ragib.generators.reader import Reader

if TYPE_CHECKING:
    import torch

MOST = 120_000
"""Sequences that are remembered, up to 3 KB each; then the older half is forgotten."""

Read = tuple[float, NDArray[np.float32]]
"""Relevance, and the other logits `(3, t)`: keep, start, end."""

Memory = dict[bytes, dict[bytes, Read]]
"""What was read, by the weights that read it and the sequence itself."""


@dataclass(frozen=True)
class RememberingModel(EvidenceModel):
    """An evidence model that reads each sequence once."""

    known: dict[bytes, Read] = field(default_factory=dict, repr=False, compare=False)
    """What was read, by the sequence itself."""

    def forward(self, batch: Batch, gate: torch.Tensor | None = None) -> Outputs:
        """Read a batch, or what is new of it; with a gate, as in training, nothing is kept."""
        if gate is not None:
            return super().forward(batch, gate)
        lengths = batch.mask.sum(axis=1)
        keys = [_key(batch, row, int(length)) for row, length in enumerate(lengths)]
        new = [row for row, key in enumerate(keys) if key not in self.known]
        rows = {key: self.known[key] for key in keys if key in self.known}
        if new:
            width = int(lengths[new].max())
            part = Batch(*(getattr(batch, f.name)[new][:, :width] for f in fields(Batch)))
            out = super().forward(part)
            relevance = out.relevance.float().cpu().numpy()
            logits = np.stack([x.float().cpu().numpy() for x in (out.keep, out.start, out.end)], 1)
            for i, row in enumerate(new):
                inside = logits[i, :, : int(lengths[row])].copy()
                rows[keys[row]] = (float(relevance[i]), inside)
            self.known.update(rows)
            self._forget()
        return _outputs([rows[key] for key in keys], batch.ids.shape[1])

    def _forget(self) -> None:
        if len(self.known) > MOST:
            for key in list(self.known)[: MOST // 2]:
                del self.known[key]


def remember(compressor: Compressor, memory: Memory) -> Compressor:
    """Return a compressor whose evidence model remembers, if it has one."""
    if isinstance(compressor, IBCompressor):
        return replace(compressor, model=_remembering(compressor.model, memory))
    return compressor


def remembering_reader(generator: Generator, memory: Memory) -> Generator:
    """Return a reader with the same weights that remembers; of other generators, itself."""
    if not isinstance(generator, Reader):
        return generator

    def source() -> tuple[EvidenceModel, Calibration]:
        model, calibration = generator.loaded
        return _remembering(model, memory), calibration

    return Reader(source)


def _remembering(model: EvidenceModel, memory: Memory) -> RememberingModel:
    known = memory.setdefault(_weights(model), {})
    return RememberingModel(
        model.modules, model.tokenizer, model.special, model.settings, model.encode, known
    )


def _weights(model: EvidenceModel) -> bytes:
    # An encoder that is computed elsewhere, in int8, is not among the modules: hence the first.
    digest = hashlib.sha256(b"modules" if model.encode is None else b"elsewhere")
    for name, tensor in sorted(model.modules.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.digest()


def _key(batch: Batch, row: int, length: int) -> bytes:
    parts = (batch.ids, batch.types, batch.passage)
    return b"".join(part[row, :length].tobytes() for part in parts)


def _outputs(rows: list[Read], width: int) -> Outputs:
    torch = require("torch", "the trained compressor")
    logits = np.full((len(rows), 3, width), float("-inf"), np.float32)
    logits[:, 0] = 0.0
    for i, (_, inside) in enumerate(rows):
        logits[i, :, : inside.shape[1]] = inside
    keep, start, end = (torch.from_numpy(logits[:, i].copy()) for i in range(3))
    return Outputs(torch.tensor([row[0] for row in rows]), keep, start, end)
