"""THE subset of the TFLite file format that edgelm writes and accepts: the writer and the reader derive from it.

A .tflite file is a FlatBuffer: tables of numbered fields. `TABLES` holds the fields, `BUILTINS` the operators. What is
not here, edgelm does not write, and its reader refuses, since an engine would follow it unverified.
"""

from collections.abc import Mapping
from dataclasses import field

from edgelm.record import record

__all__ = ["BUILTINS", "CUSTOM", "DTYPES", "IDENTIFIER", "ITEM_BYTES", "SCHEMA_VERSION", "TABLES", "Builtin", "Field"]

IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
CUSTOM = 32
"""The operator code of every custom op."""

DTYPES = {"float32": 0, "float16": 1, "int32": 2, "uint8": 3, "int64": 4, "bool": 6, "int8": 9}
"""numpy's name of a tensor's type -> its number in the file."""

ITEM_BYTES = {"float32": 4, "float16": 2, "int32": 4, "uint8": 1, "int64": 8, "bool": 1, "int8": 1}


@record(frozen=True)
class Field:
    """One field of a table.

    Attributes:
        id: its place in the table.
        kind: a number ("i8", "u8", "i32", "u32", "i64", "f32"), "string", "blob" (bytes aligned to 16), a table's name,
            "options" (the table that the operator's code calls for), or one of these as a vector: "[i32]", "[Tensor]".
        default: of an absent number.
        names: where the number is a choice, name -> number.
        positive: whether 0 and less, or thousands, would crash an engine.
    """

    id: int
    kind: str
    default: int = 0
    names: Mapping[str, int] | None = None
    positive: bool = False


TABLES: dict[str, dict[str, Field]] = {
    "Model": {
        "version": Field(0, "u32"),
        "operator_codes": Field(1, "[OperatorCode]"),
        "subgraphs": Field(2, "[SubGraph]"),
        "description": Field(3, "string"),
        "buffers": Field(4, "[Buffer]"),
        "metadata": Field(6, "[Metadata]"),
    },
    "OperatorCode": {
        "deprecated_builtin_code": Field(0, "i8"),
        "custom_code": Field(1, "string"),
        "version": Field(2, "i32", 1),
        "builtin_code": Field(3, "i32"),
    },
    "SubGraph": {
        "tensors": Field(0, "[Tensor]"),
        "inputs": Field(1, "[i32]"),
        "outputs": Field(2, "[i32]"),
        "operators": Field(3, "[Operator]"),
        "name": Field(4, "string"),
    },
    "Tensor": {
        "shape": Field(0, "[i32]"),
        "type": Field(1, "i8", names=DTYPES),
        "buffer": Field(2, "u32"),
        "name": Field(3, "string"),
        "quantization": Field(4, "QuantizationParameters"),
        "shape_signature": Field(7, "[i32]"),
    },
    "QuantizationParameters": {
        "scale": Field(2, "[f32]"),
        "zero_point": Field(3, "[i64]"),
        "quantized_dimension": Field(6, "i32"),
    },
    "Operator": {
        "opcode_index": Field(0, "u32"),
        "inputs": Field(1, "[i32]"),
        "outputs": Field(2, "[i32]"),
        "builtin_options_type": Field(3, "u8"),
        "builtin_options": Field(4, "options"),
        "custom_options": Field(5, "blob"),
        "custom_options_format": Field(6, "i8"),
    },
    "Buffer": {"data": Field(0, "blob")},
    "Metadata": {"name": Field(0, "string"), "buffer": Field(1, "u32")},
}


@record(frozen=True)
class Builtin:
    """A builtin operator.

    Attributes:
        code: its number.
        arity: the fewest and the most inputs; none may be left out.
        options_type: number of its options table in the union, 0 where it has none.
        options: the table's fields.
    """

    code: int
    arity: tuple[int, int]
    options_type: int = 0
    options: dict[str, Field] = field(default_factory=dict)


_PADDING = {"SAME": 0, "VALID": 1}
_BOOL = {"false": 0, "true": 1}
_ACTIVATION = "fused_activation_function"


