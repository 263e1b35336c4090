"""Sessions of LiteRT or its predecessor tflite-runtime. The file's input is (1, H, W, 3), its output (1, h, w, K).

N = batch, K = landmarks, H, W = input height and width, h, w = heatmap height and width.
"""

from importlib import import_module
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelm.errors import EngineMissingError, ModelFileError, UsageError
from edgelm.runtimes.base import Session, check_tensor, check_threads, read_model, read_spec
from edgelm.runtimes.native import engine_library
from edgelm.runtimes.packages import package_version
from edgelm.runtimes.tflite_file import verify_tflite
from edgelm.spec import METADATA_KEY

__all__ = ["CUSTOM_OPS", "TfliteSession", "import_engine", "tflite_problem", "tflite_version"]

CUSTOM_OPS = frozenset({"edgelm.DeformConv2d", "edgelm.QuantConv2d", "edgelm.QuantGraph"})
"""What edgelm's delegate runs."""

_PACKAGES = ("ai-edge-litert", "tflite-runtime")  # the first that is installed is taken


def tflite_version() -> str | None:
    """The package that will be used and its version, or None."""
    return next(filter(None, map(package_version, _PACKAGES)), None)


class TfliteSession(Session):
    """A model file run by a TFLite interpreter; runs from several threads wait for each other."""

    engine = "tflite"

    def __init__(self, path: str, threads: int = 1) -> None:
        """Verify and load a file.

        Raises:
            UsageError: threads below 1.
            ModelFileError: the file is missing, damaged, or not one that `edgelm export` wrote.
            EngineMissingError: no TFLite engine is installed.
            EdgelmError: the file needs edgelm's native library, which is missing or cannot be loaded.
        """
        check_threads(threads)
        data = read_model(path)
        try:
            file = verify_tflite(data)
        except ModelFileError as error:
            raise ModelFileError(f"{path}: {error}") from error
        description = file.metadata.get(METADATA_KEY)
        spec = read_spec(path, None if description is None else bytes(description))
        if unknown := file.custom_ops - CUSTOM_OPS:
            raise ModelFileError(f"{path} needs the custom operators {sorted(unknown)}; upgrade edgelm")
        if len(file.inputs) != 1 or len(file.outputs) != 1:
            raise ModelFileError(
                f"{path} has {len(file.inputs)} inputs and {len(file.outputs)} outputs, expected 1 and 1"
            )
        check_tensor(path, "an input", file.inputs[0].shape, (1, spec.input.height, spec.input.width, 3))
        maps = (1, spec.heatmap_height, spec.heatmap_width, len(spec.scheme.names))
        check_tensor(path, "an output", file.outputs[0].shape, maps)
        package, engine = import_engine(path)
        library = engine_library() if file.custom_ops else None
        try:
            delegates = [] if library is None else [engine.load_delegate(library)]
            self._engine: Any = engine.Interpreter(
                model_content=data, num_threads=threads, experimental_delegates=delegates
            )
            self._engine.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise ModelFileError(f"{package} refuses {path}: {error}") from error
        self._input = self._engine.get_input_details()[0]["index"]
        self._output = self._engine.get_output_details()[0]["index"]
        self._lock = Lock()
        super().__init__(path, spec, engine_version=package, weights_bytes=file.weights_bytes, threads=threads)

    def _run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """One image at a time: to resize the interpreter costs far more than a larger batch would save."""
        maps = []
        with self._lock:
            if self._engine is None:
                raise UsageError(f"the session of {self.path} is closed; open it again")
            try:
                for i in range(len(x)):
                    self._engine.set_tensor(self._input, np.ascontiguousarray(x[i : i + 1]))
                    self._engine.invoke()
                    maps.append(self._engine.get_tensor(self._output))
            except (RuntimeError, ValueError) as error:
                raise ModelFileError(f"{self.engine_version} cannot run {self.path}: {error}") from error
        return np.concatenate(maps).transpose(0, 3, 1, 2)

    def close(self) -> None:
        """Release the engine's memory; closing twice is fine."""
        with self._lock:
            self._engine = None


def tflite_problem() -> str | None:
    """Why the package that would be used does not work here, or None."""
    package = tflite_version() or ""
    if not package.startswith("tflite-runtime"):
        return None
    numpy = package_version("numpy") or ""
    if numpy.startswith(("numpy 0.", "numpy 1.")):
        return None
    # OpenCV's later packages ask for numpy 2 themselves.
    command = 'pip install "numpy<2" "opencv-python-headless<4.12"'
    return f"{package} works with numpy 1 and {numpy} is installed; run {command}"


def import_engine(path: str) -> tuple[str, Any]:
    """The installed TFLite engine: (package and version, its module `interpreter`); `path` is for the error's text.

    Raises:
        EngineMissingError: none is installed, or the one that is does not work here.
    """
    package = tflite_version()
    if package is None:
        raise EngineMissingError(f'{path} needs a TFLite engine, none is installed; run `pip install "edgelm[tflite]"`')
    if problem := tflite_problem():
        raise EngineMissingError(f"{path} needs a TFLite engine: {problem}")
    try:
        return package, import_module(package.split()[0].replace("-", "_") + ".interpreter")
    except ImportError as error:
        raise EngineMissingError(
            f'{path} needs {package}, which cannot be loaded ({error}); run `pip install "edgelm[tflite]"` anew'
        ) from error
