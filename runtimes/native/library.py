"""Finding and loading the shared library, and its kernel table. What the library computes is left to its callers."""

import ctypes
import mmap
import os
import platform
import re
import sys
import warnings
from functools import cache

from edgelm.errors import EdgelmError
from edgelm.record import record
from edgelm.runtimes.native.elf import check_elf

__all__ = [
    "Kernel",
    "chosen_kernels",
    "engine_library",
    "kernel_peak",
    "kernels",
    "library_path",
    "library_version",
    "load_library",
    "slow_kernels",
]

_NAME = {"darwin": "libedgelm.dylib", "win32": "edgelm.dll"}.get(sys.platform, "libedgelm.so")

_SLOW = {
    "scalar": "with its plain C kernels (scalar): the same results, many times slower",
    "sse": "with its SSE4.1 kernels (sse): the same results, but slower",
}


class _Row(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_char_p), ("isa", ctypes.c_char_p), ("able", ctypes.c_int32))


@record(frozen=True)
class Kernel:
    """One line of the kernel table.

    Attributes:
        kind: what it multiplies, for example "b1" for signs.
        isa: its instruction set, for example "avx2"; "scalar" is the reference.
        able: whether this CPU can run it.
    """

    kind: str
    isa: str
    able: bool


def library_path() -> str:
    """Path of the shared library: $EDGELM_LIBRARY if set, else the installed one.

    Raises:
        EdgelmError: there is no such file.
    """
    path = os.environ.get("EDGELM_LIBRARY") or os.path.join(os.path.dirname(__file__), _NAME)
    if not os.path.isfile(path) and not os.environ.get("EDGELM_LIBRARY"):
        # An editable install keeps the library outside the source tree. Imported late: it takes 20 ms.
        from importlib.resources import files

        path = str(files(__package__).joinpath(_NAME))
    if not os.path.isfile(path):
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
    check_elf(path)
    try:
        library = ctypes.CDLL(path)
        library.edgelm_version.restype = ctypes.c_char_p
        library.edgelm_kernels.argtypes = [ctypes.POINTER(ctypes.POINTER(_Row))]
        library.edgelm_kernels_peak.restype = ctypes.c_double
    except (OSError, AttributeError) as error:
        raise EdgelmError(f"{path} {_reason(str(error))}") from error
    return library


def _reason(error: str) -> str:
    """What the loader's words about a file mean, and what to do."""
    if found := re.search(r"version `GLIBC_([\d.]+)' not found", error):
        here = " ".join(platform.libc_ver()).strip() or "another C library"
        return (
            f"needs glibc {found.group(1)} and this system has {here}; install edgelm's wheel with pip, which is made "
            "for old systems, or build edgelm here"
        )
    if "page-aligned" in error or "properly aligned" in error:
        return (
            f"is linked for smaller memory pages than this kernel's {mmap.PAGESIZE} bytes; install edgelm's wheel with "
            "pip, or build it with -Wl,-z,max-page-size=65536"
        )
    if "undefined symbol" in error:
        what = error.rpartition(": ")[2]
        return f"is not the library of this edgelm ({what}); install edgelm again, or unset EDGELM_LIBRARY"
    return f"is no edgelm library for this machine ({error}); install edgelm again"


def engine_library() -> str:
    """The library's path for an engine to load, after this process could load it: engines say less about a fault.

    Warns once (RuntimeWarning) where this CPU runs none of the fast kernels.

    Raises:
        EdgelmError: as `load_library`.
    """
    path = library_path()
    load_library()
    _warn_once(slow_kernels())
    return path


@cache
def _warn_once(sentence: str | None) -> None:
    """Warn at the line that makes a Runtime, seven calls up."""
    if sentence is not None:
        warnings.warn(sentence, RuntimeWarning, stacklevel=7)


def library_version() -> str:
    """Version of the edgelm sources that the library was built from; "dev" for a build without pip."""
    return str(load_library().edgelm_version().decode())


def kernels() -> tuple[Kernel, ...]:
    """Return the kernel table; of one kind the last able line is taken."""
    first = ctypes.POINTER(_Row)()
    count = load_library().edgelm_kernels(ctypes.byref(first))
    return tuple(Kernel(row.kind.decode(), row.isa.decode(), bool(row.able)) for row in first[:count])


def chosen_kernels() -> dict[str, str]:
    """The instruction set taken for each kind of kernel; empty where EDGELM_ISA names one that is not able."""
    table = kernels()
    highest = os.environ.get("EDGELM_ISA") or None
    last = max((i for i, k in enumerate(table) if k.able and highest in (None, k.isa)), default=-1)
    return {k.kind: k.isa for k in table[: last + 1] if k.able}


def slow_kernels() -> str | None:
    """A sentence where this CPU runs none of the fast kernels; None where it does, or EDGELM_ISA asked for others."""
    best = [kernel.isa for kernel in kernels() if kernel.able][-1]
    if os.environ.get("EDGELM_ISA") or best not in _SLOW:
        return None
    x86 = platform.machine().lower() in ("x86_64", "amd64", "i686")
    lacks, who = ("AVX2", "") if x86 else ("NEON", ", which every Raspberry Pi from model 2 on has")
    return f"this CPU lacks {lacks}, so edgelm computes {_SLOW[best]}; for speed take one with {lacks}{who}"


def kernel_peak(kernel: Kernel) -> float | None:
    """Measure what the arithmetic of a kernel's inner loop reaches on this core's registers, in GMAC/s.

    Takes about 20 ms; None where the library has no such loop.
    """
    return float(load_library().edgelm_kernels_peak(kernels().index(kernel))) / 1e9 or None
