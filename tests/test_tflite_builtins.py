"""Every builtin operator that edgelm writes, at its lowest version, computes in the engine what numpy does."""

from importlib import import_module
from typing import Any

import numpy as np
import pytest

from edgelm.export.tflite_file import Model, Operator, Quantization, Tensor, constant, write_model
from edgelm.runtimes.tflite import tflite_version
from edgelm.runtimes.tflite_file import verify_tflite
from edgelm.runtimes.tflite_schema import BUILTINS

RNG = np.random.default_rng(0)
X = RNG.standard_normal((1, 6, 8, 4)).astype(np.float32)
Z = RNG.standard_normal((1, 6, 8, 4)).astype(np.float32)


def _conv(x: Any, w: Any) -> Any:
    """(1, H, W, C) and (O, 3, 3, C) -> (1, H - 2, W - 2, O)."""
    windows = np.lib.stride_tricks.sliding_window_view(x[0], (3, 3), axis=(0, 1))
    return np.einsum("hwcij,oijc->hwo", windows, w)[None]


def _pooled(x: Any) -> Any:
    return x.reshape(1, 3, 2, 4, 2, 4)


W = RNG.standard_normal((5, 3, 3, 4)).astype(np.float32)
B = RNG.standard_normal(5).astype(np.float32)
POOL = {"padding": "VALID", "stride_w": 2, "stride_h": 2, "filter_width": 2, "filter_height": 2}
CONV = {"padding": "VALID", "stride_w": 1, "stride_h": 1}
INTS = np.array([[0, 0], [1, 1], [2, 2], [0, 0]], np.int32)
TABLE = RNG.standard_normal((256, 8)).astype(np.float32)
BYTES = np.array([3, 255, 0], np.int32)
EIGHTS = RNG.integers(-9, 9, (1, 4)).astype(np.int8)
DEPTHWISE = RNG.standard_normal((1, 3, 3, 4)).astype(np.float32)
SIZE = np.array([12, 16], np.int32)
BEGIN, END, STEP = (np.array(v, np.int32) for v in ([0, 1, 0, 2], [1, 5, 8, 4], [1, 2, 1, 1]))

CASES: dict[str, tuple[list[Any], dict[str, Any], Any]] = {
    "ADD": ([X, Z], {}, X + Z),
    "AVERAGE_POOL_2D": ([X], POOL, _pooled(X).mean((2, 4))),
    "CAST": ([np.arange(4, dtype=np.uint8)], {"in_data_type": "uint8", "out_data_type": "int32"}, np.arange(4)),
    "CONCATENATION": ([X, Z], {"axis": 3}, np.concatenate([X, Z], 3)),
    "CONV_2D": ([X, W, B], CONV | {"fused_activation_function": "RELU"}, np.maximum(_conv(X, W) + B, 0)),
    "COS": ([X], {}, np.cos(X)),
    "DEPTH_TO_SPACE": (
        [X],
        {"block_size": 2},
        X.reshape(1, 6, 8, 2, 2, 1).transpose(0, 1, 3, 2, 4, 5).reshape(1, 12, 16, 1),
    ),
    "DEPTHWISE_CONV_2D": (
        [X, DEPTHWISE],
        CONV | {"depth_multiplier": 1},
        np.stack([_conv(X[..., [c]], DEPTHWISE[..., [c]])[..., 0] for c in range(4)], -1),
    ),
    "DEQUANTIZE": ([EIGHTS], {}, EIGHTS * np.float32(0.5)),
    "GATHER": ([TABLE, BYTES], {"axis": 0}, TABLE[BYTES]),
    "LESS": ([X, Z], {}, X < Z),
    "LOGISTIC": ([X], {}, 1 / (1 + np.exp(-X))),
    "MAXIMUM": ([X, Z], {}, np.maximum(X, Z)),
    "MAX_POOL_2D": ([X], POOL, _pooled(X).max((2, 4))),
    "MINIMUM": ([X, Z], {}, np.minimum(X, Z)),
    "MUL": ([X, Z], {}, X * Z),
    "PAD": ([X, INTS], {}, np.pad(X, INTS)),
    "PADV2": ([X, INTS, np.array([-1], np.float32)], {}, np.pad(X, INTS, constant_values=-1)),
    "QUANTIZE": ([X], {}, np.rint(X / np.float32(0.5)).clip(-128, 127).astype(np.int8)),
    "RELU": ([X], {}, np.maximum(X, 0)),
    "RESHAPE": ([X, np.array([1, 48, 4], np.int32)], {"new_shape": (1, 48, 4)}, X.reshape(1, 48, 4)),
    "RESIZE_BILINEAR": ([X, SIZE], {"half_pixel_centers": True}, None),
    "RESIZE_NEAREST_NEIGHBOR": ([X, SIZE], {}, X.repeat(2, 1).repeat(2, 2)),
    "ROUND": ([X * 4], {}, np.rint(X * 4)),
    "SELECT_V2": ([X < Z, X, Z], {}, np.where(X < Z, X, Z)),
    "SIGN": ([X], {}, np.sign(X)),
    "SIN": ([X], {}, np.sin(X)),
    "SLICE": ([X, BEGIN, END - BEGIN], {}, X[:, 1:5, :, 2:4]),
    "STRIDED_SLICE": ([X, BEGIN, END, STEP], {}, X[:, 1:5:2, :, 2:4]),
    "SUB": ([X, Z], {}, X - Z),
    "TANH": ([X], {}, np.tanh(X)),
    "TRANSPOSE": ([X, np.array([0, 3, 1, 2], np.int32)], {}, X.transpose(0, 3, 1, 2)),
}


