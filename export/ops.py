"""One record for each custom op of the domain `edgelm`, op-set version 1: THE definition of what it computes.

The ONNX node, the TFLite custom options, the C struct `edgelm_qconv_attrs`, the table in docs/ops.md and the tests
derive from these records. This module needs numpy alone; the graph passes that make such nodes live beside it.

N = batch, C = input channels, O = output channels, H, W = input height and width, OH, OW = output height and width.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgelm.bits import unpack_weights
from edgelm.errors import UsageError

__all__ = ["DOMAIN", "OPSET", "QUANT_CONV", "Attribute", "Input", "OpRecord", "quant_conv_reference", "quantize"]

DOMAIN = "edgelm"
OPSET = 1
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Attribute:
    """One integer attribute: an ONNX INT of this name, and one little-endian int32 at its place in TFLite's options."""

    name: str
    allowed: tuple[int, int]
    meaning: str


@dataclass(frozen=True)
class Input:
    """One operand, in ONNX's and TFLite's order; optional ones are '' in ONNX and -1 in TFLite."""

    name: str
    dtype: str
    shape: str
    meaning: str
    optional: bool = False
    constant: bool = True


@dataclass(frozen=True)
class OpRecord:
    """A custom op: its name, attributes in file order and operands in file order (the last may repeat)."""

    name: str
    attributes: tuple[Attribute, ...]
    inputs: tuple[Input, ...]
    output: str

    def options(self, attributes: Mapping[str, int]) -> bytes:
        """TFLite custom options: the attributes as little-endian int32, in the record's order.

        Raises:
            UsageError: an attribute is missing, unknown or out of range.
        """
        self.check(attributes)
        return np.array([attributes[a.name] for a in self.attributes], "<i4").tobytes()

    def check(self, attributes: Mapping[str, int]) -> None:
        """Raise UsageError unless exactly the record's attributes are given, each in its range."""
        known = [a.name for a in self.attributes]
        if set(attributes) != set(known):
            missing, unknown = sorted(set(known) - set(attributes)), sorted(set(attributes) - set(known))
            raise UsageError(f"{self.name}: missing attributes {missing}, unknown {unknown}")
        for a in self.attributes:
            low, high = a.allowed
            if not low <= attributes[a.name] <= high:
                raise UsageError(f"{self.name}: {a.name} is {low}..{high}, got {attributes[a.name]}")

    def markdown(self) -> str:
        """The record as a page of documentation."""
        lines = [f"# {DOMAIN}::{self.name}, op-set version {OPSET}", "", "Made by `python -m edgelm.export.ops`."]
        lines += ["", "| operand | type | shape | |", "|---|---|---|---|"]
        for i in self.inputs:
            kind = ("optional" if i.optional else "required") + (", constant" if i.constant else "")
            lines.append(f"| `{i.name}` | {i.dtype} | {i.shape} | {kind}; {i.meaning} |")
        lines += ["", f"Output: {self.output}.", "", "| attribute | range | |", "|---|---|---|"]
        lines += [f"| `{a.name}` | {a.allowed[0]}..{a.allowed[1]} | {a.meaning} |" for a in self.attributes]
        return "\n".join(lines) + "\n"


_SIDE = 1 << 16

