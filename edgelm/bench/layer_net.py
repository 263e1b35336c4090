"""One convolution with its ReLU as a whole network: what other engines run where we run a kernel."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelm.bench.kernels import PRECISIONS, layer
from edgelm.bench.shapes import LayerShape

__all__ = ["layer_files", "layer_weight", "real_layer"]

Floats = NDArray[np.float32]


def layer_weight(shape: LayerShape) -> Floats:
    """Random weights (O, C, K, K) whose sums have the size of their inputs."""
    size = (shape.O, shape.C, shape.K, shape.K)
    weight = np.random.default_rng(2).standard_normal(size, dtype=np.float32)
    return weight / np.float32((shape.K * shape.K * shape.C) ** 0.5)


def layer_files(shape: LayerShape, weight: Floats, folder: Path) -> tuple[Path, Path]:
    """The layer as .onnx, (1, C, H, W) "image" -> (1, O, H, W), and as .tflite, in `folder`. Needs torch and onnx."""
    import onnx
    import onnx_ir as ir
    from onnx import TensorProto, helper, numpy_helper

    from edgelm.export.tflite import tflite_bytes
    from edgelm.models.create import create

    K, pad = shape.K, shape.K // 2
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, shape.C, shape.H, shape.W])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, shape.O, shape.H, shape.W])
    nodes = [
        helper.make_node("Conv", ["image", "weight"], ["sums"], kernel_shape=[K, K], pads=[pad] * 4),
        helper.make_node("Relu", ["sums"], ["out"]),
    ]
    constants = [numpy_helper.from_array(weight, "weight")]
    graph = helper.make_graph(nodes, "layer", [image], [out], constants)
    opsets = [helper.make_opsetid("", 18)]
    model = onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=opsets, ir_version=8))
    files = folder / "layer.onnx", folder / "layer.tflite"
    files[0].write_bytes(model.SerializeToString())
    _, _, spec = create("cunet2-xnor", landmarks=5, size=64)  # any: a file describes itself as some network
    files[1].write_bytes(tflite_bytes(ir.from_proto(model), spec, portable=False))
    return files


def real_layer(shape: LayerShape, weight: Floats) -> Any:
    """The same layer as a program of ours in float32, `edgelm.export.quant_graph.Program`."""
    from edgelm.bits import pack_weights

    program = layer(shape, PRECISIONS["W32A32"], consumer=False)
    packed = pack_weights(np.ascontiguousarray(weight.transpose(0, 2, 3, 1)), 32)
    attributes = program.nodes[0].attributes | {"pre_relu": 0, "post_relu": 1}
    return replace(program, nodes=(replace(program.nodes[0], attributes=attributes, weight=packed, floats={}),))
