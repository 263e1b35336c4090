"""A ReLU on the input of a quantized convolution moves into it.

Given:   r = Relu(x);  y = QuantConv2d <pre_relu = 0> (w, "", "", ..., r)
Result:  y = QuantConv2d <pre_relu = 1> (w, "", "", ..., x)

Other readers of r keep it; if there are none it is dead. A node that has an input affine already is left alone, for
the affine comes before the ReLU.
"""

import onnx_ir as ir

from edgelm.export.nodes import FIRST_X, attributes_of, is_quant_conv, operand

__all__ = ["FuseRelu"]


class FuseRelu(ir.passes.InPlacePass):
    """See the module's text."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fuse wherever it fits."""
        modified = False
        for node in model.graph:
            if not is_quant_conv(node) or len(node.inputs) != FIRST_X + 1:
                continue
            x = node.inputs[FIRST_X]
            producer = x.producer() if x is not None else None
            if producer is None or producer.op_type != "Relu" or producer.domain:
                continue
            if attributes_of(node)["pre_relu"] or operand(node, "in_scale") is not None:
                continue
            node.replace_input_with(FIRST_X, producer.inputs[0])
            node.attributes["pre_relu"] = ir.AttrInt64("pre_relu", 1)
            modified = True
        return ir.passes.PassResult(model, modified=modified)
