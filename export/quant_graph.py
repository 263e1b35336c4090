"""QuantGraph: THE definition of its program's words, of what it computes, and the way from nodes to words and back.

A program is a list of nodes; each makes one value from earlier ones, in NCHW or NHWC as the engine has it.

    program  version, inputs I, nodes, outputs; the channels of each input, or -1; the nodes; the outputs' values
    node     opcode, words of the node with these two, then by opcode
      1 conv      residual value or -1; weight's place and bytes; places of in_scale, in_bias, out_scale and out_bias,
                  or -1; the attributes of QuantConv2d in the record's order, those that have defaults from version 2
                  on; the values that are its x, one or more
      2 maxpool   value: 2x2 px to one, an odd last row or column is dropped; H, W >= 2
      3 upsample  value: nearest, one px to 2x2
      4 add       two values of one shape

Of versions 1 and 2 the lower one that can say it is written. Inputs are the values 0..I-1, node i makes value I + i. A
place is an offset in bytes into `data`, for floats (all little-endian float32, C or O of them) a multiple of 4. Outputs
are values of nodes, each at most once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgelm.errors import UsageError
from edgelm.export.ops import QUANT_CONV, QUANT_GRAPH, quant_conv_reference

__all__ = ["VERSIONS", "Add", "Conv", "MaxPool", "Program", "Step", "Upsample", "encode", "quant_graph_reference"]

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Words = NDArray[np.int32]
VERSIONS = (1, 2)
FLOAT_OPERANDS = ("in_scale", "in_bias", "out_scale", "out_bias")


@dataclass(frozen=True, eq=False)
class Conv:
    """A QuantConv2d: attributes as in the record, packed weights (O, row bytes), float operands by name."""

    attributes: Mapping[str, int]
    weight: Bytes
    parts: tuple[int, ...]
    residual: int | None = None
    floats: Mapping[str, Floats] = field(default_factory=dict)

    @property
    def values(self) -> tuple[int, ...]:
        """The values it reads."""
        return self.parts if self.residual is None else (*self.parts, self.residual)


@dataclass(frozen=True)
class MaxPool:
    """The largest of each 2x2 px; NaN among them gives an unspecified result."""

    x: int

    @property
    def values(self) -> tuple[int, ...]:
        """The values it reads."""
        return (self.x,)


@dataclass(frozen=True)
class Upsample:
    """Each px four times."""

    x: int

    @property
    def values(self) -> tuple[int, ...]:
        """The values it reads."""
        return (self.x,)


@dataclass(frozen=True)
class Add:
    """Sum of two values of one shape."""

    a: int
    b: int

    @property
    def values(self) -> tuple[int, ...]:
        """The values it reads."""
        return (self.a, self.b)


Step = Conv | MaxPool | Upsample | Add
OPCODES: Mapping[type[Step], int] = {Conv: 1, MaxPool: 2, Upsample: 3, Add: 4}


@dataclass(frozen=True, eq=False)
class Program:
    """A QuantGraph.

    Attributes:
        inputs: channels of each, -1 where they are known only when it runs.
        nodes: in an order in which they can run.
        outputs: values of nodes.
    """

    inputs: tuple[int, ...]
    nodes: tuple[Step, ...]
    outputs: tuple[int, ...]


def attribute_names(version: int) -> tuple[str, ...]:
    """The attributes of a convolution that a program of this version holds, in order."""
    return tuple(a.name for a in QUANT_CONV.attributes if version > 1 or a.default is None)


def _says(version: int, node: Step) -> bool:
    """Whether a program of this version can hold the node."""
    if not isinstance(node, Conv):
        return True
    return set(QUANT_CONV.stored(node.attributes)) <= set(attribute_names(version))


def encode(program: Program) -> tuple[Words, Bytes]:
    """The operands `program` (int32) and `data` (uint8) of the op; equal constants are stored once.

    Raises:
        UsageError: attributes out of range.
    """
    data = bytearray()
    places: dict[bytes, int] = {}

    def place(array: NDArray[np.generic]) -> int:
        stored = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
        if stored not in places:
            data.extend(bytes(-len(data) % 4))
            places[stored] = len(data)
            data.extend(stored)
        return places[stored]

    version = min(v for v in VERSIONS if all(_says(v, node) for node in program.nodes))
    words = [version, len(program.inputs), len(program.nodes), len(program.outputs), *program.inputs]
    for node in program.nodes:
        body = list(node.values)
        if isinstance(node, Conv):
            weight = place(node.weight)
            floats = [place(node.floats[name]) if name in node.floats else -1 for name in FLOAT_OPERANDS]
            residual = -1 if node.residual is None else node.residual
            attributes = [node.attributes[name] for name in attribute_names(version)]
            body = [residual, weight, node.weight.size, *floats, *attributes, *node.parts]
        words += [OPCODES[type(node)], len(body) + 2, *body]
    return np.array([*words, *program.outputs], np.int32), np.frombuffer(bytes(data), np.uint8)


def quant_graph_reference(program: Program, x: Sequence[Floats]) -> list[Floats]:
    """What QuantGraph computes; slow, and the specification of the native library.

    Each convolution is `quant_conv_reference` and each sum rounds to float32. Which of several NaN or of +0 and -0 a
    pooled value is, is unspecified.

    Args:
        program: see `edgelm.export.quant_decode.decode` for one in words.
        x: float32 arrays (N, C_i, H_i, W_i), as many as it names.

    Returns:
        its outputs, (N, C, H, W) float32 each.

    Raises:
        UsageError: inputs of another number or of sizes that do not fit.
    """
    if len(x) != len(program.inputs):
        raise UsageError(f"{QUANT_GRAPH.name}: the program takes {len(program.inputs)} inputs, got {len(x)}")
    values = [np.asarray(one, np.float32) for one in x]
    for index, (one, channels) in enumerate(zip(values, program.inputs, strict=True)):
        if one.ndim != 4 or channels not in (-1, one.shape[1]):
            raise UsageError(f"{QUANT_GRAPH.name}: input {index} has {channels} channels, got the shape {one.shape}")
    for node in program.nodes:
        values.append(_run(node, values))
    return [values[index] for index in program.outputs]


def _run(node: Step, values: Sequence[Floats]) -> Floats:
    if isinstance(node, Conv):
        parts = [values[index] for index in node.parts]
        residual = None if node.residual is None else values[node.residual]
        _same([part[:, 0] for part in parts], "parts of a convolution")
        y = quant_conv_reference(parts, node.weight, node.attributes, **node.floats)
        if residual is None:
            return y
        _same([y, residual], "a convolution and its residual")
        return y + residual
    x = values[node.values[0]]
    if isinstance(node, MaxPool):
        H, W = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
        if not H or not W:
            raise UsageError(f"{QUANT_GRAPH.name}: a map of {x.shape[2]}x{x.shape[3]} px cannot be pooled")
        rows = np.maximum(x[:, :, 0:H:2], x[:, :, 1:H:2])
        return np.maximum(rows[..., 0:W:2], rows[..., 1:W:2])
    if isinstance(node, Upsample):
        return x.repeat(2, axis=2).repeat(2, axis=3)
    other = values[node.b]
    _same([x, other], "the terms of a sum")
    return x + other


def _same(arrays: Sequence[Floats], what: str) -> None:
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise UsageError(f"{QUANT_GRAPH.name}: {what} differ in shape: {sorted(shapes)}")
