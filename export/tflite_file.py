"""Write .tflite files: tensors and operators by name in, the bytes of a file out.

The subset of the format is `edgelm.runtimes.tflite_schema`. Which operators compute a network is the converter's
business; this module knows how they are stored and the lowest version of each that has what is asked of it, since old
engines refuse versions they do not know.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelm.errors import UsageError
from edgelm.export.flatbuffer import write_flatbuffer
from edgelm.runtimes.tflite_schema import BUILTINS, CUSTOM, DTYPES, IDENTIFIER, SCHEMA_VERSION, TABLES, Field

__all__ = ["Model", "Operator", "Quantization", "Tensor", "constant", "write_model"]

_NO_OFFSET = 127  # the older field for operator codes is a signed byte


@dataclass(frozen=True)
class Quantization:
    """real = (stored - zero_point) * scale, with one pair for the tensor or one for each index along `axis`."""

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int = 0


@dataclass(frozen=True)
class Tensor:
    """A tensor.

    Attributes:
        name: unique in the model.
        shape: for example (1, 64, 64, 128), NHWC.
        dtype: numpy's name of its type.
        data: the bytes of a constant, else None.
        quantization: of an integer constant that DEQUANTIZE reads.
        shape_signature: the shape with -1 where an engine may resize it, or None.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    data: bytes | None = None
    quantization: Quantization | None = None
    shape_signature: tuple[int, ...] | None = None


def constant(name: str, values: NDArray[Any], quantization: Quantization | None = None) -> Tensor:
    """A constant tensor with the values' shape and type."""
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return Tensor(name, tuple(values.shape), values.dtype.name, little.tobytes(), quantization)


