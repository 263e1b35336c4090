"""Convolutions on float inputs count them in steps instead; real ones get int8 weights with that.

Given:   y = QuantConv2d <act_bits = 32> (w, in_scale, in_bias, out_scale, ..., x)
Result:  y = QuantConv2d <act_bits = k> (w, in_scale * g, in_bias * g, out_scale * step, ..., x)

g = 2^(1-k) / step, so that the op's levels, round(v * g * 2^(k-1)), are round(v / step). The steps, and which layers
are meant, are `edgelm.export.lossy`'s.
"""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgelm.bits import pack_weights, unpack_weights
from edgelm.export.lossy import Grid, int8_weights
from edgelm.export.nodes import attributes_of, constant, is_quant_conv, layer_of, operand, set_attributes, set_operand

__all__ = ["QuantizeInputs"]


class QuantizeInputs(ir.passes.InPlacePass):
    """See the module's text."""

    def __init__(self, grids: Mapping[str, Grid]) -> None:
        self._grids = grids

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite the layers that have a grid."""
        nodes = [node for node in model.graph if is_quant_conv(node) and layer_of(node) in self._grids]
        for index, node in enumerate(nodes):
            _rewrite(model.graph, node, self._grids[layer_of(node)], f"g{index}")
        return ir.passes.PassResult(model, modified=bool(nodes))


def _rewrite(graph: ir.Graph, node: ir.Node, grid: Grid, prefix: str) -> None:
    a = attributes_of(node)

    def put(name: str, array: NDArray[np.generic]) -> None:
        set_operand(node, name, constant(graph, f"{prefix}_{name}", array))

    def floats(name: str, absent: float) -> NDArray[np.float64]:
        size = a["in_channels" if name.startswith("in") else "out_channels"]
        found = operand(node, name)
        return np.full(size, absent) if found is None else found.astype(np.float64)

    gain = 2.0 ** (1 - grid.act_bits) / grid.step
    put("in_scale", (floats("in_scale", 1) * gain).astype(np.float32))
    put("in_bias", (floats("in_bias", 0) * gain).astype(np.float32))
    factor: NDArray[np.float64] = np.full(a["out_channels"], grid.step)
    bits = a["weight_bits"]
    if bits == 32:
        bits, shape = 8, (a["out_channels"], a["kernel_h"], a["kernel_w"], a["in_channels"])
        packed = operand(node, "weight")
        assert packed is not None
        levels, scale = int8_weights(unpack_weights(packed, 32, shape))
        put("weight", pack_weights(levels, 8))
        factor = factor * scale
    put("out_scale", (floats("out_scale", 1) * factor).astype(np.float32))
    set_attributes(node, act_bits=grid.act_bits, weight_bits=bits, pre_relu=int(grid.relu))
