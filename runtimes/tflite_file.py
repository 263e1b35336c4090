"""Read and verify a .tflite file before an engine sees it: TF Lite 2.14 trusts every offset in it.

A file passes when it consists of nothing but what `edgelm.runtimes.tflite_schema` lists, with indices, sizes and an
order of operators that make sense. What the operators compute is left to the engine.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

import numpy as np

from edgelm.errors import ModelFileError
from edgelm.record import record
from edgelm.runtimes.flatbuffer import FlatBuffer, damaged
from edgelm.runtimes.tflite_schema import BUILTINS, CUSTOM, DTYPES, IDENTIFIER, ITEM_BYTES, SCHEMA_VERSION, TABLES

__all__ = ["OperatorInfo", "TensorInfo", "TfliteFile", "verify_tflite"]

_MAX_ELEMENTS = 1 << 28
_MAX_RANK = 5


@record(frozen=True)
class TensorInfo:
    """A tensor: its name, shape, numpy dtype and, of a constant, its bytes."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    data: bytes | memoryview = field(default=b"", repr=False)


@record(frozen=True)
class OperatorInfo:
    """An operator: the builtin's or custom op's name, what it reads (None: left out) and makes, custom options."""

    name: str
    inputs: tuple[TensorInfo | None, ...]
    outputs: tuple[TensorInfo, ...]
    custom_options: bytes | memoryview = field(default=b"", repr=False)


@record(frozen=True)
class TfliteFile:
    """What a verified file says about itself.

    Attributes:
        inputs: of the graph.
        outputs: of the graph.
        metadata: name -> bytes, views of the file: a hostile one may list a buffer a thousand times.
        custom_ops: names of the custom operators that it needs.
        weights_bytes: bytes of all constants, as stored.
        operators: in the order in which they run.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    metadata: Mapping[str, bytes | memoryview]
    custom_ops: frozenset[str]
    weights_bytes: int
    operators: tuple[OperatorInfo, ...]


def verify_tflite(data: bytes) -> TfliteFile:
    """Verify a whole file.

    Raises:
        ModelFileError: it is truncated, damaged, or holds what edgelm does not write.
    """
    if len(data) < 8 or data[4:8] != IDENTIFIER:
        raise ModelFileError("not a TFLite file; export the model with `edgelm export --target tflite`")
    file = FlatBuffer(data)
    model = file.table(file.root(), TABLES["Model"])
    if model["version"] != SCHEMA_VERSION or len(model["subgraphs"]) != 1:
        raise damaged(f"schema version {model['version']} and {len(model['subgraphs'])} graphs, expected 3 and 1")
    buffers = [buffer["data"] for buffer in model["buffers"]]
    graph = model["subgraphs"][0]
    tensors = [_tensor(tensor, buffers) for tensor in graph["tensors"]]
    stored = {i: t["buffer"] for i, t in enumerate(graph["tensors"]) if len(tensors[i].data)}
    codes = [_operator_code(code) for code in model["operator_codes"]]
    names = [_pick(codes, operator["opcode_index"], "operator code") for operator in graph["operators"]]
    for operator, name in zip(graph["operators"], names, strict=True):
        _check_options(file, operator, name)
        if name in BUILTINS:
            _check_inputs(name, operator["inputs"], tensors)
    _check_order(graph, len(tensors), stored)
    return TfliteFile(
        inputs=tuple(tensors[i] for i in graph["inputs"]),
        outputs=tuple(tensors[i] for i in graph["outputs"]),
        metadata={e["name"]: _pick(buffers, e["buffer"], "metadata buffer") for e in model["metadata"]},
        custom_ops=frozenset(names) - BUILTINS.keys(),
        weights_bytes=sum(len(buffers[buffer]) for buffer in set(stored.values())),
        operators=tuple(
            OperatorInfo(
                name,
                tuple(None if i < 0 else tensors[i] for i in operator["inputs"]),
                tuple(tensors[i] for i in operator["outputs"]),
                operator["custom_options"],
            )
            for operator, name in zip(graph["operators"], names, strict=True)
        ),
    )


def _pick(items: Sequence[Any], index: int, what: str) -> Any:
    if index >= len(items):
        raise damaged(f"{what} {index} of {len(items)}")
    return items[index]


def _operator_code(code: Mapping[str, Any]) -> str:
    """The builtin's name, or the custom op's own."""
    number = max(code["deprecated_builtin_code"], code["builtin_code"])  # the older field ends at 127
    if number == CUSTOM:
        if code["custom_code"] in ("", *BUILTINS):
            raise damaged(f"custom operator {code['custom_code']!r}")
        return str(code["custom_code"])
    for name, builtin in BUILTINS.items():
        if builtin.code == number:
            return name
    raise damaged(f"operator code {number}")


def _check_options(file: FlatBuffer, operator: Mapping[str, Any], name: str) -> None:
    """The options are the table that the operator calls for; without one, an engine reads its own defaults."""
    given, place = operator["builtin_options_type"], operator["builtin_options"]
    builtin = BUILTINS.get(name)
    expected = builtin.options_type if builtin else 0
    if given not in (0, expected) or (given == 0) != (place is None):
        raise damaged(f"{name} with options of type {given}, expected {expected}")
    if builtin and place is not None:
        file.table(place, builtin.options)
    elif builtin and builtin.options:
        raise damaged(f"{name} without options")


def _check_inputs(name: str, inputs: Sequence[int], tensors: Sequence[TensorInfo]) -> None:
    """What the engines' own checks of builtin operators overlook."""
    fewest, most = BUILTINS[name].arity
    if not fewest <= len(inputs) <= most or not all(0 <= i < len(tensors) for i in inputs):
        raise damaged(f"{name} with inputs {inputs[:8]}")
    x, *others = (tensors[i] for i in inputs)
    if name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        weight = others[0]
        if (
            len(x.shape) != 4 or len(weight.shape) != 4 or x.shape[3] != weight.shape[3]
        ):  # grouped ones are not edgelm's
            raise damaged(f"{name} of {x} with weights {weight}")
    if name in ("SLICE", "TRANSPOSE"):
        if any(other.dtype != "int32" or other.shape != (len(x.shape),) for other in others):
            raise damaged(f"{name} with {others}")
        parts = [np.frombuffer(other.data, "<i4").tolist() for other in others]
        axes = list(range(len(x.shape)))
        if not (sorted(parts[0]) == axes if name == "TRANSPOSE" else _inside(parts[0], parts[1], x.shape)):
            raise damaged(f"{name} of {x} with {parts}")


