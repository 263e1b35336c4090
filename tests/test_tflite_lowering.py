"""A graph written as TFLite computes in LiteRT what the same graph written as ONNX computes in ONNX Runtime."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the exporter needs torch")
pytest.importorskip("onnx", reason="the exporter works on ONNX")
pytest.importorskip("ai_edge_litert", reason="needs an engine for .tflite files")

from graphs import SPEC, attributes, by_onnx, by_tflite, graph, normal, qconv, statistics
from hypothesis import given, settings
from lowered import X, operators, same
from qconv_cases import Case, cases, make_case

from edgelm.errors import EdgelmError, UsageError
from edgelm.export.tflite import tflite_bytes
from edgelm.runtimes.tflite_file import verify_tflite


@pytest.mark.parametrize(
    ("kernel", "options", "padded"),
    [
        ((7, 7), "strides = [2, 2], pads = [3, 3, 3, 3]", True),
        ((7, 7), "pads = [3, 3, 3, 3]", False),
        ((3, 3), "pads = [1, 1, 1, 1]", False),
        ((3, 3), "dilations = [2, 2], pads = [2, 2, 2, 2]", False),
        ((3, 3), "dilations = [1, 2], pads = [1, 1, 1, 1]", True),
        ((3, 3), "dilations = [2, 3]", False),
        ((3, 3), "strides = [2, 2], pads = [1, 1, 1, 1]", True),
        ((3, 3), "strides = [1, 2], pads = [1, 1, 1, 1]", True),
        ((1, 1), "", False),
        ((1, 1), "strides = [2, 2]", False),
        ((1, 3), "pads = [0, 1, 0, 1]", False),
        ((2, 2), "pads = [0, 0, 1, 1]", True),
        ((2, 4), "pads = [1, 2, 1, 2]", True),
        ((3, 3), "pads = [2, 0, 0, 1]", True),
        ((3, 3), "", False),
    ],
)
@pytest.mark.parametrize("bias", [False, True])
def test_conv(kernel: tuple[int, int], options: str, padded: bool, bias: bool) -> None:
    file = same(
        f"""(float[1,3,12,14] x) => (float[1,5,h,w] y)
        {{ y = Conv {options and f"<{options}>"} (x, w{", b" if bias else ""}) }}""",
        X,
        w=normal(5, 3, *kernel, seed=1),
        b=normal(5, seed=2),
    )
    assert operators(file) == (["PAD"] if padded else []) + ["CONV_2D"]


@pytest.mark.parametrize("relu", [False, True])
def test_batch_normalization(relu: bool) -> None:
    body = (
        f"{'n' if relu else 'y'} = BatchNormalization <epsilon = 0.01> (x, g, b, m, v) {'y = Relu (n)' if relu else ''}"
    )
    file = same(f"(float[1,3,12,14] x) => (float[1,3,12,14] y) {{ {body} }}", X, **statistics(3))
    assert operators(file) == ["MUL", "ADD"]


@pytest.mark.parametrize(
    "body",
    ["c = Conv (x, w) y = Relu (c)", "c = Add (x, x) y = Relu (c)", "c = Relu (x) y = Sigmoid (c)", "y = Relu (x)"],
)
def test_activations(body: str) -> None:
    same(f"(float[1,3,12,14] x) => (float[1,3,12,14] y) {{ {body} }}", X, w=normal(3, 3, 1, 1))


@pytest.mark.parametrize("body", ["c = Conv (x, w)", "c = Add (x, x)", "c = BatchNormalization (x, g, b, m, v)"])
def test_relu_does_not_hide_its_input(body: str) -> None:
    """A ReLU that shares its input with another reader, or with the caller, is not fused."""
    constants: dict[str, Any] = {"w": normal(3, 3, 1, 1), **statistics(3)}
    shape = "float[1,3,12,14]"
    same(f"({shape} x) => ({shape} y, {shape} z) {{ {body} y = Relu (c) z = Sigmoid (c) }}", X, **constants)
    same(f"({shape} x) => ({shape} y, {shape} c) {{ {body} y = Relu (c) }}", X, **constants)


POOLS = ["kernel_shape = [2, 2], strides = [2, 2]", "kernel_shape = [3, 2]"]


@pytest.mark.parametrize("options", [*POOLS, "kernel_shape = [3, 5], pads = [1, 2, 1, 2]"])
def test_max_pool(options: str) -> None:
    same(f"(float[1,3,12,14] x) => (float[1,3,h,w] y) {{ y = MaxPool <{options}> (x) }}", X, tolerance=0)


@pytest.mark.parametrize("options", POOLS)
def test_average_pool(options: str) -> None:
    same(f"(float[1,3,12,14] x) => (float[1,3,h,w] y) {{ y = AveragePool <{options}> (x) }}", X)


@pytest.mark.parametrize("scales", [(2, 2), (1, 3), (4, 2)])
def test_resize(scales: tuple[int, int]) -> None:
    options = 'mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"'
    text = f"""(float[1,3,12,14] x) => (float[1,3,{12 * scales[0]},{14 * scales[1]}] y)
        {{ y = Resize <{options}> (x, "", s) }}"""
    same(text, X, tolerance=0, s=np.array([1, 1, *scales], np.float32))


@pytest.mark.parametrize("scales", [(2, 2), (1, 3), (8, 4)])
def test_resize_linear(scales: tuple[int, int]) -> None:
    text = f"""(float[1,3,12,14] x) => (float[1,3,{12 * scales[0]},{14 * scales[1]}] y)
        {{ y = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> (x, "", s) }}"""
    same(text, X, s=np.array([1, 1, *scales], np.float32))


def test_concat_and_several_inputs() -> None:
    text = """(float[1,3,12,14] x, float[1,2,12,14] z) => (float[1,8,12,14] y)
        { y = Concat <axis = 1> (x, z, x) }"""
    same(text, X, normal(1, 2, 12, 14, seed=3), tolerance=0)


def test_outputs_keep_their_names_and_order() -> None:
    text = """(float[1,3,12,14] image) => (float[1,3,12,14] second, float[1,3,12,14] first)
        { first = Relu (image) second = Sigmoid (first) }"""
    same(text, X)
    file = verify_tflite(tflite_bytes(graph(text), SPEC, portable=False))
    assert [tensor.name for tensor in file.inputs] == ["image"]
    assert [tensor.name for tensor in file.outputs] == ["second", "first"]


def test_equal_constants_are_stored_once() -> None:
    """And equal bytes of another shape or type are not mistaken for each other."""
    same(
        """(float[1,3,12,14] x) => (float[1,3,12,14] y)
        { a = Conv (x, w, b) c = Conv (a, w, b) y = BatchNormalization (c, b, b, b, v) }""",
        X,
        w=np.ones((3, 3, 1, 1), np.float32),
        b=np.zeros(3, np.float32) + 0.5,
        v=np.ones(3, np.float32),
    )


FORMS: dict[str, dict[str, Any]] = {
    "plain": {"channels": (8,), "absent": ("in_scale", "in_bias", "out_scale", "out_bias", "residual")},
    "affine": {"channels": (8,), "absent": ("out_scale", "out_bias", "residual"), "pre_relu": 1},
    "relu without affine": {"absent": ("in_scale", "in_bias", "residual"), "pre_relu": 1, "post_relu": 1},
    "residual": {"channels": (7,), "absent": ("out_bias",), "post_relu": 1},
    "several odd inputs": {"channels": (5, 3, 1), "post_relu": 1},
    "stride": {"channels": (9,), "stride_h": 2, "stride_w": 2},
    "dilation": {"channels": (9,), "dilation_h": 2, "dilation_w": 2, "pad_top": 2, "pad_left": 2, "pad_bottom": 2,
                 "pad_right": 2},
    "uneven dilation": {"channels": (8,), "dilation_h": 2, "kernel_w": 2, "dilation_w": 3},
    "even kernel": {"channels": (3, 3), "kernel_h": 2, "kernel_w": 4, "pad_left": 2},
    "one by one": {"channels": (13,), "kernel_h": 1, "kernel_w": 1, "pad_top": 0, "pad_left": 0, "pad_bottom": 0,
                   "pad_right": 0},
}  # fmt: skip


@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize("weight_bits", [1, 2])
@pytest.mark.parametrize("form", FORMS)
def test_quant_conv_forms(form: str, weight_bits: int, portable: bool) -> None:
    for act_bits in (1, 8, 32):
        check(make_case(5, batch=1, weight_bits=weight_bits, act_bits=act_bits, **FORMS[form]), portable=portable)


@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize("relu", [0, 1])
@pytest.mark.parametrize(
    ("act_bits", "sign_zero"),
    [(1, -1), (1, 0), (1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1), (7, 1), (8, 1), (32, 1)],
)
def test_quant_conv_activations(act_bits: int, sign_zero: int, relu: int, portable: bool) -> None:
    case = make_case(6, batch=1, act_bits=act_bits, sign_zero=sign_zero, pre_relu=relu)
    # So that zeros reach the sign.
    operands = case.operands | {"in_bias": np.zeros_like(case.operands["in_bias"])}
    check(replace(case, operands=operands), portable=portable)


@settings(deadline=None, max_examples=60)
@given(cases())
def test_quant_conv_any_form(case: Case) -> None:
    """A file's batch is 1; the runtime's resizing of it is tested with the sessions."""
    residual = None if case.residual is None else case.residual[:1]
    one = replace(case, x=tuple(x[:1] for x in case.x), residual=residual)
    check(one, portable=False)
    check(one, portable=True)


def check(case: Case, *, portable: bool) -> None:
    """LiteRT's answer against the op's definition and against ONNX Runtime's."""
    model, x = qconv(case)
    (found,) = by_tflite(model, *x, portable=portable)
    case.check(found)
    (expected,) = by_onnx(model, *x)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * float(np.abs(expected).max()))
    file = verify_tflite(tflite_bytes(model, SPEC, portable=portable))
    assert file.custom_ops == (set() if portable else {"edgelm.QuantConv2d"})


