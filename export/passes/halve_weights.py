"""Weights of convolutions in half precision: a file of half the size, which engines compute as float32 all the same.

Given:   y = Conv (x, w, ...)
Result:  y = Conv (x, Cast (w16), ...)
"""

import numpy as np
import onnx_ir as ir

from edgelm.errors import UsageError
from edgelm.export.nodes import constant, constant_of

__all__ = ["HalveWeights"]


class HalveWeights(ir.passes.InPlacePass):
    """See the module's text."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Round the weights; raises UsageError for one that float16 does not hold."""
        graph = model.graph
        for node in [n for n in graph if n.op_type in ("Conv", "ConvTranspose") and not n.domain]:
            weight = constant_of(node.inputs[1], "a convolution's weight")
            if np.abs(weight).max(initial=0) > np.finfo(np.float16).max:
                raise UsageError(
                    f"a weight of {np.abs(weight).max():.3g} does not fit float16, whose largest number is 65504; "
                    "export without --weights fp16"
                )
            stored = constant(graph, f"{node.outputs[0].name}_w", weight.astype(np.float16))
            cast = ir.node("Cast", [stored], attributes={"to": int(ir.DataType.FLOAT)})
            seen = cast.outputs[0]
            seen.name, seen.shape, seen.type = f"{stored.name}_seen", stored.shape, ir.TensorType(ir.DataType.FLOAT)
            graph.insert_before(node, cast)
            node.replace_input_with(1, seen)
        return ir.passes.PassResult(model, modified=True)
