"""The TFLite graph under construction: tensors in NHWC by the ONNX value they stand for, operators in order.

This module knows nothing of particular ONNX ops; `edgelm.export.tflite` and `edgelm.export.tflite_quant` lower those.
A 4-D value (N, C, H, W) of the ONNX graph becomes a tensor (1, H, W, C); an engine may resize its batch.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgelm.errors import EdgelmError
from edgelm.export.nodes import constant_of
from edgelm.export.passes.adopt_integers import quantization_of
from edgelm.export.tflite_file import Operator, Quantization, Tensor, constant

__all__ = ["TFLiteGraph", "nhwc"]


def nhwc(value: ir.Value | None) -> tuple[int, ...]:
    """The shape (1, H, W, C) of an activation (N, C, H, W); only the batch may be symbolic."""
    shape = value.shape if value is not None else None
    if value is None or shape is None or len(shape) != 4:
        raise EdgelmError(
            f"expected a 4-D activation of known shape, got {value}; the network cannot be written as TFLite"
        )
    C, H, W = (int(d) if isinstance(d, int) else -1 for d in shape[1:])
    if min(C, H, W) < 1:
        raise EdgelmError(f"the size of {value.name} is not fixed, {shape}; TFLite files need a fixed input size")
    return (1, H, W, C)


class TFLiteGraph:
    """Collects tensors and operators."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.operators: list[Operator] = []
        self._names: dict[ir.Value, str] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes, Quantization | None], str] = {}
        self.fused: set[ir.Node] = set()
        """ONNX nodes that the operator before them computes already."""

    def name(self, value: ir.Value | None) -> str:
        """The tensor that stands for an ONNX activation already computed."""
        if value is None or value not in self._names:
            raise EdgelmError(f"{value} is a constant or not computed yet where an activation is expected")
        return self._names[value]

    def constant(self, array: NDArray[Any], quantization: Quantization | None = None) -> str:
        """A constant tensor; equal ones are shared."""
        key = (array.dtype.name, array.shape, array.tobytes(), quantization)
        if key not in self._constants:
            name = f"c{len(self._constants)}"
            made = constant(name, np.ascontiguousarray(array))
            self.tensors[name] = dataclasses.replace(made, quantization=quantization)
            self._constants[key] = name
        return self._constants[key]

    def activation(self, value: ir.Value, name: str | None = None) -> str:
        """A new tensor that stands for an ONNX activation: float32, or int8 for one that is levels."""
        name = name or (value.name if value.is_graph_output() else None) or f"t{len(self.tensors)}"
        steps = quantization_of(value)
        if steps is None:
            self.tensors[name] = Tensor(name, nhwc(value), "float32")
        else:
            # The same levels, counted from -128: TFLite has kernels for signed ones only.
            quantization = Quantization((steps.step,), (steps.zero - 128,))
            self.tensors[name] = Tensor(name, nhwc(value), "int8", quantization=quantization)
        self._names[value] = name
        return name

    def like(self, name: str, shape: tuple[int, ...]) -> str:
        """A new tensor of another shape and of the type and steps of an existing one."""
        made = f"t{len(self.tensors)}"
        self.tensors[made] = dataclasses.replace(self.tensors[name], name=made, shape=shape)
        return made

    def alias(self, value: ir.Value, name: str) -> None:
        """Let an existing tensor stand for an ONNX activation too."""
        self._names[value] = name

    def add(
        self,
        kind: str,
        inputs: Sequence[str],
        shape: tuple[int, ...],
        options: Mapping[str, Any] | None = None,
        *,
        dtype: str = "float32",
        output: str | None = None,
    ) -> str:
        """Append an operator whose output is a new tensor of `shape`, or the existing one named `output`."""
        if output is None:
            output = f"t{len(self.tensors)}"
            self.tensors[output] = Tensor(output, shape, dtype)
        self.operators.append(Operator(kind, tuple(inputs), (output,), dict(options or {})))
        return output

    def add_custom(self, kind: str, inputs: Sequence[str], outputs: Sequence[ir.Value], custom_options: bytes) -> None:
        """Append a custom operator that makes these activations."""
        made = tuple(self.activation(value) for value in outputs)
        self.operators.append(Operator(kind, tuple(inputs), made, {}, custom_options))

    def output_of(self, node: ir.Node, *, relu: bool) -> tuple[str, bool]:
        """The tensor for a node's output, and whether a ReLU is to be fused into the operator that makes it.

        With `relu`, a ReLU that is the only reader of the output is taken along.
        """
        value = node.outputs[0]
        readers = [use.node for use in value.uses()]
        if relu and len(readers) == 1 and readers[0].op_type == "Relu" and not value.is_graph_output():
            self.fused.add(readers[0])
            return self.activation(readers[0].outputs[0]), True
        return self.activation(value), False

    def conv(
        self,
        x: str,
        weight: str,
        bias: str,
        geometry: Mapping[str, int],
        output: str | None,
        shape: tuple[int, ...],
        *,
        relu: bool = False,
        kind: str = "CONV_2D",
        pad_value: int = 0,
    ) -> str:
        """CONV_2D, or DEPTHWISE_CONV_2D with a filter for each channel, with torch's padding, of `pad_value`.

        `geometry` has kernel_h, stride_h, dilation_h, pad_top, ...

        TFLite's SAME pads like torch only at stride 1 with an odd kernel and half of it on every side; every other
        padding is an operator of its own before a VALID convolution.
        """
        g = geometry
        pads = (g["pad_top"], g["pad_bottom"], g["pad_left"], g["pad_right"])
        h, w = (g[f"kernel_{axis}"] // 2 * g[f"dilation_{axis}"] for axis in "hw")
        odd, strides = g["kernel_h"] % 2 and g["kernel_w"] % 2, (g["stride_h"], g["stride_w"])
        same = pad_value == 0 and pads == (h, h, w, w) and odd and strides == (1, 1)
        if any(pads) and not same:
            _, H, W, C = self.tensors[x].shape
            amounts = np.array([[0, 0], pads[:2], pads[2:], [0, 0]], np.int32)
            padded = (1, H + pads[0] + pads[1], W + pads[2] + pads[3], C)
            if pad_value:
                value = self.constant(np.array([pad_value], np.float32))
                x = self.add("PADV2", [x, self.constant(amounts), value], padded)
            else:
                x = self.add("PAD", [x, self.constant(amounts)], padded, output=self.like(x, padded))
        options = {
            "padding": "SAME" if same else "VALID",
            "stride_h": g["stride_h"],
            "stride_w": g["stride_w"],
            "dilation_h_factor": g["dilation_h"],
            "dilation_w_factor": g["dilation_w"],
            "fused_activation_function": "RELU" if relu else "NONE",
        }
        if kind == "DEPTHWISE_CONV_2D":
            options["depth_multiplier"] = 1
        return self.add(kind, [x, weight, bias], shape, options, output=output)

    def vector(self, value: ir.Value | None, what: str) -> NDArray[np.float32]:
        """A constant operand as float32."""
        return constant_of(value, what).astype(np.float32)
