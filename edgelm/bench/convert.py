"""Forms of a float network that other engines run, made with those engines' own tools.

int8 forms are calibrated on random images: their speed is that of a real calibration.
"""

import io
import logging
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["UnavailableError", "images", "int8_onnx", "int8_tflite", "ncnn_files", "need", "quiet"]

Floats = NDArray[np.float32]


class UnavailableError(Exception):
    """A rival that this machine does not have; the text says what is missing."""


def need(*modules: str) -> None:
    """Say which modules are not there.

    Raises:
        UnavailableError: some.
    """
    missing = [module.replace("_", "-") for module in modules if find_spec(module) is None]
    if missing:
        raise UnavailableError(f"not installed: {', '.join(missing)} (pip install 'edgelm[bench]')")


def images(shape: tuple[int, ...], count: int) -> list[Floats]:
    """Random images of `shape` to calibrate on."""
    return list(np.random.default_rng(0).random((count, *shape), dtype=np.float32))


@contextmanager
def quiet() -> Iterator[None]:
    """The tools report their progress to the root logger, stdout and stderr, and warn of their own doings."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def int8_onnx(path: Path, shape: tuple[int, ...], made: Path) -> None:
    """Quantize an ONNX file of the input `shape` with ONNX Runtime's tools.

    Raises:
        UnavailableError: they are not installed.
    """
    need("onnxruntime", "onnx")
    from onnxruntime import quantization as q
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(q.CalibrationDataReader):  # type: ignore[misc]  # the package has no types
        def __init__(self) -> None:
            self.left = [{"image": image} for image in images(shape, 4)]

        def get_next(self) -> dict[str, Floats] | None:
            return self.left.pop() if self.left else None

    ready = made.with_name("ready.onnx")
    with quiet():
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


def int8_tflite(path: Path, shape: tuple[int, ...], made: Path) -> None:
    """Quantize a float .tflite of the input `shape` (N, H, W, 3): int8 weights, activations, input and output.

    Raises:
        UnavailableError: ai-edge-quantizer is not installed.
    """
    need("ai_edge_litert", "ai_edge_quantizer")
    with quiet():
        from ai_edge_quantizer import quantizer, recipe

        quantization = quantizer.Quantizer(_with_signature(path.read_bytes()), recipe.static_wi8_ai8())
        calibration = quantization.calibrate({"main": [{"x": image} for image in images(shape, 4)]}, num_threads=1)
        result = quantization.quantize(calibration, enable_progress_report=False)
    made.write_bytes(result.quantized_model)


def _with_signature(file: bytes) -> bytes:
    """The file with a signature "main" from x to y: the quantizer finds inputs by no other way."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    def named(name: bytes, index: int) -> Any:
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name, index
        return entry

    model = schema.ModelT.InitFromPackedBuf(file, 0)
    graph = model.subgraphs[0]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"main", 0
    signature.inputs, signature.outputs = [named(b"x", graph.inputs[0])], [named(b"y", graph.outputs[0])]
    model.signatureDefs = [signature]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def ncnn_files(path: Path, shape: tuple[int, ...], folder: Path) -> tuple[Path, Path]:
    """Convert an ONNX file of the input `shape` with pnnx to ncnn's .param and .bin, in float32.

    Raises:
        UnavailableError: pnnx is not installed, or cannot convert the file.
    """
    need("pnnx")
    package = find_spec("pnnx")
    assert package is not None
    assert package.submodule_search_locations is not None
    # pnnx writes beside the file that it reads; to import the package would load torch.
    source = folder / "net.onnx"
    shutil.copyfile(path, source)
    command = [Path(package.submodule_search_locations[0]) / "pnnx", source, f"inputshape={list(shape)}", "fp16=0"]
    done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True, check=False)
    made = folder / "net.ncnn.param", folder / "net.ncnn.bin"
    if done.returncode != 0 or not all(file.is_file() for file in made):
        raise UnavailableError(f"pnnx cannot convert the network (status {done.returncode}): {done.stderr[-300:]}")
    return made
