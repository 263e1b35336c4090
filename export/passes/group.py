"""Pieces of a network become one operator each, so that nothing but edgelm's own code runs between their convolutions.

Given:   QuantConv2d, MaxPool (2x2, stride 2), Resize (nearest, twice the size) and Add nodes that hang together
Result:  graph0 = QuantGraph (program, data, x1, ..., xn)

A piece is as large as it may be: no path leads out of it through a node that the op does not have and back into it, for
then it could not run as one. Hence levels: a node that the op has is on the level of its sources, and one above those
sources that the op does not have; the nodes of one level are a piece, but for those that no convolution hangs on.
"""

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from edgelm.export.nodes import (
    FIRST_X,
    attributes_of,
    channels_of,
    constant_of,
    given_attributes,
    is_builtin,
    is_quant_conv,
    operand,
    quant_graph,
    same_shape,
)
from edgelm.export.quant_graph import FLOAT_OPERANDS, Add, Conv, MaxPool, Program, Step, Upsample

__all__ = ["FuseGraph"]


class FuseGraph(ir.passes.InPlacePass):
    """See the module's text; pieces are named graph0, graph1 and so on in the order of their levels."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Group every piece."""
        graph = model.graph
        graph.sort()
        pieces = _pieces(list(graph))
        for index, nodes in enumerate(pieces):
            _replace(graph, nodes, f"graph{index}")
        if pieces:
            graph.sort()
        return ir.passes.PassResult(model, modified=bool(pieces))


_POOL: dict[str, object] = {
    "kernel_shape": (2, 2), "strides": (2, 2), "pads": (0, 0, 0, 0), "dilations": (1, 1), "ceil_mode": 0,
    "auto_pad": "NOTSET", "storage_order": 0,
}  # fmt: skip
_NEAREST = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


def _has(node: ir.Node) -> bool:
    """Whether the op has this node, in this form."""
    if is_quant_conv(node):
        return True
    given = given_attributes(node)
    if is_builtin(node, "MaxPool"):
        given = {name: _plain(value) for name, value in given.items()}
        return _POOL | given == _POOL and {"kernel_shape", "strides"} <= given.keys() and len(node.outputs) == 1
    if is_builtin(node, "Resize"):
        scales = ir.convenience.get_const_tensor(node.inputs[2]) if len(node.inputs) == 3 and node.inputs[2] else None
        twice = scales is not None and scales.numpy().tolist() == [1, 1, 2, 2]
        return twice and "axes" not in given and all(given.get(name) == value for name, value in _NEAREST.items())
    if is_builtin(node, "Add"):
        return same_shape(*node.inputs) and not any(v is None or v.is_initializer() for v in node.inputs)
    return False


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _sources(node: ir.Node) -> list[ir.Value]:
    """The activations that a node reads."""
    inputs = node.inputs[FIRST_X - 1 :] if is_quant_conv(node) else node.inputs
    if is_builtin(node, "Resize"):
        inputs = node.inputs[:1]
    return [value for value in inputs if value is not None]


def _pieces(nodes: Sequence[ir.Node]) -> list[list[ir.Node]]:
    """The nodes of each piece in the order of the graph; the pieces in the order of their levels."""
    level: dict[ir.Node, int] = {}
    able = {node: _has(node) for node in nodes}
    root = {node: node for node in nodes}

    def find(node: ir.Node) -> ir.Node:
        while root[node] is not node:
            root[node] = root[root[node]]
            node = root[node]
        return node

    for node in nodes:
        producers = [p for p in (value.producer() for value in _sources(node)) if p is not None]
        if able[node]:
            level[node] = max((level[p] + (not able[p]) for p in producers), default=0)
            for producer in producers:
                if able[producer] and level[producer] == level[node]:
                    root[find(node)] = find(producer)
        else:
            level[node] = max((level[p] for p in producers), default=-1)
    bearing = {find(node) for node in nodes if is_quant_conv(node)}
    found: dict[int, list[ir.Node]] = {}
    for node in nodes:
        if able[node] and find(node) in bearing:
            found.setdefault(level[node], []).append(node)
    return [found[key] for key in sorted(found)]


def _replace(graph: ir.Graph, nodes: Sequence[ir.Node], name: str) -> None:
    """Put one QuantGraph in place of the nodes."""
    inside = set(nodes)
    made = [node.outputs[0] for node in nodes]
    own = set(made)
    inputs = list(dict.fromkeys(v for node in nodes for v in _sources(node) if v not in own))
    outputs = [v for v in made if v.is_graph_output() or any(use.node not in inside for use in v.uses())]
    index = {value: place for place, value in enumerate([*inputs, *made])}
    steps = tuple(_step(node, index) for node in nodes)
    program = Program(tuple(map(channels_of, inputs)), steps, tuple(index[v] for v in outputs))
    node = quant_graph(program, inputs, graph, name)
    for new, old in zip(node.outputs, outputs, strict=True):
        new.shape, new.type = old.shape, old.type
    ir.convenience.replace_nodes_and_values(graph, nodes[-1], nodes, [node], outputs, node.outputs)


def _step(node: ir.Node, index: Mapping[ir.Value, int]) -> Step:
    values = [index[value] for value in _sources(node)]
    if is_builtin(node, "MaxPool"):
        return MaxPool(values[0])
    if is_builtin(node, "Resize"):
        return Upsample(values[0])
    if is_builtin(node, "Add"):
        return Add(*values)
    residual = node.inputs[FIRST_X - 1]
    floats = {name: array for name in FLOAT_OPERANDS if (array := operand(node, name)) is not None}
    return Conv(
        attributes_of(node),
        constant_of(node.inputs[0], "a packed weight"),
        tuple(index[value] for value in node.inputs[FIRST_X:] if value is not None),
        None if residual is None else index[residual],
        floats,
    )
