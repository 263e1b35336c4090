"""A sum with the output of a convolution becomes the convolution's residual.

Given:   c = QuantConv2d (w, ..., "", x);  y = Add (c, r)
Result:  y = QuantConv2d (w, ..., r, x)

Only where nobody else reads c, and r is of its shape. Of two convolutions that are added the later one takes the other.
"""

import onnx_ir as ir

from edgelm.export.nodes import FIRST_X, is_builtin, is_quant_conv, readers, same_shape

__all__ = ["FuseResidual"]


class FuseResidual(ir.passes.InPlacePass):
    """See the module's text."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fuse wherever it fits."""
        graph = model.graph
        place = {node: index for index, node in enumerate(graph)}
        modified = False
        for node in [n for n in graph if is_builtin(n, "Add")]:
            able = [i for i in (0, 1) if _takes(node.inputs[i], node.inputs[1 - i])]
            if not able:
                continue
            which = max(able, key=lambda i: place[_producer(node.inputs[i])])
            conv, other = _producer(node.inputs[which]), node.inputs[1 - which]
            conv.replace_input_with(FIRST_X - 1, other)
            result, made = node.outputs[0], conv.outputs[0]
            made.shape, made.type = result.shape, result.type
            # The convolution moves behind what makes its residual.
            ir.convenience.replace_nodes_and_values(graph, node, [node], [], [result], [made])
            modified = True
        if modified:
            graph.sort()
        return ir.passes.PassResult(model, modified=modified)


def _producer(value: ir.Value | None) -> ir.Node:
    assert value is not None
    node = value.producer()
    assert node is not None
    return node


def _takes(made: ir.Value | None, other: ir.Value | None) -> bool:
    conv = made.producer() if made is not None else None
    if made is None or conv is None or not is_quant_conv(conv) or conv.inputs[FIRST_X - 1] is not None:
        return False
    if made.is_graph_output() or len(readers(made)) != 1 or other is None or other.is_initializer():
        return False
    return same_shape(made, other)
