"""Operators between quantized maps compute on their levels: the pairs around them melt away, as TFLite wants it.

Given:   y = QuantizeLinear (Relu (Conv (DequantizeLinear (x), w, b)))
Result:  y = Relu (Conv (x, w, b)), where x and y are levels

In TFLite the type and the steps belong to a tensor, not to an operator: `quantization_of` tells those of a map that is
levels. What stays float keeps its DequantizeLinear and QuantizeLinear.
"""

from dataclasses import dataclass

import onnx_ir as ir

from edgelm.export.nodes import constant_of, is_builtin, readers
from edgelm.export.passes.quantize_float import MOVES, follow_relu, maps_of

__all__ = ["AdoptIntegers", "Steps", "quantization_of"]

_INTEGER = ("Conv", "Add", "Concat", *MOVES)
_KEY = "edgelm.steps"


@dataclass(frozen=True)
class Steps:
    """value = (level - zero) * step, with levels from 0 to 255."""

    step: float
    zero: int


def quantization_of(value: ir.Value | None) -> Steps | None:
    """The steps of a map that is levels, None for one that is float."""
    found = value.meta.get(_KEY) if value is not None else None
    assert found is None or isinstance(found, Steps)
    return found


class AdoptIntegers(ir.passes.InPlacePass):
    """See the module's text."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite every operator that can."""
        graph = model.graph
        for node in graph:
            if node.op_type in ("QuantizeLinear", "DequantizeLinear") and not _constant(node.inputs[0]):
                levels = node.outputs[0] if node.op_type == "QuantizeLinear" else node.inputs[0]
                assert levels is not None
                step, zero = (constant_of(value, "the steps of a map") for value in node.inputs[1:3])
                levels.meta[_KEY] = Steps(float(step), int(zero))
        changed = False
        for node in list(graph):
            if (quantize := _melts(node)) is not None:
                _melt(graph, node, quantize)
                changed = True
        return ir.passes.PassResult(model, modified=changed)


def _constant(value: ir.Value | None) -> bool:
    return value is not None and ir.convenience.get_const_tensor(value) is not None


def _melts(node: ir.Node) -> ir.Node | None:
    """The QuantizeLinear behind an operator that computes on integers, None where it does not."""
    if node.op_type not in _INTEGER or node.domain:
        return None
    if not all(is_builtin(value.producer(), "DequantizeLinear") for value in maps_of(node)):
        return None
    if node.op_type == "Conv" and not is_builtin(_producer(node.inputs[1]), "DequantizeLinear"):
        return None
    made = follow_relu(node)
    after = readers(made)
    return after[0] if len(after) == 1 and is_builtin(after[0], "QuantizeLinear") else None


def _producer(value: ir.Value | None) -> ir.Node | None:
    return None if value is None else value.producer()


def _melt(graph: ir.Graph, node: ir.Node, quantize: ir.Node) -> None:
    for place, value in enumerate(maps_of(node)):
        dequantize = value.producer()
        assert dequantize is not None
        node.replace_input_with(place, dequantize.inputs[0])
    made, levels = follow_relu(node), quantize.outputs[0]
    made.meta[_KEY], made.type = levels.meta[_KEY], levels.type
    for reader, place in list(levels.uses()):
        reader.replace_input_with(place, made)
    for place, value in enumerate(graph.outputs):
        if value is levels:
            graph.outputs[place] = made
            made.name, levels.name = levels.name, f"{levels.name}.gone"
    graph.remove(quantize, safe=False)
