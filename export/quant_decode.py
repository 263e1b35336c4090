"""Read and check the program of a QuantGraph: words and data back to the nodes of `edgelm.export.quant_graph`.

What passes here can run: every value is made before it is read, every constant lies inside the data, channels add up.
Sizes of maps are known only when it runs.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgelm.bits import packed_row_bytes, unpack_weights
from edgelm.errors import ModelFileError, UsageError
from edgelm.export.ops import QUANT_CONV
from edgelm.export.quant_graph import (
    FLOAT_OPERANDS,
    OPCODES,
    VERSIONS,
    Add,
    Conv,
    MaxPool,
    Program,
    Step,
    Upsample,
    attribute_names,
)
from edgelm.export.record import SIDE

__all__ = ["decode"]

_ATTRIBUTES = 3 + len(FLOAT_OPERANDS)
"""Place of the attributes in a convolution's body."""


def decode(program: NDArray[np.int32], data: NDArray[np.uint8]) -> Program:
    """Undo `edgelm.export.quant_graph.encode`.

    Args:
        program: (words,) int32.
        data: (bytes,) uint8.

    Raises:
        ModelFileError: words or data that no exporter writes.
    """
    if program.dtype != np.int32 or program.ndim != 1 or data.dtype != np.uint8 or data.ndim != 1:
        raise _damaged(f"operands {program.dtype} {program.shape} and {data.dtype} {data.shape}")
    return _Reader(program.tolist(), data).read()


def _damaged(what: str) -> ModelFileError:
    return ModelFileError(f"the program of a QuantGraph is damaged ({what}); export the model again")


class _Reader:
    def __init__(self, words: Sequence[int], data: NDArray[np.uint8]) -> None:
        self._words, self._data, self._at = words, data, 0
        self._channels: list[int] = []
        self._names: tuple[str, ...] = ()

    def read(self) -> Program:
        version, inputs, nodes, outputs = self._take(4, "its head")
        if version not in VERSIONS:
            raise _damaged(f"version {version}, this edgelm knows {' and '.join(map(str, VERSIONS))}")
        self._names = attribute_names(version)
        if min(inputs, nodes, outputs) < 1:
            raise _damaged(f"{inputs} inputs, {nodes} nodes and {outputs} outputs")
        channels = self._take(inputs, "the inputs")
        if any(c != -1 and not 1 <= c <= SIDE for c in channels):
            raise _damaged(f"inputs of {channels[:8]} channels")
        self._channels = list(channels)
        # Not a comprehension over `nodes`: a hostile number of them ends at the first that is not there.
        made: list[Step] = []
        while len(made) < nodes:
            made.append(self._node())
        found = self._take(outputs, "the outputs")
        if len(set(found)) != outputs or not all(inputs <= v < len(self._channels) for v in found):
            raise _damaged(f"outputs {list(found[:8])} of the values {inputs}..{len(self._channels) - 1}")
        if self._at != len(self._words):
            raise _damaged(f"{len(self._words) - self._at} words too many")
        return Program(tuple(channels), tuple(made), tuple(found))

    def _take(self, count: int, what: str) -> Sequence[int]:
        if not 0 <= count <= len(self._words) - self._at:
            raise _damaged(f"it ends inside {what}")
        self._at += count
        return self._words[self._at - count : self._at]

    def _value(self, index: int) -> int:
        if not 0 <= index < len(self._channels):
            raise _damaged(f"node {len(self._channels)} reads value {index}")
        return index

    def _node(self) -> Step:
        opcode, count = self._take(2, "a node")
        body = self._take(count - 2, "a node")
        kind = next((kind for kind, code in OPCODES.items() if code == opcode), None)
        if kind is Conv:
            return self._conv(body)
        if kind is None or len(body) != (2 if kind is Add else 1):
            raise _damaged(f"opcode {opcode} with {count} words")
        channels = {self._channels[self._value(index)] for index in body}
        known = channels - {-1}
        if len(known) > 1:
            raise _damaged(f"a sum of {sorted(known)} channels")
        self._channels.append(next(iter(known), -1))
        return Add(*body) if kind is Add else MaxPool(*body) if kind is MaxPool else Upsample(*body)

    def _conv(self, body: Sequence[int]) -> Conv:
        first, end = _ATTRIBUTES, _ATTRIBUTES + len(self._names)
        if len(body) <= end:
            raise _damaged(f"a convolution of {len(body) + 2} words")
        residual, place, size = body[:3]
        attributes = QUANT_CONV.complete(dict(zip(self._names, body[first:end], strict=True)))
        try:
            QUANT_CONV.check(attributes)
        except UsageError as error:
            raise _damaged(str(error)) from error
        C, O = attributes["in_channels"], attributes["out_channels"]
        parts = tuple(self._value(index) for index in body[end:])
        given = [self._channels[index] for index in parts]
        if sum(max(c, 1) for c in given) > C or (-1 not in given and sum(given) != C):
            raise _damaged(f"parts of {given[:8]} channels where {C} are expected")
        if residual != -1 and self._channels[self._value(residual)] not in (-1, O):
            raise _damaged(f"a residual of {self._channels[residual]} channels where {O} are expected")
        sides = {name: C if name.startswith("in") else O for name in FLOAT_OPERANDS}
        floats = {
            name: self._bytes(at, 4 * sides[name], name, 4).view("<f4").astype(np.float32)
            for name, at in zip(FLOAT_OPERANDS, body[3:first], strict=True)
            if at != -1
        }
        if ("in_scale" in floats) != ("in_bias" in floats):
            raise _damaged("in_scale and in_bias come together")
        self._channels.append(O)
        weight = self._weight(place, size, attributes)
        return Conv(attributes, weight, parts, None if residual == -1 else residual, floats)

    def _weight(self, place: int, size: int, a: Mapping[str, int]) -> NDArray[np.uint8]:
        shape = (a["out_channels"], a["kernel_h"], a["kernel_w"], a["in_channels"])
        row = packed_row_bytes(shape[1] * shape[2] * shape[3], a["weight_bits"])
        if size != shape[0] * row:
            raise _damaged(f"packed weights of {size} bytes, expected {shape[0] * row}")
        weight = self._bytes(place, size, "the weight", 4 if a["weight_bits"] == 32 else 1).reshape(shape[0], row)
        unpack_weights(weight, a["weight_bits"], shape)
        return weight

    def _bytes(self, place: int, size: int, what: str, alignment: int) -> NDArray[np.uint8]:
        if place < 0 or place % alignment or size > len(self._data) - place:
            raise _damaged(f"{what} at {place} of {len(self._data)} bytes")
        return self._data[place : place + size].copy()
