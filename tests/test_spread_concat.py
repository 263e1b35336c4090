"""SpreadConcat changes no bit of what a graph computes, and leaves alone what it cannot spread."""

import pytest

pytest.importorskip("torch", reason="the exporter needs torch")
pytest.importorskip("onnx", reason="graph passes work on ONNX")

from graphs import attributes, graph, normal, ops
from qconv_cases import make_case
from square import POOL, UP, changes, made, q

from edgelm.export.nodes import attributes_of, is_quant_conv
from edgelm.export.passes.clean import Clean
from edgelm.export.passes.fuse_concat import FuseConcat
from edgelm.export.passes.fuse_residual import FuseResidual
from edgelm.export.passes.group import FuseGraph
from edgelm.export.passes.spread_concat import SpreadConcat

CAT = "Concat <axis = 1>"
EIGHT = make_case(3, channels=(8,), out_channels=8, absent=("residual",), act_bits=1, weight_bits=1)
WIDE = f"edgelm.QuantConv2d <{attributes(EIGHT.attributes)}>"
"""From 8 to 8 channels; its residual is named."""


def wide(residual: str) -> str:
    return f"{WIDE} (v, in_scale, in_bias, out_scale, out_bias, {residual}, k)"


@pytest.mark.parametrize(
    ("body", "outputs", "left"),
    [
        (f"k = {CAT} (x, x) y = {POOL} (k)", "float[N,8,3,4] y", ["MaxPool", "MaxPool", "Concat"]),
        (f'k = {CAT} (x, x) y = {UP} (k, "", two)', "float[N,8,12,16] y", ["Resize", "Resize", "Concat"]),
        (f"n = Neg (x) k = {CAT} (x, n) d = {CAT} (n, n) y = Add (k, d)", "float[N,8,6,8] y",
         ["Neg", "Add", "Add", "Concat"]),
        # One step leads to the next.
        (f"n = Neg (x) k = {CAT} (x, n) p = {POOL} (k) y = Add (p, p)", "float[N,8,3,4] y",
         ["Neg", "MaxPool", "MaxPool", "Add", "Add", "Concat"]),
        # What others read of the whole stays.
        (f"k = {CAT} (x, x) n = Neg (k) y = Add (k, k)", "float[N,8,6,8] y, float[N,8,6,8] n",
         ["Concat", "Neg", "Add", "Add", "Concat"]),
    ],
)  # fmt: skip
def test_spreads(body: str, outputs: str, left: list[str]) -> None:
    model = made(body, outputs, "float[N,4,6,8] n, float[N,8,6,8] k, float[N,8,3,4] p")
    assert changes(model, SpreadConcat())
    Clean()(model)
    assert sorted(ops(model)) == sorted(left)


@pytest.mark.parametrize(
    ("body", "outputs", "types"),
    [
        (f"k = {CAT} (x, x) y = Neg (k)", "float[N,8,6,8] y", ""),
        ("k = Concat <axis = 2> (x, x) y = Add (k, k)", "float[N,4,12,8] y", ""),
        (f"a = {q('x')} k = {CAT} (a, x) y = Add (k, k)", "float[N,8,6,8] y", ""),  # nothing says how many channels
        (f"k = {CAT} (x, x) e = {CAT} (x, x) d = Neg (e) y = Add (k, d)", "float[N,8,6,8] y", ""),
        (f"k = {CAT} (x, x) a, b, c = Split <axis = 1, num_outputs = 3> (k) d = {CAT} (a, b, c) y = Add (k, d)",
         "float[N,8,6,8] y", "float[N,3,6,8] a, float[N,3,6,8] b, float[N,2,6,8] c"),
        ("y = Add (x, x)", "float[N,4,6,8] y", ""),
        (f"y = {q('x', 'x')}", "float[N,4,6,8] y", ""),
    ],
)  # fmt: skip
def test_leaves_alone(body: str, outputs: str, types: str) -> None:
    assert not changes(made(body, outputs, types), SpreadConcat())


def test_splits_a_convolution_by_its_residual() -> None:
    text = f"""(float[N,3,6,7] a, float[N,5,6,7] b, float[N,8,6,7] k) => (float[N,8,6,7] y)
        {{ r = {CAT} (a, b) y = {wide("r")} }}"""
    x = normal(2, 3, 6, 7, seed=1), normal(2, 5, 6, 7, seed=2), normal(2, 8, 6, 7, seed=3)
    model = graph(text, v=EIGHT.weight, **EIGHT.operands)
    assert changes(model, SpreadConcat(), *x)
    Clean()(model)
    assert ops(model) == ["QuantConv2d", "QuantConv2d", "Concat"]
    found = [attributes_of(node)["out_channels"] for node in model.graph if is_quant_conv(node)]
    assert found == [3, 5]


def test_a_residual_network_of_concatenations_is_one_operator() -> None:
    """Two blocks that end in concatenations, the first with a projection, then pooled, enlarged and added."""
    body = f"""a = {q("x")} b = {q("a")} c = {CAT} (a, b) k = {CAT} (x, x)
        p = {WIDE} (v, in_scale, in_bias, out_scale, out_bias, "", k) s = Add (c, p)
        d = {q("a")} e = {CAT} (d, a) t = Add (e, s)
        l = {POOL} (t) u = {UP} (l, "", two) z = Add (u, t)
        y = {WIDE} (v, in_scale, in_bias, out_scale, out_bias, "", z)"""
    eight = ", ".join(f"float[N,8,6,8] {name}" for name in "ckpsetuz")
    types = f"float[N,4,6,8] a, float[N,4,6,8] b, float[N,4,6,8] d, float[N,8,3,4] l, {eight}"
    model = made(body, "float[N,8,6,8] y", types, v=EIGHT.weight, **EIGHT.operands)
    for one in (FuseConcat, FuseResidual, SpreadConcat, FuseConcat, Clean, FuseResidual, FuseGraph, Clean):
        changes(model, one())  # none changes a bit
    assert ops(model) == ["QuantGraph"]