QUANT_CONV = OpRecord(
    name="QuantConv2d",
    attributes=(
        Attribute("version", (1, 1), "format of this record"),
        Attribute("kernel_h", (1, 255), "kernel height"),
        Attribute("kernel_w", (1, 255), "kernel width"),
        Attribute("stride_h", (1, 255), "vertical stride"),
        Attribute("stride_w", (1, 255), "horizontal stride"),
        Attribute("pad_top", (0, 254), "rows of zeros above the quantized input; less than kernel_h"),
        Attribute("pad_left", (0, 254), "columns of zeros on its left; less than kernel_w"),
        Attribute("pad_bottom", (0, 254), "rows of zeros below it; less than kernel_h"),
        Attribute("pad_right", (0, 254), "columns of zeros on its right; less than kernel_w"),
        Attribute("in_channels", (1, _SIDE), "C, the channels of all inputs together"),
        Attribute("out_channels", (1, _SIDE), "O"),
        Attribute("weight_bits", (1, 2), "1: weights -1, +1; 2: weights -1, 0, +1"),
        Attribute("act_bits", (1, 32), "1: sign; 2..8: k-bit grid; 32: float (nothing between)"),
        Attribute("sign_zero", (-1, 1), "what sign(0) is when act_bits is 1"),
        Attribute("pre_relu", (0, 1), "1: ReLU after the input affine"),
        Attribute("post_relu", (0, 1), "1: ReLU after the output scale and bias"),
    ),
    inputs=(
        Input("weight", "uint8", "(O, row bytes)", "packed levels, see docs/format.md"),
        Input("in_scale", "float32", "(C,)", "input affine: x * in_scale + in_bias", optional=True),
        Input("in_bias", "float32", "(C,)", "present exactly when in_scale is", optional=True),
        Input("out_scale", "float32", "(O,)", "absent: 1", optional=True),
        Input("out_bias", "float32", "(O,)", "absent: 0", optional=True),
        Input("residual", "float32", "like the output", "added last", optional=True, constant=False),
        Input("x", "float32", "(N, C_i, H, W)", "one or more, concatenated along channels", constant=False),
    ),
    output="(N, O, OH, OW) float32; NCHW in ONNX, NHWC in TFLite",
)


def quantize(v: Floats, act_bits: int, sign_zero: int) -> Floats:
    """The levels that the convolution sees, as whole numbers in float32 (or `v` itself for 32 bits).

    act_bits 1: -1 where v < 0, +1 where v > 0, else `sign_zero` (so also for NaN).
    act_bits k = 2..8: round(v * 2^(k-1)), halves to even, clipped to +-(2^(k-1) - 1); NaN gives 0. The grid of WAGE's
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
    3. a = quantize(v); zeros around it as the padding says (exact zeros, also for 1-bit activations)
    4. s = correlation of a with the weight levels, at the strides                      (N, O, OH, OW)
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
    levels = unpack_weights(weight, a["weight_bits"], (O, kh, kw, C)).astype(np.float64)
    v = np.concatenate([np.asarray(part, np.float32) for part in x], axis=1)
    if v.shape[1] != C:
        raise UsageError(f"QuantConv2d expects {C} input channels in all, got {v.shape[1]}")
    if in_scale is not None and in_bias is not None:
        v = v * in_scale[:, None, None] + in_bias[:, None, None]
    if a["pre_relu"]:
        v = np.where(v < 0, np.float32(0), v)
    q = quantize(v, a["act_bits"], a["sign_zero"])
    q = np.pad(q, ((0, 0), (0, 0), (a["pad_top"], a["pad_bottom"]), (a["pad_left"], a["pad_right"])))
    OH, OW = (q.shape[2] - kh) // a["stride_h"] + 1, (q.shape[3] - kw) // a["stride_w"] + 1
    if q.shape[2] < kh or q.shape[3] < kw:
        raise UsageError(f"QuantConv2d: a padded image of {q.shape[2]}x{q.shape[3]} px is smaller than {kh}x{kw}")
    s = np.zeros((q.shape[0], O, OH, OW), np.float64)
    for dy in range(kh):
        for dx in range(kw):
            rows = slice(dy, dy + (OH - 1) * a["stride_h"] + 1, a["stride_h"])
            columns = slice(dx, dx + (OW - 1) * a["stride_w"] + 1, a["stride_w"])
            s += np.einsum("nchw,oc->nohw", q[:, :, rows, columns].astype(np.float64), levels[:, dy, dx], optimize=True)
    y = s.astype(np.float32)
    if out_scale is not None:
        y = y * out_scale[:, None, None]
    if out_bias is not None:
        y = y + out_bias[:, None, None]
    if a["post_relu"]:
        y = np.where(y < 0, np.float32(0), y)
    return y if residual is None else y + residual


if __name__ == "__main__":
    sys.stdout.write(QUANT_CONV.markdown())
