"""Remove what no reader needs: dead nodes and constants, equal constants but one, traces of the tools, long names.

Names are short because a network of hundreds of layers has thousands of them, and a packed file is small; quantized
convolutions keep the name of their layer, and pieces of a network theirs.
"""

import onnx_ir as ir
from onnx_ir.passes.common import DeduplicateHashedInitializersPass, RemoveUnusedNodesPass, RemoveUnusedOpsetsPass

from edgelm.export.nodes import is_ours

__all__ = ["Clean"]


_NO_LIMIT = 2**62  # elements of a constant


class Clean(ir.passes.InPlacePass):
    """See the module's text; inputs and outputs of the graph keep their names."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Clean the model."""
        RemoveUnusedNodesPass()(model)
        RemoveUnusedOpsetsPass()(model)
        DeduplicateHashedInitializersPass(size_limit=_NO_LIMIT)(model)
        graph = model.graph
        kept = {id(v) for v in (*graph.inputs, *graph.outputs)}
        for name in [name for name, value in graph.initializers.items() if not value.uses()]:
            del graph.initializers[name]
        for index, value in enumerate(list(graph.initializers.values())):
            value.name = f"c{index}"
        for index, node in enumerate(graph):
            if not is_ours(node):
                node.name = f"n{index}"
            node.doc_string = None
            node.metadata_props.clear()
            for place, value in enumerate(node.outputs):
                value.metadata_props.clear()
                if id(value) not in kept:
                    value.name = f"t{index}_{place}" if place else f"t{index}"
        for value in (*graph.inputs, *graph.initializers.values()):
            value.metadata_props.clear()
        graph.name, graph.doc_string, model.doc_string = "edgelm", None, None
        model.metadata_props.clear()
        graph.metadata_props.clear()
        return ir.passes.PassResult(model, modified=True)
