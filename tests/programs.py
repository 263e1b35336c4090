"""Random programs of QuantGraph for tests, with inputs that fit them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgelm.bits import pack_weights
from edgelm.export.ops import QUANT_CONV
from edgelm.export.quant_graph import FLOAT_OPERANDS, Add, Conv, MaxPool, Program, Step, Upsample

Floats = NDArray[np.float32]
ONES = ("version", "kernel_h", "kernel_w", "stride_h", "stride_w", "dilation_h", "dilation_w")
PLAIN = {a.name: int(a.name in ONES) for a in QUANT_CONV.attributes}
_KINDS = [(1, 1), (1, 8), (1, 32), (2, 1), (2, 14), (2, 32), (8, 8), (8, 9), (32, 32)]
"""Bits of weights and activations."""


def conv(random: np.random.Generator, parts: Sequence[int], channels: int, out: int, **given: Any) -> Conv:
    """A convolution with random weights and operands; `given` replaces attributes and names the residual."""
    residual, absent = given.pop("residual", None), given.pop("absent", ())
    a = PLAIN | {"in_channels": channels, "out_channels": out, "weight_bits": 1, "act_bits": 32, "sign_zero": 1} | given
    shape = (out, a["kernel_h"], a["kernel_w"], channels)
    values: dict[int, Any] = {1: [-1, 1], 2: [-1, 0, 1], 8: range(-127, 128)}
    weight: NDArray[Any]
    if a["weight_bits"] == 32:
        weight = random.standard_normal(shape).astype(np.float32)
    else:
        weight = random.choice(values[a["weight_bits"]], shape).astype(np.int8)
    sides = {name: channels if name.startswith("in") else out for name in FLOAT_OPERANDS if name not in absent}
    floats = {name: random.standard_normal(side).astype(np.float32) for name, side in sides.items()}
    return Conv(a, pack_weights(weight, a["weight_bits"]), tuple(parts), residual, floats)


@st.composite
def programs(draw: st.DrawFn) -> tuple[Program, list[Floats]]:
    """A program whose maps are all of one of a few sizes, and inputs (1, C, 8, 12) and smaller."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shapes = [(draw(st.integers(1, 5)), 8, 12) for _ in range(draw(st.integers(1, 2)))]
    x = [random.standard_normal((1, *shape)).astype(np.float32) for shape in shapes]
    known = tuple(shape[0] if draw(st.booleans()) else -1 for shape in shapes)
    nodes: list[Step] = []
    for _ in range(draw(st.integers(1, 5))):
        first = draw(st.integers(0, len(shapes) - 1))
        C, H, W = shapes[first]
        kind = draw(st.sampled_from(["conv", "conv", "pool", "up", "add"]))
        alike = [i for i, shape in enumerate(shapes) if shape == shapes[first]]
        if kind == "pool" and min(H, W) >= 2:
            nodes.append(MaxPool(first))
            shapes.append((C, H // 2, W // 2))
        elif kind == "up" and max(H, W) < 16:
            nodes.append(Upsample(first))
            shapes.append((C, 2 * H, 2 * W))
        elif kind == "add":
            nodes.append(Add(first, draw(st.sampled_from(alike))))
            shapes.append((C, H, W))
        else:
            same = [i for i, shape in enumerate(shapes) if shape[1:] == (H, W)]
            parts = [first, *draw(st.lists(st.sampled_from(same), max_size=2))]
            out = draw(st.sampled_from([1, 3, C]))
            residuals = [None, *(i for i, shape in enumerate(shapes) if shape == (out, H, W))]
            weight_bits, act_bits = draw(st.sampled_from(_KINDS))
            kernel = draw(st.sampled_from([1, 3]))
            pads = dict.fromkeys(["pad_top", "pad_left", "pad_bottom", "pad_right"], kernel // 2)
            nodes.append(
                conv(
                    random, parts, sum(shapes[i][0] for i in parts), out,
                    residual=draw(st.sampled_from(residuals)),
                    absent=draw(st.sampled_from([(), ("in_scale", "in_bias"), ("out_scale",), FLOAT_OPERANDS])),
                    weight_bits=weight_bits, act_bits=act_bits, sign_zero=draw(st.integers(-1, 1)),
                    pad_value=draw(st.integers(-1, 1)) if act_bits == 1 else 0,
                    pre_relu=int(act_bits == 9 or draw(st.booleans())), post_relu=draw(st.integers(0, 1)),
                    kernel_h=kernel, kernel_w=kernel, **pads,
                )
            )  # fmt: skip
            shapes.append((out, H, W))
    made = range(len(x), len(shapes))
    outputs = draw(st.lists(st.sampled_from(made), min_size=1, unique=True))
    return Program(known, tuple(nodes), tuple(outputs)), x
