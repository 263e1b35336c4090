"""QuantConv2d in TFLite: as the custom op of edgelm's delegate, or as builtin operators with the weights still bits.

QuantGraph is a custom op of the delegate too.
"""

import numpy as np
import onnx_ir as ir

from edgelm.export.nodes import FIRST_X, attributes_of, constant_of, operand
from edgelm.export.ops import DOMAIN, QUANT_CONV, QUANT_GRAPH
from edgelm.export.passes.lower_portable import byte_table
from edgelm.export.tflite_graph import TFLiteGraph, nhwc

__all__ = ["lower_custom", "lower_graph", "lower_portable"]


def lower_custom(graph: TFLiteGraph, node: ir.Node) -> None:
    """One custom operator; operands in the record's order, the attributes as its options."""
    inputs = []
    for record in QUANT_CONV.inputs[: FIRST_X - 1]:
        array = operand(node, record.name)
        inputs.append("" if array is None else graph.constant(array))
    residual = node.inputs[FIRST_X - 1]
    inputs.append("" if residual is None else graph.name(residual))
    inputs.extend(graph.name(x) for x in node.inputs[FIRST_X:])
    graph.add_custom(f"{DOMAIN}.{QUANT_CONV.name}", inputs, node.outputs, QUANT_CONV.options(attributes_of(node)))


def lower_graph(graph: TFLiteGraph, node: ir.Node) -> None:
    """One custom operator; operands in the record's order, no options."""
    program, data, *x = node.inputs
    constants = [graph.constant(constant_of(v, "the program of a QuantGraph")) for v in (program, data)]
    inputs = [*constants, *(graph.name(value) for value in x)]
    graph.add_custom(f"{DOMAIN}.{QUANT_GRAPH.name}", inputs, node.outputs, QUANT_GRAPH.options({}))


def lower_portable(graph: TFLiteGraph, node: ir.Node) -> None:
    """The steps of the op's definition as builtin operators, as `edgelm.export.passes.lower_portable` does for ONNX.

    TFLite computes the kernel from the bits at every run: slower, but right in every engine.
    """
    a = attributes_of(node)
    x = _levels(graph, _prologue(graph, node), a)
    shape = nhwc(node.outputs[0])
    weight = _weights(graph, node, a)
    out_scale, out_bias = operand(node, "out_scale"), operand(node, "out_bias")
    residual = node.inputs[FIRST_X - 1]
    zero = graph.constant(np.zeros(a["out_channels"], np.float32))
    y = graph.conv(x, weight, zero, a, None, shape, pad_value=a["pad_value"])
    if out_scale is not None:
        y = graph.add("MUL", [y, graph.constant(out_scale)], shape)
    if out_bias is not None:
        y = graph.add("ADD", [y, graph.constant(out_bias)], shape)
    if a["post_relu"]:
        y = graph.add("RELU", [y], shape)
    if residual is not None:
        y = graph.add("ADD", [y, graph.name(residual)], shape)
    value = node.outputs[0]
    graph.alias(value, y)


def _prologue(graph: TFLiteGraph, node: ir.Node) -> str:
    a = attributes_of(node)
    parts = [graph.name(x) for x in node.inputs[FIRST_X:]]
    shape = (*graph.tensors[parts[0]].shape[:3], a["in_channels"])
    x = graph.add("CONCATENATION", parts, shape, {"axis": 3}) if len(parts) > 1 else parts[0]
    scale, bias = operand(node, "in_scale"), operand(node, "in_bias")
    if scale is not None and bias is not None:
        x = graph.add("MUL", [x, graph.constant(scale)], shape)
        activation = {"fused_activation_function": "RELU" if a["pre_relu"] else "NONE"}
        return graph.add("ADD", [x, graph.constant(bias)], shape, activation)
    return graph.add("RELU", [x], shape) if a["pre_relu"] else x


def _levels(graph: TFLiteGraph, x: str, a: dict[str, int]) -> str:
    """`edgelm.export.ops.quantize` in builtin operators (but NaN stays NaN)."""
    shape = graph.tensors[x].shape
    bits, at_zero = a["act_bits"], a["sign_zero"]

    def scalar(value: float) -> str:
        return graph.constant(np.array([value], np.float32))

    if bits == 32:
        return x
    if bits > 1:
        steps = float(2 ** (bits - 1))
        rounded = graph.add("ROUND", [graph.add("MUL", [x, scalar(steps)], shape)], shape)
        return graph.add(
            "MAXIMUM", [graph.add("MINIMUM", [rounded, scalar(steps - 1)], shape), scalar(1 - steps)], shape
        )
    if at_zero == 0:
        return graph.add("SIGN", [x], shape)
    pair = [x, scalar(0.0)] if at_zero > 0 else [scalar(0.0), x]
    other_side = graph.add("LESS", pair, shape, dtype="bool")
    return graph.add("SELECT_V2", [other_side, scalar(float(-at_zero)), scalar(float(at_zero))], shape)


def _weights(graph: TFLiteGraph, node: ir.Node, a: dict[str, int]) -> str:
    O, C, kh, kw = a["out_channels"], a["in_channels"], a["kernel_h"], a["kernel_w"]
    packed = operand(node, "weight")
    assert packed is not None
    table = byte_table(a["weight_bits"])
    B, per_byte = packed.shape[1], table.shape[1]
    index = graph.add("CAST", [graph.constant(packed)], (O, B), dtype="int32")
    rows = graph.add("GATHER", [graph.constant(table), index], (O, B, per_byte))
    if (count := kh * kw * C) != B * per_byte:
        flat = graph.constant(np.array([O, B * per_byte], np.int32))
        rows = graph.add("RESHAPE", [rows, flat], (O, B * per_byte))
        start, size = (graph.constant(np.array(v, np.int32)) for v in ([0, 0], [O, count]))
        rows = graph.add("SLICE", [rows, start, size], (O, count))
    kernel = (O, kh, kw, C)
    return graph.add("RESHAPE", [rows, graph.constant(np.array(kernel, np.int32))], kernel)
