"""What no source of ragib may contain, found in the syntax tree and not by searching text."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path for top in ("ragib", "indexes", "eval", "cli") for path in (ROOT / top).rglob("*.py")
)
"""`rglob` does not follow the links in `ragib/`, so every file is here once."""

UNSAFE_MODULES = {"pickle", "cPickle", "dill", "joblib", "cloudpickle", "shelve", "marshal"}
UNSAFE_CALLS = {"eval", "exec", "torch.load", "yaml.load", "yaml.unsafe_load", "os.system"}
UNSAFE_KEYWORDS = {"allow_pickle", "trust_remote_code", "shell"}
NETWORK_MODULES = {
    "aiohttp", "ftplib", "http", "httpx", "requests", "smtplib", "socket", "telnetlib", "urllib",
    "urllib3", "xmlrpc",
}  # fmt: skip
NETWORK_ALLOWED = {
    "ragib/generators/openai.py": {"httpx"},  # the one that asks servers
    "ragib/generators/completing.py": {"httpx"},
    "ragib/compressor/scorer_server.py": {"httpx"},
    "ragib/serve/listening.py": {"socket"},  # the one that others ask
    "ragib/serve/running.py": {"socket"},
    "eval/bench/serving.py": {"httpx"},
}
HARMLESS = {"urllib.parse", "http.HTTPStatus"}


def offences(source: str, allowed: Collection[str] = ()) -> Iterator[str]:
    """Name the banned things of one source, each with its line."""
    for node in ast.walk(ast.parse(source)):
        for what in _banned(node, allowed):
            yield f"{getattr(node, 'lineno', 0)}: {what}"


def _banned(node: ast.AST, allowed: Collection[str]) -> Iterator[str]:
    for module in _imports(node):
        top = module.partition(".")[0]
        if top in UNSAFE_MODULES:
            yield f"import of {module}"
        if top in NETWORK_MODULES and top not in allowed and module not in HARMLESS:
            yield f"network module {module}"
    match node:
        case ast.ImportFrom(level=level) if level:
            yield "relative import"
        case ast.Call(func=func, keywords=keywords):
            if ast.unparse(func) in UNSAFE_CALLS:
                yield f"call of {ast.unparse(func)}"
            for keyword in keywords:
                off = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                if keyword.arg in UNSAFE_KEYWORDS and not off:
                    yield f"{keyword.arg}={ast.unparse(keyword.value)}"
        case ast.ExceptHandler(type=None):
            yield "except without a type"
        case ast.ExceptHandler(type=ast.Name(id="Exception" | "BaseException"), body=[ast.Pass()]):
            yield "an error swallowed"
        case ast.Raise(exc=ast.Name(id="NotImplementedError")):
            yield "NotImplementedError"
        case ast.Raise(exc=ast.Call(func=ast.Name(id="NotImplementedError"))):
            yield "NotImplementedError"


def _imports(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=str(module), names=names):
            yield from (
                f"{module}.{a.name}" if f"{module}.{a.name}" in HARMLESS else module for a in names
            )
        case ast.Call(
            func=ast.Name(id="require" | "import_module"), args=[ast.Constant(value=str(name)), *_]
        ):
            yield name


def test_there_are_sources() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in SOURCES}
    assert {"ragib/config.py", "indexes/base.py", "cli/main.py", "eval/__init__.py"} <= names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_source_is_clean(path: Path) -> None:
    allowed = NETWORK_ALLOWED.get(path.relative_to(ROOT).as_posix(), ())
    assert list(offences(path.read_text(encoding="utf-8"), allowed)) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import_module('dill')",
        "torch.load('x')",
        "np.load('x', allow_pickle=True)",
        "np.load('x', allow_pickle=flag)",
        "AutoModel.from_pretrained('x', trust_remote_code=True)",
        "yaml.load(f)",
        "eval('1')",
        "exec('1')",
        "from . import a",
        "from .a import b",
        "import socket",
        "import urllib.request",
        "from urllib.request import urlopen",
        "require('httpx', 'x')",
        "subprocess.run('x', shell=True)",
        "try:\n    f()\nexcept:\n    g()",
        "try:\n    f()\nexcept Exception:\n    pass",
        "raise NotImplementedError",
        "raise NotImplementedError('x')",
    ],
)
def test_each_ban_bites(source: str) -> None:
    assert list(offences(source))


@pytest.mark.parametrize(
    "source",
    [
        "np.load('x', allow_pickle=False)",
        "yaml.safe_load(f)",
        "from urllib.parse import urlsplit",
        "import urllib.parse",
        "model.eval()",
        "from ragib.a import b",
    ],
)
def test_what_is_allowed_passes(source: str) -> None:
    assert not list(offences(source))