def _activation(id: int) -> dict[str, Field]:
    return {_ACTIVATION: Field(id, "i8", names={"NONE": 0, "RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3})}


BUILTINS: dict[str, Builtin] = {
    "ADD": Builtin(0, (2, 2), 11, _activation(0)),
    "AVERAGE_POOL_2D": Builtin(
        1,
        (1, 1),
        5,
        {
            "padding": Field(0, "i8", names=_PADDING),
            "stride_w": Field(1, "i32", positive=True),
            "stride_h": Field(2, "i32", positive=True),
            "filter_width": Field(3, "i32", positive=True),
            "filter_height": Field(4, "i32", positive=True),
            **_activation(5),
        },
    ),
    "CONCATENATION": Builtin(2, (1, 256), 10, {"axis": Field(0, "i32"), **_activation(1)}),
    "CONV_2D": Builtin(
        3,
        (2, 3),
        1,
        {
            "padding": Field(0, "i8", names=_PADDING),
            "stride_w": Field(1, "i32", positive=True),
            "stride_h": Field(2, "i32", positive=True),
            **_activation(3),
            "dilation_w_factor": Field(4, "i32", 1, positive=True),
            "dilation_h_factor": Field(5, "i32", 1, positive=True),
        },
    ),
    "DEPTHWISE_CONV_2D": Builtin(
        4,
        (3, 3),
        2,
        {
            "padding": Field(0, "i8", names=_PADDING),
            "stride_w": Field(1, "i32", positive=True),
            "stride_h": Field(2, "i32", positive=True),
            "depth_multiplier": Field(3, "i32", positive=True),
            **_activation(4),
            "dilation_w_factor": Field(5, "i32", 1, positive=True),
            "dilation_h_factor": Field(6, "i32", 1, positive=True),
        },
    ),
    "COS": Builtin(108, (1, 1)),
    "DEPTH_TO_SPACE": Builtin(5, (1, 1), 94, {"block_size": Field(0, "i32", positive=True)}),
    "DEQUANTIZE": Builtin(6, (1, 1), 38),
    "LOGISTIC": Builtin(14, (1, 1)),
    "MUL": Builtin(18, (2, 2), 21, _activation(0)),
    "QUANTIZE": Builtin(114, (1, 1), 88),
    "RELU": Builtin(19, (1, 1)),
    "RESHAPE": Builtin(22, (1, 2), 17, {"new_shape": Field(0, "[i32]")}),
    "RESIZE_BILINEAR": Builtin(
        23,
        (2, 2),
        15,
        {"align_corners": Field(2, "i8", names=_BOOL), "half_pixel_centers": Field(3, "i8", names=_BOOL)},
    ),
    "PAD": Builtin(34, (2, 2), 22),
    "PADV2": Builtin(60, (3, 3), 45),
    "GATHER": Builtin(36, (2, 2), 23, {"axis": Field(0, "i32"), "batch_dims": Field(1, "i32")}),
    "TRANSPOSE": Builtin(39, (2, 2), 26),
    "SUB": Builtin(41, (2, 2), 28, _activation(0)),
    "STRIDED_SLICE": Builtin(
        45,
        (4, 4),
        32,
        {
            "begin_mask": Field(0, "i32"),
            "end_mask": Field(1, "i32"),
            "ellipsis_mask": Field(2, "i32"),
            "new_axis_mask": Field(3, "i32"),
            "shrink_axis_mask": Field(4, "i32"),
        },
    ),
    "CAST": Builtin(
        53, (1, 1), 37, {"in_data_type": Field(0, "i8", names=DTYPES), "out_data_type": Field(1, "i8", names=DTYPES)}
    ),
    "MAXIMUM": Builtin(55, (2, 2), 39),
    "MINIMUM": Builtin(57, (2, 2), 39),
    "LESS": Builtin(58, (2, 2), 41),
    "SIN": Builtin(66, (1, 1)),
    "SLICE": Builtin(65, (3, 3), 48),
    "RESIZE_NEAREST_NEIGHBOR": Builtin(
        97,
        (2, 2),
        74,
        {"align_corners": Field(0, "i8", names=_BOOL), "half_pixel_centers": Field(1, "i8", names=_BOOL)},
    ),
    "ROUND": Builtin(116, (1, 1)),
    "SELECT_V2": Builtin(123, (3, 3), 98),
    "SIGN": Builtin(158, (1, 1), 123),
    "TANH": Builtin(28, (1, 1)),
}
BUILTINS["MAX_POOL_2D"] = Builtin(17, (1, 1), 5, BUILTINS["AVERAGE_POOL_2D"].options)
