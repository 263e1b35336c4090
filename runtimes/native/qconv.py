"""One QuantConv2d on the native library, without an engine: for tests, benchmarks and verification.

N = batch, C = input channels, O = output channels, H, W = input height and width, OH, OW = output height and width.
"""

import ctypes
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from edgelm.errors import UsageError
from edgelm.runtimes.native.library import load_library

__all__ = ["ATTRIBUTES", "QuantConv", "RunJobs"]

Floats = NDArray[np.float32]
RunJobs = Callable[[Callable[[int], None], int], object]
"""run(job, total) calls job(0) .. job(total - 1), in any order and from any threads."""

# The record in edgelm.export.ops is the definition; a device has no edgelm.export, so its names stand here once more.
ATTRIBUTES = (
    *("version", "kernel_h", "kernel_w", "stride_h", "stride_w", "pad_top", "pad_left", "pad_bottom", "pad_right"),
    *("in_channels", "out_channels", "weight_bits", "act_bits", "sign_zero", "pre_relu", "post_relu"),
)
_LAYOUTS = {"NCHW": 0, "NHWC": 1}
_INT32 = range(-(1 << 31), 1 << 31)
_float_p = ctypes.POINTER(ctypes.c_float)
_Job = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_size_t)
_Run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, _Job, ctypes.c_size_t, ctypes.c_void_p)


class _Attributes(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_int32) for name in ATTRIBUTES)


class _Input(ctypes.Structure):
    _fields_ = (("data", _float_p), ("channels", ctypes.c_int32))


class _Parallel(ctypes.Structure):
    _fields_ = (("run", _Run), ("context", ctypes.c_void_p), ("threads", ctypes.c_int32))


@cache
def _library() -> ctypes.CDLL:
    library = load_library()
    int32_p = ctypes.POINTER(ctypes.c_int32)
    library.edgelm_qconv_create.restype = ctypes.c_void_p
    operands = (_float_p, _float_p, _float_p, _float_p)
    library.edgelm_qconv_create.argtypes = [
        ctypes.POINTER(_Attributes),
        ctypes.c_char_p,
        ctypes.c_size_t,
        *operands,
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_size_t,
    ]
    library.edgelm_qconv_free.restype = None
    library.edgelm_qconv_free.argtypes = [ctypes.c_void_p]
    library.edgelm_qconv_isa.restype = ctypes.c_char_p
    library.edgelm_qconv_isa.argtypes = [ctypes.c_void_p]
    library.edgelm_qconv_out_size.argtypes = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32, int32_p, int32_p]
    library.edgelm_qconv_scratch_bytes.restype = ctypes.c_size_t
    library.edgelm_qconv_scratch_bytes.argtypes = [ctypes.c_void_p, *[ctypes.c_int32] * 3]
    library.edgelm_qconv_run.argtypes = [
        ctypes.c_void_p,
        ctypes.c_int,
        *[ctypes.c_int32] * 3,
        ctypes.POINTER(_Input),
        ctypes.c_int32,
        _float_p,
        _float_p,
        ctypes.c_void_p,
        ctypes.POINTER(_Parallel),
    ]
    return library


def _pointer(array: Floats | None) -> "ctypes._Pointer[ctypes.c_float] | None":
    return None if array is None else array.ctypes.data_as(_float_p)


