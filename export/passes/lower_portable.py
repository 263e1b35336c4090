"""Quantized convolutions become builtin ops that every engine knows; weights stay bits in the file.

Given:   y = QuantConv2d(w, in_scale, in_bias, out_scale, out_bias, residual, x1, ..., xn)
Result:  v = Relu(Concat(x1, ..., xn) * in_scale + in_bias);  a = levels of v
         y = Conv(a, Transpose(Reshape(Gather(table, Cast(w))))) * out_scale + out_bias, ...

Engines compute the chain from w to the kernel once, while they load the file. `table` maps a byte to the weights
packed in it. A step whose operand is absent is left out.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgelm.errors import UsageError
from edgelm.export.nodes import FIRST_X, attributes_of, constant, is_quant_conv, operand
from edgelm.export.ops import QUANT_CONV

__all__ = ["LowerPortable", "byte_table"]


def byte_table(bits: int) -> NDArray[np.float32]:
    """The weights in each byte, see `edgelm.bits`: (256, 8) float32 for 1 bit, (256, 4) for 2 bits.

    Raises:
        UsageError: other weights; an export that adopts real convolutions is not portable.
    """
    if bits not in (1, 2):
        raise UsageError(f"weights of {bits} bits have no form in builtin operators; export them without --real")
    codes = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").astype(np.float32)
    return 1 - 2 * codes if bits == 1 else codes[:, 0::2] - codes[:, 1::2]


class LowerPortable(ir.passes.InPlacePass):
    """See the module's text."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Lower every QuantConv2d."""
        nodes = [n for n in model.graph if is_quant_conv(n)]
        tables: dict[int, ir.Value] = {}
        for index, node in enumerate(nodes):
            bits = attributes_of(node)["weight_bits"]
            if bits not in tables:
                tables[bits] = constant(model.graph, f"table{bits}", byte_table(bits))
            _Lowering(model.graph, node, f"p{index}").run(tables[bits])
        return ir.passes.PassResult(model, modified=bool(nodes))


class _Lowering:
    """The builtin ops for one node, in the order they are made."""

    def __init__(self, graph: ir.Graph, node: ir.Node, prefix: str) -> None:
        self._graph, self._node, self._prefix = graph, node, prefix
        self._a = attributes_of(node)
        self._made: list[ir.Node] = []
        self._constants = 0

    def run(self, table: ir.Value) -> None:
        y = self._convolve(self._levels(self._prologue()), self._weights(table))
        for kind, name in (("Mul", "out_scale"), ("Add", "out_bias")):
            if (array := operand(self._node, name)) is not None:
                y = self._op(kind, [y, self._constant(array[:, None, None])])
        if self._a["post_relu"]:
            y = self._op("Relu", [y])
        if (residual := self._node.inputs[FIRST_X - 1]) is not None:
            y = self._op("Add", [y, residual])
        old = self._node.outputs
        y.shape, y.type = old[0].shape, old[0].type
        ir.convenience.replace_nodes_and_values(self._graph, self._node, [self._node], self._made, old, [y])

    def _prologue(self) -> ir.Value:
        parts = [x for x in self._node.inputs[FIRST_X:] if x is not None]
        x = self._op("Concat", parts, {"axis": 1}) if len(parts) > 1 else parts[0]
        for kind, name in (("Mul", "in_scale"), ("Add", "in_bias")):
            if (array := operand(self._node, name)) is not None:
                x = self._op(kind, [x, self._constant(array[:, None, None])])
        return self._op("Relu", [x]) if self._a["pre_relu"] else x

    def _levels(self, x: ir.Value) -> ir.Value:
        """`edgelm.export.ops.quantize` in builtin ops (but NaN stays NaN)."""
        bits, at_zero = self._a["act_bits"], self._a["sign_zero"]
        if bits == 32:
            return x
        if bits > 1:
            steps = float(2 ** (bits - 1))
            rounded = self._op("Round", [self._op("Mul", [x, self._scalar(steps)])])
            return self._op("Clip", [rounded, self._scalar(1 - steps), self._scalar(steps - 1)])
        if at_zero == 0:
            return self._op("Sign", [x])
        compared = self._op("Less" if at_zero > 0 else "Greater", [x, self._scalar(0.0)])
        return self._op("Where", [compared, self._scalar(float(-at_zero)), self._scalar(float(at_zero))])

    def _weights(self, table: ir.Value) -> ir.Value:
        O, C = self._a["out_channels"], self._a["in_channels"]
        kh, kw = self._a["kernel_h"], self._a["kernel_w"]
        packed = self._node.inputs[0]
        assert packed is not None
        index = self._op("Cast", [packed], {"to": ir.DataType.INT32.value})
        rows = self._op("Reshape", [self._op("Gather", [table, index], {"axis": 0}), self._integers([O, -1])])
        if (kh * kw * C) % (8 // self._a["weight_bits"]):
            rows = self._op("Slice", [rows, *map(self._integers, ([0], [kh * kw * C], [1]))])
        ohwi = self._op("Reshape", [rows, self._integers([O, kh, kw, C])])
        return self._op("Transpose", [ohwi], {"perm": [0, 3, 1, 2]})

    def _convolve(self, x: ir.Value, weight: ir.Value) -> ir.Value:
        a = self._a
        pads = [a["pad_top"], a["pad_left"], a["pad_bottom"], a["pad_right"]]
        if a["pad_value"] and any(pads):
            amounts = self._integers([0, 0, *pads[:2], 0, 0, *pads[2:]])
            x, pads = self._op("Pad", [x, amounts, self._scalar(float(a["pad_value"]))]), [0] * 4
        attributes = {
            "kernel_shape": [a["kernel_h"], a["kernel_w"]],
            "strides": [a["stride_h"], a["stride_w"]],
            "dilations": [a["dilation_h"], a["dilation_w"]],
            "pads": pads,
        }
        return self._op("Conv", [x, weight], attributes)

    def _op(
        self, kind: str, inputs: Sequence[ir.Value], attributes: Mapping[str, int | list[int]] | None = None
    ) -> ir.Value:
        node = ir.node(kind, inputs, attributes=dict(attributes or {}))
        self._made.append(node)
        value = node.outputs[0]
        value.name = f"{self._prefix}_{len(self._made)}"
        return value

    def _constant(self, array: NDArray[np.generic]) -> ir.Value:
        self._constants += 1
        return constant(self._graph, f"{self._prefix}c{self._constants}", np.ascontiguousarray(array))

    def _scalar(self, value: float) -> ir.Value:
        return self._constant(np.array(value, np.float32))

    def _integers(self, values: list[int]) -> ir.Value:
        return self._constant(np.array(values, np.int64))


assert QUANT_CONV.inputs[FIRST_X - 1].name == "residual"
