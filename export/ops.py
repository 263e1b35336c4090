"""One record for each custom op of the domain `edgelm`, op-set version 1: THE definition of what it computes.

The ONNX node, the TFLite custom options, the C struct `edgelm_qconv_attrs`, the table in docs/ops.md and the tests
derive from these records. This module needs numpy alone; the graph passes that make such nodes live beside it, and what
a QuantGraph computes, a program of convolutions, is in `edgelm.export.quant_graph`. DeformConv2d's is in
`edgelm.export.deform`.

N = batch, C = input channels, O = output channels, H, W = input height and width, OH, OW = output height and width.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgelm.bits import WEIGHT_BITS, unpack_weights
from edgelm.errors import UsageError
from edgelm.export.deform import DEFORM_CONV
from edgelm.export.record import CONVOLUTION, DOMAIN, Attribute, Input, OpRecord, Rule

__all__ = [
    "DOMAIN",
    "OPSET",
    "QUANT_CONV",
    "QUANT_GRAPH",
    "documentation",
    "quant_conv_reference",
    "quantize",
]

OPSET = 1
Floats = NDArray[np.float32]

_MOST_WEIGHTS = 1 << 24


def _pad_rule(pad: str, axis: str) -> Rule:
    text = f"{pad} is less than the dilated kernel, (kernel_{axis} - 1) * dilation_{axis} + 1"
    return Rule(pad, text, lambda a: a[pad] <= (a[f"kernel_{axis}"] - 1) * a[f"dilation_{axis}"])


def _sums_fit(a: Mapping[str, int]) -> bool:
    """Whether no sum of levels leaves int32, not even twice the sum of a ternary filter."""
    weights = a["kernel_h"] * a["kernel_w"] * a["in_channels"]
    if a["weight_bits"] == 8:
        return weights <= 1 << 16
    largest = 1 if a["act_bits"] in (1, 32) else a["weight_bits"] * (2 ** (a["act_bits"] - 1) - 1)
    return weights <= min(_MOST_WEIGHTS, (1 << 31) // largest)


_RULES = (
    Rule("weight_bits", "weight_bits is 1, 2, 8 or 32", lambda a: a["weight_bits"] in WEIGHT_BITS),
    Rule("act_bits", "act_bits is 1..14 or 32", lambda a: a["act_bits"] <= 14 or a["act_bits"] == 32),
    Rule(
        "act_bits",
        "weights of 32 bits go with act_bits 32",
        lambda a: a["weight_bits"] != 32 or a["act_bits"] == 32,
    ),
    Rule(
        "act_bits",
        "weights of 8 bits go with act_bits 2..8, and 9 with pre_relu",
        lambda a: a["weight_bits"] != 8 or 2 <= a["act_bits"] <= 8 + a["pre_relu"],
    ),
    Rule(
        "pad_value",
        "pad_value is 0 where activations are no signs (act_bits 1)",
        lambda a: a["pad_value"] == 0 or a["act_bits"] == 1,
    ),
    *(_pad_rule(f"pad_{side}", axis) for side, axis in (("top", "h"), ("left", "w"), ("bottom", "h"), ("right", "w"))),
    Rule(
        "in_channels",
        "kernel_h * kernel_w * in_channels is at most 2^16 for 8-bit weights, else 2^24 and 2^31 / (weight_bits * "
        "(2^(act_bits - 1) - 1)) where act_bits is 2..14, so that sums stay in int32",
        _sums_fit,
    ),
)

QUANT_CONV = OpRecord(
    name="QuantConv2d",
    summary="A convolution with packed weights, its quantizer and what surrounds it: `quant_conv_reference`.",
    attributes=(
        *CONVOLUTION,
        Attribute("weight_bits", (1, 32), "1: weights -1, +1; 2: weights -1, 0, +1; 8: int8; 32: float32"),
        Attribute("act_bits", (1, 32), "1: sign; 2..14: k-bit grid; 32: float"),
        Attribute("sign_zero", (-1, 1), "what sign(0) is when act_bits is 1"),
        Attribute("pre_relu", (0, 1), "1: ReLU after the input affine"),
        Attribute("post_relu", (0, 1), "1: ReLU after the output scale and bias"),
        Attribute("pad_value", (-1, 1), "value of the padding, other than 0 around signs alone", default=0),
    ),
    inputs=(
        Input("weight", "uint8", "(O, row bytes)", "packed weights, see docs/format.md"),
        Input("in_scale", "float32", "(C,)", "input affine: x * in_scale + in_bias", optional=True),
        Input("in_bias", "float32", "(C,)", "present exactly when in_scale is", optional=True),
        Input("out_scale", "float32", "(O,)", "absent: 1", optional=True),
        Input("out_bias", "float32", "(O,)", "absent: 0", optional=True),
        Input("residual", "float32", "like the output", "added last", optional=True, constant=False),
        Input("x", "float32", "(N, C_i, H, W)", "one or more, concatenated along channels", constant=False),
    ),
    output="(N, O, OH, OW) float32; NCHW in ONNX, NHWC in TFLite",
    rules=_RULES,
)

QUANT_GRAPH = OpRecord(
    name="QuantGraph",
    summary="A piece of a network as one operator: `quant_graph_reference` in `export/quant_graph.py`, which defines "
    "the program's words too.",
    attributes=(),
    inputs=(
        Input("program", "int32", "(words,)", "the steps"),
        Input("data", "uint8", "(bytes,)", "weights, scales and biases, which the program points into"),
        Input("x", "float32", "(N, C_i, H_i, W_i)", "as many as the program names", constant=False),
    ),
    output="as many as the program names, (N, C, H, W) float32 each; NCHW in ONNX, NHWC in TFLite",
)


def quantize(v: Floats, act_bits: int, sign_zero: int) -> Floats:
    """The levels that the convolution sees, as whole numbers in float32 (or `v` itself for 32 bits).

    act_bits 1: -1 where v < 0, +1 where v > 0, else `sign_zero` (so also for NaN).
    act_bits k = 2..14: round(v * 2^(k-1)), halves to even, clipped to +-(2^(k-1) - 1); NaN gives 0. The grid of WAGE's
    and CU-Net's quantizer, q(x, k) = clip(sigma * round(x / sigma), -1 + sigma, 1 - sigma) with sigma = 2^(1-k), in
    units of sigma; the exporter puts sigma into `out_scale`.
    """
    if act_bits == 32:
        return v
    if act_bits == 1:
        return np.where(v < 0, -1, np.where(v > 0, 1, sign_zero)).astype(np.float32)
    steps = np.float32(2 ** (act_bits - 1))
    levels = np.clip(np.rint(v * steps), 1 - steps, steps - 1)
    return np.where(np.isnan(levels), np.float32(0), levels).astype(np.float32)


def quant_conv_reference(
    x: Sequence[Floats],
    weight: NDArray[np.uint8],
    attributes: Mapping[str, int],
    in_scale: Floats | None = None,
    in_bias: Floats | None = None,
    out_scale: Floats | None = None,
    out_bias: Floats | None = None,
    residual: Floats | None = None,
) -> Floats:
    """What QuantConv2d computes; slow, and the specification of every kernel.

    Every step rounds to float32 by itself (a product and a sum are two roundings, never a fused one), so that kernels
    agree on every quantized level. Sums of levels are exact integers; sums of float activations are made here in
    float64, and kernels are held to a tolerance.

    1. x = concatenation of the inputs along channels                                   (N, C, H, W)
    2. v = x * in_scale + in_bias, then max(v, 0) if pre_relu (NaN stays NaN)
    3. a = quantize(v); pad_value around it as the padding says (exact zeros, or for 1-bit activations a sign)
    4. s = correlation of a with the weights, at the strides, taps as far apart as the dilations (N, O, OH, OW)
    5. y = s * out_scale + out_bias, then max(y, 0) if post_relu
    6. y = y + residual

    Args:
        x: float32 arrays (N, C_i, H, W); their C_i add up to in_channels.
        weight: (O, row bytes) uint8, see `edgelm.bits`.
        attributes: as in the record.
        in_scale: (C,) float32, or None for no affine; in_bias likewise.
        in_bias: see in_scale.
        out_scale: (O,) float32 or None for 1.
        out_bias: (O,) float32 or None for 0.
        residual: (N, O, OH, OW) float32 or None.

    Returns:
        (N, O, OH, OW) float32.

    Raises:
        UsageError: attributes out of range, channels that do not add up, an image smaller than the kernel.
    """
    QUANT_CONV.check(attributes)
    a = dict(attributes)
    C, O, kh, kw = a["in_channels"], a["out_channels"], a["kernel_h"], a["kernel_w"]
    weights = unpack_weights(weight, a["weight_bits"], (O, kh, kw, C)).astype(np.float64)
    v = np.concatenate([np.asarray(part, np.float32) for part in x], axis=1)
    if v.shape[1] != C:
        raise UsageError(f"QuantConv2d expects {C} input channels in all, got {v.shape[1]}")
    if in_scale is not None and in_bias is not None:
        v = v * in_scale[:, None, None] + in_bias[:, None, None]
    if a["pre_relu"]:
        v = np.where(v < 0, np.float32(0), v)
    q = quantize(v, a["act_bits"], a["sign_zero"])
    q = np.pad(q, ((0, 0), (0, 0), (a["pad_top"], a["pad_bottom"]), (a["pad_left"], a["pad_right"])),
               constant_values=a["pad_value"])  # fmt: skip
    high, wide = (kh - 1) * a["dilation_h"] + 1, (kw - 1) * a["dilation_w"] + 1
    OH, OW = (q.shape[2] - high) // a["stride_h"] + 1, (q.shape[3] - wide) // a["stride_w"] + 1
    if q.shape[2] < high or q.shape[3] < wide:
        raise UsageError(f"QuantConv2d: a padded image of {q.shape[2]}x{q.shape[3]} px is smaller than {high}x{wide}")
    s = np.zeros((q.shape[0], O, OH, OW), np.float64)
    for dy in range(kh):
        for dx in range(kw):
            top, left = dy * a["dilation_h"], dx * a["dilation_w"]
            rows = slice(top, top + (OH - 1) * a["stride_h"] + 1, a["stride_h"])
            columns = slice(left, left + (OW - 1) * a["stride_w"] + 1, a["stride_w"])
            s += np.einsum(
                "nchw,oc->nohw", q[:, :, rows, columns].astype(np.float64), weights[:, dy, dx], optimize=True
            )
    y = s.astype(np.float32)
    if out_scale is not None:
        y = y * out_scale[:, None, None]
    if out_bias is not None:
        y = y + out_bias[:, None, None]
    if a["post_relu"]:
        y = np.where(y < 0, np.float32(0), y)
    return y if residual is None else y + residual


def documentation() -> str:
    """All records as a page of documentation."""
    head = f"# Operators of the domain `{DOMAIN}`, op-set version {OPSET}\n\nMade by `python -m edgelm.export.ops`.\n"
    return "\n".join([head, QUANT_CONV.markdown(), QUANT_GRAPH.markdown(), DEFORM_CONV.markdown()])


if __name__ == "__main__":
    import sys

    sys.stdout.write(documentation())
