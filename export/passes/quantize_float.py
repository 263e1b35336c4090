"""Quantize a float graph after training: weights of 8 bits, maps of 8 bits between operators that compute on integers.

The graph says so in ONNX's standard form: QuantizeLinear and DequantizeLinear around every such map, DequantizeLinear
behind weights and biases. Run as it stands it is the float network with rounding, which is what the twin of the export
does; engines melt the pairs into operators on integers. Weights get one step per filter; operators that only move
values keep their input's step. The last convolution stays float: 256 levels of heatmap would tie at the maxima.

O = filters.
"""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgelm.export.nodes import constant, constant_of, is_builtin, readers
from edgelm.export.ranges import Range

__all__ = ["MOVES", "QuantizeFloat", "follow_relu", "maps_of"]

MOVES = ("MaxPool", "AveragePool", "Resize")
"""Operators whose output counts in the steps of their input."""
_LARGEST_BIAS = 2.0**30
"""In levels: what is added to it must still fit 32 bits."""


def follow_relu(node: ir.Node) -> ir.Value:
    """What a node makes, behind the ReLU that is its only reader, if one is."""
    value = node.outputs[0]
    after = readers(value)
    alone = len(after) == 1 and is_builtin(after[0], "Relu") and not value.is_graph_output()
    return after[0].outputs[0] if alone and node.op_type in ("Conv", "Add") else value


class QuantizeFloat(ir.passes.InPlacePass):
    """See the module's text.

    Args:
        ranges: of the values, by name; those that are quantized must be there.
        levels: the largest level of a weight, up to 127. Kernels for CPUs without dot-product instructions add pairs of
            u8 x s8 products in 16 bits, which hold them for certain only up to 64.
    """

    def __init__(self, ranges: Mapping[str, Range], levels: int) -> None:
        self._ranges = ranges
        self._levels = levels

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Quantize the graph."""
        graph = model.graph
        kept: dict[ir.Value, Range] = {}
        """Of the maps that are quantized; as their readers see them, behind the pair."""
        for node in list(graph):
            made = follow_relu(node)
            if made.is_graph_output() or not _pays(node, kept):
                continue
            for value in maps_of(node):
                if value not in kept:
                    kept[_pair(graph, value, self._ranges[value.name or ""])] = self._ranges[value.name or ""]
            if node.op_type == "Conv":
                source = node.inputs[0]
                assert source is not None
                self._weights(graph, node, kept[source])
            first = node.inputs[0]
            assert first is not None
            known = kept[first] if node.op_type in MOVES else self._ranges[made.name or ""]
            kept[_pair(graph, made, known)] = known
        return ir.passes.PassResult(model, modified=True)

    def _weights(self, graph: ir.Graph, node: ir.Node, source: Range) -> None:
        weight = constant_of(node.inputs[1], "a convolution's weight").astype(np.float64)
        O = len(weight)
        given = node.inputs[2] if len(node.inputs) > 2 else None
        bias = np.zeros(O) if given is None else constant_of(given, "a convolution's bias").astype(np.float64)
        steps = weight_steps(weight, bias, float(source.step), self._levels)
        levels = np.rint(weight / steps.reshape(-1, *[1] * (weight.ndim - 1)).astype(np.float64))
        steps_of_sums = (np.float32(source.step) * steps).astype(np.float32)
        name = node.outputs[0].name
        stored = constant(graph, f"{name}_w", levels.clip(-self._levels, self._levels).astype(np.int8))
        zeros = constant(graph, f"{name}_z", np.zeros(O, np.int8))
        _replace(graph, node, 1, [stored, constant(graph, f"{name}_s", steps), zeros])
        if given is not None:
            sums = np.rint(bias / steps_of_sums.astype(np.float64)).astype(np.int32)
            _replace(graph, node, 2, [constant(graph, f"{name}_b", sums), constant(graph, f"{name}_t", steps_of_sums)])


def weight_steps(
    weight: NDArray[np.float64], bias: NDArray[np.float64], input_step: float, levels: int
) -> NDArray[np.float32]:
    """The step of each filter (O,): its largest weight is the largest level, and its bias fits 32 bits."""
    largest = np.abs(weight.reshape(len(weight), -1)).max(axis=1) / levels
    steps = np.maximum(largest, np.abs(bias) / (input_step * _LARGEST_BIAS))
    return np.where(steps > 0, steps, 1.0).astype(np.float32)


def maps_of(node: ir.Node) -> list[ir.Value]:
    """The activations that a node reads."""
    count = 1 if node.op_type in ("Conv", *MOVES) else len(node.inputs)
    return [value for value in node.inputs[:count] if value is not None]


def _pays(node: ir.Node, kept: Mapping[ir.Value, Range]) -> bool:
    """Whether a node is to compute on integers: a convolution always, others where all they read is integers."""
    if node.op_type == "Conv":
        return ir.convenience.get_const_tensor(node.inputs[1]) is not None  # type: ignore[arg-type]  # is there
    if node.op_type == "Add" and len({_sides(value) for value in maps_of(node)}) > 1:
        return False
    return node.op_type in ("Add", "Concat", *MOVES) and all(value in kept for value in maps_of(node))


def _sides(value: ir.Value) -> tuple[str, ...]:
    """C, H and W; the batch has other names where it was not followed."""
    return tuple(str(side) for side in value.shape[1:]) if value.shape is not None else ()


def _pair(graph: ir.Graph, value: ir.Value, known: Range) -> ir.Value:
    """Quantize a map for all its readers; returns what they read then."""
    step = constant(graph, f"{value.name}_step", np.array(known.step, np.float32))
    zero = constant(graph, f"{value.name}_zero", np.array(known.zero, np.uint8))
    after = list(value.uses())
    quantize = ir.node("QuantizeLinear", [value, step, zero])
    dequantize = ir.node("DequantizeLinear", [quantize.outputs[0], step, zero])
    levels, seen = quantize.outputs[0], dequantize.outputs[0]
    levels.name, levels.shape, levels.type = f"{value.name}_levels", value.shape, ir.TensorType(ir.DataType.UINT8)
    seen.name, seen.shape, seen.type = f"{value.name}_seen", value.shape, value.type
    for reader, place in after:
        reader.replace_input_with(place, seen)
    maker = value.producer()
    if maker is None:
        graph.insert_before(graph[0], [quantize, dequantize])
    else:
        graph.insert_after(maker, [quantize, dequantize])
    return seen


def _replace(graph: ir.Graph, node: ir.Node, place: int, stored: list[ir.Value]) -> None:
    """Let a node read constants through a DequantizeLinear along their first axis."""
    dequantize = ir.node("DequantizeLinear", stored, attributes={"axis": 0})
    seen = dequantize.outputs[0]
    seen.name, seen.shape, seen.type = f"{stored[0].name}_seen", stored[0].shape, ir.TensorType(ir.DataType.FLOAT)
    graph.insert_before(node, dequantize)
    node.replace_input_with(place, seen)