def test_quant_conv_between_builtins() -> None:
    """The residual and the parts are made by other nodes; the next node reads the result."""
    case = make_case(2, batch=1, channels=(3, 3))
    text = f"""(float[1,3,12,14] x) => (float[1,5,12,14] y) <float[1,5,12,14] q> {{
        a = Relu (x) b = Sigmoid (x) r = Conv (x, k)
        q = edgelm.QuantConv2d <{attributes(case.attributes)}> (w, s, t, o, p, r, a, b)
        y = Relu (q) }}"""
    constants: dict[str, Any] = {"k": normal(5, 3, 1, 1), "w": case.weight}
    constants |= dict(
        zip("stop", (case.operands[n] for n in ("in_scale", "in_bias", "out_scale", "out_bias")), strict=True)
    )
    same(text, X, **constants)
    model = graph(text, **constants)
    (a,), (b,) = by_tflite(model, X), by_tflite(model, X, portable=True)
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * float(np.abs(a).max()))


SQUARE = "(float[1,3,12,14] x) => (float[1,3,12,14] y)"


@pytest.mark.parametrize(
    ("body", "match"),
    [
        ("y = Elu (x)", "Elu cannot be written as TFLite; known are Conv, "),
        ("y = edgelm.canonical.QuantConv2d (x, x, x)", "edgelm.canonical::QuantConv2d cannot"),
        ("y = edgelm.Other (x)", "edgelm::Other cannot"),
        ("y = Conv <group = 3> (x, d)", "group=3 from 3 to 6 channels cannot .* or as many as"),
        ("y = ConvTranspose <strides = [1, 1]> (x, t)", r"strides=.*1, 1.* only \(2, 2\)"),
        ("y = ConvTranspose <strides = [2, 2], pads = [0, 0, 1, 1]> (x, t)", "pads"),
        ("y = ConvTranspose <strides = [2, 2], output_padding = [1, 1]> (x, t)", "output_padding"),
        ("y = Mul (x, five)", "of 4 axes"),
        ('y = Conv <auto_pad = "SAME_UPPER"> (x, w)', "auto_pad"),
        ("y = Concat <axis = 2> (x, x)", "axis=2"),
        ("y = MaxPool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (x)", "pads"),
        ("y = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 0, 0]> (x)", "pads"),
        ("y = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x)", "pads"),
        ("y = MaxPool <kernel_shape = [2, 2], ceil_mode = 1> (x)", "ceil_mode"),
        ("y = MaxPool <kernel_shape = [2, 2], dilations = [2, 2]> (x)", "dilations"),
        ('y = Resize <mode = "cubic"> (x, "", two)', "mode='cubic'"),
        (
            'y = Resize <mode = "linear", coordinate_transformation_mode = "asymmetric"> (x, "", two)',
            "only 'half_pixel'",
        ),
        ('y = Resize <mode = "nearest"> (x, "", two)', "half_pixel"),
        (
            'y = Resize <coordinate_transformation_mode = "asymmetric", nearest_mode = "ceil"> (x, "", two)',
            "nearest_mode",
        ),
        (
            'y = Resize <coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"> (x, "", odd)',
            "whole factors",
        ),
    ],
)
def test_unknown_forms_are_refused(body: str, match: str) -> None:
    constants = {
        "w": normal(3, 3, 1, 1), "d": normal(6, 1, 1, 1),
        "t": normal(3, 5, 2, 2), "five": normal(1, 1, 1, 1, 1),
        "two": np.array([1, 1, 2, 2], np.float32), "odd": np.array([1, 1, 1.5, 1.5], np.float32),
    }  # fmt: skip
    shape = "float[1,3,24,28] y" if '"", two' in body else "float[1,3,18,21] y" if "odd" in body else "float[1,3,h,w] y"
    with pytest.raises(UsageError, match=match):
        tflite_bytes(graph(f"(float[1,3,12,14] x) => ({shape}) {{ {body} }}", **constants), SPEC, portable=False)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("(float[1,3,h,w] x) => (float[1,3,h,w] y) { y = Relu (x) }", "not fixed"),
        ("(float[1,3] x) => (float[1,3] y) { y = Relu (x) }", "4-D"),
        ("(float[1,3,12,14] x) => (float[1,3,12,14] y) { v = Relu (s) y = Add (x, s) }", "expected"),
        ("(float[1,3,12,14] x, float[3,3,1,1] k) => (float[1,3,12,14] y) { y = Conv (x, k) }", "constant"),
    ],
)
def test_other_graphs_are_refused(text: str, match: str) -> None:
    with pytest.raises(EdgelmError, match=match):
        tflite_bytes(graph(text, s=normal(1, 3, 1, 1)), SPEC, portable=False)