def _inside(begin: Sequence[int], size: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether a slice, whose size -1 means all that is left, lies in a tensor."""
    if not len(begin) == len(size) == len(shape):
        return False
    return all(b >= 0 and s >= -1 and b + s <= side for b, s, side in zip(begin, size, shape, strict=True))


def _tensor(tensor: Mapping[str, Any], buffers: Sequence[bytes]) -> TensorInfo:
    shape, name = tensor["shape"], tensor["name"]
    dtype = next(dtype for dtype, number in DTYPES.items() if number == tensor["type"])
    if len(shape) > _MAX_RANK or any(side < 1 for side in shape) or math.prod(shape) > _MAX_ELEMENTS:
        raise damaged(f"tensor {name!r} of shape {shape}")
    data, expected = _pick(buffers, tensor["buffer"], "buffer"), math.prod(shape) * ITEM_BYTES[dtype]
    if len(data) not in (0, expected):
        raise damaged(f"constant {name!r} of {len(data)} bytes, expected {expected}")
    signature = tensor["shape_signature"] or shape
    if len(signature) != len(shape) or any(a not in (-1, b) for a, b in zip(signature, shape, strict=True)):
        raise damaged(f"tensor {name!r} of shape {shape} and signature {signature}")
    if (quantization := tensor["quantization"]) is not None:
        scales, axis = quantization["scale"], quantization["quantized_dimension"]
        sides = dict(enumerate(shape))
        if len(scales) != len(quantization["zero_point"]) or len(scales) not in (0, 1, sides.get(axis)):
            raise damaged(f"tensor {name!r} of shape {shape} has {len(scales)} scales along {axis}")
    return TensorInfo(name, shape, dtype, data)


def _check_order(graph: Mapping[str, Any], count: int, constants: Mapping[int, int]) -> None:
    """Every index is a tensor's, and every tensor is a constant, an input, or made once before it is read.

    What is made is read or an output: engines crash at outputs that nothing makes and at results that nobody wants.
    """
    ready = constants.keys() | set(graph["inputs"])
    if len(ready) != len(constants) + len(graph["inputs"]):
        raise damaged("an input that is a constant or comes twice")
    wanted = set(graph["outputs"])
    for number, operator in enumerate(graph["operators"]):
        if missing := [i for i in operator["inputs"] if i not in ready and i != -1]:
            raise damaged(f"operator {number} reads tensors {missing[:8]} that nothing has made")
        made = set(operator["outputs"])
        if made & ready or not made or len(made) != len(operator["outputs"]):
            raise damaged(f"operator {number} makes tensors {operator['outputs'][:8]}")
        ready |= made
        wanted |= set(operator["inputs"])
    made = ready - constants.keys() - set(graph["inputs"])
    if not set(graph["outputs"]) <= made <= wanted:
        raise damaged(f"outputs {graph['outputs'][:8]}, where operators make {sorted(made)[:8]}")
    if outside := [i for i in ready if not 0 <= i < count]:
        raise damaged(f"tensors {outside[:8]} of {count}")
