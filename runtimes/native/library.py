"""Finding and loading the shared library, and its kernel table. What the library computes is left to its callers."""

import ctypes
import os
import sys
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from edgelm.errors import EdgelmError

__all__ = ["Kernel", "kernel_peak", "kernels", "library_path", "library_version", "load_library"]

_NAME = {"darwin": "libedgelm.dylib", "win32": "edgelm.dll"}.get(sys.platform, "libedgelm.so")


class _Row(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_char_p), ("isa", ctypes.c_char_p), ("able", ctypes.c_int32))


@dataclass(frozen=True)
class Kernel:
    """One line of the kernel table.

    Attributes:
        kind: the activations it takes: "f32", "i8" or "b1".
        isa: its instruction set, for example "avx2"; "scalar" is the reference.
        able: whether this CPU can run it.
    """

    kind: str
    isa: str
    able: bool


def library_path() -> Path:
    """Path of the shared library: $EDGELM_LIBRARY if set, else the installed one.

    Raises:
        EdgelmError: there is no such file.
    """
    # importlib.resources, not __file__: an editable install keeps the library outside the source tree.
    path = Path(os.environ.get("EDGELM_LIBRARY") or str(files(__package__).joinpath(_NAME)))
    if not path.is_file():
        raise EdgelmError(
            f"edgelm's native library is missing at {path}; install edgelm with pip, which builds it, "
            "or point EDGELM_LIBRARY at a built one"
        )
    return path


@cache
def load_library() -> ctypes.CDLL:
    """Return the loaded library; EDGELM_LIBRARY is read at the first call.

    Raises:
        EdgelmError: the file is missing, or no library for this machine.
    """
    path = library_path()
    try:
        library = ctypes.CDLL(str(path))
        library.edgelm_version.restype = ctypes.c_char_p
        library.edgelm_kernels.argtypes = [ctypes.POINTER(ctypes.POINTER(_Row))]
        library.edgelm_kernels_peak.restype = ctypes.c_double
    except (OSError, AttributeError) as error:
        raise EdgelmError(f"{path} is no edgelm library for this machine ({error}); reinstall edgelm") from error
    return library


def library_version() -> str:
    """Version of the edgelm sources that the library was built from; "dev" for a build without pip."""
    return str(load_library().edgelm_version().decode())


def kernels() -> tuple[Kernel, ...]:
    """Return the kernel table; of one kind the last able line is taken."""
    first = ctypes.POINTER(_Row)()
    count = load_library().edgelm_kernels(ctypes.byref(first))
    return tuple(Kernel(row.kind.decode(), row.isa.decode(), bool(row.able)) for row in first[:count])


def kernel_peak(kernel: Kernel) -> float | None:
    """Measure what the arithmetic of a kernel's inner loop reaches on this core's registers, in GMAC/s.

    Takes about 20 ms; None where the library has no such loop.
    """
    return float(load_library().edgelm_kernels_peak(kernels().index(kernel))) / 1e9 or None
