"""What works channel by channel on a concatenation works on its parts instead, so that nobody needs the whole map.

Given:   c = Concat <axis = 1> (x1, ..., xn);  y = MaxPool (c), or Resize (c)
Result:  y = Concat (MaxPool (x1), ..., MaxPool (xn))

Given:   y = Add (c, d), d another Concat, of parts with as many channels
Result:  y = Concat (Add (x1, d1), ..., Add (xn, dn))

Given:   y = QuantConv2d (w, ..., residual = c, x)
Result:  y = Concat (QuantConv2d (w1, ..., x1, x), ..., QuantConv2d (wn, ..., xn, x)), wi the filters of xi's channels

Convolutions read the parts of a concatenation by themselves (`FuseConcat`, which runs after this pass). A residual
network whose blocks end in concatenations has no other readers: its streams stay in parts from the first block to the
head, and a QuantGraph can hold it. What a concatenation's part is, is exact: no value is computed in another way.
"""

from collections.abc import Sequence

import onnx_ir as ir

from edgelm.export.nodes import (
    FIRST_X,
    attributes_of,
    channels_of,
    constant,
    constant_of,
    is_builtin,
    is_quant_conv,
    operand,
    quant_conv,
)

__all__ = ["SpreadConcat"]

_RESIDUAL = FIRST_X - 1


class SpreadConcat(ir.passes.InPlacePass):
    """See the module's text."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Spread wherever it fits."""
        graph = model.graph
        graph.sort()
        modified = False
        for index, node in enumerate(list(graph)):
            made = _spread(graph, node, f"sp{index}")
            if made:
                _replace(graph, node, made)
                modified = True
        return ir.passes.PassResult(model, modified=modified)


def _spread(graph: ir.Graph, node: ir.Node, prefix: str) -> list[ir.Node]:
    """The nodes for the parts, or none where the node stays."""
    if is_builtin(node, "Add"):
        a, b = (_parts(value) for value in node.inputs)
        alike = a and [channels_of(part) for part in a] == [channels_of(part) for part in b]
        return [ir.node("Add", pair) for pair in zip(a, b, strict=True)] if alike else []
    if is_builtin(node, "MaxPool") or _keeps_channels(node):
        attributes = list(node.attributes.values())
        return [
            ir.Node("", node.op_type, [part, *node.inputs[1:]], attributes) for part in _parts(node.inputs[0])
        ]  # fmt: skip
    if is_quant_conv(node) and (parts := _parts(node.inputs[_RESIDUAL])):
        return _split(graph, node, parts, prefix)
    return []


def _parts(value: ir.Value | None) -> list[ir.Value]:
    """The parts of a concatenation along the channels, whose numbers of these are known; else none."""
    producer = value.producer() if value is not None else None
    if producer is None or not is_builtin(producer, "Concat") or producer.attributes["axis"].as_int() != 1:
        return []
    parts = [part for part in producer.inputs if part is not None]
    return parts if all(channels_of(part) > 0 for part in parts) else []


def _keeps_channels(node: ir.Node) -> bool:
    """Whether this is a Resize of height and width alone, by constant factors."""
    if not is_builtin(node, "Resize") or len(node.inputs) != 3 or node.inputs[1] is not None:
        return False
    scales = ir.convenience.get_const_tensor(node.inputs[2]) if node.inputs[2] is not None else None
    return scales is not None and "axes" not in node.attributes and scales.numpy().tolist()[:2] == [1, 1]


def _split(graph: ir.Graph, node: ir.Node, parts: Sequence[ir.Value], prefix: str) -> list[ir.Node]:
    """A convolution for the filters of each part of its residual."""
    weight = constant_of(node.inputs[0], "a packed weight")
    x = [value for value in node.inputs[FIRST_X:] if value is not None]
    made, first = [], 0
    for index, part in enumerate(parts):
        end = first + channels_of(part)
        name = f"{prefix}_{index}"
        operands: dict[str, ir.Value | None] = {"weight": constant(graph, f"{name}_w", weight[first:end].copy())}
        operands |= {"in_scale": node.inputs[1], "in_bias": node.inputs[2], "residual": part}
        for operand_name in ("out_scale", "out_bias"):
            if (array := operand(node, operand_name)) is not None:
                operands[operand_name] = constant(graph, f"{name}_{operand_name}", array[first:end].copy())
        attributes = attributes_of(node) | {"out_channels": end - first}
        made.append(quant_conv(attributes, operands, x, f"{name}_y"))
        made[-1].name = f"{node.name}.{index}"
        first = end
    return made


def _replace(graph: ir.Graph, node: ir.Node, made: Sequence[ir.Node]) -> None:
    """Put the concatenation of what these make in the place of a node."""
    old = node.outputs[0]
    for one in made:
        channels = _channels(one)
        value = one.outputs[0]
        value.type = old.type
        value.shape = None if old.shape is None else ir.Shape([old.shape[0], channels, *old.shape[2:]])
    whole = ir.node("Concat", [one.outputs[0] for one in made], attributes={"axis": 1})
    whole.outputs[0].shape, whole.outputs[0].type = old.shape, old.type
    ir.convenience.replace_nodes_and_values(graph, node, [node], [*made, whole], [old], whole.outputs)


def _channels(node: ir.Node) -> int:
    return attributes_of(node)["out_channels"] if is_quant_conv(node) else channels_of(node.inputs[0])
