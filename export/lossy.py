"""Fewer bits than a network was trained with: what inputs its layers see, in which steps to count them, what it costs.

A layer's input is counted in equal steps: level = round(v / step), 0..2^(bits-1) - 1 behind a ReLU, else with both
signs. Steps come from the network's own activations on a few images. `simulate` makes the torch network that a file
with such steps stands for; `edgelm.export.passes.quantize_inputs` writes them into the graph.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgelm.export.nodes import FIRST_X, attributes_of, is_quant_conv, layer_of, operand
from edgelm.export.ranges import USUAL_SHARE
from edgelm.models.quant_conv import QuantConv2d
from edgelm.spec import ExportOptions, InputSpec, ModelSpec

__all__ = ["Grid", "fit", "int8_weights", "simulate"]

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """How a layer counts its input.

    Attributes:
        act_bits: as in the op's record.
        relu: whether negative values count as 0.
        step: what one level stands for.
    """

    act_bits: int
    relu: bool
    step: float

    @property
    def highest(self) -> int:
        """The largest level."""
        return int(2 ** (self.act_bits - 1) - 1)

    def apply(self, v: Tensor) -> Tensor:
        """The values that the levels of `v` stand for."""
        levels = (v / self.step).round().clamp(0 if self.relu else -self.highest, self.highest)
        return levels * self.step


def fit(
    model: nn.Module,
    graph: ir.Model,
    options: ExportOptions,
    spec: ModelSpec,
    images: Sequence[Floats],
    cost: Callable[[nn.Module], float],
) -> dict[str, Grid]:
    """Grids for the layers that the options ask for, by name.

    Args:
        model: the frozen torch network.
        graph: after the fusing passes.
        options: what to quantize.
        spec: of the network.
        images: inputs (H, W, 3) float32.
        cost: what a simulated network loses; of two grids for 8-bit activations the cheaper is taken.
    """
    wanted = _wanted(model, graph, options, spec.input)
    seen = _ranges(model, [name for name, (_, _, known) in wanted.items() if known is None], images)

    def grids(largest: bool) -> dict[str, Grid]:
        made = {}
        for name, (bits, relu, known) in wanted.items():
            reach = known or seen[name][0 if largest else 1]
            made[name] = Grid(bits, relu, (reach or 1.0) / (2 ** (bits - 1) - 1))
        return made

    if options.activations != "int8":
        return grids(True)
    return min((grids(largest) for largest in (True, False)), key=lambda made: cost(simulate(model, made)))


def _wanted(
    model: nn.Module, graph: ir.Model, options: ExportOptions, image: InputSpec
) -> dict[str, tuple[int, bool, float | None]]:
    """act_bits, ReLU and, where the input's range is known, its largest magnitude, of each layer to quantize."""
    bits = {"int8": (8, 9), "int13": (14, 14)}.get(options.activations)
    modules = dict(model.named_modules())
    wanted: dict[str, tuple[int, bool, float | None]] = {}
    for node in graph.graph:
        name = layer_of(node)
        if not is_quant_conv(node) or name not in modules or attributes_of(node)["act_bits"] != 32:
            continue
        a = attributes_of(node)
        relu, known = bool(a["pre_relu"]), None
        low, high = _input_range(image)
        first = node.inputs[FIRST_X]
        if first is not None and first.is_graph_input() and operand(node, "in_scale") is None:
            relu, known = relu or low >= 0, max(-low, high)
        if a["weight_bits"] == 32 and options.real == "int8" and not node.outputs[0].is_graph_output():
            wanted[name] = 8 + relu, relu, known
        elif a["weight_bits"] < 8 and bits is not None:
            wanted[name] = bits[relu], relu, known
    return wanted


def _input_range(image: InputSpec) -> tuple[float, float]:
    """The smallest and the largest value that a photo's pixels can have in the network's input."""
    pairs = list(zip(image.mean, image.std, strict=True))
    return min(-mean / std for mean, std in pairs), max((1 - mean) / std for mean, std in pairs)


def _ranges(model: nn.Module, names: Sequence[str], images: Sequence[Floats]) -> dict[str, tuple[float, float]]:
    """The largest magnitude of each layer's input, and the largest share of an image that lies below it."""
    seen = dict.fromkeys(names, (0.0, 0.0))
    modules = dict(model.named_modules())

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def look(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            values = inputs[0].abs().flatten()
            usual = float(values.kthvalue(max(1, round(USUAL_SHARE * values.numel()))).values)
            seen[name] = max(seen[name][0], float(values.max())), max(seen[name][1], usual)

        return look

    hooks = [modules[name].register_forward_pre_hook(watch(name)) for name in names]
    try:
        with torch.no_grad():
            for image in images:
                model(torch.from_numpy(image[None]).permute(0, 3, 1, 2))
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def int8_weights(weight: NDArray[Any]) -> tuple[NDArray[np.int8], Floats]:
    """Levels -127..127 and a scale per filter (O,) for real weights whose filters are the first axis."""
    largest = np.abs(weight.reshape(len(weight), -1)).max(axis=1).astype(np.float64)
    scale = np.where(largest > 0, largest, 1) / 127
    levels = np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1)))
    return levels.clip(-127, 127).astype(np.int8), scale.astype(np.float32)


def simulate(model: nn.Module, grids: Mapping[str, Grid]) -> nn.Module:
    """A copy of the network whose layers count their inputs in steps; the real ones among them get int8 weights."""
    twin = copy.deepcopy(model)
    for name, module in twin.named_modules():
        if name not in grids:
            continue
        module.register_forward_pre_hook(_counting(grids[name]))
        if not isinstance(module, QuantConv2d):
            assert isinstance(module, nn.Conv2d)
            levels, scale = int8_weights(module.weight.detach().numpy())
            module.weight.data = torch.from_numpy(levels) * torch.from_numpy(scale)[:, None, None, None]
    return twin


def _counting(grid: Grid) -> Callable[[nn.Module, tuple[Tensor, ...]], Tensor]:
    def count(_: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        return grid.apply(inputs[0])

    return count
