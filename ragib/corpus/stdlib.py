"""The documentation of the running Python's standard library as a corpus, one document a module.

Modules written in Python are parsed, never imported. Those written in C have their documentation
only in memory and are imported; a private one is the C half of a public one (`_csv` of `csv`).
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from ragib.errors import CorpusError
from ragib.types import Document

Entry = tuple[str, str]
"""A name with its signature, and its documentation."""

# Tests, tools, what is private or on its way out, and what opens a window or prints on import.
_LEFT_OUT = re.compile(
    r"_.*|tests?|idlelib|lib2to3|distutils|ensurepip|turtledemo|turtle|tkinter|encodings|pydoc_data"
    r"|antigravity|this|ntpath|xx.*|readline"
)
_C_HALF = {"os": "posix"}
_SHOWN = {"posixpath": "os.path", "genericpath": "os.path"}

_Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def documents() -> Iterator[Document]:
    """Yield the documentation of every public module that has any, in the order of their names.

    The id and the title are the module's name. The text is its docstring, then every public
    class, method and function that has one: a line with its qualified name and signature, the
    docstring under it, a blank line between two of them.

    Raises
    ------
    CorpusError
        This Python was installed without the source of its standard library.
    """
    root = Path(sysconfig.get_path("stdlib"))
    sources: dict[str, list[Path]] = {}
    for name, path in sorted(_sources(root)):
        sources.setdefault(_SHOWN.get(name, name), []).append(path)
    if not sources:
        raise CorpusError(f"{root}: holds no Python source; install the whole standard library")
    compiled = _compiled()
    public = {name for name in compiled if not _LEFT_OUT.fullmatch(name)}
    for module in sorted((sources.keys() | public) - set(_C_HALF.values())):
        entries: dict[str, Entry] = {}
        for path in sources.get(module, ()):
            _merge(entries, _parsed(path, module))
        for half in (module, _C_HALF.get(module, f"_{module}")):
            if half in compiled:
                _merge(entries, _imported(half, module))
        text = "\n\n".join(f"{head}\n{doc}" for head, doc in entries.values())
        if text:
            yield Document(id=module, title=module, text=text)


def _merge(entries: dict[str, Entry], more: Iterator[Entry]) -> None:
    for head, doc in more:
        name = head.partition("(")[0]
        if doc and name not in entries:
            entries[name] = (head, doc)


def _sources(root: Path) -> Iterator[tuple[str, Path]]:
    for path in root.rglob("*.py"):
        parts = path.relative_to(root).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        if not parts or parts[0] not in sys.stdlib_module_names:
            continue
        if not any(_LEFT_OUT.fullmatch(part) for part in parts):
            yield ".".join(parts), path


def _compiled() -> set[str]:
    names = set(sys.builtin_module_names)
    folder = sysconfig.get_config_var("DESTSHARED")
    if folder and Path(folder).is_dir():
        suffix = EXTENSION_SUFFIXES[0]
        names |= {p.name.removesuffix(suffix) for p in Path(folder).glob(f"*{suffix}")}
    return names & sys.stdlib_module_names


def _parsed(path: Path, module: str) -> Iterator[Entry]:
    tree = ast.parse(path.read_bytes())
    yield module, ast.get_docstring(tree) or ""
    yield from _definitions(tree, module)


def _definitions(scope: ast.AST, prefix: str) -> Iterator[Entry]:
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, ast.If | ast.Try):
            yield from _definitions(node, prefix)
        elif isinstance(node, _Definition) and not node.name.startswith("_"):
            name = f"{prefix}.{node.name}"
            signature = _signature(node, method=isinstance(scope, ast.ClassDef))
            yield name + signature, ast.get_docstring(node) or ""
            if isinstance(node, ast.ClassDef):
                yield from _definitions(node, name)


def _signature(node: _Definition, method: bool) -> str:
    if isinstance(node, ast.ClassDef):
        defined = (child for child in node.body if isinstance(child, ast.FunctionDef))
        init = next((child for child in defined if child.name == "__init__"), None)
        return _signature(init, method=True) if init else ""
    decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
    if "property" in decorators:
        return ""
    if method and "staticmethod" not in decorators:
        del (node.args.posonlyargs or node.args.args)[:1]
    return f"({ast.unparse(node.args)})"


def _imported(name: str, prefix: str) -> Iterator[Entry]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            module = import_module(name)
        except ImportError:
            return
    yield prefix, inspect.getdoc(module) or ""
    yield from _members(vars(module), prefix)


def _members(members: Mapping[str, object], prefix: str) -> Iterator[Entry]:
    for name, member in list(members.items()):
        if name.startswith("_") or inspect.ismodule(member) or not _documented(member):
            continue
        try:
            signature = str(inspect.signature(member))  # type: ignore[arg-type]
        except (TypeError, ValueError):
            signature = ""
        yield f"{prefix}.{name}{signature}", inspect.cleandoc(member.__doc__ or "")
        if inspect.isclass(member):
            yield from _members(vars(member), f"{prefix}.{name}")


def _documented(member: object) -> bool:
    own = inspect.isclass(member) or inspect.isroutine(member) or inspect.isdatadescriptor(member)
    return own and isinstance(member.__doc__, str)
