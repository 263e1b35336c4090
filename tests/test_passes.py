"""Each graph pass changes the nodes it says, leaves the others alone, and never changes what is computed."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the exporter needs torch")
pytest.importorskip("onnx", reason="graph passes work on ONNX")

import onnx_ir as ir
from graphs import Array, attributes, graph, normal, ops, reference, statistics
from qconv_cases import make_case

from edgelm.bits import unpack_weights
from edgelm.errors import EdgelmError, UsageError
from edgelm.export.nodes import attributes_of, operand
from edgelm.export.passes.clean import Clean
from edgelm.export.passes.fuse_batch_norm import FuseBatchNorm
from edgelm.export.passes.fuse_concat import FuseConcat
from edgelm.export.passes.fuse_relu import FuseRelu
from edgelm.export.passes.pack_weights import PackWeights

PLAIN = make_case(1, channels=(3,), absent=("in_scale", "in_bias", "out_scale", "out_bias", "residual"), act_bits=32)
QCONV = f"edgelm.QuantConv2d <{attributes(PLAIN.attributes)}>"
X = normal(2, 3, 6, 7, seed=4)


def plain(body: str, *, outputs: str = "float[N,5,6,7] y", **constants: Array) -> ir.Model:
    """A graph of x (N, 3, 6, 7) with the packed weight w of a 3x3 convolution of 3 channels."""
    return graph(f"(float[N,3,6,7] x) => ({outputs}) {{ {body} }}", w=PLAIN.weight, **constants)


def changes(model: ir.Model, one: ir.passes.InPlacePass, *x: Array, tolerance: float = 1e-5) -> bool:
    """Run a pass and check that the graph computes the same; returns whether the pass says it changed something."""
    before = reference(model, *x)
    modified = bool(one(model).modified)
    after = reference(model, *x)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=tolerance * float(np.abs(a).max()))
    return modified


def canonical(bits: int, act_bits: int, sign_zero: int, scale: Array, **options: int) -> tuple[ir.Model, Array]:
    levels = np.random.default_rng(2).choice([-1, 1] if bits == 1 else [-1, 0, 1], (4, 5, 3, 3)).astype(np.float32)
    given = {"weight_bits": bits, "act_bits": act_bits, "sign_zero": sign_zero, "stride": 1, "padding": 1} | options
    text = f"""(float[N,5,6,7] x) => (float[N,4,h,w] y)
        {{ y = edgelm.canonical.QuantConv2d <{attributes(given)}, layer = "nets.0.grow"> (x, levels, scale) }}"""
    return graph(text, levels=levels, scale=scale), levels


@pytest.mark.parametrize("pad_value", [-1, 0, 1])
def test_pack_weights_keeps_padding_and_bias(pad_value: int) -> None:
    levels = np.random.default_rng(2).choice([-1, 1], (4, 5, 3, 3)).astype(np.float32)
    given = {"weight_bits": 1, "act_bits": 1, "sign_zero": 1, "stride": 1, "padding": 1, "pad_value": pad_value}
    text = f"""(float[N,5,6,7] x) => (float[N,4,h,w] y)
        {{ y = edgelm.canonical.QuantConv2d <{attributes(given)}, layer = "a"> (x, levels, scale, bias) }}"""
    model = graph(text, levels=levels, scale=np.ones(4, np.float32), bias=normal(4, seed=3))
    assert changes(model, PackWeights(), normal(2, 5, 6, 7), tolerance=1e-6)
    (node,) = model.graph
    assert attributes_of(node)["pad_value"] == pad_value
    assert ("pad_value" in node.attributes) == (pad_value != 0)  # files without one stay what they were
    np.testing.assert_array_equal(operand(node, "out_bias"), normal(4, seed=3))


@pytest.mark.parametrize("bits", [1, 2])
@pytest.mark.parametrize(("act_bits", "sign_zero"), [(32, 1), (1, -1), (1, 0), (1, 1), (2, 1), (6, 1), (8, 1)])
@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"padding": 0}])
def test_pack_weights(bits: int, act_bits: int, sign_zero: int, options: dict[str, int]) -> None:
    scale = np.abs(normal(4, seed=5)) + 0.1
    model, levels = canonical(bits, act_bits, sign_zero, scale, **options)
    x = normal(2, 5, 6, 7)
    x.flat[::9] = 0
    assert changes(model, PackWeights(), x, tolerance=1e-6)
    (node,) = model.graph
    assert (node.domain, node.op_type, node.name) == ("edgelm", "QuantConv2d", "nets.0.grow")
    packed: Any = operand(node, "weight")
    out_scale = operand(node, "out_scale")
    assert packed is not None
    assert out_scale is not None
    assert packed.nbytes == 4 * -(-5 * 9 * bits // 8)
    np.testing.assert_array_equal(unpack_weights(packed, bits, (4, 3, 3, 5)), levels.transpose(0, 2, 3, 1))
    sigma = 1 if act_bits in (1, 32) else 2.0 ** (1 - act_bits)
    np.testing.assert_array_equal(out_scale, scale * np.float32(sigma))
    assert attributes_of(node)["stride_w"] == options.get("stride", 1)
    assert "edgelm.canonical" not in model.opset_imports


@pytest.mark.parametrize(("act_bits", "absent"), [(32, True), (1, True), (8, False)])
def test_pack_weights_leaves_out_a_scale_of_one(act_bits: int, absent: bool) -> None:
    model, _ = canonical(1, act_bits, 1, np.ones(4, np.float32))
    assert changes(model, PackWeights(), normal(1, 5, 6, 7))
    assert (operand(next(iter(model.graph)), "out_scale") is None) == absent


def test_pack_weights_does_not_take_computed_weights() -> None:
    model = graph(
        """(float[N,5,6,7] x, float[4,5,3,3] levels) => (float[N,4,6,7] y) { l = Sign (levels)
        y = edgelm.canonical.QuantConv2d <weight_bits = 1, act_bits = 32, sign_zero = 1, stride = 1, padding = 1,
        layer = "a"> (x, l, scale) }""",
        scale=np.ones(4, np.float32),
    )
    with pytest.raises(EdgelmError, match="must be a constant"):
        PackWeights()(model)


def test_pack_weights_does_not_take_other_levels() -> None:
    model, _ = canonical(1, 32, 1, np.ones(4, np.float32))
    model.graph.initializers["levels"].const_value = ir.tensor(np.zeros((4, 5, 3, 3), np.float32), name="levels")
    with pytest.raises(UsageError, match="1-bit weights"):
        PackWeights()(model)


def test_pack_weights_without_quantized_layers() -> None:
    model = graph("(float[N,3,8,8] x) => (float[N,3,8,8] y) { y = Relu (x) }")
    assert not changes(model, PackWeights(), normal(1, 3, 8, 8))


def test_fuse_relu() -> None:
    model = plain(f'r = Relu (x) y = {QCONV} (w, "", "", "", "", "", r)')
    assert changes(model, FuseRelu(), X)
    Clean()(model)
    assert ops(model) == ["QuantConv2d"]
    assert attributes_of(next(iter(model.graph)))["pre_relu"] == 1


def test_fuse_relu_keeps_it_for_other_readers() -> None:
    model = plain(
        f'r = Relu (x) y = {QCONV} (w, "", "", "", "", "", r) z = Neg (r)', outputs="float[N,5,6,7] y, float[N,3,6,7] z"
    )
    assert changes(model, FuseRelu(), X)
    Clean()(model)
    assert sorted(ops(model)) == ["Neg", "QuantConv2d", "Relu"]


@pytest.mark.parametrize(
    "body",
    [
        f'r = Relu (x) y = {QCONV} (w, s, s, "", "", "", r)',  # the affine comes between
        f'r = Neg (x) y = {QCONV} (w, "", "", "", "", "", r)',
        f'y = {QCONV} (w, "", "", "", "", "", x)',
    ],
)
def test_fuse_relu_does_not_fuse(body: str) -> None:
    model = plain(body, s=normal(3))
    before = ops(model)
    assert not changes(model, FuseRelu(), X)
    Clean()(model)
    assert ops(model) == before


def test_fuse_relu_does_not_fuse_into_one_part_of_a_concatenation() -> None:
    case = make_case(1, channels=(1, 3), absent=("in_scale", "in_bias", "out_scale", "out_bias", "residual"))
    model = graph(
        f"""(float[N,3,6,7] x, float[N,1,6,7] z) => (float[N,5,6,7] y)
        {{ r = Relu (x) y = edgelm.QuantConv2d <{attributes(case.attributes)}> (w, "", "", "", "", "", z, r) }}""",
        w=case.weight,
    )
    assert not changes(model, FuseRelu(), X, normal(2, 1, 6, 7))


@pytest.mark.parametrize("epsilon", ["", "<epsilon = 0.01>"])
@pytest.mark.parametrize("relu", [False, True])
def test_fuse_batch_norm(epsilon: str, relu: bool) -> None:
    rest = f'y = {QCONV} (w, "", "", "", "", "", {"r" if relu else "n"})'
    model = plain(
        f"n = BatchNormalization {epsilon} (x, g, b, m, v) {'r = Relu (n)' if relu else ''} {rest}", **statistics(3)
    )
    FuseRelu()(model)
    assert changes(model, FuseBatchNorm(), X)
    Clean()(model)
    assert ops(model) == ["QuantConv2d"]
    (node,) = model.graph
    given: dict[str, Array] = statistics(3)
    scale: Array = given["g"] / np.sqrt(given["v"] + (0.01 if epsilon else 1e-5))
    in_scale = operand(node, "in_scale")
    assert in_scale is not None
    np.testing.assert_allclose(in_scale, scale, rtol=1e-6)
    assert attributes_of(node)["pre_relu"] == relu


@pytest.mark.parametrize(
    "body",
    [
        f'n = BatchNormalization (x, g, b, m, v) r = Relu (n) y = {QCONV} (w, "", "", "", "", "", r)',  # a ReLU between
        f'n = BatchNormalization (x, g, b, m, v) y = {QCONV} (w, g, b, "", "", "", n)',  # it has an affine already
        f'y = {QCONV} (w, "", "", "", "", "", x)',
    ],
)
def test_fuse_batch_norm_does_not_fuse(body: str) -> None:
    model = plain(body, **statistics(3))
    before = ops(model)
    assert not changes(model, FuseBatchNorm(), X)
    assert ops(model) == before


def test_fuse_batch_norm_does_not_fuse_the_second_of_two() -> None:
    model = plain(
        f"""n = BatchNormalization (x, g, b, m, v) k = BatchNormalization (n, g, b, m, v)
        y = {QCONV} (w, "", "", "", "", "", k)""",
        **statistics(3),
    )
    assert changes(model, FuseBatchNorm(), X)
    Clean()(model)
    assert ops(model) == ["BatchNormalization", "QuantConv2d"]


def test_fuse_batch_norm_does_not_take_computed_statistics() -> None:
    model = plain(
        f'h = Relu (g) n = BatchNormalization (x, h, b, m, v) y = {QCONV} (w, "", "", "", "", "", n)', **statistics(3)
    )
    with pytest.raises(EdgelmError, match="must be a constant"):
        FuseBatchNorm()(model)


WIDE = make_case(3, channels=(9,), absent=("out_scale", "out_bias", "residual"), act_bits=32)
WIDE_CONSTANTS: dict[str, Any] = {"w": WIDE.weight, "s": WIDE.operands["in_scale"], "t": WIDE.operands["in_bias"]}
WIDE_QCONV = f"edgelm.QuantConv2d <{attributes(WIDE.attributes)}>"


def wide(body: str, outputs: str = "float[N,5,6,7] y") -> ir.Model:
    """A graph of a (N, 2, 6, 7), b (N, 3, 6, 7) and c (N, 4, 6, 7); the convolution of 9 channels has an affine."""
    inputs = "float[N,2,6,7] a, float[N,3,6,7] b, float[N,4,6,7] c"
    return graph(f"({inputs}) => ({outputs}) {{ {body} }}", **WIDE_CONSTANTS)


PARTS = normal(1, 2, 6, 7), normal(1, 3, 6, 7, seed=1), normal(1, 4, 6, 7, seed=2)


def test_fuse_concat() -> None:
    model = wide(f'k = Concat <axis = 1> (a, b, c) y = {WIDE_QCONV} (w, s, t, "", "", "", k)')
    assert changes(model, FuseConcat(), *PARTS)
    Clean()(model)
    assert ops(model) == ["QuantConv2d"]
    assert [v.name for v in next(iter(model.graph)).inputs[6:] if v is not None] == ["a", "b", "c"]


def test_fuse_concat_takes_every_part_of_a_chain() -> None:
    """A concatenation of a concatenation is opened in one run."""
    model = wide(
        f"""j = Concat <axis = 1> (a, b) k = Concat <axis = 1> (j, c)
        y = {WIDE_QCONV} (w, s, t, "", "", "", k)"""
    )
    assert changes(model, FuseConcat(), *PARTS)
    assert not changes(model, FuseConcat(), *PARTS)
    Clean()(model)
    assert ops(model) == ["QuantConv2d"]


def test_fuse_concat_keeps_it_for_other_readers() -> None:
    model = wide(
        f'k = Concat <axis = 1> (a, b, c) y = {WIDE_QCONV} (w, s, t, "", "", "", k) z = Relu (k)',
        "float[N,5,6,7] y, float[N,9,6,7] z",
    )
    assert changes(model, FuseConcat(), *PARTS)
    Clean()(model)
    assert sorted(ops(model)) == ["Concat", "QuantConv2d", "Relu"]


@pytest.mark.parametrize("axis", [0, 2, 3, -1])
def test_fuse_concat_does_not_fuse_another_axis(axis: int) -> None:
    shape = [1, 3, 6, 7]
    shape[axis] *= 2
    model = plain(
        f'k = Concat <axis = {axis}> (x, x) y = {QCONV} (w, "", "", "", "", "", k)', outputs="float[n,5,h,w] y"
    )
    assert not changes(model, FuseConcat(), X)
    assert ops(model) == ["Concat", "QuantConv2d"]


def test_fuse_concat_does_not_touch_other_convolutions() -> None:
    model = wide("k = Concat <axis = 1> (a, b, c) y = Relu (k)", "float[N,9,6,7] y")
    assert not changes(model, FuseConcat(), *PARTS)


def test_clean() -> None:
    model = plain(
        f"""unused = Relu (x) more = Neg (unused)
        long_name_of_a_layer = Relu (x) y = {QCONV} (w, "", "", "", "", "", long_name_of_a_layer)""",
        dead=normal(100),
    )
    nodes = list(model.graph)
    nodes[-1].name = "nets.0.grow"
    nodes[-2].metadata_props["trace"] = "a stack of calls"
    nodes[-2].doc_string = "written by a tool"
    model.graph.doc_string = "written by a tool"
    changes(model, Clean(), X)
    assert ops(model) == ["Relu", "QuantConv2d"]
    assert [node.name for node in model.graph] == ["n0", "nets.0.grow"]
    assert list(model.graph.initializers) == ["c0"]
    assert [v.name for v in (*model.graph.inputs, *model.graph.outputs)] == ["x", "y"]
    assert "edgelm" in model.opset_imports
    assert "edgelm.canonical" not in model.opset_imports
    text = ir.to_proto(model).SerializeToString()
    assert b"tool" not in text
    assert b"stack" not in text
    assert b"long_name" not in text
