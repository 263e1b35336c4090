"""Graphs around a quantized convolution that keeps its map's shape, for the tests of passes."""

import numpy as np
import onnx_ir as ir
from graphs import Array, attributes, graph, normal, reference
from qconv_cases import ALL, make_case

SQUARE = make_case(1, channels=(4,), out_channels=4, absent=ALL, act_bits=32)
Q = f"edgelm.QuantConv2d <{attributes(SQUARE.attributes)}>"
X = normal(2, 4, 6, 8, seed=4)
POOL = "MaxPool <kernel_shape = [2, 2], strides = [2, 2]>"
UP = 'Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">'


def q(x: str, residual: str = '""') -> str:
    """A 3x3 convolution of 4 to 4 channels."""
    return f'{Q} (w, "", "", "", "", {residual}, {x})'


def made(body: str, outputs: str = "float[N,4,6,8] y", types: str = "", **constants: Array) -> ir.Model:
    """A graph of x (N, 4, 6, 8); shape inference does not know our op, so `types` says what it makes."""
    two = np.array([1, 1, 2, 2], np.float32)
    given = f"<{types}>" if types else ""
    return graph(f"(float[N,4,6,8] x) => ({outputs}) {given} {{ {body} }}", w=SQUARE.weight, two=two, **constants)


def changes(model: ir.Model, one: ir.passes.InPlacePass, *x: Array) -> bool:
    """Run a pass, check that outputs keep names, shapes and values to the bit; returns whether it changed something."""
    names = [(v.name, str(v.shape)) for v in model.graph.outputs]
    before = reference(model, *(x or (X,)))
    modified = bool(one(model).modified)
    assert [(v.name, str(v.shape)) for v in model.graph.outputs] == names
    for a, b in zip(before, reference(model, *(x or (X,))), strict=True):
        np.testing.assert_array_equal(b, a)
    return modified
