"""FuseGraph makes one operator of every piece of a network that may run as one, and changes nothing else."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the exporter needs torch")
pytest.importorskip("onnx", reason="graph passes work on ONNX")

import onnx_ir as ir
from graphs import attributes, graph, normal, ops
from qconv_cases import make_case
from square import POOL, UP, changes, made, q

from edgelm.export.passes.clean import Clean
from edgelm.export.passes.group import FuseGraph
from edgelm.export.quant_decode import decode
from edgelm.export.quant_graph import Conv, Program


def program(model: ir.Model, name: str) -> Program:
    (node,) = (n for n in model.graph if n.name == name)
    words, data = (v.const_value for v in node.inputs[:2] if v is not None)
    assert words is not None
    assert data is not None
    return decode(words.numpy(), data.numpy())


TYPES = ", ".join(f"float[N,4,6,8] {name}" for name in "cdef")


def test_group_takes_everything_it_has() -> None:
    body = f"""p = {POOL} (x) c = {q("p")} u = {UP} (c, "", two) s = Add (u, x) d = {q("s", "x")} y = Add (d, s)"""
    model = made(body, types="float[N,4,3,4] c, float[N,4,6,8] u, float[N,4,6,8] s, float[N,4,6,8] d")
    assert changes(model, FuseGraph())
    Clean()(model)
    assert ops(model) == ["QuantGraph"]
    found = program(model, "graph0")
    assert [type(node).__name__ for node in found.nodes] == ["MaxPool", "Conv", "Upsample", "Add", "Conv", "Add"]
    assert found.inputs == (4,)
    assert [node.values for node in found.nodes] == [(0,), (1,), (2,), (3, 0), (4, 0), (5, 4)]
    assert found.outputs == (6,)


@pytest.mark.parametrize(
    ("body", "left"),
    [
        # A path through a node that the op does not have: two pieces, and what hangs on the first stays there.
        (f"c = {q('x')} t = Tanh (c) d = {q('t')} y = Add (d, c)", ["QuantGraph", "Tanh", "QuantGraph"]),
        (f"c = {q('x')} t = Tanh (c) d = {q('c')} e = {q('t')} f = {q('d')} y = Add (e, f)",
         ["QuantGraph", "Tanh", "QuantGraph"]),
        (f"t = Tanh (x) c = {q('x')} d = {q('t')} y = Add (c, d)", ["Tanh", "QuantGraph"]),
        (f"c = {q('x')} d = {q('x')} t = Tanh (d) y = Add (c, t)", ["QuantGraph", "Tanh", "Add"]),
        # Nothing but sums and pools is not worth an operator of ours.
        (f"s = Add (x, x) t = Tanh (s) c = {q('t')} y = Tanh (c)", ["Add", "Tanh", "QuantGraph", "Tanh"]),
        (f"c = {q('x')} k = Concat <axis = 1> (c, c) r = Tanh (k) a, b = Split <axis = 1, num_outputs = 2> (r) "
         f"d = {q('a')} y = Add (d, b)", ["QuantGraph", "Concat", "Tanh", "Split", "QuantGraph"]),
    ],
)  # fmt: skip
def test_group_goes_around_what_it_has_not(body: str, left: list[str]) -> None:
    model = made(body, types=TYPES)
    assert changes(model, FuseGraph())
    Clean()(model)
    assert ops(model) == left


def test_group_keeps_every_value_that_others_read() -> None:
    model = made(
        f"c = {q('x')} d = {q('c')} t = Tanh (c) p = {POOL} (d)",
        "float[N,4,6,8] t, float[N,4,6,8] d, float[N,4,3,4] p",
        "float[N,4,6,8] c",
    )
    assert changes(model, FuseGraph())
    Clean()(model)
    assert ops(model) == ["QuantGraph", "Tanh"]
    (node, _) = model.graph
    assert [str(v.shape) for v in node.outputs] == ["[N,4,6,8]", "[N,4,6,8]", "[N,4,3,4]"]
    assert program(model, "graph0").outputs == (1, 2, 3)


@pytest.mark.parametrize(
    "body",
    [
        "u = MaxPool <kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1> (x)",
        "u = MaxPool <kernel_shape = [3, 3], strides = [2, 2]> (x)",
        "u = MaxPool <kernel_shape = [2, 2]> (x)",
        "u = MaxPool <kernel_shape = [2, 2], strides = [2, 2], pads = [1, 1, 1, 1]> (x)",
        f'u = {UP} (x, "", three)',
        'u = Resize <mode = "linear"> (x, "", two)',
        'u = Resize <mode = "nearest"> (x, "", two)',
        "u = Add (x, k)",
        "u = Add (x, s)",
        "u = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (x)",
    ],
)
def test_group_does_not_take_other_forms(body: str) -> None:
    model = made(
        f"{body} y = {q('u')}", "float[N,4,h,v] y",
        three=np.array([1, 1, 3, 3], np.float32), k=normal(2, 4, 6, 8), s=normal(4, 1, 1),
    )  # fmt: skip
    assert changes(model, FuseGraph())
    Clean()(model)
    assert len(ops(model)) == 2
    assert [type(node) for node in program(model, "graph0").nodes] == [Conv]


def test_group_without_convolutions() -> None:
    model = made(f"p = {POOL} (x) y = Add (p, p)", "float[N,4,3,4] y")
    assert not changes(model, FuseGraph())


def test_group_of_several_inputs() -> None:
    case = make_case(3, channels=(2, 3), out_channels=4, absent=("residual",))
    call: Any = attributes(case.attributes)
    model = graph(
        f"""(float[N,2,6,7] a, float[N,3,6,7] b) => (float[N,4,6,7] y) <float[N,4,6,7] c>
        {{ c = edgelm.QuantConv2d <{call}> (w, s, t, o, p, "", a, b)
        y = edgelm.QuantConv2d <{call}> (w, s, t, o, p, c, a, b) }}""",
        w=case.weight,
        **dict(zip("stop", (case.operands[n] for n in ("in_scale", "in_bias", "out_scale", "out_bias")), strict=True)),
    )
    assert changes(model, FuseGraph(), *case.x)
    found = program(model, "graph0")
    assert found.inputs == (2, 3)
    assert [node.values for node in found.nodes] == [(0, 1), (0, 1, 2)]
