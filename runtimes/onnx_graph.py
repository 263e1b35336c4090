"""The nodes and constants of an .onnx file, without the onnx package; for `edgelm info`, no engine needs it.

What a message of ONNX holds beside this is skipped.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from edgelm.errors import ModelFileError
from edgelm.runtimes.onnx_file import damaged_onnx, fields, message

__all__ = ["OnnxGraph", "OnnxNode", "OnnxTensor", "read_graph"]

# Field numbers of ModelProto, GraphProto, NodeProto, AttributeProto and TensorProto.
_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_OP, _NODE_ATTRIBUTE, _NODE_DOMAIN = 1, 2, 3, 4, 5, 7
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_TENSOR, _ATTRIBUTE_KIND = 1, 3, 5, 20
_KIND_INT = 2
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_FLOATS, _TENSOR_INT32, _TENSOR_INT64, _TENSOR_NAME, _TENSOR_RAW = (
    1,
    2,
    4,
    5,
    7,
    8,
    9,
)
_DTYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64"}
_MOST_SIDE = 1 << 40


@dataclass(frozen=True)
class OnnxTensor:
    """A constant: little-endian bytes, none where the file writes its numbers one by one."""

    shape: tuple[int, ...]
    dtype: str
    data: bytes | memoryview = field(default=b"", repr=False)


@dataclass(frozen=True)
class OnnxNode:
    """A node; `attributes` are its whole numbers, "" stands for an operand that is left out."""

    domain: str
    op_type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, int]


@dataclass(frozen=True)
class OnnxGraph:
    """The graph of a file."""

    nodes: tuple[OnnxNode, ...]
    constants: Mapping[str, OnnxTensor]


def read_graph(data: bytes) -> OnnxGraph:
    """Read the graph of a whole file.

    Raises:
        ModelFileError: it is not ONNX or damaged.
    """
    graphs = [message(value) for number, value in fields(memoryview(data)) if number == _MODEL_GRAPH]
    if len(graphs) != 1:
        raise damaged_onnx(f"{len(graphs)} graphs")
    nodes, constants = [], {}
    for number, value in fields(graphs[0]):
        if number == _GRAPH_NODE:
            node, made = _node(message(value))
            constants.update(dict.fromkeys(node.outputs, made) if made is not None else {})
            if made is None:
                nodes.append(node)
        elif number == _GRAPH_INITIALIZER:
            name, tensor = _tensor(message(value))
            constants[name] = tensor
    return OnnxGraph(tuple(nodes), constants)


def _text(value: int | memoryview) -> str:
    return bytes(message(value)).decode(errors="replace")


def _node(data: memoryview) -> tuple[OnnxNode, OnnxTensor | None]:
    """A node, and the constant that it stands for where it is a Constant."""
    texts = {_NODE_NAME: "", _NODE_OP: "", _NODE_DOMAIN: ""}
    inputs, outputs, attributes, made = [], [], {}, None
    for number, value in fields(data):
        if number in texts:
            texts[number] = _text(value)
        elif number == _NODE_INPUT:
            inputs.append(_text(value))
        elif number == _NODE_OUTPUT:
            outputs.append(_text(value))
        elif number == _NODE_ATTRIBUTE:
            name, whole, tensor = _attribute(message(value))
            made = tensor or made
            if whole is not None:
                attributes[name] = whole
    node = OnnxNode(texts[_NODE_DOMAIN], texts[_NODE_OP], texts[_NODE_NAME], tuple(inputs), tuple(outputs), attributes)
    return node, made if node.op_type == "Constant" and not node.domain else None


def _attribute(data: memoryview) -> tuple[str, int | None, OnnxTensor | None]:
    name, whole, kind, tensor = "", 0, 0, None
    for number, value in fields(data):
        if number == _ATTRIBUTE_NAME:
            name = _text(value)
        elif number == _ATTRIBUTE_INT and isinstance(value, int):
            whole = value
        elif number == _ATTRIBUTE_KIND and isinstance(value, int):
            kind = value
        elif number == _ATTRIBUTE_TENSOR:
            tensor = _tensor(message(value))[1]
    signed = whole - (1 << 64) if whole >= 1 << 63 else whole
    return name, signed if kind == _KIND_INT else None, tensor


def _tensor(data: memoryview) -> tuple[str, OnnxTensor]:
    name, sides, kind = "", [], 0
    raw: bytes | memoryview = b""
    for number, value in fields(data):
        if number == _TENSOR_NAME:
            name = _text(value)
        elif number == _TENSOR_TYPE and isinstance(value, int):
            kind = value
        elif number == _TENSOR_DIMS:
            sides += [value] if isinstance(value, int) else _varints(value)
        elif number == _TENSOR_RAW or (number == _TENSOR_FLOATS and isinstance(value, memoryview)):
            raw = message(value)
        elif number == _TENSOR_INT64:
            whole = [value] if isinstance(value, int) else _varints(value)
            raw = bytes(raw) + b"".join(struct.pack("<Q", one & (1 << 64) - 1) for one in whole)
    if any(not 0 <= side < _MOST_SIDE for side in sides) or math.prod(sides) > _MOST_SIDE:
        raise ModelFileError(f"the constant {name!r} has the impossible shape {sides[:8]}; export the model again")
    return name, OnnxTensor(tuple(sides), _DTYPES.get(kind, f"type {kind}"), raw)


def _varints(data: memoryview) -> list[int]:
    """Numbers packed one after the other, 7 bits a byte, least significant first."""
    numbers, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if shift > 70:
            raise damaged_onnx("an endless number")
        if byte < 0x80:
            numbers.append(value)
            value, shift = 0, 0
    return numbers
