"""Write a graph as a .tflite file, NHWC, for TF Lite 2.14 and newer: one lowering for each ONNX op.

Here are those of maps as a whole; convolutions and arithmetic have their own files.

QuantConv2d has two, in `edgelm.export.tflite_quant`: the custom op, or builtins alone for a portable file. QuantGraph
is a custom op only.
"""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgelm.errors import UsageError
from edgelm.export.nodes import constant_of, given_attributes, is_quant_conv, is_quant_graph
from edgelm.export.passes.adopt_integers import AdoptIntegers
from edgelm.export.passes.fuse_batch_norm import folded_affine
from edgelm.export.tflite_convs import CONVOLUTIONS
from edgelm.export.tflite_elementwise import ELEMENTWISE
from edgelm.export.tflite_file import Model, write_model
from edgelm.export.tflite_graph import TFLiteGraph, nhwc
from edgelm.export.tflite_lowering import Lowering, expect
from edgelm.export.tflite_quant import lower_custom, lower_graph, lower_portable
from edgelm.spec import METADATA_KEY, ModelSpec

__all__ = ["tflite_bytes"]

_LOWERINGS: dict[str, Lowering] = {}


def _lowers(op_type: str) -> Callable[[Lowering], Lowering]:
    def register(lowering: Lowering) -> Lowering:
        if op_type in _LOWERINGS:
            raise UsageError(f"{op_type} has a lowering already")
        _LOWERINGS[op_type] = lowering
        return lowering

    return register


for _op, _lowering in (*CONVOLUTIONS.items(), *ELEMENTWISE.items()):
    _lowers(_op)(_lowering)


def tflite_bytes(model: ir.Model, spec: ModelSpec, *, portable: bool) -> bytes:
    """The file: the graph, and the ModelSpec in `Model.metadata`.

    Args:
        model: NCHW graph after the fusing passes, with known shapes.
        spec: the self-description to embed.
        portable: write quantized convolutions as builtin operators.

    Raises:
        UsageError: an op or a form of it that has no lowering, or none for a portable file.
    """
    if any(node.op_type == "QuantizeLinear" for node in model.graph):
        model = model.clone()
        AdoptIntegers()(model)
        RemoveUnusedNodesPass()(model)
    graph = TFLiteGraph()
    for value in model.graph.inputs:
        graph.activation(value, value.name)
    for node in model.graph:
        if node in graph.fused or _unfolds(node):
            continue
        if is_quant_conv(node):
            (lower_portable if portable else lower_custom)(graph, node)
        elif is_quant_graph(node):
            lower_graph(graph, node)
        elif node.domain or node.op_type not in _LOWERINGS:
            raise UsageError(
                f"{node.domain}::{node.op_type} cannot be written as TFLite; known are {', '.join(_LOWERINGS)}"
            )
        else:
            _LOWERINGS[node.op_type](graph, node)
    if portable and (custom := sorted({op.kind for op in graph.operators if op.custom_options is not None})):
        raise UsageError(
            f"a portable .tflite file holds builtin operators alone, and {', '.join(custom)} cannot be made of those; "
            "export without --portable, or to ONNX"
        )
    inputs = tuple(graph.name(v) for v in model.graph.inputs)
    outputs = tuple(graph.name(v) for v in model.graph.outputs)
    metadata = {METADATA_KEY: spec.to_json().encode()}
    file = Model(tuple(graph.tensors.values()), graph.operators, inputs, outputs, metadata, f"edgelm {spec.name}")
    return write_model(file)


@_lowers("BatchNormalization")
def _batch_norm(graph: TFLiteGraph, node: ir.Node) -> None:
    scale, shift = folded_affine(node)
    scaled = graph.add("MUL", [graph.name(node.inputs[0]), graph.constant(scale)], nhwc(node.outputs[0]))
    output, relu = graph.output_of(node, relu=True)
    options = {"fused_activation_function": "RELU" if relu else "NONE"}
    graph.add("ADD", [scaled, graph.constant(shift)], (), options, output=output)


def _unfolds(node: ir.Node) -> bool:
    """Whether a node makes floats of stored weights: the lowering of what reads them looks behind it."""
    first = node.inputs[0] if node.inputs else None
    stored = first is not None and ir.convenience.get_const_tensor(first) is not None
    return stored and node.op_type in ("Cast", "DequantizeLinear")


