"""Depthwise and transposed convolutions and arithmetic, written as TFLite, compute what ONNX Runtime does."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the exporter needs torch")
pytest.importorskip("onnx", reason="the exporter works on ONNX")
pytest.importorskip("ai_edge_litert", reason="needs an engine for .tflite files")

from graphs import normal
from lowered import X, operators, same


@pytest.mark.parametrize(
    ("options", "padded"),
    [("pads = [1, 1, 1, 1]", False), ("strides = [2, 2], pads = [1, 1, 1, 1]", True), ("dilations = [2, 1]", False)],
)
@pytest.mark.parametrize("relu", [False, True])
def test_depthwise_conv(options: str, padded: bool, relu: bool) -> None:
    tail = "c = Conv <group = 3, {}> (x, w, b) y = Relu (c)" if relu else "y = Conv <group = 3, {}> (x, w)"
    file = same(
        f"(float[1,3,12,14] x) => (float[1,3,h,w] y) {{ {tail.format(options)} }}",
        X,
        w=normal(3, 1, 3, 3, seed=1),
        b=normal(3, seed=2),
    )
    assert operators(file) == ["PAD"] * padded + ["DEPTHWISE_CONV_2D"]


@pytest.mark.parametrize("side", [2, 3])
@pytest.mark.parametrize("relu", [False, True])
def test_conv_transpose(side: int, relu: bool) -> None:
    call = f"ConvTranspose <strides = [{side}, {side}]> (x, w{', b' if relu else ''})"
    file = same(
        f"(float[1,3,12,14] x) => (float[1,5,h,w] y) {{ {f'c = {call} y = Relu (c)' if relu else f'y = {call}'} }}",
        X,
        w=normal(3, 5, side, side, seed=1),
        b=normal(5, seed=2),
    )
    assert operators(file) == ["CONV_2D", "DEPTH_TO_SPACE"]


def test_arithmetic() -> None:
    """Of maps of one size, of one with another's channels or pixels alone, and with constants of each kind."""
    text = """(float[1,3,12,14] x, float[1,3,1,1] z) => (float[1,3,12,14] y) {
        a = Mul (x, z) b = Sub (a, c) c0 = Mul (b, s) d = Add (channel, c0) e = Sub (d, x) f = Mul (e, e)
        y = Add (f, full) }"""
    file = same(
        text, X, normal(1, 3, 1, 1, seed=4), c=normal(1, 3, 1, 1), s=np.array(0.5, np.float32),
        channel=normal(3, 1, 1), full=normal(1, 3, 12, 14),
    )  # fmt: skip
    assert operators(file) == ["MUL", "SUB", "MUL", "ADD", "SUB", "MUL", "ADD"]


def test_functions() -> None:
    body = "a = Tanh (x) b = Sin (a) c = Cos (x) d = Sigmoid (c) y = Mul (b, d)"
    file = same(f"(float[1,3,12,14] x) => (float[1,3,12,14] y) {{ {body} }}", X)
    assert operators(file) == ["TANH", "SIN", "COS", "LOGISTIC", "MUL"]
