"""QuantConv2d and QuantGraph nodes and constants in an ONNX graph: made and read in one place.

The ops themselves are defined in `edgelm.export.ops`; passes use these helpers instead of operand positions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from edgelm.errors import EdgelmError
from edgelm.export.ops import DOMAIN, QUANT_CONV, QUANT_GRAPH
from edgelm.export.quant_graph import Program, encode

__all__ = [
    "FIRST_X",
    "attributes_of",
    "call_name",
    "channels_of",
    "constant",
    "constant_of",
    "given_attributes",
    "is_builtin",
    "is_ours",
    "is_packed",
    "is_quant_conv",
    "is_quant_graph",
    "layer_of",
    "operand",
    "quant_conv",
    "quant_graph",
    "readers",
    "same_shape",
    "set_attributes",
    "set_operand",
]

_NAMES = [i.name for i in QUANT_CONV.inputs]
FIRST_X = _NAMES.index("x")
"""Position of the first activation operand."""


def call_name(layer: str, call: int) -> str:
    """The name of the node that is a layer's call, counted from 0 in the network's order: `up`, `up#2`, `up#3`."""
    return f"{layer}#{call + 1}" if call else layer


def layer_of(node: ir.Node) -> str:
    """The layer that a convolution is a call of; see `call_name`."""
    return (node.name or "").partition("#")[0]


def constant(graph: ir.Graph, name: str, array: NDArray[Any]) -> ir.Value:
    """A new initializer of the graph."""
    tensor = ir.tensor(array, name=name)
    value = ir.Value(name=name, const_value=tensor, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype))
    graph.register_initializer(value)
    return value


def constant_of(value: ir.Value | None, what: str) -> NDArray[Any]:
    """The array of a constant operand; raises EdgelmError where the graph computes it instead."""
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    if tensor is None:
        raise EdgelmError(f"{what} must be a constant of the graph; this network computes it")
    return tensor.numpy()


def is_quant_conv(node: ir.Node | None) -> bool:
    """Whether the node is edgelm's custom op (not the canonical one)."""
    return node is not None and node.domain == DOMAIN and node.op_type == QUANT_CONV.name


def is_packed(node: ir.Node) -> bool:
    """Whether the node is a convolution whose weights the network was trained to have in one or two bits."""
    return is_quant_conv(node) and attributes_of(node)["weight_bits"] < 8


def is_quant_graph(node: ir.Node | None) -> bool:
    """Whether the node is the custom op for a piece of a network."""
    return node is not None and node.domain == DOMAIN and node.op_type == QUANT_GRAPH.name


def is_ours(node: ir.Node) -> bool:
    """Whether the node is either of edgelm's custom ops."""
    return is_quant_conv(node) or is_quant_graph(node)


def is_builtin(node: ir.Node | None, op_type: str) -> bool:
    """Whether the node is ONNX's own op of this name."""
    return node is not None and node.op_type == op_type and not node.domain


def quant_conv(
    attributes: Mapping[str, int], operands: Mapping[str, ir.Value | None], x: Sequence[ir.Value], output: str
) -> ir.Node:
    """A QuantConv2d node; `operands` names those of the record that are present."""
    inputs = [operands.get(name) for name in _NAMES[:FIRST_X]]
    node = ir.node(QUANT_CONV.name, [*inputs, *x], attributes=QUANT_CONV.stored(attributes), domain=DOMAIN)
    node.outputs[0].name = output
    return node


def quant_graph(program: Program, x: Sequence[ir.Value], graph: ir.Graph, name: str) -> ir.Node:
    """A QuantGraph node of this name with its constants; its outputs are still without names and shapes."""
    words, data = encode(program)
    constants = [constant(graph, f"{name}_program", words), constant(graph, f"{name}_data", data)]
    outputs = len(program.outputs)
    return ir.node(QUANT_GRAPH.name, [*constants, *x], domain=DOMAIN, num_outputs=outputs, name=name)


def readers(value: ir.Value) -> list[ir.Node]:
    """The nodes that read a value, each as often as it does."""
    return [use.node for use in value.uses()]


def channels_of(value: ir.Value | None) -> int:
    """C of an activation (N, C, H, W), or -1 where the graph does not say."""
    shape = value.shape if value is not None else None
    side = shape[1] if shape is not None and len(shape) == 4 else None
    return side if isinstance(side, int) else -1


def same_shape(a: ir.Value | None, b: ir.Value | None) -> bool:
    """Whether two activations are known to have one shape."""
    if a is None or b is None or a.shape is None or b.shape is None or len(a.shape) != 4:
        return False
    sides = [str(side) for side in a.shape]
    return sides == [str(side) for side in b.shape] and "None" not in sides


def given_attributes(node: ir.Node, **defaults: Any) -> dict[str, Any]:
    """The attribute values of any node by name; `defaults` for those that it has not."""
    return defaults | {name: attribute.value for name, attribute in node.attributes.items()}


def attributes_of(node: ir.Node) -> dict[str, int]:
    """The attributes of a QuantConv2d node, with those that files leave out, checked against the record."""
    attributes = QUANT_CONV.complete({name: attribute.as_int() for name, attribute in node.attributes.items()})
    QUANT_CONV.check(attributes)
    return attributes


def set_attributes(node: ir.Node, **changes: int) -> None:
    """Change attributes of a QuantConv2d node and check them."""
    for name, value in changes.items():
        node.attributes[name] = ir.AttrInt64(name, value)
    attributes_of(node)


def operand(node: ir.Node, name: str) -> NDArray[Any] | None:
    """A constant operand of a QuantConv2d node, or None where it is absent."""
    value = node.inputs[_NAMES.index(name)]
    return None if value is None else constant_of(value, f"QuantConv2d's {name}")


def set_operand(node: ir.Node, name: str, value: ir.Value | None) -> None:
    """Give a QuantConv2d node an operand, in place of the one it may have."""
    node.replace_input_with(_NAMES.index(name), value)
