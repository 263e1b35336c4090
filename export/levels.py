"""Compare a graph quantized after training with the engine, map by map: where does a file first count other levels?

Cut at every QuantizeLinear the graph is a few operators deep everywhere: what reads a map gets the levels that the
graph's own steps give (`edgelm.export.interpret`), and the engine returns the levels that it makes. Those are whole
numbers and must agree but for values between two levels, which another order of float operations rounds to the other.
"""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgelm.export.interpret import Interpreted
from edgelm.export.layerwise import ENGINES, LayerCheck, Write
from edgelm.export.nodes import constant_of
from edgelm.spec import ModelSpec
from edgelm.testvector import synthetic_input

__all__ = ["compare_levels", "cut_levels", "turning"]

_APART = 1
"""Levels that a value between two of them may be off."""
_SHARE = {"Resize": 0.2, "Concat": 0.5}
_FEW = 0.01
"""Of a map's values that may be. Bilinear ones often lie in the middle between two levels, which engines round up or to
even numbers; XNNPACK brings maps to the step of a concatenation by a factor of 8 bits after the point."""
_SELDOM = 1e-4
"""The share taken for a map in which one image showed no difference."""
_TRIALS = 3


def cut_levels(model: ir.Model) -> ir.Model:
    """A copy of the graph with every quantized map exposed, and its readers fed from an input of its name."""
    copy = model.clone()
    for node in [n for n in copy.graph if n.op_type == "QuantizeLinear"]:
        made = node.outputs[0]
        fed = ir.Value(name=f"{made.name}.fed", shape=made.shape, type=made.type)
        for reader, place in list(made.uses()):
            reader.replace_input_with(place, fed)
        made.name = f"{made.name}.made"
        copy.graph.inputs.append(fed)
        copy.graph.outputs.append(made)
    return copy


def compare_levels(
    graph: ir.Model, write: Write, target: str, spec: ModelSpec
) -> tuple[LayerCheck, Mapping[str, float]]:
    """Compare every quantized map on an engine with the graph's own; also the share of values that differ, by map.

    Args:
        graph: quantized by `edgelm.export.passes.quantize_float`.
        write: makes the target's file of a graph.
        target: "onnx" or "tflite".
        spec: of the network.
    """
    x = synthetic_input(1, spec.input.height, spec.input.width).transpose(0, 3, 1, 2)
    pairs = {n.outputs[0].name or "": n for n in graph.graph if n.op_type == "QuantizeLinear"}
    names, allowed = list(pairs), {name: _allowed(node) for name, node in pairs.items()}
    expected = _levels(Interpreted(graph), x, set(names))
    parts = cut_levels(graph)
    feeds = {"image": x, **{f"{name}.fed": expected[name] for name in names}}
    found = dict(zip([v.name for v in parts.graph.outputs], ENGINES[target](write(parts), feeds), strict=True))
    worst, diverging = 0.0, None
    shares: dict[str, float] = {}
    for name in names:
        zero = constant_of(pairs[name].inputs[2], "the level of 0")
        off = np.abs(found[f"{name}.made"].astype(np.int64) - expected[name])
        size = np.sqrt(np.mean((expected[name].astype(np.float64) - zero) ** 2))
        worst = max(worst, float(np.sqrt(np.mean(off.astype(np.float64) ** 2)) / max(size, 1.0)))
        shares[name] = float(np.mean(off > 0))
        if diverging is None and (off.max() > _APART or shares[name] > allowed[name]):
            diverging = name
    exact = sum(share == 0 for share in shares.values())
    return LayerCheck(len(names), worst, exact, diverging), shares


def _allowed(quantize: ir.Node) -> float:
    maker = quantize.inputs[0].producer() if quantize.inputs[0] is not None else None
    return _SHARE.get(maker.op_type, _FEW) if maker is not None else _FEW


def _levels(network: Interpreted, x: NDArray[np.float32], names: set[str]) -> dict[str, NDArray[np.uint8]]:
    found: dict[str, NDArray[np.uint8]] = {}

    def keep(name: str, value: Tensor) -> None:
        if name in names:
            found[name] = value.numpy().astype(np.uint8)

    with torch.no_grad():
        network(torch.from_numpy(np.ascontiguousarray(x)), keep)
    return found


def turning(graph: ir.Model, shares: Mapping[str, float] | None = None) -> list[Interpreted]:
    """Networks that count other levels as often as an engine was found to, or may, each at other places."""
    if shares is None:
        shares = {n.outputs[0].name or "": _allowed(n) for n in graph.graph if n.op_type == "QuantizeLinear"}
    return [
        Interpreted(graph, {name: max(share, _SELDOM) for name, share in shares.items()}, s) for s in range(_TRIALS)
    ]
