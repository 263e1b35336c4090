"""Canonical quantized convolutions become `edgelm::QuantConv2d` with packed weights.

Given:   y = edgelm.canonical::QuantConv2d <act_bits, ...> (x, levels, scale, bias)
Result:  y = edgelm::QuantConv2d <...> (packed, "", "", out_scale, bias, "", x)

out_scale is scale * sigma: the op sums whole levels, and sigma = 2^(1 - act_bits) is a power of two, so that nothing is
rounded. The bias may be absent. out_scale is left out where it is 1 throughout (binary weights without scales on float
activations). The node is named after the layer, so that profiles and verification can say which one they mean; further
calls of a layer get a number.
"""

from collections import Counter

import numpy as np
import onnx_ir as ir

from edgelm.bits import pack_weights
from edgelm.export.nodes import call_name, constant, constant_of, quant_conv
from edgelm.export.ops import DOMAIN, OPSET
from edgelm.models.quant_conv import CANONICAL_DOMAIN, CANONICAL_OP

__all__ = ["PackWeights"]


class PackWeights(ir.passes.InPlacePass):
    """See the module's text."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite every canonical node."""
        graph = model.graph
        canonical = [n for n in graph if (n.domain, n.op_type) == (CANONICAL_DOMAIN, CANONICAL_OP)]
        calls: Counter[str] = Counter()
        for index, node in enumerate(canonical):
            x, levels, scale, *bias = node.inputs
            assert x is not None
            array = constant_of(levels, "the weight of a quantized convolution")
            given = {n: a.as_int() for n, a in node.attributes.items() if a.type == ir.AttributeType.INT}
            O, I, kh, kw = array.shape
            bits, act_bits, padding = given["weight_bits"], given["act_bits"], given["padding"]
            packed = pack_weights(np.ascontiguousarray(array.transpose(0, 2, 3, 1)).astype(np.int8), bits)
            operands: dict[str, ir.Value | None] = {"weight": constant(graph, f"w{index}", packed)}
            sigma = np.float32(2.0 ** (1 - act_bits)) if 1 < act_bits < 32 else np.float32(1)
            out_scale = (constant_of(scale, "the scale of a quantized convolution") * sigma).astype(np.float32)
            if (out_scale != 1).any():
                operands["out_scale"] = constant(graph, f"s{index}", out_scale)
            if bias:
                added = constant_of(bias[0], "the bias of a quantized convolution").astype(np.float32)
                operands["out_bias"] = constant(graph, f"ob{index}", added)
            attributes = {
                "version": 1, "kernel_h": kh, "kernel_w": kw, "stride_h": given["stride"], "stride_w": given["stride"],
                "dilation_h": 1, "dilation_w": 1,
                "pad_top": padding, "pad_left": padding, "pad_bottom": padding, "pad_right": padding,
                "in_channels": I, "out_channels": O, "weight_bits": bits, "act_bits": act_bits,
                "sign_zero": given["sign_zero"], "pre_relu": 0, "post_relu": 0,
                "pad_value": given.get("pad_value", 0),
            }  # fmt: skip
            made = quant_conv(attributes, operands, [x], f"q{index}")
            layer = node.attributes["layer"].as_string()
            made.name = call_name(layer, calls[layer])
            calls[layer] += 1
            made.outputs[0].shape, made.outputs[0].type = node.outputs[0].shape, node.outputs[0].type
            ir.convenience.replace_nodes_and_values(graph, node, [node], [made], node.outputs, made.outputs)
        model.opset_imports.pop(CANONICAL_DOMAIN, None)
        if canonical:
            model.opset_imports[DOMAIN] = OPSET
        return ir.passes.PassResult(model, modified=bool(canonical))
