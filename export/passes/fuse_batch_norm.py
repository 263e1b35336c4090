"""A BatchNormalization on the input of a quantized convolution becomes its input affine.

Given:   n = BatchNormalization(x, gamma, beta, mean, var);  y = QuantConv2d(w, "", "", ..., n)
Result:  y = QuantConv2d(w, gamma / sqrt(var + eps), beta - mean * gamma / sqrt(var + eps), ..., x)

It cannot go into the weights: they are bits, and the ReLU or the quantizer stands between. The two constants are
computed in float64 and rounded once.
"""

import numpy as np
import onnx_ir as ir

from edgelm.export.nodes import FIRST_X, constant, constant_of, is_quant_conv, operand, set_operand

__all__ = ["FuseBatchNorm", "folded_affine"]


def folded_affine(node: ir.Node) -> tuple[np.ndarray[tuple[int], np.dtype[np.float32]], ...]:
    """The scale and shift (C,) float32 that a BatchNormalization node amounts to."""
    gamma, beta, mean, var = (
        constant_of(v, "BatchNormalization's statistics").astype(np.float64) for v in node.inputs[1:]
    )
    epsilon = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
    scale = gamma / np.sqrt(var + epsilon)
    return scale.astype(np.float32), (beta - mean * scale).astype(np.float32)


class FuseBatchNorm(ir.passes.InPlacePass):
    """See the module's text."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fuse wherever it fits."""
        count = 0
        for node in model.graph:
            if not is_quant_conv(node) or len(node.inputs) != FIRST_X + 1 or operand(node, "in_scale") is not None:
                continue
            x = node.inputs[FIRST_X]
            producer = x.producer() if x is not None else None
            if producer is None or producer.op_type != "BatchNormalization" or producer.domain:
                continue
            scale, shift = folded_affine(producer)
            set_operand(node, "in_scale", constant(model.graph, f"a{count}", scale))
            set_operand(node, "in_bias", constant(model.graph, f"b{count}", shift))
            node.replace_input_with(FIRST_X, producer.inputs[0])
            count += 1
        return ir.passes.PassResult(model, modified=count > 0)
