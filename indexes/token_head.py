"""A trained projection of token vectors: a small matrix for the encoder it was trained on.

It takes the place of the training-free projection (`ragib.indexes.projection`), and is one file of
safetensors: `projection` `(d, dim)` float16, and in its header the model it belongs to, under one
key, for safetensors writes several keys in any order. How it is trained:
`ragib.compressor.training.token_head`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ragib.config import IndexConfig
from ragib.encoders import Encoder
from ragib.errors import InputError
from ragib.indexes.durable import sha256_of

NAME = "token-head.safetensors"
"""The file of a head in the folder that `ragib train encoder` writes."""

SHIPPED = Path(str(files("ragib"))) / "weights" / NAME
"""The head that comes with ragib, for the embedded encoder."""

_TENSOR = "projection"
_MODEL = "model"


@dataclass(frozen=True, slots=True)
class TokenHead:
    """A projection, and which model's token vectors it takes.

    `projection` is `(d, dim)` float32; `encoder` and `revision` name the model, and `sha256` is
    that of the file.
    """

    projection: NDArray[np.float32]
    encoder: str
    revision: str
    sha256: str


def write_head(projection: NDArray[np.float32], encoder: Encoder, path: Path) -> None:
    """Write a head for an encoder, in float16; the file is there when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    model = json.dumps({"encoder": encoder.name, "revision": encoder.revision})
    save_file({_TENSOR: np.ascontiguousarray(projection, np.float16)}, part, {_MODEL: model})
    part.replace(path)


def read_head(path: Path) -> TokenHead:
    """Read a head from its file, or from the folder of a training.

    Raises
    ------
    InputError
        There is no such file, or it is no head.
    """
    file = path / NAME if path.is_dir() else path
    try:
        with safe_open(file, framework="numpy") as opened:
            header, matrix = opened.metadata() or {}, opened.get_tensor(_TENSOR)
        model = json.loads(header[_MODEL])
        encoder, revision = str(model["encoder"]), str(model["revision"])
        digest = sha256_of(file)
    except OSError as error:
        raise InputError(f"{file}: no token head: {error.strerror or error}") from None
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{file}: not a token head: {error}") from None
    if matrix.ndim != 2 or matrix.dtype != np.float16 or not np.isfinite(matrix).all():
        raise InputError(f"{file}: not a token head: expected finite rows of float16")
    return TokenHead(matrix.astype(np.float32), encoder, revision, digest)


def reduces(config: IndexConfig, encoder: Encoder | None) -> bool:
    """Say whether an index projects the token vectors of its encoder."""
    if encoder is None or "multivector" not in config.kinds:
        return False
    return projectable(encoder, config.multivector.dim)


def projectable(encoder: Encoder, dim: int) -> bool:
    """Say whether an encoder has no projection of its own, and more than `dim` dimensions."""
    return not encoder.trained_projection and encoder.token_dim > dim


def head_for(config: IndexConfig, encoder: Encoder | None) -> TokenHead | None:
    """Return the trained head that an index is to use; `None` if it needs none, or fits its own.

    Raises
    ------
    InputError
        The head that `index.multivector.projection` names cannot be read, or is for another
        encoder or for other dimensions.
    """
    named, dim = config.multivector.projection, config.multivector.dim
    if named == "svd" or encoder is None or "multivector" not in config.kinds:
        return None
    if named == "auto":
        if not reduces(config, encoder) or not SHIPPED.is_file():
            return None
        head = read_head(SHIPPED)
        fits = head.revision == encoder.revision and head.projection.shape[1] == dim
        return head if fits else None
    head = read_head(Path(named).expanduser())
    if head.revision != encoder.revision:
        raise InputError(
            f"index.multivector.projection={named}: it is for {head.encoder} at revision "
            f"{head.revision}, but the encoder is {encoder.name} at {encoder.revision}; train one "
            "for that (ragib train encoder), or set it to auto"
        )
    if head.projection.shape != (encoder.token_dim, dim):
        width, found = head.projection.shape
        raise InputError(
            f"index.multivector.projection={named}: it makes {found} dimensions of {width}, but "
            f"index.multivector.dim is {dim} and the encoder has {encoder.token_dim}; set "
            f"index.multivector.dim={found}"
        )
    return head