def _bilinear(x: Any) -> Any:
    """Twice the size, half pixel centers: 3/4 and 1/4 of the two nearest rows and columns."""
    for axis in (1, 2):
        padded = np.concatenate([x.take([0], axis), x, x.take([-1], axis)], axis)
        n = x.shape[axis]
        low, mid, high = (padded.take(range(i, i + n), axis) for i in range(3))
        x = np.stack([low / 4 + mid * 3 / 4, mid * 3 / 4 + high / 4], axis + 1).reshape(
            *x.shape[:axis], 2 * n, *x.shape[axis + 1 :]
        )
    return x


def test_every_builtin_is_run() -> None:
    assert CASES.keys() == BUILTINS.keys()


def one_builtin(name: str) -> bytes:
    """A graph of the case's operator; its float operands of X's size are inputs, the others constants."""
    values, options, want = CASES[name]
    want = _bilinear(X) if want is None else want
    dtype = {"int64": "int32", "float64": "float32"}.get(want.dtype.name, want.dtype.name)
    quantization = Quantization((0.5,), (0,)) if name == "DEQUANTIZE" else None
    tensors = [
        Tensor(f"i{i}", v.shape, v.dtype.name, quantization=quantization)
        if i == 0 or v.shape == X.shape
        else constant(f"i{i}", v)
        for i, v in enumerate(values)
    ]
    if name == "DEPTHWISE_CONV_2D":
        tensors.append(constant("bias", np.zeros(4, np.float32)))
    names = tuple(t.name for t in tensors)
    inputs = tuple(t.name for t in tensors if t.data is None)
    made = Quantization((0.5,), (0,)) if name == "QUANTIZE" else None
    tensors.append(Tensor("y", want.shape, dtype, quantization=made))
    return write_model(Model(tensors, [Operator(name, names, ("y",), options)], inputs, ("y",)))


@pytest.mark.parametrize("name", CASES)
def test_builtin_in_the_engine(name: str) -> None:
    """The lowest version of each operator computes what numpy does."""
    if (package := tflite_version()) is None:
        pytest.skip("no TFLite engine is installed")
    engine = import_module(package.split()[0].replace("-", "_") + ".interpreter")
    values, _, want = CASES[name]
    want = _bilinear(X) if want is None else want
    model = one_builtin(name)
    verify_tflite(model)
    opened = engine.Interpreter(model_content=model)
    opened.allocate_tensors()
    for detail in opened.get_input_details():
        opened.set_tensor(detail["index"], values[int(detail["name"][1:])])
    opened.invoke()
    y = opened.get_tensor(opened.get_output_details()[0]["index"])
    np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-5)
