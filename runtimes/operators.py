"""The operators of a model file, read alike from ONNX and TFLite, for people who want to know what is in it.

Nothing here is needed to run a file, and no engine, torch or onnx is. Weights may be stored in one form and reach their
operator in another (packed bits, float16, int8 with scales): a `Stored` follows them from the constants in the file.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgelm.errors import ModelFileError
from edgelm.runtimes.onnx_graph import OnnxTensor, read_graph
from edgelm.runtimes.tflite_file import TfliteFile

__all__ = ["Operator", "Stored", "onnx_operators", "tflite_operators"]


@dataclass(frozen=True)
class Stored:
    """A constant operand.

    Attributes:
        shape: as the operator sees it; () where that is computed in a way not followed here.
        stored_bytes: of the constant in the file that it comes from.
        dtype: of that constant, for example "uint8".
        data: its bytes where it is read as it is stored, else none.
    """

    shape: tuple[int, ...]
    stored_bytes: int
    dtype: str
    data: bytes | memoryview = field(default=b"", repr=False)

    @property
    def count(self) -> int:
        """How many numbers the operator sees, 0 where that is not known."""
        return math.prod(self.shape) if self.shape else 0


@dataclass(frozen=True)
class Operator:
    """An operator.

    Attributes:
        kind: its name, for edgelm's own "edgelm.QuantConv2d" and the like, in either format.
        name: in ONNX, of the layer; TFLite has none.
        operands: the constant ones by place, None for activations and what is left out.
        attributes: whole numbers by name (ONNX only).
        options: of a custom operator in TFLite.
    """

    kind: str
    name: str
    operands: tuple[Stored | None, ...]
    attributes: Mapping[str, int]
    options: bytes | memoryview = field(default=b"", repr=False)


def onnx_operators(data: bytes) -> list[Operator]:
    """The operators of an .onnx file that compute with activations, in its order.

    Raises:
        ModelFileError: it is damaged.
    """
    graph = read_graph(data)
    known = {name: _of_onnx(tensor) for name, tensor in graph.constants.items()}
    found = []
    for node in graph.nodes:
        kind = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        operands = tuple(known.get(name) if name else None for name in node.inputs)
        given = [name for name in node.inputs if name]
        if given and all(name in known for name in given) and not node.domain:
            made = _computed(node.op_type, [operand for operand in operands if operand is not None])
            known.update(dict.fromkeys(node.outputs, made))
        else:
            found.append(Operator(kind, node.name, operands, node.attributes))
    return found


def tflite_operators(file: TfliteFile) -> list[Operator]:
    """The operators of a verified .tflite file that compute with activations, in its order."""
    known: dict[int, Stored] = {}  # by the tensor's identity: equal constants may have equal names
    found = []
    for operator in file.operators:
        operands = []
        for tensor in operator.inputs:
            if tensor is not None and len(tensor.data) and id(tensor) not in known:
                known[id(tensor)] = Stored(tensor.shape, len(tensor.data), tensor.dtype, tensor.data)
            operands.append(None if tensor is None else known.get(id(tensor)))
        present = [stored for stored in operands if stored is not None]
        if present and len(present) == len(operator.inputs) and "." not in operator.name:
            source = _source(present)
            known.update({id(made): Stored(made.shape, source.stored_bytes, source.dtype) for made in operator.outputs})
        else:
            found.append(Operator(operator.name, "", tuple(operands), {}, operator.custom_options))
    return found


def _of_onnx(tensor: OnnxTensor) -> Stored:
    return Stored(tensor.shape, len(tensor.data), tensor.dtype, tensor.data)


def _computed(op_type: str, operands: Sequence[Stored]) -> Stored:
    """What an operator makes of constants: its shape where weights take this way, and where they are stored."""
    source, first = _source(operands), operands[0]
    shape = first.shape if op_type in ("DequantizeLinear", "Cast") else ()
    if op_type == "Reshape" and operands[-1].dtype == "int64" and len(operands[-1].data) % 8 == 0:
        sides = memoryview(bytes(operands[-1].data)).cast("q").tolist()
        shape = tuple(sides) if all(side > 0 for side in sides) else ()
    if op_type == "Transpose":
        shape = first.shape  # as many numbers, which is all that is asked for
    return Stored(shape, source.stored_bytes, source.dtype)


def _source(operands: Sequence[Stored]) -> Stored:
    """The constant that holds the weights: packed ones are bytes, and what unpacks them is a table of floats."""
    packed = [operand for operand in operands if operand.dtype in ("uint8", "int8")]
    if not operands:
        raise ModelFileError("an operator without operands")
    return max(packed or operands, key=lambda operand: operand.stored_bytes)
