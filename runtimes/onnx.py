"""Sessions of ONNX Runtime. The file's input is (N or 1, 3, H, W) float32, its output (N or 1, K, h, w) float32.

N = batch, K = landmarks, H, W = input height and width, h, w = heatmap height and width.
"""

import platform
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelm.errors import EngineMissingError, ModelFileError, UsageError
from edgelm.runtimes.base import Session, check_tensor, check_threads, read_model, read_spec
from edgelm.runtimes.native import engine_library
from edgelm.runtimes.onnx_file import read_onnx
from edgelm.runtimes.packages import package_version
from edgelm.spec import METADATA_KEY

__all__ = ["OnnxSession", "import_onnxruntime", "onnx_problem", "onnx_version"]

_DOMAIN = "edgelm"
_FATAL = 4  # what fails arrives as an exception; the engine's own log would say it twice


def onnx_version() -> str | None:
    """The installed package and its version, or None."""
    return package_version("onnxruntime")


def onnx_problem() -> str | None:
    """Why the installed version must not be imported here, or None."""
    if platform.machine().lower() not in ("aarch64", "arm64") or onnx_version() != "onnxruntime 1.21.0":
        return None
    return (
        "onnxruntime 1.21.0 ends with an illegal instruction on 64-bit ARM CPUs such as a Raspberry Pi 3's or 4's; "
        'take a later one: pip install "onnxruntime>=1.21.1"'
    )


def import_onnxruntime(path: str) -> Any:
    """The module `onnxruntime`; `path` is for the error's text.

    Raises:
        EngineMissingError: it is not installed, or does not work here.
    """
    if problem := onnx_problem():
        raise EngineMissingError(f"{path} needs ONNX Runtime: {problem}")
    try:
        return import_module("onnxruntime")
    except ImportError as error:
        raise EngineMissingError(
            f'{path} needs ONNX Runtime, which is not installed; run `pip install "edgelm[onnx]"`'
        ) from error


class OnnxSession(Session):
    """A model file run by ONNX Runtime on the CPU."""

    engine = "onnx"
    layout = "NCHW"

    def __init__(self, path: str, threads: int = 1) -> None:
        """Load a file.

        Raises:
            UsageError: threads below 1.
            ModelFileError: the file is missing, damaged, or not one that `edgelm export` wrote.
            EngineMissingError: ONNX Runtime is not installed, or lacks an operator of the file.
            EdgelmError: the file needs edgelm's native library, which is missing or cannot be loaded.
        """
        check_threads(threads)
        data = read_model(path)
        try:
            file = read_onnx(data)
        except ModelFileError as error:
            raise ModelFileError(f"{path}: {error}") from error
        spec = read_spec(path, file.metadata.get(METADATA_KEY))
        onnxruntime = import_onnxruntime(path)
        state = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
        self._errors = _engine_errors(state)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        library = engine_library() if _DOMAIN in file.domains else None
        try:
            if library is not None:
                options.register_custom_ops_library(library)
            self._engine: Any = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except state.NotImplemented as error:
            raise EngineMissingError(
                f"onnxruntime {onnxruntime.__version__} lacks an operator of {path} ({error}); upgrade it with "
                "`pip install --upgrade onnxruntime`, or export the model to TFLite"
            ) from error
        except self._errors as error:
            raise ModelFileError(f"ONNX Runtime refuses {path}: {error}") from error
        super().__init__(
            path,
            spec,
            engine_version=f"onnxruntime {onnxruntime.__version__}",
            weights_bytes=file.weights_bytes,
            threads=threads,
        )
        inputs, outputs = self._engine.get_inputs(), self._engine.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise ModelFileError(f"{path} has {len(inputs)} inputs and {len(outputs)} outputs, expected 1 and 1")
        check_tensor(path, "an input", tuple(inputs[0].shape), (1, 3, spec.input.height, spec.input.width))
        maps = (1, len(spec.scheme.names), spec.heatmap_height, spec.heatmap_width)
        check_tensor(path, "an output", tuple(outputs[0].shape), maps)
        self._input, self._one = inputs[0].name, inputs[0].shape[0] == 1

    def _run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        engine = self._engine
        if engine is None:
            raise UsageError(f"the session of {self.path} is closed; open it again")
        image = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        batches = np.split(image, len(image)) if self._one else [image]
        try:
            maps: NDArray[np.float32] = np.concatenate([engine.run(None, {self._input: batch})[0] for batch in batches])
        except self._errors as error:
            raise ModelFileError(f"ONNX Runtime cannot run {self.path}: {error}") from error
        return maps

    def prepared(self, x: NDArray[np.float32]) -> Callable[[], object]:
        """See `Session.prepared`; the engine's layout is NCHW."""
        return partial(self._engine.run, None, {self._input: np.ascontiguousarray(x.transpose(0, 3, 1, 2))})

    def close(self) -> None:
        """Release the engine's memory; closing twice is fine."""
        self._engine = None


def _engine_errors(state: Any) -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises: its own exceptions have no base but Exception."""
    names = ("EPFail", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented")
    return (RuntimeError, ValueError, *(getattr(state, name) for name in (*names, "RuntimeException")))
