"""Read what an .onnx file says about itself, before an engine sees it and without the onnx package.

An .onnx file is a protobuf message: numbered fields, one after the other. Only the few that are asked for are followed;
the rest is skipped and left to the engine, which verifies it.
"""

from collections.abc import Iterator, Mapping

from edgelm.errors import ModelFileError
from edgelm.record import record

__all__ = ["OnnxFile", "damaged_onnx", "fields", "message", "read_onnx"]

# Field numbers of ModelProto, GraphProto, TensorProto, OperatorSetIdProto and StringStringEntryProto.
_MODEL_GRAPH, _MODEL_OPSET, _MODEL_METADATA = 7, 8, 14
_GRAPH_INITIALIZER = 5
_TENSOR_DATA, _TENSOR_EXTERNAL = (4, 5, 7, 9), 13
_OPSET_DOMAIN = 1
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5


@record(frozen=True)
class OnnxFile:
    """What a file says about itself.

    Attributes:
        metadata: name -> bytes.
        domains: of the operators that it needs; "" is ONNX's own.
        weights_bytes: bytes of all constants, as stored.
    """

    metadata: Mapping[str, bytes]
    domains: frozenset[str]
    weights_bytes: int


def read_onnx(data: bytes) -> OnnxFile:
    """Read a whole file.

    Raises:
        ModelFileError: it is not ONNX, truncated, or keeps its weights in other files.
    """
    metadata: dict[str, bytes] = {}
    domains: set[str] = set()
    graphs = 0
    weights_bytes = 0
    for number, value in fields(memoryview(data)):
        if number == _MODEL_OPSET:
            domains.add(bytes(_last(value, _OPSET_DOMAIN)).decode(errors="replace"))
        elif number == _MODEL_METADATA:
            metadata[bytes(_last(value, _ENTRY_KEY)).decode(errors="replace")] = bytes(_last(value, _ENTRY_VALUE))
        elif number == _MODEL_GRAPH:
            graphs += 1
            weights_bytes += sum(_tensor_bytes(t) for n, t in fields(message(value)) if n == _GRAPH_INITIALIZER)
    if graphs != 1 or not domains:
        raise damaged_onnx("no graph")
    return OnnxFile(metadata, frozenset(domains), weights_bytes)


def damaged_onnx(what: str) -> ModelFileError:
    """The error about a file that is not what it should be."""
    return ModelFileError(f"the file is damaged or not ONNX ({what}); copy it or export it again")


def _tensor_bytes(tensor: int | memoryview) -> int:
    total = 0
    for number, value in fields(message(tensor)):
        if number == _TENSOR_EXTERNAL:
            raise ModelFileError(
                "the ONNX file keeps weights in other files; edgelm's are whole, export the model again"
            )
        if number in _TENSOR_DATA and isinstance(value, memoryview):
            total += len(value)
    return total


def _last(entry: int | memoryview, wanted: int) -> memoryview:
    """A text field of a message; of several the last counts."""
    found = memoryview(b"")
    for number, value in fields(message(entry)):
        if number == wanted:
            found = message(value)
    return found


def message(value: int | memoryview) -> memoryview:
    """The bytes of a field that holds a message, text or raw data."""
    if isinstance(value, int):
        raise damaged_onnx("a number where a message is expected")
    return value


def fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(number, value) of every field; numbers of fixed size are given as 0, since nobody asks for them."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        size, value = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}.get(key & 7, 0), 0
        if key & 7 == _VARINT:
            value, at = _varint(data, at)
        elif key & 7 == _BYTES:
            size, at = _varint(data, at)
        elif not size:
            raise damaged_onnx(f"a field of kind {key & 7} at byte {at}")
        if at + size > len(data):
            raise damaged_onnx(f"{size} bytes at byte {at} of {len(data)}")
        yield key >> 3, data[at : at + size] if key & 7 == _BYTES else value
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, least significant first, and where it ends."""
    value = 0
    for i in range(10):
        if at + i >= len(data):
            break
        value |= (data[at + i] & 0x7F) << (7 * i)
        if data[at + i] < 0x80:
            return value, at + i + 1
    raise damaged_onnx(f"an endless number at byte {at}")
