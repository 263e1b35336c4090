"""A quantized convolution reads the parts of a concatenation itself; the concatenated map is never made.

Given:   c = Concat <axis = 1> (x1, ..., xn);  y = QuantConv2d(w, ..., c)
Result:  y = QuantConv2d(w, ..., x1, ..., xn)

A concatenation of concatenations is opened to its ends.
"""

import onnx_ir as ir

from edgelm.export.nodes import FIRST_X, is_quant_conv

__all__ = ["FuseConcat"]


class FuseConcat(ir.passes.InPlacePass):
    """See the module's text."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fuse wherever it fits."""
        modified = False
        for node in model.graph:
            if not is_quant_conv(node):
                continue
            parts = [part for x in node.inputs[FIRST_X:] for part in _parts(x)]
            if len(parts) != len(node.inputs) - FIRST_X:
                node.resize_inputs(FIRST_X + len(parts))
                for i, part in enumerate(parts):
                    node.replace_input_with(FIRST_X + i, part)
                modified = True
        return ir.passes.PassResult(model, modified=modified)


def _parts(x: ir.Value | None) -> list[ir.Value | None]:
    """What a value is concatenated of, nested concatenations opened too."""
    producer = x.producer() if x is not None else None
    if producer is None or producer.op_type != "Concat" or producer.domain or producer.attributes["axis"].as_int() != 1:
        return [x]
    return [part for part_of in producer.inputs for part in _parts(part_of)]