@dataclass(frozen=True)
class Operator:
    """An operator.

    Attributes:
        kind: a builtin such as "CONV_2D", or a custom op's name.
        inputs: tensor names, "" for one that is left out.
        outputs: tensor names.
        options: the builtin's own; choices by name, such as {"padding": "VALID"}.
        custom_options: bytes for a custom op, None for a builtin.
        version: None for the lowest that does it.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: Mapping[str, int | bool | str | tuple[int, ...]] = field(default_factory=dict)
    custom_options: bytes | None = None
    version: int | None = None


@dataclass(frozen=True)
class Model:
    """A model of one graph; the operators are in the order in which they run."""

    tensors: Sequence[Tensor]
    operators: Sequence[Operator]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    metadata: Mapping[str, bytes] = field(default_factory=dict)
    description: str = ""


def write_model(model: Model) -> bytes:
    """The bytes of a .tflite file.

    Raises:
        UsageError: a name is unknown or comes twice, an operator or an option is unknown, a constant has a wrong size.
    """
    index = {"": -1}
    for tensor in model.tensors:
        if tensor.name in index:
            raise UsageError(f"two tensors are named {tensor.name!r}")
        index[tensor.name] = len(index) - 1
    dtypes = {tensor.name: tensor.dtype for tensor in model.tensors}
    buffers: dict[bytes, int] = {b"": 0}  # number 0 is the empty one by convention; equal constants are stored once
    codes: dict[tuple[str, int], int] = {}
    operators = []
    for op in model.operators:
        if unknown := [name for name in (*op.inputs, *op.outputs) if name not in index]:
            raise UsageError(f"{op.kind} names tensors {unknown} that the model does not have")
        version = op.version or _lowest_version(op, [dtypes[name] for name in op.inputs if name])
        code = codes.setdefault((op.kind, version), len(codes))
        operators.append(_operator(op, code, index))
    values = {
        "version": SCHEMA_VERSION,
        "subgraphs": [
            {
                "tensors": [_tensor(tensor, buffers) for tensor in model.tensors],
                "inputs": [index[name] for name in model.inputs],
                "outputs": [index[name] for name in model.outputs],
                "operators": operators,
            }
        ],
        "operator_codes": [_operator_code(kind, version) for kind, version in codes],
        "description": model.description,
        "metadata": [
            {"name": name, "buffer": buffers.setdefault(data, len(buffers))} for name, data in model.metadata.items()
        ],
        "buffers": [{"data": data} if data else {} for data in buffers],
    }
    return write_flatbuffer(IDENTIFIER, TABLES["Model"], values)


def _tensor(tensor: Tensor, buffers: dict[bytes, int]) -> dict[str, Any]:
    if tensor.dtype not in DTYPES:
        raise UsageError(f"tensor {tensor.name!r} has type {tensor.dtype!r}, known are {list(DTYPES)}")
    values = {
        "name": tensor.name,
        "shape": tensor.shape,
        "type": DTYPES[tensor.dtype],
        "shape_signature": tensor.shape_signature,
    }
    if tensor.data is not None:
        expected = int(np.prod(tensor.shape)) * np.dtype(tensor.dtype).itemsize
        if len(tensor.data) != expected:
            raise UsageError(f"constant {tensor.name!r} has {len(tensor.data)} bytes, expected {expected}")
        values["buffer"] = buffers.setdefault(tensor.data, len(buffers))
    if (q := tensor.quantization) is not None:
        values["quantization"] = {"scale": q.scale, "zero_point": q.zero_point, "quantized_dimension": q.axis}
    return {name: value for name, value in values.items() if value is not None}


def _operator_code(kind: str, version: int) -> dict[str, Any]:
    if kind not in BUILTINS:
        return {
            "deprecated_builtin_code": CUSTOM,
            "builtin_code": CUSTOM,
            "custom_code": kind,
            "version": version,
        }
    code = BUILTINS[kind].code
    return {"deprecated_builtin_code": min(code, _NO_OFFSET), "builtin_code": code, "version": version}


def _operator(op: Operator, code: int, index: Mapping[str, int]) -> dict[str, Any]:
    values: dict[str, Any] = {
        "opcode_index": code,
        "inputs": [index[name] for name in op.inputs],
        "outputs": [index[name] for name in op.outputs],
    }
    if op.custom_options is not None:
        if op.kind in BUILTINS or op.options:
            raise UsageError(f"{op.kind} has custom options; builtin operators and builtin options have none")
        return values | {"custom_options": op.custom_options}
    if op.kind not in BUILTINS:
        raise UsageError(f"operator {op.kind!r} is unknown and has no custom options; known are {sorted(BUILTINS)}")
    builtin = BUILTINS[op.kind]
    if not builtin.arity[0] <= len(op.inputs) <= builtin.arity[1] or "" in op.inputs:
        raise UsageError(f"{op.kind} has {builtin.arity[0]} to {builtin.arity[1]} inputs, got {op.inputs}")
    if unknown := op.options.keys() - builtin.options.keys():
        raise UsageError(f"{op.kind} has no options {sorted(unknown)}, known are {list(builtin.options)}")
    if builtin.options_type:
        options = {name: _option(op.kind, name, builtin.options[name], value) for name, value in op.options.items()}
        if missing := [n for n, f in builtin.options.items() if f.positive and not options.get(n, f.default)]:
            raise UsageError(f"{op.kind} needs the options {missing}")
        values |= {"builtin_options_type": builtin.options_type, "builtin_options": (builtin.options, options)}
    return values


def _option(kind: str, name: str, choice: Field, value: Any) -> Any:
    if choice.names is None:
        return value
    key = str(value).lower() if isinstance(value, bool) else value
    if key not in choice.names:
        raise UsageError(f"{kind}: {name} is one of {list(choice.names)}, got {value!r}")
    return choice.names[key]


_SINCE_INT8 = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3}
"""The first version of an operator for int8 where it is not 2."""


def _lowest_version(op: Operator, dtypes: Sequence[str]) -> int:
    """The first version with the feature used, for the types that edgelm writes."""
    if op.kind == "DEQUANTIZE":
        return {"uint8": 1, "int8": 2, "float16": 3}.get(dtypes[0], 1)
    first = _SINCE_INT8.get(op.kind, 2) if "int8" in dtypes[:1] else 1
    if op.kind == "RESIZE_BILINEAR":
        return 3 if op.options.get("half_pixel_centers") else first
    if op.kind == "RESIZE_NEAREST_NEIGHBOR":
        return 3 if op.options.get("half_pixel_centers") or op.options.get("align_corners") else first
    if op.kind == "DEPTHWISE_CONV_2D":
        dilated = any(op.options.get(f"dilation_{side}_factor", 1) != 1 for side in "hw")
        return max(first, 2 if dilated else 1)
    if op.kind == "GATHER":
        return 5 if op.options.get("batch_dims") else 1
    return first
