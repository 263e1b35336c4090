"""QuantConv2d on the native library, reached through its C ABI with ctypes; the engines load the same file themselves.

What the operator computes is defined in `edgelm.export.ops`, the C side in src/edgelm.h.
"""

from edgelm.runtimes.native.library import Kernel, kernels, library_path, library_version
from edgelm.runtimes.native.qconv import ATTRIBUTES, QuantConv, RunJobs

__all__ = ["ATTRIBUTES", "Kernel", "QuantConv", "RunJobs", "kernels", "library_path", "library_version"]
