"""The real engine on a tiny Llama, and an index to ask it about.

The folder is not called `vllm`: with `tests` on the path, `import vllm` would find it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_llama import make_tiny_llama

from ragib.config import IndexConfig
from ragib.indexes.index import Index
from ragib.types import Document

ENGINE = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
}
WINDOW = 4096
TEXTS = {
    "bridge": "The old bridge was built by the first king. It crosses the river at night.",
    "tower": "The new tower stands in Paris. A red light burns on it all year.",
    "poem": "The author of the poem was a queen. She wrote about war and peace.",
    "secret": "The queen was in the tower. Only the king knew where.",
}


@pytest.fixture(scope="session", autouse=True)
def engine_environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENGINE.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llama(tmp_path_factory.mktemp("tiny-llama"), WINDOW)


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory, tiny_encoder_dir: Path) -> Iterator[Index]:
    documents = [
        Document(id, text, title=id.title(), access=("staff",) if id == "secret" else ("public",))
        for id, text in TEXTS.items()
    ]
    config = IndexConfig.model_validate(
        {"encoder": {"model": str(tiny_encoder_dir)}, "multivector": {"dim": 32}}
    )
    with Index.build(documents, tmp_path_factory.mktemp("index") / "idx", config) as built:
        yield built


@pytest.fixture(scope="session")
def server(llama: Path, engine_environment: None, tmp_path_factory) -> Iterator[str]:
    """Start vLLM's own OpenAI-compatible server on loopback and return its base URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(llama), "--served-model-name", "tiny", "--enforce-eager"]
    command += ["--dtype", "float32", "--enable-prompt-tokens-details"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--max-model-len", str(WINDOW)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=os.environ | ENGINE)
    try:
        _await(process, port, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(process: subprocess.Popen, port: int, log: Path) -> None:
    import httpx

    deadline = time.monotonic() + 270
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.25)
    raise RuntimeError(f"the server did not start:\n{log.read_text(errors='replace')[-5000:]}")
