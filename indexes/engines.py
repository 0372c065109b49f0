"""From a configuration to the engines that do the work."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ragib.config import IndexConfig, Kind
from ragib.encoders import Encoder, load_encoder
from ragib.errors import IndexDirError
from ragib.indexes.base import Engine
from ragib.indexes.manifest import EncoderRecord

Projection = NDArray[np.float32]
"""`(d, dim)` float32, from the encoder's token vectors to those of the index."""


def make_engine(kind: Kind, config: IndexConfig, projection: Projection | None) -> Engine:
    """Return the engine for one kind of index; the others are not even imported."""
    match kind:
        case "dense":
            from ragib.indexes.dense import DenseEngine

            return DenseEngine(config.dense)
        case "multivector":
            from ragib.indexes.multivector import MultiVectorEngine

            return MultiVectorEngine(config.multivector, projection)
        case "sparse":
            from ragib.indexes.sparse import SparseEngine

            return SparseEngine(config.sparse)


def encoder_for(
    config: IndexConfig, given: Encoder | None, recorded: EncoderRecord | None = None
) -> Encoder | None:
    """Return the encoder an index needs: `given`, or the one its configuration names.

    Parameters
    ----------
    config
        An index of sparse kind alone needs no encoder.
    given
        A ready encoder to use in place of loading one.
    recorded
        What the index was built with, if it exists already.

    Raises
    ------
    IndexDirError
        The encoder is not the one the index was built with.
    """
    if not uses_encoder(config.kinds):
        return None
    encoder = given if given is not None else load_encoder(config.encoder)
    if recorded is not None and encoder.revision != recorded.revision:
        raise IndexDirError(
            f"the index was built with encoder {recorded.name} at revision {recorded.revision}, "
            f"but this is {encoder.name} at {encoder.revision}; use that one, or build again"
        )
    return encoder


def uses_encoder(kinds: Iterable[Kind]) -> bool:
    """Say whether any of these kinds indexes what an encoder makes."""
    return any(kind != "sparse" for kind in kinds)
