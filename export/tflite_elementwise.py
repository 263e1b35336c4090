"""Operators on single values in TFLite: arithmetic of two maps, or of a map and a constant, and functions of one."""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from edgelm.errors import UsageError
from edgelm.export.tflite_graph import TFLiteGraph
from edgelm.export.tflite_lowering import Lowering

__all__ = ["ELEMENTWISE"]


def _term(graph: TFLiteGraph, value: ir.Value | None) -> str:
    """A map, or a constant that ONNX would spread over one: its axes are the last ones of (N, C, H, W)."""
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    if tensor is None:
        return graph.name(value)
    array = tensor.numpy().astype(np.float32)
    if array.ndim > 4:
        raise UsageError(f"a constant of shape {array.shape} cannot be written as TFLite beside a map of 4 axes")
    spread = array.reshape((1,) * (4 - array.ndim) + array.shape)
    return graph.constant(np.ascontiguousarray(spread.transpose(0, 2, 3, 1)))


def _arithmetic(kind: str) -> Lowering:
    def lower(graph: TFLiteGraph, node: ir.Node) -> None:
        terms = [_term(graph, value) for value in node.inputs]
        output, relu = graph.output_of(node, relu=True)
        options = {"fused_activation_function": "RELU" if relu else "NONE"}
        graph.add(kind, terms, (), options, output=output)

    return lower


def _function(kind: str) -> Lowering:
    def lower(graph: TFLiteGraph, node: ir.Node) -> None:
        graph.add(kind, [graph.name(node.inputs[0])], (), output=graph.activation(node.outputs[0]))

    return lower


ELEMENTWISE: Mapping[str, Lowering] = {
    **{op: _arithmetic(kind) for op, kind in {"Add": "ADD", "Sub": "SUB", "Mul": "MUL"}.items()},
    **{
        op: _function(kind)
        for op, kind in {"Relu": "RELU", "Sigmoid": "LOGISTIC", "Tanh": "TANH", "Sin": "SIN", "Cos": "COS"}.items()
    },
}
"""By ONNX op."""
