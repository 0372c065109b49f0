"""A Llama with random weights and a tokenizer of its own, and a server that can misbehave."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_openai import serving
from tiny_llama import make_tiny_llama


@pytest.fixture(scope="session")
def tiny_llama_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llama(tmp_path_factory.mktemp("tiny-llama"))


@pytest.fixture
def server():
    with serving() as fake:
        yield fake
