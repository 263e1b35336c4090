"""A graph on the native library, without an engine: for tests, benchmarks and profiles.

N = batch, C = channels, H, W = height and width of a tensor.
"""

import ctypes
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from edgelm.errors import UsageError
from edgelm.runtimes.native.abi import JOBS, Parallel, RunJobs, Tensor, aligned, parallel
from edgelm.runtimes.native.library import load_library

__all__ = ["Graph", "QuantGraph", "RunJobs", "StepInfo"]

Floats = NDArray[np.float32]
_LAYOUTS = {"NCHW": 0, "NHWC": 1}


class _Step(ctypes.Structure):
    _fields_ = (
        ("op", ctypes.c_char_p), ("kind", ctypes.c_char_p), ("isa", ctypes.c_char_p), ("node", ctypes.c_int32),
        ("macs", ctypes.c_int64), ("weight_count", ctypes.c_int64), ("resident_bytes", ctypes.c_int64),
        ("ms", ctypes.c_double),
    )  # fmt: skip


@dataclass(frozen=True)
class StepInfo:
    """One step of a run.

    Attributes:
        op: "conv", "load" (of an input) or "move" (of a value without a convolution).
        kind: of a convolution's kernel, for example "b1"; else "".
        isa: its instruction set; else "".
        node: index in the program; -1 for a load.
        macs: multiply-accumulates for one image; 0 unless profiled.
        weight_count: how many weights.
        resident_bytes: of the repacked weights.
        ms: time for one image; 0 unless profiled.
    """

    op: str
    kind: str
    isa: str
    node: int
    macs: int
    weight_count: int
    resident_bytes: int
    ms: float


@cache
def _library() -> ctypes.CDLL:
    library = load_library()
    tensors, size = ctypes.POINTER(Tensor), ctypes.c_size_t
    library.edgelm_graph_create.restype = ctypes.c_void_p
    library.edgelm_graph_create.argtypes = [
        *(ctypes.c_void_p, size, ctypes.c_void_p, size, ctypes.c_char_p, ctypes.c_char_p, size),
    ]
    library.edgelm_graph_free.restype = None
    library.edgelm_graph_free.argtypes = [ctypes.c_void_p]
    library.edgelm_graph_input_count.argtypes = [ctypes.c_void_p]
    library.edgelm_graph_output_count.argtypes = [ctypes.c_void_p]
    library.edgelm_graph_shape.argtypes = [
        *(ctypes.c_void_p, tensors, ctypes.c_int32, tensors, ctypes.POINTER(size), ctypes.c_char_p, size),
    ]
    library.edgelm_graph_run.argtypes = [
        *(ctypes.c_void_p, ctypes.c_int, ctypes.c_int32, tensors, tensors, ctypes.c_void_p, ctypes.POINTER(Parallel)),
    ]
    library.edgelm_graph_steps.argtypes = [ctypes.c_void_p, ctypes.POINTER(_Step), ctypes.c_int32]
    run = (ctypes.c_void_p, ctypes.c_int, tensors, tensors, ctypes.c_void_p)
    library.edgelm_graph_profile.argtypes = [*run, ctypes.POINTER(_Step), ctypes.c_int32]
    library.edgelm_graph_repeat.argtypes = [*run, ctypes.c_int32, ctypes.c_int32, ctypes.POINTER(ctypes.c_double)]
    return library


