"""What the functions of the library's C ABI share: tensors, jobs for several threads, scratch. See src/edgelm.h."""

import ctypes
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["JOBS", "Parallel", "RunJobs", "Tensor", "aligned", "parallel"]

RunJobs = Callable[[Callable[[int], None], int], object]
"""run(job, total) calls job(0) .. job(total - 1), in any order and from any threads."""

JOBS = 4
"""Workers of what is run with `run_jobs`."""
_Job = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_size_t)
_Run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, _Job, ctypes.c_size_t, ctypes.c_void_p)


class Tensor(ctypes.Structure):
    """`edgelm_tensor`."""

    _fields_ = (
        ("data", ctypes.c_void_p), ("channels", ctypes.c_int32), ("height", ctypes.c_int32), ("width", ctypes.c_int32),
    )  # fmt: skip


class Parallel(ctypes.Structure):
    """`edgelm_parallel`."""

    _fields_ = (("run", _Run), ("context", ctypes.c_void_p), ("threads", ctypes.c_int32))


def parallel(run_jobs: RunJobs) -> Parallel:
    """Jobs for `JOBS` workers, run in Python."""

    def run(_self: int, job: Callable[[int, int], None], total: int, user: int) -> None:
        run_jobs(lambda index: job(user, index), total)

    return Parallel(_Run(run), None, JOBS)


def aligned(scratch: NDArray[np.uint8]) -> int:
    """Address of the first byte of a cache line; 64 bytes more than the library asked for are enough."""
    return scratch.ctypes.data + -scratch.ctypes.data % 64
