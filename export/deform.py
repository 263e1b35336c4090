"""DeformConv2d: the record of the custom op that .tflite files have for ONNX's DeformConv, and what it computes.

In .onnx files it is ONNX's own DeformConv (op set 19), with one group of channels, one of offsets, and no mask.
N = batch, C = input channels, O = output channels, kh, kw = kernel, H, W = input size, OH, OW = output size.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgelm.errors import UsageError
from edgelm.export.record import CONVOLUTION, Input, OpRecord, Rule

__all__ = ["DEFORM_CONV", "deform_conv_reference"]

Floats = NDArray[np.float32]

DEFORM_CONV = OpRecord(
    name="DeformConv2d",
    summary="ONNX's DeformConv for TFLite: a convolution with every tap moved by its own offset, "
    "`deform_conv_reference` in `export/deform.py`.",
    attributes=CONVOLUTION,
    inputs=(
        Input("weight", "float32", "(O, kh, kw, C)", "channels innermost"),
        Input("bias", "float32", "(O,)", "absent: 0", optional=True),
        Input("offset", "float32", "(N, OH, OW, 2 kh kw)", "px, dy and dx of each tap, row by row", constant=False),
        Input("x", "float32", "(N, H, W, C)", "one", constant=False),
    ),
    output="(N, OH, OW, O) float32",
    rules=(
        Rule(
            "in_channels",
            "kernel_h * kernel_w * in_channels is at most 2^16",
            lambda a: a["kernel_h"] * a["kernel_w"] * a["in_channels"] <= 1 << 16,
        ),
    ),
)


def deform_conv_reference(
    x: Floats, offset: Floats, weight: Floats, attributes: Mapping[str, int], bias: Floats | None = None
) -> Floats:
    """What DeformConv2d computes; slow, and the specification of the native library.

    Tap (a, b) of output (r, c) reads x at row r * stride_h - pad_top + a * dilation_h + dy, and its column likewise;
    whole numbers are added first, the offset is added in float32. Between pixels x is bilinear: of the four pixels
    around a place those inside the image count, each by its share. Places at or beyond one pixel outside, and NaN,
    give 0. Sums are made here in float64, and kernels are held to a tolerance.

    Args:
        x: (N, H, W, C) float32.
        offset: (N, OH, OW, 2 kh kw) float32.
        weight: (O, kh, kw, C) float32.
        attributes: as in the record.
        bias: (O,) float32, or None for 0.

    Returns:
        (N, OH, OW, O) float32.

    Raises:
        UsageError: attributes out of range, shapes that do not fit.
    """
    DEFORM_CONV.check(attributes)
    a = attributes
    kh, kw, C, O = a["kernel_h"], a["kernel_w"], a["in_channels"], a["out_channels"]
    N, H, W, _ = x.shape
    OH = (H + a["pad_top"] + a["pad_bottom"] - (kh - 1) * a["dilation_h"] - 1) // a["stride_h"] + 1
    OW = (W + a["pad_left"] + a["pad_right"] - (kw - 1) * a["dilation_w"] - 1) // a["stride_w"] + 1
    shapes = {"x": (x, (N, H, W, C)), "offset": (offset, (N, OH, OW, 2 * kh * kw)), "weight": (weight, (O, kh, kw, C))}
    for name, (array, expected) in shapes.items():
        if array.shape != expected or min(expected[1:]) < 1:
            raise UsageError(f"DeformConv2d: {name} has the shape {expected}, got {array.shape}")
    y = np.zeros((N, OH, OW, O)) + (0 if bias is None else bias)
    for tap in range(kh * kw):
        rows = np.arange(OH)[:, None] * a["stride_h"] - a["pad_top"] + tap // kw * a["dilation_h"]
        columns = np.arange(OW) * a["stride_w"] - a["pad_left"] + tap % kw * a["dilation_w"]
        moved = rows.astype(np.float32) + offset[..., 2 * tap], columns.astype(np.float32) + offset[..., 2 * tap + 1]
        y += _bilinear(x, *moved) @ weight[:, tap // kw, tap % kw].T.astype(np.float64)
    return y.astype(np.float32)


def _bilinear(x: Floats, rows: Floats, columns: Floats) -> NDArray[np.float64]:
    """Values of x (N, H, W, C) at places (N, OH, OW) each -> (N, OH, OW, C)."""
    N, H, W, C = x.shape
    near = (rows > -1) & (rows < H) & (columns > -1) & (columns < W)  # false for NaN
    rows, columns = np.where(near, rows, 0), np.where(near, columns, 0)
    top, left = np.floor(rows), np.floor(columns)
    total = np.zeros((*rows.shape, C))
    image = np.arange(N)[:, None, None]
    for down, row_share in ((0, 1 - (rows - top)), (1, rows - top)):
        for right, column_share in ((0, 1 - (columns - left)), (1, columns - left)):
            row, column = top.astype(np.int64) + down, left.astype(np.int64) + right
            inside = near & (row >= 0) & (row < H) & (column >= 0) & (column < W)
            found = x[image, row.clip(0, H - 1), column.clip(0, W - 1)] * (row_share * column_share)[..., None]
            total += np.where(inside[..., None], found, 0)
    return total
