"""Rivals: the float or int8 form of a network on the engines that people would use instead.

All are made of one float ONNX file (N, 3, H, W) -> heatmaps. int8 forms are calibrated on random images: their speed is
that of a real calibration, their accuracy is not looked at.
"""

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelm.errors import UsageError

__all__ = ["RIVALS", "UnavailableError", "open_rival"]

Floats = NDArray[np.float32]
Run = Callable[[], Any]


class UnavailableError(Exception):
    """A rival that this machine does not have; the text says what is missing."""


def open_rival(name: str, onnx: Path, tflite: Path, x: Floats, threads: int) -> Run:
    """A function that runs the network once.

    Args:
        name: one of RIVALS.
        onnx: the float network.
        tflite: the same as .tflite.
        x: (1, 3, H, W) float32.
        threads: of the engine.

    Raises:
        UsageError: an unknown name.
        UnavailableError: what it needs is not installed.
    """
    if name not in RIVALS:
        raise UsageError(f"no rival {name!r}; known are {', '.join(RIVALS)}")
    run = RIVALS[name](tflite if name.startswith("litert") else onnx, x, threads)
    out = np.asarray(run())
    if not np.isfinite(out).all():
        raise UnavailableError("its heatmaps are not finite")
    return run


def _need(*packages: str) -> None:
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise UnavailableError(f"not installed: {', '.join(missing)} (pip install 'edgelm[bench]')")


def _ort(path: Path, x: Floats, threads: int) -> Run:
    _need("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: x})[0]


def _ort_int8(path: Path, x: Floats, threads: int) -> Run:
    _need("onnxruntime", "onnx")
    from onnxruntime import quantization as q
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(q.CalibrationDataReader):  # type: ignore[misc]  # the package has no types
        def __init__(self) -> None:
            self.left = [{"image": image} for image in _images(x, 4)]

        def get_next(self) -> dict[str, Floats] | None:
            return self.left.pop() if self.left else None

    with tempfile.TemporaryDirectory() as folder, _quiet():
        ready, made = Path(folder) / "ready.onnx", Path(folder) / "int8.onnx"
        quant_pre_process(str(path), str(ready), skip_symbolic_shape=True)
        q.quantize_static(
            str(ready),
            str(made),
            Reader(),
            quant_format=q.QuantFormat.QDQ,
            per_channel=True,
            activation_type=q.QuantType.QUInt8,
            weight_type=q.QuantType.QInt8,
        )
        return _ort(made, x, threads)


def _litert(path: Path, x: Floats, threads: int) -> Run:
    from edgelm.runtimes.tflite import import_engine

    _, engine = import_engine(path)
    interpreter = engine.Interpreter(str(path), num_threads=threads)
    interpreter.allocate_tensors()
    index, out = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    nhwc = np.ascontiguousarray(x.transpose(0, 2, 3, 1))

    def run() -> Any:
        interpreter.set_tensor(index, nhwc)
        interpreter.invoke()
        return interpreter.get_tensor(out)

    return run


def _openvino(path: Path, x: Floats, threads: int, hint: str | None) -> Run:
    _need("openvino")
    import openvino

    model = openvino.Core().read_model(str(path))
    model.reshape([1, *x.shape[1:]])
    return _compiled(openvino, model, x, threads, hint)


def _compiled(openvino: Any, model: Any, x: Floats, threads: int, hint: str | None) -> Run:
    config: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    if hint is not None:
        config["INFERENCE_PRECISION_HINT"] = hint
    request = openvino.Core().compile_model(model, "CPU", config).create_infer_request()

    def run() -> Any:
        request.infer([x])
        return request.get_output_tensor(0).data

    return run


def _openvino_int8(path: Path, x: Floats, threads: int) -> Run:
    _need("openvino", "nncf")
    with _quiet():
        import nncf
        import openvino

        model = openvino.Core().read_model(str(path))
        model.reshape([1, *x.shape[1:]])
        made = nncf.quantize(model, nncf.Dataset(_images(x, 8)), preset=nncf.QuantizationPreset.MIXED, subset_size=8)
    return _compiled(openvino, made, x, threads, None)


def _missing(why: str) -> Callable[[Path, Floats, int], Run]:
    def refuse(path: Path, x: Floats, threads: int) -> Run:
        raise UnavailableError(why)

    return refuse


def _images(x: Floats, count: int) -> list[Floats]:
    return list(np.random.default_rng(0).random((count, *x.shape), dtype=np.float32))


@contextmanager
def _quiet() -> Iterator[None]:
    """Calibration tells its progress to the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


RIVALS: dict[str, Callable[[Path, Floats, int], Run]] = {
    "ort-fp32": _ort,
    "ort-int8": _ort_int8,
    "litert-fp32": _litert,
    "litert-int8": _missing("edgelm has no converter to int8 .tflite yet"),
    "ncnn-fp32": _missing("ncnn's converter of ONNX files is no package of its own; not supported yet"),
    "openvino-fp32": lambda path, x, threads: _openvino(path, x, threads, "f32"),
    "openvino-default": lambda path, x, threads: _openvino(path, x, threads, None),
    "openvino-int8": _openvino_int8,
}