class QuantConv:
    """A QuantConv2d with its weights repacked for one kernel; immutable, so that many threads may call it at once.

    Args:
        attributes: every name of `ATTRIBUTES`.
        weight: (O, row bytes) uint8, see `edgelm.bits`.
        in_scale: (C,) float32 or None, together with in_bias.
        in_bias: see in_scale.
        out_scale: (O,) float32 or None for 1.
        out_bias: (O,) float32 or None for 0.
        isa: instruction set of the kernel; None takes $EDGELM_ISA or the best one that this CPU can run.

    Raises:
        UsageError: attributes, weights or isa that the library refuses, operands of the wrong length.
    """

    def __init__(
        self,
        attributes: Mapping[str, int],
        weight: NDArray[np.uint8],
        in_scale: Floats | None = None,
        in_bias: Floats | None = None,
        out_scale: Floats | None = None,
        out_bias: Floats | None = None,
        isa: str | None = None,
    ) -> None:
        self._handle: int | None = None
        if set(attributes) != set(ATTRIBUTES):
            raise UsageError(f"QuantConv2d takes the attributes {', '.join(ATTRIBUTES)}; got {sorted(attributes)}")
        for name, value in attributes.items():
            if value not in _INT32:
                raise UsageError(f"QuantConv2d: {name} is a 32-bit integer, got {value}")
        self.attributes = dict(attributes)
        packed = np.ascontiguousarray(weight, np.uint8)
        operands = {"in_scale": in_scale, "in_bias": in_bias, "out_scale": out_scale, "out_bias": out_bias}
        arrays = {name: self._operand(name, values) for name, values in operands.items()}
        error = ctypes.create_string_buffer(256)
        self._handle = _library().edgelm_qconv_create(
            ctypes.byref(_Attributes(**self.attributes)),
            packed.ctypes.data_as(ctypes.c_char_p),
            packed.nbytes,
            *(_pointer(array) for array in arrays.values()),
            None if isa is None else isa.encode(),
            error,
            len(error),
        )
        if not self._handle:
            raise UsageError(error.value.decode(errors="replace"))

    def _operand(self, name: str, values: Floats | None) -> Floats | None:
        if values is None:
            return None
        array = np.ascontiguousarray(values, np.float32)
        expected = (self.attributes["in_channels" if name.startswith("in_") else "out_channels"],)
        if array.shape != expected:
            raise UsageError(f"QuantConv2d: {name} has the shape {expected}, got {array.shape}")
        return array

    @property
    def isa(self) -> str:
        """Instruction set of the kernel, for example "avx2"."""
        return str(_library().edgelm_qconv_isa(self._open()).decode())

    def __call__(
        self,
        x: Sequence[Floats],
        residual: Floats | None = None,
        layout: str = "NCHW",
        run_jobs: RunJobs | None = None,
    ) -> Floats:
        """Convolve.

        Args:
            x: float32 arrays (N, C_i, H, W), or (N, H, W, C_i), whose C_i add up to in_channels.
            residual: like the result, or None.
            layout: "NCHW" or "NHWC", of x, residual and the result.
            run_jobs: how to run the jobs that the work is cut into; None: one after the other.

        Returns:
            (N, O, OH, OW) or (N, OH, OW, O) float32.

        Raises:
            UsageError: shapes that do not fit, an unknown layout, a closed operator.
        """
        handle, library = self._open(), _library()
        if layout not in _LAYOUTS:
            raise UsageError(f"layout is {' or '.join(_LAYOUTS)}, got {layout!r}")
        parts = [np.ascontiguousarray(part, np.float32) for part in x]
        N, H, W, C = self._input_shape([part.shape for part in parts], layout)
        OH, OW = ctypes.c_int32(), ctypes.c_int32()
        if library.edgelm_qconv_out_size(handle, H, W, ctypes.byref(OH), ctypes.byref(OW)):
            raise UsageError(f"QuantConv2d: an image of {H}x{W} px, padded, does not hold the kernel or is too large")
        channels = self.attributes["out_channels"]
        out = (channels, OH.value, OW.value) if layout == "NCHW" else (OH.value, OW.value, channels)
        if residual is not None:
            residual = np.ascontiguousarray(residual, np.float32)
            if residual.shape != (N, *out):
                raise UsageError(f"QuantConv2d: residual has the shape {(N, *out)}, got {residual.shape}")
        y = np.full((N, *out), np.nan, np.float32)
        inputs = (_Input * len(parts))(*(_Input(_pointer(p), c) for p, c in zip(parts, C, strict=True)))
        scratch = np.empty(library.edgelm_qconv_scratch_bytes(handle, H, W, 1) + 64, np.uint8)
        aligned = scratch.ctypes.data + -scratch.ctypes.data % 64
        sizes = (_LAYOUTS[layout], N, H, W, inputs, len(parts))
        parallel = None if run_jobs is None else ctypes.byref(_parallel(run_jobs))
        if library.edgelm_qconv_run(handle, *sizes, _pointer(residual), _pointer(y), aligned, parallel):
            raise UsageError(
                f"QuantConv2d expects {self.attributes['in_channels']} input channels in all, got {sum(C)}"
            )
        return y

    def _input_shape(self, shapes: list[tuple[int, ...]], layout: str) -> tuple[int, int, int, list[int]]:
        """N, H, W and the channels of each input."""
        axis = 1 if layout == "NCHW" else 3
        if not shapes or any(len(s) != 4 for s in shapes):
            raise UsageError(f"QuantConv2d expects one or more inputs of 4 dimensions, got the shapes {shapes}")
        common = {s[:axis] + s[axis + 1 :] for s in shapes}
        if len(common) != 1:
            raise UsageError(f"QuantConv2d expects inputs that differ in channels alone, got the shapes {shapes}")
        N, H, W = common.pop()
        return N, H, W, [s[axis] for s in shapes]

    def _open(self) -> int:
        if self._handle is None:
            raise UsageError("this QuantConv was closed; make a new one")
        return self._handle

    def close(self) -> None:
        """Free the repacked weights; later calls raise UsageError."""
        if self._handle is not None:
            _library().edgelm_qconv_free(self._handle)
            self._handle = None

    def __enter__(self) -> "QuantConv":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not sys.is_finalizing() and getattr(self, "_handle", None) is not None:
            self.close()


def _parallel(run_jobs: RunJobs) -> _Parallel:
    def run(_self: int, job: Callable[[int, int], None], total: int, user: int) -> None:
        run_jobs(lambda index: job(user, index), total)

    return _Parallel(_Run(run), None, 1)
