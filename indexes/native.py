"""Loops written as LLVM code, compiled for the processor at hand by what numba brings along."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

from ragib.extras import require


def compile_loop(
    source: str, name: str, arguments: Sequence[Any], purpose: str
) -> tuple[object, Callable[..., None]]:
    """Compile a module and return its engine and one function, which returns nothing.

    Parameters
    ----------
    source
        The module, as LLVM code of no particular processor.
    name
        The function.
    arguments
        The `ctypes` of its arguments.
    purpose
        What it is for, said where llvmlite is not installed.

    Returns
    -------
    engine, function
        The code lives as long as the engine is held.

    Raises
    ------
    MissingExtraError
        llvmlite is not installed.
    """
    binding = require("llvmlite.binding", purpose)
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(),
        features=binding.get_host_cpu_features().flatten(),
        opt=3,
    )
    engine = binding.create_mcjit_compiler(binding.parse_assembly(source), machine)
    engine.finalize_object()
    kind = ctypes.CFUNCTYPE(None, *arguments)
    return engine, kind(engine.get_function_address(name))
