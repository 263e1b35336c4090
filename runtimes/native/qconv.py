"""One QuantConv2d on the native library, without an engine: for tests, benchmarks and verification.

N = batch, C = input channels, O = output channels, H, W = input height and width, OH, OW = output height and width.
"""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from edgelm.errors import UsageError
from edgelm.runtimes.native.abi import RunJobs
from edgelm.runtimes.native.graph import Graph, StepInfo
from edgelm.runtimes.native.library import load_library

__all__ = ["ATTRIBUTES", "QuantConv"]

Floats = NDArray[np.float32]
# The record in edgelm.export.ops is the definition; a device has no edgelm.export, so its names stand here once more.
ATTRIBUTES = (
    *("version", "kernel_h", "kernel_w", "stride_h", "stride_w", "dilation_h", "dilation_w"),
    *("pad_top", "pad_left", "pad_bottom", "pad_right", "in_channels", "out_channels"),
    *("weight_bits", "act_bits", "sign_zero", "pre_relu", "post_relu", "pad_value"),
)
_INT32 = range(-(1 << 31), 1 << 31)
_float_p = ctypes.POINTER(ctypes.c_float)


class _Attributes(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_int32) for name in ATTRIBUTES)


@cache
def _of_conv() -> Callable[..., int | None]:
    make = load_library().edgelm_graph_of_conv
    make.restype = ctypes.c_void_p
    make.argtypes = [
        *(ctypes.POINTER(_Attributes), ctypes.c_char_p, ctypes.c_size_t, _float_p, _float_p, _float_p, _float_p),
        *(ctypes.c_int32, ctypes.c_int32, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t),
    ]
    function: Callable[..., int | None] = make
    return function


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
        self._graphs: dict[tuple[int, bool], Graph] = {}
        if set(attributes) != set(ATTRIBUTES):
            raise UsageError(f"QuantConv2d takes the attributes {', '.join(ATTRIBUTES)}; got {sorted(attributes)}")
        for name, value in attributes.items():
            if value not in _INT32:
                raise UsageError(f"QuantConv2d: {name} is a 32-bit integer, got {value}")
        self.attributes = dict(attributes)
        self._weight = np.ascontiguousarray(weight, np.uint8)
        operands = {"in_scale": in_scale, "in_bias": in_bias, "out_scale": out_scale, "out_bias": out_bias}
        self._operands = {name: self._operand(name, values) for name, values in operands.items()}
        self._isa = isa
        self._closed = False
        self._graph(1, residual=False)

    def _operand(self, name: str, values: Floats | None) -> Floats | None:
        if values is None:
            return None
        array = np.ascontiguousarray(values, np.float32)
        expected = (self.attributes["in_channels" if name.startswith("in_") else "out_channels"],)
        if array.shape != expected:
            raise UsageError(f"QuantConv2d: {name} has the shape {expected}, got {array.shape}")
        return array

    def _graph(self, parts: int, *, residual: bool) -> Graph:
        """The graph for so many inputs; one for each number that was asked for."""
        if self._closed:
            raise UsageError("this QuantConv was closed; make a new one")
        if (parts, residual) not in self._graphs:
            error = ctypes.create_string_buffer(256)
            handle = _of_conv()(
                ctypes.byref(_Attributes(**self.attributes)),
                self._weight.ctypes.data_as(ctypes.c_char_p),
                self._weight.nbytes,
                *(_pointer(array) for array in self._operands.values()),
                parts,
                residual,
                None if self._isa is None else self._isa.encode(),
                error,
                len(error),
            )
            if not handle:
                raise UsageError(error.value.decode(errors="replace"))
            self._graphs[parts, residual] = Graph(handle)
        return self._graphs[parts, residual]

    @property
    def isa(self) -> str:
        """Instruction set of the kernel, for example "avx2"."""
        return self._step().isa

    @property
    def kind(self) -> str:
        """Kind of the kernel, for example "b1"; see docs/kernels.md."""
        return self._step().kind

    def _step(self) -> StepInfo:
        return next(step for step in self._graph(1, residual=False).steps() if step.op == "conv")

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
        if not x:
            raise UsageError("QuantConv2d expects one or more inputs of 4 dimensions, got none")
        graph = self._graph(len(x), residual=residual is not None)
        return graph([*x] if residual is None else [*x, residual], layout, run_jobs)[0]

    def close(self) -> None:
        """Free the repacked weights; later calls raise UsageError."""
        self._closed = True
        for graph in self._graphs.values():
            graph.close()
        self._graphs.clear()

    def __enter__(self) -> "QuantConv":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
