"""Graphs and QuantConv2d on the native library, reached through its C ABI with ctypes; the engines load the same file.

What the operators compute is defined in `edgelm.export.quant_graph` and `edgelm.export.ops`, the C side in src/edgelm.h.
"""

from edgelm.runtimes.native.graph import Graph, QuantGraph, RunJobs, StepInfo
from edgelm.runtimes.native.library import Kernel, kernels, library_path, library_version
from edgelm.runtimes.native.qconv import ATTRIBUTES, QuantConv

__all__ = [
    *("ATTRIBUTES", "Graph", "Kernel", "QuantConv", "QuantGraph", "RunJobs", "StepInfo"),
    *("kernels", "library_path", "library_version"),
]
