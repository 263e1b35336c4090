"""What every inference session offers, and the checks that do not depend on the engine.

N = batch, K = landmarks, H, W = input height and width, h, w = heatmap height and width.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from os import PathLike
from types import TracebackType
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgelm.errors import ModelFileError, UsageError
from edgelm.geometry import Layout
from edgelm.spec import METADATA_KEY, ModelSpec

__all__ = ["MAX_FILE_BYTES", "Session", "check_tensor", "check_threads", "read_model", "read_spec"]

MAX_FILE_BYTES = 256 << 20
"""Larger files are refused: edgelm's are a few MB at most, and a file is read whole."""


class Session(ABC):
    """One model, loaded by one engine; safe to run from several threads.

    Attributes:
        engine: "onnx" or "tflite".
        layout: in which order the engine reads its input; an x whose memory lies so is not copied.
        engine_version: package and version that runs it, for example "onnxruntime 1.31.1".
        path: of the file.
        spec: the model's description of itself.
        weights_bytes: bytes of all weights and other constants, as the file stores them.
        threads: of the engine.
    """

    engine: ClassVar[str]
    layout: ClassVar[Layout] = "NHWC"

    def __init__(
        self, path: str | PathLike[str], spec: ModelSpec, *, engine_version: str, weights_bytes: int, threads: int
    ) -> None:
        self.path = os.fspath(path)
        self.spec = spec
        self.engine_version = engine_version
        self.weights_bytes = weights_bytes
        self.threads = threads

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Heatmaps of normalized crops.

        Args:
            x: (N, H, W, 3) float32 with any strides, channels and scale as `spec.input` says; N may be 0.

        Returns:
            (N, K, h, w) float32, C-contiguous.

        Raises:
            UsageError: x has another shape or type, or the session is closed.
            ModelFileError: the network answers with another shape than its description says.
        """
        s = self.spec
        expected = (s.input.height, s.input.width, 3)
        if x.ndim != 4 or x.shape[1:] != expected or x.dtype != np.float32:
            raise UsageError(
                f"a session runs (N, {', '.join(map(str, expected))}) float32, got {x.shape} {x.dtype}; "
                "make crops with edgelm.geometry"
            )
        maps = (len(s.scheme.names), s.heatmap_height, s.heatmap_width)
        if len(x) == 0:
            return np.empty((0, *maps), np.float32)
        y = self._run(x)
        if y.shape != (len(x), *maps) or y.dtype != np.float32:
            raise ModelFileError(
                f"{self.path} answers with {y.shape} {y.dtype}, its description says {(len(x), *maps)} float32; "
                "export the model again"
            )
        return np.ascontiguousarray(y)

    def prepared(self, x: NDArray[np.float32]) -> Callable[[], object]:
        """The engine's call alone, for timing: x (N, H, W, 3) lies ready in the engine's layout, nothing is checked."""
        return partial(self._run, np.ascontiguousarray(x))

    @abstractmethod
    def _run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run without checks, N >= 1; the result need not be contiguous."""

    @abstractmethod
    def close(self) -> None:
        """Release the engine's memory; closing twice is fine."""

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def check_threads(threads: int) -> None:
    """Raise UsageError unless `threads` is a whole number from 1 to 64."""
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= 64:
        raise UsageError(f"threads is a whole number from 1 to 64, got {threads!r}")


def read_model(path: str | PathLike[str]) -> bytes:
    """The bytes of a model file.

    Raises:
        ModelFileError: it is missing, no file, empty, too large or not readable.
    """
    if not os.path.exists(path):
        raise ModelFileError(f"there is no model file {path}; make one with `edgelm export`")
    if not os.path.isfile(path):
        raise ModelFileError(f"{path} is not a file; give the path of a .onnx or .tflite file")
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not 0 < size <= MAX_FILE_BYTES:
                raise ModelFileError(
                    f"{path} has {size} bytes, expected 1 to {MAX_FILE_BYTES}; copy or export it again"
                )
            return file.read()
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}") from error


def read_spec(path: str | PathLike[str], text: str | bytes | None) -> ModelSpec:
    """The description that a file carries; ModelFileError where it has none or a damaged one."""
    if text is None:
        raise ModelFileError(
            f"{path} has no entry {METADATA_KEY!r}; make it with `edgelm export`, not with another tool"
        )
    try:
        return ModelSpec.from_json(text)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error


def check_tensor(path: str, what: str, shape: tuple[int | str | None, ...], expected: tuple[int, ...]) -> None:
    """Compare a file's tensor with its description, sizes that are not known (text or None) and the batch apart."""
    if len(shape) != len(expected) or any(
        isinstance(given, int) and given != want for given, want in zip(shape[1:], expected[1:], strict=True)
    ):
        raise ModelFileError(
            f"{path} has {what} of shape {shape}, its description says {expected}; export the model again"
        )
