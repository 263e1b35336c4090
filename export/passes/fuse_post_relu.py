"""A ReLU on the output of a convolution moves into it.

Given:   c = QuantConv2d <post_relu = 0> (w, ..., x);  y = Relu (c)
Result:  y = QuantConv2d <post_relu = 1> (w, ..., x)

A reader of c that starts with a ReLU of its own, and no affine before it, may as well read y. A node with a residual is
left alone, for the residual is added after the ReLU.
"""

import onnx_ir as ir

from edgelm.export.nodes import FIRST_X, attributes_of, is_builtin, is_quant_conv, operand, readers, set_attributes

__all__ = ["FusePostRelu"]


class FusePostRelu(ir.passes.InPlacePass):
    """See the module's text."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fuse wherever it fits."""
        modified = False
        for node in model.graph:
            if not is_quant_conv(node) or node.inputs[FIRST_X - 1] is not None:
                continue
            made = node.outputs[0]
            found = readers(made)
            # A result of the whole graph comes last, for its name stays.
            relus = sorted((r for r in found if is_builtin(r, "Relu")), key=lambda r: r.outputs[0].is_graph_output())
            if made.is_graph_output() or not relus or not all(_starts_with_relu(reader, made) for reader in found):
                continue
            if sum(relu.outputs[0].is_graph_output() for relu in relus) > 1:
                continue
            set_attributes(node, post_relu=1)
            for relu in relus:
                ir.convenience.replace_nodes_and_values(model.graph, node, [relu], [], relu.outputs, [made])
            modified = True
        return ir.passes.PassResult(model, modified=modified)


def _starts_with_relu(reader: ir.Node, made: ir.Value) -> bool:
    if is_builtin(reader, "Relu"):
        return True
    if not is_quant_conv(reader) or reader.inputs[FIRST_X - 1] is made:
        return False
    return bool(attributes_of(reader)["pre_relu"]) and operand(reader, "in_scale") is None
