"""A graph of builtin operators as a torch network: what a file of it stands for, step by step, in any precision.

It is the slow twin of the files that are quantized after training: nothing is fused, integers are whole numbers in
floating point, and only the rounding that the graph asks for happens. Graphs with edgelm's own quantized operators have
their torch network instead.
N = batch, C = channels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgelm.errors import UsageError
from edgelm.export.nodes import constant_of, given_attributes
from edgelm.models.deform_conv import deform_conv2d

__all__ = ["Interpreted"]

Observe = Callable[[str, Tensor], None]
_RANGES = {ir.DataType.UINT8: (0, 255), ir.DataType.INT8: (-128, 127)}


class Interpreted(nn.Module):
    """A graph with one input and one output, as the networks of `edgelm.models` are called.

    Args:
        model: the graph; kept as it is now.
        turns: of quantized maps, by name, the share of values that come out one level higher or lower, at random: what
            an engine does to them that rounds in another way. None for none.
        seed: of those.

    Raises:
        UsageError: an operator, or a form of it, that is not known here.
    """

    def __init__(self, model: ir.Model, turns: Mapping[str, float] | None = None, seed: int = 0) -> None:
        super().__init__()
        graph = model.graph
        self._turns, self._seed = dict(turns or {}), seed
        self._constants: dict[str, str] = {}
        for value in graph.initializers.values():
            tensor = value.const_value
            assert tensor is not None
            self._constants[value.name or ""] = place = f"c{len(self._constants)}"
            self.register_buffer(place, torch.tensor(tensor.numpy()))
        self._input, self._output = (values[0].name or "" for values in (graph.inputs, graph.outputs))
        last = {value: node for node in graph for value in node.inputs if not value or not value.is_graph_output()}
        self._steps = [_bind(node, [v for v, reader in last.items() if v and reader is node]) for node in graph]

    def forward(self, image: Tensor, observe: Observe | None = None) -> list[Tensor]:
        """(N, C, H, W) -> [the graph's output].

        `observe` is told the name of every value that is computed, and of the input, with the value.
        """
        values: dict[str, Tensor] = {self._input: image}
        random = np.random.default_rng(self._seed)
        if observe:
            observe(self._input, image)
        for step in self._steps:
            inputs = [None if not n else values[n] if n in values else self._constant(n) for n in step.inputs]
            made = step.run(*inputs)
            if step.output in self._turns:
                shares = self._turns[step.output] / 2, 1 - self._turns[step.output], self._turns[step.output] / 2
                by = random.choice(np.array([-1, 0, 1], np.float32), tuple(made.shape), p=shares)
                made = (made + torch.from_numpy(by)).clamp(0, 255).to(made.dtype)
            values[step.output] = made
            if observe:
                observe(step.output, made)
            for name in step.done:
                values.pop(name, None)  # large networks would keep gigabytes
        return [values[self._output]]

    def _constant(self, name: str) -> Tensor:
        return getattr(self, self._constants[name])  # type: ignore[no-any-return]  # a buffer


@dataclass(frozen=True)
class _Bound:
    """A node: its function, names of what it reads and makes, and of what nobody reads after it."""

    run: Callable[..., Tensor]
    inputs: tuple[str, ...]
    output: str
    done: tuple[str, ...]


def _bind(node: ir.Node, done: Sequence[ir.Value]) -> _Bound:
    if node.domain or node.op_type not in _STEPS:
        raise UsageError(
            f"a network with {node.op_type} cannot be quantized after training; known are {', '.join(_STEPS)}"
        )
    step = _STEPS[node.op_type]
    names = tuple((value.name or "") if value else "" for value in node.inputs)
    # A function, unlike an object with the node in it, is not copied with the network.
    return _Bound(
        lambda *x: step(node, *x), names, node.outputs[0].name or "", tuple(value.name or "" for value in done)
    )


Step = Callable[..., Tensor]


def _refuse(node: ir.Node, what: str) -> UsageError:
    return UsageError(f"a network with {node.op_type} of {what} cannot be quantized after training")


def _padded(node: ir.Node, x: Tensor, pads: Any, value: float = 0.0) -> Tensor:
    top, left, bottom, right = pads
    return F.pad(x, (left, right, top, bottom), value=value) if any(pads) else x


def _conv(node: ir.Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    a = given_attributes(node, pads=(0, 0, 0, 0), strides=(1, 1), dilations=(1, 1), group=1, auto_pad="NOTSET")
    if a["auto_pad"] != "NOTSET":
        raise _refuse(node, f"auto_pad {a['auto_pad']}")
    padded = _padded(node, x, a["pads"])
    return F.conv2d(padded, weight, bias, tuple(a["strides"]), 0, tuple(a["dilations"]), a["group"])


def _conv_transpose(node: ir.Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    a = given_attributes(node, strides=(1, 1), pads=(0, 0, 0, 0), output_padding=(0, 0), group=1, dilations=(1, 1))
    if any(a["pads"]) or "output_shape" in a or a.get("auto_pad", "NOTSET") != "NOTSET":
        raise _refuse(node, "padding or of a given size")
    strides, more, dilations = (tuple(a[name]) for name in ("strides", "output_padding", "dilations"))
    return F.conv_transpose2d(x, weight, bias, strides, 0, more, a["group"], dilations)


def _deform_conv(node: ir.Node, x: Tensor, weight: Tensor, offset: Tensor, bias: Tensor) -> Tensor:
    return deform_conv2d(x, offset, weight, bias, given_attributes(node)["pads"][0])


def _batch_norm(node: ir.Node, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return F.batch_norm(x, mean, variance, scale, bias, eps=given_attributes(node, epsilon=1e-5)["epsilon"])


def _pool(node: ir.Node) -> tuple[dict[str, Any], tuple[int, ...], tuple[int, ...]]:
    a = given_attributes(
        node, pads=(0, 0, 0, 0), strides=(1, 1), dilations=(1, 1), ceil_mode=0, auto_pad="NOTSET", count_include_pad=0
    )
    if a["ceil_mode"] or tuple(a["dilations"]) != (1, 1) or a["auto_pad"] != "NOTSET":
        raise _refuse(node, "ceil_mode, dilations or auto_pad")
    return a, tuple(a["kernel_shape"]), tuple(a["strides"])


def _max_pool(node: ir.Node, x: Tensor) -> Tensor:
    a, kernel, strides = _pool(node)
    return F.max_pool2d(_padded(node, x, a["pads"], -torch.inf), kernel, strides)


def _average_pool(node: ir.Node, x: Tensor) -> Tensor:
    a, kernel, strides = _pool(node)
    if any(a["pads"]):
        raise _refuse(node, "padding")
    return F.avg_pool2d(x, kernel, strides)


def _resize(node: ir.Node, x: Tensor, *_: Tensor | None) -> Tensor:
    a = given_attributes(
        node, mode="nearest", coordinate_transformation_mode="half_pixel", nearest_mode="round_prefer_floor"
    )
    scales = constant_of(node.inputs[2], "the scales of a Resize").tolist()
    form = a["mode"], a["coordinate_transformation_mode"]
    if form == ("linear", "half_pixel"):
        return F.interpolate(x, scale_factor=scales[2:], mode="bilinear", align_corners=False)
    if form != ("nearest", "asymmetric") or a["nearest_mode"] != "floor":
        raise _refuse(node, f"mode {form}")
    return F.interpolate(x, scale_factor=scales[2:], mode="nearest")


def _quantize(node: ir.Node, x: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    point = node.inputs[2]
    assert point is not None
    assert point.dtype is not None
    return (torch.round(x / scale) + zero).clamp(*_RANGES[point.dtype])


def _dequantize(node: ir.Node, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    axis = given_attributes(node, axis=1)["axis"]
    shape = [-1] + [1] * (x.dim() - axis - 1) if scale.dim() else []
    levels = x.to(scale.dtype)
    return (levels if zero is None else levels - zero.to(scale.dtype).reshape(shape)) * scale.reshape(shape)


def _cast(node: ir.Node, x: Tensor) -> Tensor:
    if given_attributes(node)["to"] != ir.DataType.FLOAT:
        raise _refuse(node, "another type than float")
    return x if x.dtype == torch.float64 else x.float()


def _concat(node: ir.Node, *x: Tensor) -> Tensor:
    return torch.cat(x, dim=given_attributes(node)["axis"])


def _plain(function: Callable[..., Tensor]) -> Step:
    return lambda _, *x: function(*x)


_STEPS: Mapping[str, Step] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DeformConv": _deform_conv,
    "BatchNormalization": _batch_norm,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "Resize": _resize,
    "Concat": _concat,
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "Cast": _cast,
    "Add": _plain(torch.add),
    "Sub": _plain(torch.sub),
    "Mul": _plain(torch.mul),
    "Relu": _plain(torch.relu),
    "Sigmoid": _plain(torch.sigmoid),
    "Tanh": _plain(torch.tanh),
    "Sin": _plain(torch.sin),
    "Cos": _plain(torch.cos),
}
"""By ONNX op."""
