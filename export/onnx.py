"""Write a graph as an .onnx file that ONNX Runtime 1.17 and newer load."""

import onnx_ir as ir

from edgelm.export.ops import DOMAIN
from edgelm.spec import METADATA_KEY, ModelSpec

__all__ = ["onnx_bytes"]

_IR_VERSION = 8  # what the writer would choose by itself is newer than the engines


def onnx_bytes(model: ir.Model, spec: ModelSpec) -> bytes:
    """The file: the graph, without what only tools read, and the ModelSpec in `metadata_props`."""
    model.ir_version = _IR_VERSION
    model.producer_name, model.producer_version = "edgelm", spec.versions.get("edgelm", "")
    model.metadata_props[METADATA_KEY] = spec.to_json()
    proto = ir.to_proto(model)
    # Shape inference of the builtin ops is the engine's; that of ours is not called before ONNX Runtime 1.24.
    ours = {name for node in proto.graph.node if node.domain == DOMAIN for name in node.output}
    kept = [info for info in proto.graph.value_info if info.name in ours]
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(kept)
    data: bytes = proto.SerializeToString()
    return data
