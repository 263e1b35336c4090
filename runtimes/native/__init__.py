"""Graphs and QuantConv2d on the native library, reached through its C ABI with ctypes; engines load the same file.

`edgelm.export.quant_graph` and `edgelm.export.ops` define what operators compute, src/edgelm.h is the C side.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgelm.runtimes.native.library import (
    Kernel,
    chosen_kernels,
    engine_library,
    kernel_peak,
    kernels,
    library_path,
    library_version,
    slow_kernels,
)
from edgelm.runtimes.native.memory import MemoryInfo, low_memory, memory

if TYPE_CHECKING:
    from edgelm.runtimes.native.abi import RunJobs
    from edgelm.runtimes.native.deform import DEFORM_ATTRIBUTES, DeformConv
    from edgelm.runtimes.native.graph import Graph, QuantGraph, StepInfo
    from edgelm.runtimes.native.qconv import ATTRIBUTES, QuantConv

__all__ = [
    "ATTRIBUTES",
    "DEFORM_ATTRIBUTES",
    "DeformConv",
    "Graph",
    "Kernel",
    "MemoryInfo",
    "QuantConv",
    "QuantGraph",
    "RunJobs",
    "StepInfo",
    "chosen_kernels",
    "engine_library",
    "kernel_peak",
    "kernels",
    "library_path",
    "library_version",
    "low_memory",
    "memory",
    "slow_kernels",
]

_LATE = {
    "RunJobs": "edgelm.runtimes.native.abi",
    **dict.fromkeys(("DEFORM_ATTRIBUTES", "DeformConv"), "edgelm.runtimes.native.deform"),
    **dict.fromkeys(("Graph", "QuantGraph", "StepInfo"), "edgelm.runtimes.native.graph"),
    **dict.fromkeys(("ATTRIBUTES", "QuantConv"), "edgelm.runtimes.native.qconv"),
}


def __getattr__(name: str) -> Any:
    """Operators without an engine, loaded on first use: an engine's session needs none of them."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATE[name]), name)