@_lowers("QuantizeLinear")
def _quantize(graph: TFLiteGraph, node: ir.Node) -> None:
    graph.add("QUANTIZE", [graph.name(node.inputs[0])], (), output=graph.activation(node.outputs[0]))


@_lowers("DequantizeLinear")
def _dequantize(graph: TFLiteGraph, node: ir.Node) -> None:
    graph.add("DEQUANTIZE", [graph.name(node.inputs[0])], (), output=graph.activation(node.outputs[0]))


@_lowers("Concat")
def _concat(graph: TFLiteGraph, node: ir.Node) -> None:
    expect(node, given_attributes(node), axis=1)
    output = graph.activation(node.outputs[0])
    inputs = [_in_steps_of(graph, graph.name(value), output) for value in node.inputs]
    graph.add("CONCATENATION", inputs, (), {"axis": 3}, output=output)


def _in_steps_of(graph: TFLiteGraph, x: str, output: str) -> str:
    """`x` counted in the steps of `output`: TFLite concatenates maps of one step only."""
    shape, steps = graph.tensors[x].shape, graph.tensors[output].quantization
    if graph.tensors[x].quantization == steps:
        return x
    return graph.add("QUANTIZE", [x], shape, output=graph.like(output, shape))


@_lowers("MaxPool")
def _max_pool(graph: TFLiteGraph, node: ir.Node) -> None:
    a = given_attributes(node, pads=(0, 0, 0, 0), strides=(1, 1), dilations=(1, 1), ceil_mode=0, auto_pad="NOTSET")
    (kh, kw), strides = a["kernel_shape"], tuple(a["strides"])
    # TFLite's SAME pads like ONNX only at stride 1 with half of an odd kernel on every side.
    same = strides == (1, 1) and kh % 2 and kw % 2 and tuple(a["pads"]) == (kh // 2, kw // 2, kh // 2, kw // 2)
    expect(node, a, dilations=(1, 1), ceil_mode=0, auto_pad="NOTSET", **({} if same else {"pads": (0, 0, 0, 0)}))
    _pool(graph, node, "MAX_POOL_2D", (kh, kw), strides, "SAME" if same else "VALID")


@_lowers("AveragePool")
def _average_pool(graph: TFLiteGraph, node: ir.Node) -> None:
    a = given_attributes(
        node, pads=(0, 0, 0, 0), strides=(1, 1), dilations=(1, 1), ceil_mode=0, auto_pad="NOTSET", count_include_pad=0
    )
    expect(node, a, pads=(0, 0, 0, 0), dilations=(1, 1), ceil_mode=0, auto_pad="NOTSET")
    _pool(graph, node, "AVERAGE_POOL_2D", tuple(a["kernel_shape"]), tuple(a["strides"]), "VALID")


def _pool(
    graph: TFLiteGraph, node: ir.Node, kind: str, kernel: tuple[int, ...], strides: tuple[int, ...], padding: str
) -> None:
    options = {
        "padding": padding, "filter_height": kernel[0], "filter_width": kernel[1], "stride_h": strides[0],
        "stride_w": strides[1],
    }  # fmt: skip
    graph.add(kind, [graph.name(node.inputs[0])], (), options, output=graph.activation(node.outputs[0]))


@_lowers("Resize")
def _resize(graph: TFLiteGraph, node: ir.Node) -> None:
    a = given_attributes(
        node, mode="nearest", coordinate_transformation_mode="half_pixel", nearest_mode="round_prefer_floor"
    )
    linear = a["mode"] == "linear"
    if linear:
        expect(node, a, coordinate_transformation_mode="half_pixel")
    else:
        expect(node, a, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    scales = constant_of(node.inputs[2], "the scales of a Resize").tolist()
    _, H, W, _ = nhwc(node.outputs[0])
    if scales[:2] != [1, 1] or any(s != int(s) for s in scales[2:]):
        raise UsageError(f"Resize by {scales} cannot be written as TFLite, only by whole factors of height and width")
    size = graph.constant(np.array([H, W], np.int32))
    x, y = graph.name(node.inputs[0]), graph.activation(node.outputs[0])
    if linear:
        graph.add("RESIZE_BILINEAR", [x, size], (), {"half_pixel_centers": True}, output=y)
    else:
        graph.add("RESIZE_NEAREST_NEIGHBOR", [x, size], (), output=y)