class Graph:
    """A graph of the library by its handle, which it owns; immutable, so that many threads may call it at once."""

    def __init__(self, handle: int) -> None:
        self._handle: int | None = handle

    def __call__(self, x: Sequence[Floats], layout: str = "NCHW", run_jobs: RunJobs | None = None) -> list[Floats]:
        """Run.

        Args:
            x: float32 arrays (N, C, H, W) or (N, H, W, C), in the program's order.
            layout: "NCHW" or "NHWC", of x and the results.
            run_jobs: how to run the jobs that the work is cut into; None: one after the other.

        Returns:
            float32 arrays in the same layout, in the program's order.

        Raises:
            UsageError: shapes that do not fit, an unknown layout, a closed graph.
        """
        arrays, inputs, N = self._inputs(x, layout)
        outputs, results, scratch = self._outputs(inputs, N, layout, 1 if run_jobs is None else JOBS)
        jobs = None if run_jobs is None else ctypes.byref(parallel(run_jobs))
        code = _library().edgelm_graph_run(self._open(), _LAYOUTS[layout], N, inputs, outputs, aligned(scratch), jobs)
        assert code == 0, "the shapes were checked"
        del arrays
        return results

    def scratch_bytes(self, x: Sequence[Floats], layout: str = "NCHW", threads: int = 1) -> int:
        """Bytes of scratch that a run on so many threads needs."""
        _, inputs, _ = self._inputs(x, layout)
        return self._shape(inputs, threads)[1]

    def steps(self) -> list[StepInfo]:
        """What a run does, in order."""
        handle = self._open()
        steps = (_Step * _library().edgelm_graph_steps(handle, None, 0))()
        _library().edgelm_graph_steps(handle, steps, len(steps))
        return [_info(step) for step in steps]

    def profile(self, x: Sequence[Floats], layout: str = "NCHW") -> list[StepInfo]:
        """The steps with what each took for the first image on one thread.

        Raises:
            UsageError: as a call.
        """
        arrays, inputs, N = self._inputs(x, layout)
        outputs, results, scratch = self._outputs(inputs, N, layout, 1)
        steps = (_Step * _library().edgelm_graph_steps(self._open(), None, 0))()
        _library().edgelm_graph_profile(
            self._open(), _LAYOUTS[layout], inputs, outputs, aligned(scratch), steps, len(steps)
        )
        del arrays, results
        return [_info(step) for step in steps]

    def prepared(self, x: Sequence[Floats], layout: str = "NCHW") -> Callable[[], object]:
        """A call with its memory in place, for timing; it runs on one thread and returns nothing of use."""
        arrays, inputs, N = self._inputs(x, layout)
        outputs, results, scratch = self._outputs(inputs, N, layout, 1)
        keep = (arrays, results, scratch)

        def run() -> object:
            _library().edgelm_graph_run(self._open(), _LAYOUTS[layout], N, inputs, outputs, aligned(scratch), None)
            return keep

        return run

    def repeat(self, x: Sequence[Floats], step: int, rounds: int, layout: str = "NCHW") -> list[float]:
        """Run once up to a step, then that step `rounds` times in a loop of the library.

        Args:
            x: as for a call; of a batch the first image is taken.
            step: its number, as `steps` counts them.
            rounds: how often, at least 1.
            layout: "NCHW" or "NHWC".

        Returns:
            What each round took in ms, on one thread.

        Raises:
            UsageError: as a call; no such step, or no rounds.
        """
        arrays, inputs, N = self._inputs(x, layout)
        outputs, results, scratch = self._outputs(inputs, N, layout, 1)
        ms = (ctypes.c_double * max(rounds, 1))()
        code = _library().edgelm_graph_repeat(
            self._open(), _LAYOUTS[layout], inputs, outputs, aligned(scratch), step, rounds, ms
        )
        if code:
            raise UsageError(f"there are {len(self.steps())} steps and 1 round at least, got {step=} and {rounds=}")
        del arrays, results
        return list(ms)

    def _inputs(self, x: Sequence[Floats], layout: str) -> tuple[list[Floats], "ctypes.Array[Tensor]", int]:
        if layout not in _LAYOUTS:
            raise UsageError(f"layout is {' or '.join(_LAYOUTS)}, got {layout!r}")
        arrays = [np.ascontiguousarray(part, np.float32) for part in x]
        shapes = [a.shape for a in arrays]
        count = _library().edgelm_graph_input_count(self._open())
        if len(arrays) != count or any(len(s) != 4 for s in shapes) or len({s[0] for s in shapes}) != 1:
            raise UsageError(f"expected {count} inputs of 4 dimensions and the same N, got the shapes {shapes}")
        c, h, w = (1, 2, 3) if layout == "NCHW" else (3, 1, 2)
        if any(side >= 1 << 31 for shape in shapes for side in shape):
            raise UsageError(f"an input is too large, got the shapes {shapes}")
        tensors = (Tensor * count)(*(Tensor(a.ctypes.data, a.shape[c], a.shape[h], a.shape[w]) for a in arrays))
        return arrays, tensors, shapes[0][0]

    def _shape(self, inputs: "ctypes.Array[Tensor]", threads: int) -> tuple["ctypes.Array[Tensor]", int]:
        """Outputs without data, and bytes of scratch."""
        tensors = (Tensor * _library().edgelm_graph_output_count(self._open()))()
        size, error = ctypes.c_size_t(), ctypes.create_string_buffer(256)
        if _library().edgelm_graph_shape(self._open(), inputs, threads, tensors, ctypes.byref(size), error, len(error)):
            raise UsageError(error.value.decode(errors="replace"))
        return tensors, size.value

    def _outputs(
        self, inputs: "ctypes.Array[Tensor]", N: int, layout: str, threads: int
    ) -> tuple["ctypes.Array[Tensor]", list[Floats], NDArray[np.uint8]]:
        """Outputs that hold NaN and scratch that holds rubbish, so that what is not written shows."""
        tensors, size = self._shape(inputs, threads)
        results = []
        for t in tensors:
            shape = (t.channels, t.height, t.width) if layout == "NCHW" else (t.height, t.width, t.channels)
            results.append(np.full((N, *shape), np.nan, np.float32))
            t.data = results[-1].ctypes.data
        return tensors, results, np.full(size + 64, 0xAA, np.uint8)

    def _open(self) -> int:
        if self._handle is None:
            raise UsageError("this graph was closed; make a new one")
        return self._handle

    def close(self) -> None:
        """Free the repacked weights; later calls raise UsageError."""
        if self._handle is not None:
            _library().edgelm_graph_free(self._handle)
            self._handle = None

    def __enter__(self) -> "Graph":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not sys.is_finalizing() and getattr(self, "_handle", None) is not None:
            self.close()


class QuantGraph(Graph):
    """A QuantGraph operator.

    Args:
        program: int32 words, see docs/ops.md.
        data: uint8, what the program points into.
        isa: highest instruction set to take; None takes $EDGELM_ISA or the best one that this CPU can run.

    Raises:
        UsageError: a program that the library refuses, an isa that this CPU cannot run.
    """

    def __init__(self, program: NDArray[np.int32], data: NDArray[np.uint8], isa: str | None = None) -> None:
        words, packed = np.ascontiguousarray(program, np.int32), np.ascontiguousarray(data, np.uint8)
        if packed.ctypes.data % 4:
            packed = packed.copy()
        error = ctypes.create_string_buffer(256)
        handle = _library().edgelm_graph_create(
            words.ctypes.data, words.size, packed.ctypes.data, packed.size, None if isa is None else isa.encode(),
            error, len(error),
        )  # fmt: skip
        if not handle:
            raise UsageError(error.value.decode(errors="replace"))
        super().__init__(handle)


def _info(step: _Step) -> StepInfo:
    texts = (step.op.decode(), step.kind.decode(), step.isa.decode())
    return StepInfo(*texts, step.node, step.macs, step.weight_count, step.resident_bytes, step.ms)
