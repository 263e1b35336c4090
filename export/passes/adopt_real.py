"""Convolutions with real weights become QuantConv2d with float weights, where a graph has quantized ones beside them.

Given:   y = Conv <group = 1> (x, w, b)
Result:  y = QuantConv2d <weight_bits = 32, act_bits = 32> (packed w, "", "", "", b, "", x)

So that BatchNorm, ReLU and concatenation fuse into them too, and no engine stands between them and their neighbours.
Other convolutions (grouped ones, 1-D and 3-D, computed weights, other padding) stay the engine's. The node is named
after the layer, which the exporter left in its weight's name; the pass comes before `Clean`.
"""

import itertools
from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from edgelm.bits import pack_weights
from edgelm.errors import UsageError
from edgelm.export.nodes import call_name, constant, given_attributes, is_builtin, is_quant_conv, quant_conv
from edgelm.export.ops import QUANT_CONV

__all__ = ["AdoptReal"]


class AdoptReal(ir.passes.InPlacePass):
    """See the module's text; layers named in `engine_layers` stay the engine's."""

    def __init__(self, engine_layers: Collection[str] = ()) -> None:
        self._engine_layers = frozenset(engine_layers)
        self.adopted: list[str] = []

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite where it fits; a network without quantized convolutions is left to the engine."""
        graph = model.graph
        names = {node.name for node in graph if is_quant_conv(node)}
        if not names:
            return ir.passes.PassResult(model, modified=False)
        count = 0
        for node in list(graph):
            made = _adopted(graph, node, f"real{count}", names) if is_builtin(node, "Conv") else None
            if made is not None and made.name not in self._engine_layers:
                self.adopted.append(made.name or "")
                made.outputs[0].shape, made.outputs[0].type = node.outputs[0].shape, node.outputs[0].type
                ir.convenience.replace_nodes_and_values(graph, node, [node], [made], node.outputs, made.outputs)
                count += 1
        return ir.passes.PassResult(model, modified=count > 0)


def _adopted(graph: ir.Graph, node: ir.Node, prefix: str, names: set[str | None]) -> ir.Node | None:
    x, weight, *rest = node.inputs
    tensors = [None if v is None else ir.convenience.get_const_tensor(v) for v in (weight, *rest)]
    given = given_attributes(node)
    if x is None or weight is None or tensors[0] is None or len(tensors[0].shape) != 4:
        return None
    if given.get("group", 1) != 1 or given.get("auto_pad", "NOTSET") != "NOTSET":
        return None
    if any(tensor is None and value is not None for tensor, value in zip(tensors[1:], rest, strict=True)):
        return None  # a computed bias
    array = tensors[0].numpy().astype(np.float32)
    O, I, kh, kw = array.shape
    strides, dilations = given.get("strides", (1, 1)), given.get("dilations", (1, 1))
    top, left, bottom, right = given.get("pads", (0, 0, 0, 0))
    attributes = {
        "version": 1, "kernel_h": kh, "kernel_w": kw, "stride_h": strides[0], "stride_w": strides[1],
        "dilation_h": dilations[0], "dilation_w": dilations[1],
        "pad_top": top, "pad_left": left, "pad_bottom": bottom, "pad_right": right,
        "in_channels": I, "out_channels": O, "weight_bits": 32, "act_bits": 32, "sign_zero": 1,
        "pre_relu": 0, "post_relu": 0, "pad_value": 0,
    }  # fmt: skip
    try:
        QUANT_CONV.check(attributes)
    except UsageError:
        return None  # a form that the record does not have, such as more padding than kernel
    packed = pack_weights(np.ascontiguousarray(array.transpose(0, 2, 3, 1)), 32)
    operands: dict[str, ir.Value | None] = {"weight": constant(graph, f"{prefix}_w", packed)}
    if len(tensors) > 1 and tensors[1] is not None:
        operands["out_bias"] = constant(graph, f"{prefix}_b", tensors[1].numpy().astype(np.float32))
    made = quant_conv(attributes, operands, [x], f"{prefix}_y")
    layer = (weight.name or "").removeprefix("model.").removesuffix(".weight")
    calls = (call_name(layer, call) for call in itertools.count())
    made.name = next(name for name in calls if name not in names) if layer else prefix
    names.add(made.name)
    return made
