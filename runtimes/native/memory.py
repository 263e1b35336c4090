"""What the native library takes in memory, and the wish that it be little."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

from edgelm.record import record
from edgelm.runtimes.native.library import load_library

__all__ = ["MemoryInfo", "low_memory", "memory"]


class _Memory(ctypes.Structure):
    _fields_ = (
        ("weight_count", ctypes.c_int64), ("resident_bytes", ctypes.c_int64), ("scratch_bytes", ctypes.c_int64),
    )  # fmt: skip


@record(frozen=True)
class MemoryInfo:
    """What all graphs in this process take, those of the engines' sessions too.

    Attributes:
        weight_count: weights of the graphs that live.
        resident_bytes: of them, repacked for the kernels.
        scratch_bytes: the most that a run was given so far.
    """

    weight_count: int
    resident_bytes: int
    scratch_bytes: int


def memory() -> MemoryInfo:
    """What the library has taken in this process."""
    info = _Memory()
    load_library().edgelm_graph_memory(ctypes.byref(info))
    return MemoryInfo(info.weight_count, info.resident_bytes, info.scratch_bytes)


@contextmanager
def low_memory(on: bool) -> Iterator[None]:
    """Graphs and sessions that this thread makes meanwhile keep low-bit weights in the smallest form, if `on`."""
    if on:
        load_library().edgelm_graph_low_memory(1)
    try:
        yield
    finally:
        if on:
            load_library().edgelm_graph_low_memory(-1)
