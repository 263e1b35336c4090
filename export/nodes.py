"""QuantConv2d nodes and constants in an ONNX graph: made and read in one place.

The op itself is defined in `edgelm.export.ops`; passes use these helpers instead of operand positions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgelm.errors import EdgelmError
from edgelm.export.ops import DOMAIN, QUANT_CONV

__all__ = [
    "FIRST_X",
    "attributes_of",
    "constant",
    "constant_of",
    "is_quant_conv",
    "operand",
    "quant_conv",
    "set_operand",
]

_NAMES = [i.name for i in QUANT_CONV.inputs]
FIRST_X = _NAMES.index("x")
"""Position of the first activation operand."""


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


def quant_conv(
    attributes: Mapping[str, int], operands: Mapping[str, ir.Value | None], x: Sequence[ir.Value], output: str
) -> ir.Node:
    """A QuantConv2d node; `operands` names those of the record that are present."""
    QUANT_CONV.check(attributes)
    inputs = [operands.get(name) for name in _NAMES[:FIRST_X]]
    node = ir.node(QUANT_CONV.name, [*inputs, *x], attributes=dict(attributes), domain=DOMAIN)
    node.outputs[0].name = output
    return node


def attributes_of(node: ir.Node) -> dict[str, int]:
    """The attributes of a QuantConv2d node, checked against the record."""
    attributes = {name: attribute.as_int() for name, attribute in node.attributes.items()}
    QUANT_CONV.check(attributes)
    return attributes


def operand(node: ir.Node, name: str) -> NDArray[np.float32] | None:
    """A constant operand of a QuantConv2d node, or None where it is absent."""
    value = node.inputs[_NAMES.index(name)]
    return None if value is None else constant_of(value, f"QuantConv2d's {name}")


def set_operand(node: ir.Node, name: str, value: ir.Value) -> None:
    """Give a QuantConv2d node one more of its optional operands."""
    node.replace_input_with(_NAMES.index(name), value)
