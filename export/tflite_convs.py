"""Convolutions in TFLite: ordinary, depthwise, transposed, and deformable ones as the custom op of edgelm's delegate.

TFLite's layout of weights is (O, kh, kw, I), and (1, kh, kw, O) for a depthwise convolution.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgelm.errors import UsageError
from edgelm.export.deform import DEFORM_CONV
from edgelm.export.nodes import constant_of, given_attributes
from edgelm.export.ops import DOMAIN
from edgelm.export.passes.adopt_integers import quantization_of
from edgelm.export.tflite_file import Quantization
from edgelm.export.tflite_graph import TFLiteGraph, nhwc
from edgelm.export.tflite_lowering import Lowering, expect

__all__ = ["CONVOLUTIONS"]

_DEFORM = f"{DOMAIN}.{DEFORM_CONV.name}"
_PADS = ("pad_top", "pad_left", "pad_bottom", "pad_right")


def _geometry(node: ir.Node, kernel: tuple[int, ...]) -> dict[str, int]:
    """Attributes as the records of edgelm's ops name them."""
    a = given_attributes(node, pads=(0, 0, 0, 0), strides=(1, 1), dilations=(1, 1))
    return {
        "kernel_h": kernel[0], "kernel_w": kernel[1],
        "stride_h": a["strides"][0], "stride_w": a["strides"][1],
        "dilation_h": a["dilations"][0], "dilation_w": a["dilations"][1],
        **dict(zip(_PADS, a["pads"], strict=True)),
    }  # fmt: skip


def _bias(graph: TFLiteGraph, node: ir.Node, place: int, count: int) -> Any:
    given = len(node.inputs) > place and node.inputs[place] is not None
    return graph.vector(node.inputs[place], "its bias") if given else np.zeros(count, np.float32)


def _conv(graph: TFLiteGraph, node: ir.Node) -> None:
    expect(node, given_attributes(node, auto_pad="NOTSET"), auto_pad="NOTSET")
    weight = _weight(node)
    groups = given_attributes(node, group=1)["group"]
    channels = nhwc(node.inputs[0])[3]
    kind, order = "CONV_2D", (0, 2, 3, 1)
    if groups > 1:
        if not groups == channels == len(weight):
            raise UsageError(
                f"Conv with group={groups} from {channels} to {len(weight)} channels cannot be written as TFLite, only "
                "1 group, or as many as there are channels"
            )
        kind, order = "DEPTHWISE_CONV_2D", (1, 2, 3, 0)
    x = graph.name(node.inputs[0])
    geometry = _geometry(node, weight.shape[2:])
    output, relu = graph.output_of(node, relu=True)
    values = np.ascontiguousarray(weight.transpose(order))
    if quantization_of(node.inputs[0]) is not None:
        operands = _integers(graph, node, values, order.index(0))
    else:
        operands = _stored(graph, values), graph.constant(_bias(graph, node, 2, len(weight)))
    graph.conv(x, *operands, geometry, output, graph.tensors[output].shape, relu=relu, kind=kind)


def _weight(node: ir.Node) -> NDArray[Any]:
    """The weights as the file holds them: float32, float16, or levels of 8 bits."""
    maker = node.inputs[1].producer() if node.inputs[1] is not None else None
    stored = maker.inputs[0] if maker is not None and maker.op_type in ("Cast", "DequantizeLinear") else node.inputs[1]
    weight = constant_of(stored, "a convolution's weight")
    return weight if weight.dtype in (np.float16, np.int8) else weight.astype(np.float32)


def _stored(graph: TFLiteGraph, weight: NDArray[Any]) -> str:
    """Weights for an operator that computes in float32."""
    name = graph.constant(weight)
    return name if weight.dtype == np.float32 else graph.add("DEQUANTIZE", [name], weight.shape)


def _integers(graph: TFLiteGraph, node: ir.Node, weight: NDArray[Any], axis: int) -> tuple[str, str]:
    """Weights and sums of an operator on levels, with a step for each filter; `axis` is the filters'."""
    maker = node.inputs[1].producer() if node.inputs[1] is not None else None
    source = quantization_of(node.inputs[0])
    assert maker is not None
    assert source is not None
    steps = constant_of(maker.inputs[1], "the steps of weights")
    sums, of_sums = np.zeros(len(steps), np.int32), np.float32(source.step) * steps
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        bias = node.inputs[2].producer()
        assert bias is not None
        sums, of_sums = (constant_of(value, "a quantized bias") for value in bias.inputs[:2])
    zeros = (0,) * len(steps)
    return (
        graph.constant(weight, Quantization(tuple(steps.tolist()), zeros, axis)),
        graph.constant(sums, Quantization(tuple(of_sums.tolist()), zeros)),
    )


def _conv_transpose(graph: TFLiteGraph, node: ir.Node) -> None:
    """One whose tiles do not overlap: a 1x1 convolution to k k times the channels, which DEPTH_TO_SPACE spreads.

    TRANSPOSE_CONV would hold the batch as a constant, so that no engine could resize it.
    """
    weight = _weight(node)  # (I, O, k, k)
    I, O, k, _ = weight.shape
    a = given_attributes(
        node, pads=(0, 0, 0, 0), strides=(1, 1), dilations=(1, 1), group=1, auto_pad="NOTSET", output_padding=(0, 0)
    )
    plain = {"pads": (0, 0, 0, 0), "dilations": (1, 1), "group": 1, "auto_pad": "NOTSET", "output_padding": (0, 0)}
    expect(node, a | {"kernel": weight.shape[2:]}, **plain, strides=(k, k), kernel=(k, k))
    if "output_shape" in a:
        raise UsageError("ConvTranspose with output_shape cannot be written as TFLite")
    bias = _bias(graph, node, 2, O)
    x = graph.name(node.inputs[0])
    _, H, W, _ = graph.tensors[x].shape
    rows = np.ascontiguousarray(weight.transpose(2, 3, 1, 0).reshape(k * k * O, 1, 1, I))
    geometry = {"kernel_h": 1, "kernel_w": 1, "stride_h": 1, "stride_w": 1, "dilation_h": 1, "dilation_w": 1}
    geometry |= dict.fromkeys(_PADS, 0)
    output, relu = graph.output_of(node, relu=True)
    operands = _stored(graph, rows), graph.constant(np.tile(bias, k * k))
    made = graph.conv(x, *operands, geometry, None, (1, H, W, k * k * O), relu=relu)
    graph.add("DEPTH_TO_SPACE", [made], (), {"block_size": k}, output=output)


def _deform_conv(graph: TFLiteGraph, node: ir.Node) -> None:
    x, weight, offset, *rest = node.inputs
    a = given_attributes(node, group=1, offset_group=1)
    expect(node, a, group=1, offset_group=1)
    if len(rest) > 1 and rest[1] is not None:
        raise UsageError("DeformConv with a mask cannot be written as TFLite")
    filters = graph.vector(weight, "a deformable convolution's weight")
    O, C, *kernel = filters.shape
    given = {"version": 1, **_geometry(node, tuple(kernel)), "in_channels": C, "out_channels": O}
    bias = graph.constant(_bias(graph, node, 3, O))
    operands = [graph.constant(np.ascontiguousarray(filters.transpose(0, 2, 3, 1))), bias]
    operands += [graph.name(offset), graph.name(x)]
    graph.add_custom(_DEFORM, operands, node.outputs, DEFORM_CONV.options(given))


CONVOLUTIONS: Mapping[str, Lowering] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DeformConv": _deform_conv,
}
"""By ONNX op."""
