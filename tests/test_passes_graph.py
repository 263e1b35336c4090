"""The passes that let graphs grow: real convolutions adopted, ReLUs and sums behind convolutions fused into them."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the exporter needs torch")
pytest.importorskip("onnx", reason="graph passes work on ONNX")

from graphs import graph, normal, ops, reference, statistics
from square import X, changes, made, q

from edgelm.export.nodes import attributes_of, is_quant_conv, operand
from edgelm.export.passes.adopt_real import AdoptReal
from edgelm.export.passes.clean import Clean
from edgelm.export.passes.fuse_batch_norm import FuseBatchNorm
from edgelm.export.passes.fuse_post_relu import FusePostRelu
from edgelm.export.passes.fuse_relu import FuseRelu
from edgelm.export.passes.fuse_residual import FuseResidual


@pytest.mark.parametrize("bias", [False, True])
def test_adopt_real(bias: bool) -> None:
    options = "strides = [2, 1], pads = [1, 2, 0, 1], dilations = [1, 2]"
    model = made(
        f"c = {q('x')} n = BatchNormalization (c, g, b, m, v) r = Relu (n) "
        f"y = Conv <{options}> (r, k{', bias' if bias else ''})",
        "float[N,5,3,7] y",
        k=normal(5, 4, 3, 3),
        bias=normal(5, seed=2),
        **statistics(4),
    )
    before = reference(model, X)
    assert AdoptReal()(model).modified
    FuseRelu()(model)
    FuseBatchNorm()(model)
    Clean()(model)
    np.testing.assert_allclose(reference(model, X)[0], before[0], rtol=0, atol=1e-4)
    assert ops(model) == ["QuantConv2d", "QuantConv2d"]
    real = list(model.graph)[1]
    a = attributes_of(real)
    assert (real.name, a["weight_bits"], a["act_bits"], a["pre_relu"]) == ("k", 32, 32, 1)
    assert (a["stride_h"], a["stride_w"], a["dilation_h"], a["dilation_w"]) == (2, 1, 1, 2)
    assert [a[f"pad_{side}"] for side in ("top", "left", "bottom", "right")] == [1, 2, 0, 1]
    assert (operand(real, "out_bias") is not None) == bias
    assert operand(real, "out_scale") is None


@pytest.mark.parametrize(
    "body",
    [
        "y = Conv <group = 4, pads = [1, 1, 1, 1]> (c, d)",
        'y = Conv <auto_pad = "SAME_UPPER"> (c, k)',
        "h = Neg (k) y = Conv <pads = [1, 1, 1, 1]> (c, h)",
        "h = Neg (bias) y = Conv <pads = [1, 1, 1, 1]> (c, k, h)",
        "y = Conv <pads = [3, 3, 3, 3]> (c, k)",  # more padding than kernel
    ],
)
def test_adopt_real_leaves_others_to_the_engine(body: str) -> None:
    constants = {"k": normal(4, 4, 3, 3), "d": normal(4, 1, 3, 3), "bias": normal(4)}
    model = made(f"c = {q('x')} {body}", "float[N,4,h,v] y", "", **constants)
    assert not changes(model, AdoptReal())


def test_adopt_real_leaves_float_networks_to_the_engine() -> None:
    model = made("y = Conv <pads = [1, 1, 1, 1]> (x, k)", k=normal(4, 4, 3, 3))
    assert not changes(model, AdoptReal())


def test_adopt_real_gives_each_node_its_name() -> None:
    body = f"c = {q('x')} a = Conv (c, stem) b = Conv (a, stem) y = Conv (b, k)"
    model = made(body, stem=normal(4, 4, 1, 1), k=normal(4, 4, 1, 1))
    model.graph.initializers["stem"].name = "model.stem.weight"
    assert AdoptReal()(model).modified
    assert [n.name for n in model.graph][1:] == ["stem", "stem#2", "k"]


@pytest.mark.parametrize(
    ("body", "left"),
    [
        (f"c = {q('x')} y = Relu (c)", ["QuantConv2d"]),
        (f"c = {q('x')} r = Relu (c) y = Neg (r)", ["QuantConv2d", "Neg"]),
        (f"c = {q('x')} r = Relu (c) s = Relu (c) y = Add (r, s)", ["QuantConv2d", "Add"]),
        # A convolution with a ReLU of its own may read the other side of the first one.
        (f"c = {q('x')} r = Relu (c) n = Neg (r) d = {q('r')} y = Add (d, n)", ["QuantConv2d", "Neg", "QuantConv2d",
                                                                               "Add"]),
    ],
)  # fmt: skip
def test_fuse_post_relu(body: str, left: list[str]) -> None:
    model = made(body)
    FuseRelu()(model)
    assert changes(model, FusePostRelu())
    Clean()(model)
    assert ops(model) == left
    assert attributes_of(next(iter(model.graph)))["post_relu"] == 1


@pytest.mark.parametrize(
    ("body", "outputs"),
    [
        (f"c = {q('x')} r = Relu (c) n = Neg (c) y = Add (r, n)", "float[N,4,6,8] y"),
        (f"c = {q('x', 'x')} y = Relu (c)", "float[N,4,6,8] y"),  # the residual is added after the ReLU
        (f"c = {q('x')} y = Relu (c)", "float[N,4,6,8] y, float[N,4,6,8] c"),
        (f"c = {q('x')} r = Relu (c) y = {q('r', 'c')}", "float[N,4,6,8] y"),
        (f"c = {q('x')} y = Relu (c) z = Relu (c)", "float[N,4,6,8] y, float[N,4,6,8] z"),
        (f"c = {q('x')} y = Neg (c)", "float[N,4,6,8] y"),
    ],
)
def test_fuse_post_relu_does_not_fuse(body: str, outputs: str) -> None:
    model = made(body, outputs)
    FuseRelu()(model)
    assert not changes(model, FusePostRelu())


C = "float[N,4,6,8] c"
CD = f"{C}, float[N,4,6,8] d"


@pytest.mark.parametrize(
    ("body", "types"),
    [
        (f"c = {q('x')} y = Add (c, x)", C),
        (f"c = {q('x')} y = Add (x, c)", C),
        (f"c = {q('x')} n = Neg (x) y = Add (c, n)", C),  # made later than the convolution
        (f"c = {q('x')} d = {q('c')} y = Add (d, c)", CD),
        (f"c = {q('x')} d = {q('x')} y = Add (c, d)", CD),
    ],
)
def test_fuse_residual(body: str, types: str) -> None:
    model = made(body, types=types)
    assert changes(model, FuseResidual())
    Clean()(model)
    assert "Add" not in ops(model)
    assert sum(node.inputs[5] is not None for node in model.graph if is_quant_conv(node)) == 1


@pytest.mark.parametrize(
    ("body", "types"),
    [
        (f"c = {q('x')} n = Neg (c) y = Add (c, n)", C),  # somebody else reads it
        (f"c = {q('x')} y = Add (c, c)", C),
        (f"c = {q('x')} y = Add (c, k)", C),  # a constant
        (f"c = {q('x')} n = Neg (s) y = Add (c, n)", C),  # another shape
        (f"c = {q('x', 'x')} y = Add (c, x)", C),  # it has one
        (f"c = {q('x')} y = Add (c, x)", ""),  # nothing says that the shapes are one
        (f"c = {q('x')} y = Mul (c, x)", C),
    ],
)
def test_fuse_residual_does_not_fuse(body: str, types: str) -> None:
    model = made(body, types=types, k=normal(1, 4, 6, 8), s=normal(1, 4, 1, 1))
    assert not changes(model, FuseResidual())


def test_clean_names_every_output_of_a_node() -> None:
    body = "a, b = Split <axis = 1> (x, n) y = Concat <axis = 1> (b, a)"
    model = graph(f"(float[N,4,2,2] x) => (float[N,4,2,2] y) {{ {body} }}", n=np.array([2, 2]))
    changes(model, Clean(), normal(1, 4, 2, 2))
    assert [value.name for node in model.graph for value in node.outputs] == ["t0", "t0_1", "y"]
