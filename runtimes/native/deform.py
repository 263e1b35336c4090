"""One DeformConv2d on the native library, without an engine: for tests and benchmarks.

N = batch, C = input channels, O = output channels, H, W = input height and width, OH, OW = output height and width.
"""

import ctypes
from collections.abc import Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray

from edgelm.errors import UsageError
from edgelm.runtimes.native.abi import JOBS, Parallel, RunJobs, Tensor, aligned, parallel
from edgelm.runtimes.native.library import load_library

__all__ = ["DEFORM_ATTRIBUTES", "DeformConv"]

Floats = NDArray[np.float32]
# The record in edgelm.export.deform is the definition; a device has no edgelm.export, so its names stand here too.
DEFORM_ATTRIBUTES = (
    *("version", "kernel_h", "kernel_w", "stride_h", "stride_w", "dilation_h", "dilation_w"),
    *("pad_top", "pad_left", "pad_bottom", "pad_right", "in_channels", "out_channels"),
)


class _Attributes(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_int32) for name in DEFORM_ATTRIBUTES)


@cache
def _library() -> ctypes.CDLL:
    library = load_library()
    floats, tensor, size = ctypes.c_void_p, ctypes.POINTER(Tensor), ctypes.c_size_t
    library.edgelm_deform_create.restype = ctypes.c_void_p
    library.edgelm_deform_create.argtypes = [
        *(ctypes.POINTER(_Attributes), floats, size, floats, ctypes.c_char_p, ctypes.c_char_p, size),
    ]
    library.edgelm_deform_free.restype = None
    library.edgelm_deform_free.argtypes = [ctypes.c_void_p]
    library.edgelm_deform_shape.argtypes = [
        *(ctypes.c_void_p, tensor, tensor, ctypes.c_int32, tensor, ctypes.POINTER(size), ctypes.c_char_p, size),
    ]
    library.edgelm_deform_run.argtypes = [
        *(ctypes.c_void_p, ctypes.c_int32, tensor, tensor, tensor, ctypes.c_void_p, ctypes.POINTER(Parallel)),
    ]
    return library


class DeformConv:
    """A deformable convolution with its weights repacked for one kernel.

    Args:
        attributes: every name of `DEFORM_ATTRIBUTES`.
        weight: (O, kernel_h, kernel_w, C) float32.
        bias: (O,) float32 or None for 0.
        isa: highest instruction set to take; None takes $EDGELM_ISA or the best one that this CPU can run.

    Raises:
        UsageError: attributes, weights or isa that the library refuses, a bias of the wrong length.
    """

    def __init__(
        self, attributes: Mapping[str, int], weight: Floats, bias: Floats | None = None, isa: str | None = None
    ) -> None:
        if set(attributes) != set(DEFORM_ATTRIBUTES):
            raise UsageError(
                f"DeformConv2d takes the attributes {', '.join(DEFORM_ATTRIBUTES)}; got {sorted(attributes)}"
            )
        for name, value in attributes.items():
            if not -(1 << 31) <= value < 1 << 31:
                raise UsageError(f"DeformConv2d: {name} is a 32-bit integer, got {value}")
        filters = np.ascontiguousarray(weight, np.float32)
        shift = None if bias is None else np.ascontiguousarray(bias, np.float32)
        if shift is not None and shift.shape != (attributes["out_channels"],):
            raise UsageError(f"DeformConv2d: bias has the shape ({attributes['out_channels']},), got {shift.shape}")
        error = ctypes.create_string_buffer(256)
        self._handle: int | None = _library().edgelm_deform_create(
            ctypes.byref(_Attributes(**attributes)), filters.ctypes.data, filters.size,
            None if shift is None else shift.ctypes.data, None if isa is None else isa.encode(), error, len(error),
        )  # fmt: skip
        if not self._handle:
            raise UsageError(error.value.decode(errors="replace"))

    def __call__(self, x: Floats, offset: Floats, run_jobs: RunJobs | None = None) -> Floats:
        """Convolve.

        Args:
            x: (N, H, W, C) float32.
            offset: (N, OH, OW, 2 kernel_h kernel_w) float32.
            run_jobs: how to run the jobs that the work is cut into; None: on the caller.

        Returns:
            (N, OH, OW, O) float32.

        Raises:
            UsageError: shapes that do not fit, a closed operator.
        """
        if self._handle is None:
            raise UsageError("this DeformConv was closed; make a new one")
        arrays = [np.ascontiguousarray(a, np.float32) for a in (x, offset)]
        shapes = [a.shape for a in arrays]
        if any(len(shape) != 4 or max(shape) >= 1 << 31 for shape in shapes) or shapes[0][0] != shapes[1][0]:
            raise UsageError(f"DeformConv2d: x and offset have 4 axes and the same N, got the shapes {shapes}")
        image, moves = (Tensor(a.ctypes.data, a.shape[3], a.shape[1], a.shape[2]) for a in arrays)
        y, size, error = Tensor(), ctypes.c_size_t(), ctypes.create_string_buffer(256)
        threads = 1 if run_jobs is None else JOBS
        if _library().edgelm_deform_shape(
            self._handle, image, moves, threads, y, ctypes.byref(size), error, len(error)
        ):
            raise UsageError(error.value.decode(errors="replace"))
        result = np.full((len(arrays[0]), y.height, y.width, y.channels), np.nan, np.float32)
        scratch: NDArray[np.uint8] = np.full(size.value + 64, 0xAA, np.uint8)  # rubbish, so that it would show
        y.data = result.ctypes.data
        jobs = None if run_jobs is None else ctypes.byref(parallel(run_jobs))
        code = _library().edgelm_deform_run(self._handle, len(arrays[0]), image, moves, y, aligned(scratch), jobs)
        assert code == 0, "the shapes were checked"
        return result

    def close(self) -> None:
        """Free the weights; later calls raise UsageError."""
        if self._handle is not None:
            _library().edgelm_deform_free(self._handle)
            self._handle = None

    def __enter__(self) -> "DeformConv":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
