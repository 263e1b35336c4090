"""Canonical deformable convolutions become ONNX's own, and the file asks for the op set that has them.

Given:   y = edgelm.canonical::DeformConv <padding> (x, w, offset, b)
Result:  y = DeformConv <kernel_shape, pads, strides> (x, w, offset, b), ONNX's op set 19

Other files keep the op set that older engines know. The later op set changes none of the other operators that edgelm
writes.
"""

import onnx_ir as ir

from edgelm.export.nodes import constant_of
from edgelm.models.deform_conv import CANONICAL_DEFORM

__all__ = ["AdoptDeform"]

_OPSET = 19
_DOMAIN, _, _OP = CANONICAL_DEFORM.partition("::")


class AdoptDeform(ir.passes.InPlacePass):
    """See the module's text."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite every one."""
        found = [n for n in model.graph if (n.domain, n.op_type) == (_DOMAIN, _OP)]
        for node in found:
            kernel = constant_of(node.inputs[1], "the weight of a deformable convolution").shape[2:]
            padding = node.attributes["padding"].as_int()
            attributes = {"kernel_shape": list(kernel), "pads": [padding] * 4, "strides": [1, 1]}
            made = ir.node("DeformConv", node.inputs, attributes=attributes)
            made.outputs[0].shape, made.outputs[0].type = node.outputs[0].shape, node.outputs[0].type
            ir.convenience.replace_nodes_and_values(model.graph, node, [node], [made], node.outputs, made.outputs)
        if found:
            model.opset_imports[""] = _OPSET
            if not any(node.domain == _DOMAIN for node in model.graph):
                model.opset_imports.pop(_DOMAIN, None)
        return ir.passes.PassResult(model, modified=bool(found))
