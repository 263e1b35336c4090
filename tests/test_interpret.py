"""Graphs run step by step in torch against onnx's own reference, in both precisions, and what is refused."""

import copy

import numpy as np
import pytest

pytest.importorskip("torch", reason="the exporter needs torch")
pytest.importorskip("onnx", reason="the exporter works on ONNX")

import torch
from graphs import Array, graph, normal, reference, statistics

from edgelm.errors import UsageError
from edgelm.export.interpret import Interpreted

X = normal(2, 4, 6, 8)
TWICE = np.array([1, 1, 2, 2], np.float32)
STEP, ZERO = np.array(0.05, np.float32), np.array(130, np.uint8)
LEVELS = np.random.default_rng(0).integers(-127, 128, (3, 4, 3, 3)).astype(np.int8)
STEPS, ZEROS = np.array([0.01, 0.02, 0.5], np.float32), np.zeros(3, np.int8)
SUMS, OF_SUMS = np.array([-70000, 3, 900], np.int32), np.array([1e-4, 2e-4, 3e-4], np.float32)

CASES: dict[str, tuple[str, dict[str, Array]]] = {
    "conv": (
        "Conv <strides = [2, 1], pads = [0, 1, 2, 3], dilations = [1, 2]> (x, w, b)",
        {"w": normal(5, 4, 3, 2), "b": normal(5)},
    ),
    "depthwise": ("Conv <group = 4, pads = [1, 1, 1, 1]> (x, w)", {"w": normal(4, 1, 3, 3)}),
    "transposed": ("ConvTranspose <strides = [2, 2]> (x, w, b)", {"w": normal(4, 3, 2, 2), "b": normal(3)}),
    "batch norm": ("BatchNormalization <epsilon = 0.01> (x, g, b, m, v)", statistics(4)),
    "max pool": ("MaxPool <kernel_shape = [3, 3], strides = [1, 1], pads = [1, 1, 1, 1]> (x)", {}),
    "average pool": ("AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (x)", {}),
    "nearest": (
        'Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"> (x, , s)',
        {"s": TWICE},
    ),
    "bilinear": ('Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> (x, , s)', {"s": TWICE}),
    "concat": ("Concat <axis = 1> (x, x)", {}),
    "add": ("Add (x, x)", {}),
    "sub": ("Sub (x, c)", {"c": normal(4, 1, 1)}),
    "mul": ("Mul (x, c)", {"c": normal(1, 4, 1, 1)}),
    **{name: (f"{name} (x)", {}) for name in ("Relu", "Sigmoid", "Tanh", "Sin", "Cos")},
}


@pytest.mark.parametrize("case", CASES)
def test_operators(case: str) -> None:
    call, constants = CASES[case]
    model = graph(f"(float[2,4,6,8] x) => (float[N,K,H,W] y) {{ y = {call} }}", **constants)
    network = Interpreted(model)
    (expected,) = reference(model, X)
    np.testing.assert_allclose(network(torch.tensor(X))[-1].numpy(), expected, rtol=1e-5, atol=1e-5)
    exact = copy.deepcopy(network).double()(torch.tensor(X).double())[-1]
    assert exact.dtype == torch.float64
    np.testing.assert_allclose(exact.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_levels_are_those_of_the_reference() -> None:
    text = """(float[2,4,6,8] x) => (float[2,3,4,6] y)
    { q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) w = DequantizeLinear <axis = 0> (l, ss, zz)
      b = DequantizeLinear <axis = 0> (sums, t) y = Conv (d, w, b) }"""
    constants: dict[str, Array] = {
        "s": STEP,
        "z": ZERO,
        "l": LEVELS,
        "ss": STEPS,
        "zz": ZEROS,
        "sums": SUMS,
        "t": OF_SUMS,
    }
    model = graph(text, **constants)
    seen: dict[str, Array] = {}
    found = Interpreted(model)(torch.tensor(4 * X), lambda name, value: seen.update({name: value.numpy()}))[-1]
    # Rounding half to even in float32 as the standard has it, and beyond the ends of the 256 levels.
    np.testing.assert_array_equal(seen["q"], np.clip(np.rint(4 * X / STEP) + 130, 0, 255))
    np.testing.assert_allclose(found.numpy(), reference(model, 4 * X)[0], rtol=1e-4, atol=1e-4)


def test_half_precision_is_kept_as_it_is_stored() -> None:
    model = graph(
        "(float[2,4,6,8] x) => (float[2,5,6,8] y) { f = Cast <to = 1> (w) y = Conv (x, f) }",
        w=normal(5, 4, 1, 1).astype(np.float16),
    )
    for network, x in ((Interpreted(model), torch.tensor(X)), (Interpreted(model).double(), torch.tensor(X).double())):
        np.testing.assert_allclose(network(x)[-1].numpy(), reference(model, X)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("Softmax (x)", "a network with Softmax cannot"),
        ("edgelm.QuantGraph (x)", "a network with QuantGraph cannot"),
        ('Conv <auto_pad = "SAME_UPPER"> (x, w)', "auto_pad SAME_UPPER"),
        ("MaxPool <kernel_shape = [2, 2], ceil_mode = 1> (x)", "ceil_mode"),
        ("AveragePool <kernel_shape = [2, 2], pads = [1, 1, 1, 1]> (x)", "padding"),
        ('Resize <mode = "cubic"> (x, , s)', "mode"),
        ("ConvTranspose <pads = [1, 1, 1, 1]> (x, w)", "padding"),
    ],
)
def test_refuses_what_it_does_not_know(call: str, expected: str) -> None:
    text = f"(float[2,4,6,8] x) => (float[2,4,6,8] y) {{ y = {call} }}"
    with pytest.raises(UsageError, match=expected):
        Interpreted(graph(text, w=normal(4, 4, 2, 2), s=TWICE))(torch.tensor(X))
