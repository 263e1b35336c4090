"""Rivals: the float or int8 form of a network on the engines that people would use instead.

All are made of one float network (N, C, H, W) -> (N, O, OH, OW), and none is timed before its output was looked at:
float32 rivals give what ONNX Runtime gives but for rounding, the others something that is clearly the same network.
Inputs are in place before the clock starts, as far as an engine keeps them; an int8 network of LiteRT takes int8.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelm.bench.convert import UnavailableError, images, int8_onnx, int8_tflite, ncnn_files, need, quiet
from edgelm.errors import UsageError

__all__ = [
    "LEAST_CORRELATION",
    "MOST_DIFFERENCE",
    "RIVALS",
    "Rival",
    "UnavailableError",
    "compare",
    "open_rival",
    "reference",
]

Floats = NDArray[np.float32]

MOST_DIFFERENCE = 1e-3
"""Between a float32 rival's outputs and ONNX Runtime's, as a share of the largest output."""

LEAST_CORRELATION = 0.8
"""Of an int8 or half-precision rival's outputs with ONNX Runtime's float32 ones."""


@dataclass(frozen=True)
class Rival:
    """A network ready to run.

    Attributes:
        run: runs it once and returns what the engine gives.
        floats: makes (N, O, OH, OW) float32 of that; not part of the time.
        correlation: of its outputs with the reference; 1 where it is the reference.
    """

    run: Callable[[], Any]
    floats: Callable[[Any], Floats]
    correlation: float = 1.0


@dataclass(frozen=True)
class _Kind:
    """How a rival is opened, from .onnx or .tflite, and whether it computes in float32."""

    open: Callable[[Path, Floats, int], Rival]
    exact: bool
    tflite: bool = False


def reference(onnx: Path, x: Floats) -> Floats:
    """What the float network gives for `x` on ONNX Runtime.

    Raises:
        UnavailableError: onnxruntime is not installed.
    """
    rival = _ort(onnx, x, 1)
    return rival.floats(rival.run())


def open_rival(name: str, onnx: Path, tflite: Path, x: Floats, threads: int, expected: Floats) -> Rival:
    """Make a rival and compare its output.

    Args:
        name: one of RIVALS.
        onnx: the float network.
        tflite: the same as .tflite.
        x: (1, C, H, W) float32.
        threads: of the engine.
        expected: (1, O, OH, OW) float32, the `reference`.

    Raises:
        UsageError: an unknown name.
        UnavailableError: what it needs is not installed, or it computes something else.
    """
    if name not in RIVALS:
        raise UsageError(f"no rival {name!r}; known are {', '.join(RIVALS)}")
    kind = RIVALS[name]
    rival = kind.open(tflite if kind.tflite else onnx, x, threads)
    rival.run()
    # The second run, too, finds its input in place, which engines could have overwritten.
    correlation = compare(rival.floats(rival.run()), expected, exact=kind.exact)
    return Rival(rival.run, rival.floats, correlation)


def compare(got: Floats, expected: Floats, *, exact: bool) -> float:
    """The correlation of two outputs of one shape.

    Raises:
        UnavailableError: they are not of one network: another shape, not finite, or too far from each other.
    """
    if got.shape != expected.shape:
        raise UnavailableError(f"its output is {got.shape}, not of the shape {expected.shape}")
    if not np.isfinite(got).all():
        raise UnavailableError("its output is not finite")
    difference = float(np.abs(got - expected).max()) / max(float(np.abs(expected).max()), 1e-30)
    constant = got.std() == 0 or expected.std() == 0
    correlation = float(difference == 0) if constant else float(np.corrcoef(got.ravel(), expected.ravel())[0, 1])
    if exact and difference > MOST_DIFFERENCE:
        raise UnavailableError(f"its output differs from ONNX Runtime's by {difference:.2g} of the largest value")
    if correlation < LEAST_CORRELATION:
        raise UnavailableError(f"its output is hardly that of the float network: correlation {correlation:.2f}")
    return correlation


def _ort(path: Path, x: Floats, threads: int) -> Rival:
    need("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return Rival(lambda: session.run(None, {name: x})[0], _as_given)


def _ort_int8(path: Path, x: Floats, threads: int) -> Rival:
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "int8.onnx"
        int8_onnx(path, x.shape, made)
        return _ort(made, x, threads)


def _litert(path: Path, x: Floats, threads: int) -> Rival:
    from edgelm.runtimes.tflite import import_engine

    _, engine = import_engine(str(path))
    interpreter = engine.Interpreter(str(path), num_threads=threads)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    nhwc = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    if source["dtype"] == np.int8:
        scale, zero = source["quantization"]
        nhwc = np.clip(np.rint(nhwc / scale) + zero, -128, 127).astype(np.int8)
    interpreter.set_tensor(source["index"], nhwc)
    out = interpreter.tensor(target["index"])  # what it gives is a view, as long as shapes stay
    out()[...] = np.nan if target["dtype"] == np.float32 else -128

    def run() -> Any:
        interpreter.invoke()
        return out

    def floats(view: Any) -> Floats:
        values = view()
        if target["dtype"] == np.int8:
            scale, zero = target["quantization"]
            values = (values.astype(np.float32) - zero) * np.float32(scale)
        return np.array(values.transpose(0, 3, 1, 2), order="C")

    return Rival(run, floats)


def _litert_int8(path: Path, x: Floats, threads: int) -> Rival:
    N, C, H, W = x.shape
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "int8.tflite"
        int8_tflite(path, (N, H, W, C), made)
        return _litert(made, x, threads)


def _ncnn(path: Path, x: Floats, threads: int) -> Rival:
    need("ncnn")
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = threads
    # In float32 as the others; the engine's default is 16 bits where the CPU has them.
    for option in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage", "bf16_packed"):
        if hasattr(net.opt, f"use_{option}"):
            setattr(net.opt, f"use_{option}", False)
    with tempfile.TemporaryDirectory() as folder:
        param, weights = ncnn_files(path, x.shape, Path(folder))
        if net.load_param(str(param)) != 0 or net.load_model(str(weights)) != 0:
            raise UnavailableError("ncnn cannot read the converted network")
    (source,), (target,) = net.input_names(), net.output_names()
    image = ncnn.Mat(x[0])

    def run() -> Any:
        with net.create_extractor() as extractor:
            extractor.input(source, image)
            status, out = extractor.extract(target)
            if status != 0:
                raise UnavailableError(f"ncnn cannot run the network (status {status})")
            return out

    return Rival(run, lambda out: np.array(out, np.float32)[None])


def _openvino(path: Path, x: Floats, threads: int, hint: str | None) -> Rival:
    need("openvino")
    import openvino

    model = openvino.Core().read_model(str(path))
    model.reshape([1, *x.shape[1:]])
    return _compiled(openvino, model, x, threads, hint)


def _compiled(openvino: Any, model: Any, x: Floats, threads: int, hint: str | None) -> Rival:
    config: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    if hint is not None:
        config["INFERENCE_PRECISION_HINT"] = hint
    request = openvino.Core().compile_model(model, "CPU", config).create_infer_request()
    request.set_input_tensor(openvino.Tensor(x, shared_memory=True))
    request.get_output_tensor(0).data[...] = np.nan

    def run() -> Any:
        request.infer()
        return request.get_output_tensor(0).data

    return Rival(run, _as_given)


def _openvino_int8(path: Path, x: Floats, threads: int) -> Rival:
    need("openvino", "nncf")
    with quiet():
        import nncf
        import openvino

        model = openvino.Core().read_model(str(path))
        model.reshape([1, *x.shape[1:]])
        data = nncf.Dataset(images(x.shape, 8))
        made = nncf.quantize(model, data, preset=nncf.QuantizationPreset.MIXED, subset_size=8)
    return _compiled(openvino, made, x, threads, None)


def _as_given(out: Any) -> Floats:
    return np.array(out, np.float32)


RIVALS: dict[str, _Kind] = {
    "ort-fp32": _Kind(_ort, exact=True),
    "ort-int8": _Kind(_ort_int8, exact=False),
    "litert-fp32": _Kind(_litert, exact=True, tflite=True),
    "litert-int8": _Kind(_litert_int8, exact=False, tflite=True),
    "ncnn-fp32": _Kind(_ncnn, exact=True),
    "openvino-fp32": _Kind(lambda path, x, threads: _openvino(path, x, threads, "f32"), exact=True),
    "openvino-default": _Kind(lambda path, x, threads: _openvino(path, x, threads, None), exact=False),
    "openvino-int8": _Kind(_openvino_int8, exact=False),
}
