"""What is in a model file: its ModelSpec, operators, layers, bits and sizes. For `edgelm info`.

This reads .onnx and .tflite files, on a device too: no engine, torch or onnx is needed. Checkpoints are read by
`edgelm.models.checkpoint_info`.
O = output channels, I = input channels (of one group).
"""

import struct
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgelm.errors import ModelFileError
from edgelm.export.deform import DEFORM_CONV
from edgelm.export.ops import QUANT_CONV, QUANT_GRAPH
from edgelm.export.quant_decode import decode
from edgelm.export.quant_graph import Conv
from edgelm.export.record import DOMAIN
from edgelm.runtimes.base import read_model, read_spec
from edgelm.runtimes.onnx_file import read_onnx
from edgelm.runtimes.operators import Operator, Stored, onnx_operators, tflite_operators
from edgelm.runtimes.tflite_file import verify_tflite
from edgelm.spec import METADATA_KEY, ModelSpec

__all__ = ["FileInfo", "LayerInfo", "read_info"]

_ITEM_BITS = {"float32": 32, "float16": 16, "int8": 8, "uint8": 8, "float64": 64}
_ONNX_CONVS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "DeformConv")
_TFLITE_CONVS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")


@dataclass(frozen=True)
class LayerInfo:
    """A layer with weights.

    Attributes:
        name: of the layer, "" where the format keeps none.
        operator: that computes it.
        kernel: for example "3x3", "" where that is not known.
        in_channels: I, 0 where that is not known.
        out_channels: O, 0 where that is not known.
        weight_bits: each weight takes in the file.
        act_bits: of the activations that it multiplies: 1 is sign, 32 float; 0 where the graph around it decides.
        weights: how many, 0 where that is not known.
        bytes: of them in the file.
    """

    name: str
    operator: str
    kernel: str
    in_channels: int
    out_channels: int
    weight_bits: float
    act_bits: int
    weights: int
    bytes: int


@dataclass(frozen=True)
class FileInfo:
    """A model file.

    Attributes:
        format: "onnx", "tflite" or "checkpoint".
        bytes: of the file.
        spec: its self-description.
        custom_ops: that an engine needs from edgelm, such as "edgelm.QuantGraph".
        operators: how many of each kind.
        layers: those with weights.
        constants_bytes: of all constants in the file.
        facts: what else the format tells, as text by label.
    """

    format: str
    bytes: int
    spec: ModelSpec
    custom_ops: tuple[str, ...]
    operators: Mapping[str, int]
    layers: tuple[LayerInfo, ...]
    constants_bytes: int
    facts: Mapping[str, str] = field(default_factory=dict)


def read_info(path: Path) -> FileInfo:
    """Look into an .onnx or a .tflite file.

    Raises:
        ModelFileError: it is missing, of another kind, damaged or without edgelm's description.
    """
    data = read_model(path)
    if path.suffix == ".onnx":
        onnx = read_onnx(data)
        spec, constants, operators = onnx.metadata.get(METADATA_KEY), onnx.weights_bytes, onnx_operators(data)
    elif path.suffix == ".tflite":
        tflite = verify_tflite(data)
        entry = tflite.metadata.get(METADATA_KEY)
        spec, constants = None if entry is None else bytes(entry), tflite.weights_bytes
        operators = tflite_operators(tflite)
    else:
        raise ModelFileError(f"{path} is neither .pt, .onnx nor .tflite")
    kinds = Counter(operator.kind for operator in operators)
    custom = tuple(sorted(kind for kind in kinds if kind.startswith(f"{DOMAIN}.")))
    layers = tuple(layer for operator in operators for layer in _layers(operator))
    return FileInfo(
        path.suffix[1:], len(data), read_spec(path, spec), custom, dict(sorted(kinds.items())), layers, constants
    )


def _layers(operator: Operator) -> list[LayerInfo]:
    for kinds, read in _READERS:
        if operator.kind in kinds:
            return read(operator)
    return []


def _quant_conv(operator: Operator) -> list[LayerInfo]:
    stored = dict(operator.attributes)
    if operator.options:
        count = len(operator.options) // 4
        words = struct.unpack(f"<{count}i", bytes(operator.options[: 4 * count]))
        stored = {a.name: word for a, word in zip(QUANT_CONV.attributes, words, strict=False)}
    attributes = QUANT_CONV.complete(stored)
    weight = operator.operands[0] if operator.operands else None
    if weight is None or not {a.name for a in QUANT_CONV.attributes} <= attributes.keys():
        raise ModelFileError(f"{operator.kind} without weights or attributes; export the model again")
    return [_packed(operator.name, operator.kind, attributes, weight.stored_bytes)]


def _packed(name: str, operator: str, a: Mapping[str, int], size: int) -> LayerInfo:
    kernel = f"{a['kernel_h']}x{a['kernel_w']}"
    count = a["kernel_h"] * a["kernel_w"] * a["in_channels"] * a["out_channels"]
    return LayerInfo(
        name, operator, kernel, a["in_channels"], a["out_channels"], a["weight_bits"], a["act_bits"], count, size
    )


def _quant_graph(operator: Operator) -> list[LayerInfo]:
    program, data = (*operator.operands, None, None)[:2]
    if program is None or data is None or len(program.data) % 4:
        raise ModelFileError(f"{operator.kind} without a program; export the model again")
    steps = decode(np.frombuffer(program.data, "<i4").astype(np.int32), np.frombuffer(data.data, np.uint8)).nodes
    return [_packed("", operator.kind, step.attributes, step.weight.size) for step in steps if isinstance(step, Conv)]


def _deform_conv(operator: Operator) -> list[LayerInfo]:
    return _real(operator, operator.operands[:1], lambda shape: (shape[0], shape[-1], shape[1:-1]))


def _onnx_conv(operator: Operator) -> list[LayerInfo]:
    return _real(operator, operator.operands[1:2], lambda shape: (shape[0], shape[1], shape[2:]))


def _tflite_conv(operator: Operator) -> list[LayerInfo]:
    return _real(operator, operator.operands[1:2], lambda shape: (shape[0], shape[-1], shape[1:-1]))


_Sides = Callable[[tuple[int, ...]], tuple[int, int, tuple[int, ...]]]


def _real(operator: Operator, weights: Sequence[Stored | None], sides: _Sides) -> list[LayerInfo]:
    """A layer of the engine's; its weights may be packed bits that the engine unpacks."""
    weight = weights[0] if weights else None
    if weight is None:
        return []
    O, I, kernel = sides(weight.shape) if len(weight.shape) > 1 else (0, 0, ())
    bits = round(8 * weight.stored_bytes / weight.count, 2) if weight.count else _ITEM_BITS.get(weight.dtype, 0)
    text = "x".join(map(str, kernel))
    return [LayerInfo(operator.name, operator.kind, text, I, O, bits, 0, weight.count, weight.stored_bytes)]


_READERS: Sequence[tuple[Sequence[str], Callable[[Operator], list[LayerInfo]]]] = (
    ((f"{DOMAIN}.{QUANT_CONV.name}",), _quant_conv),
    ((f"{DOMAIN}.{QUANT_GRAPH.name}",), _quant_graph),
    ((f"{DOMAIN}.{DEFORM_CONV.name}",), _deform_conv),
    (_ONNX_CONVS, _onnx_conv),
    (_TFLITE_CONVS, _tflite_conv),
)
