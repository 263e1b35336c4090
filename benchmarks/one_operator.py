"""Files whose whole network is one operator of ours: that operator without the engine, and an image for it."""

import sys
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edgelm.runtimes.base import Session
from edgelm.runtimes.engines import open_session
from edgelm.runtimes.native import QuantGraph

__all__ = ["open_both"]


def open_both(path: Path) -> tuple[Session, QuantGraph, NDArray[np.float32]]:
    """The .onnx file in its engine, its graph alone, and a random crop (1, H, W, 3) for the engine."""
    model = onnx.load(path)
    nodes = [node for node in model.graph.node if node.op_type == "QuantGraph"]
    if len(nodes) != 1 or len(model.graph.node) != 1:
        sys.exit(f"{path} has {len(model.graph.node)} operators, expected one QuantGraph alone")
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    program, data = (constants[name] for name in nodes[0].input[:2])
    session = open_session(path)
    size = session.spec.input
    crop = np.random.default_rng(1).random((1, size.height, size.width, 3), dtype=np.float32)
    return session, QuantGraph(program, data), crop
