"""Random QuantConv2d operators for the tests of the engines' glue, with the answer of the reference."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgelm.bits import pack_weights
from edgelm.export.ops import QUANT_CONV, quant_conv_reference

Floats = NDArray[np.float32]
ONES = (
    *("version", "kernel_h", "kernel_w", "stride_h", "stride_w", "dilation_h", "dilation_w"),
    *("in_channels", "out_channels"),
)
PLAIN = {a.name: int(a.name in ONES) for a in QUANT_CONV.attributes}
"""A 1x1 convolution of one channel; weight_bits and act_bits are still to be set."""
BINARY = PLAIN | {"weight_bits": 1, "act_bits": 1, "sign_zero": 1}
OPERANDS = ("in_scale", "in_bias", "out_scale", "out_bias")
ALL = (*OPERANDS, "residual")
"""What may be absent."""

SUM_ULPS = 4
"""A float sum of K terms may be off by this many roundings a term, whatever the order of the terms."""


@dataclass(frozen=True)
class Case:
    """One operator with its operands; x and residual are NCHW."""

    attributes: dict[str, int]
    weight: NDArray[np.uint8]
    x: tuple[Floats, ...]
    operands: dict[str, Floats] = field(default_factory=dict)
    residual: Floats | None = None
    threads: int = 1

    def constants(self) -> dict[str, NDArray[Any]]:
        """All constant operands by name."""
        return {"weight": self.weight, **self.operands}

    def reference(self) -> Floats:
        """The answer, NCHW."""
        return quant_conv_reference(self.x, self.weight, self.attributes, residual=self.residual, **self.operands)

    def output_shape(self) -> tuple[int, int, int, int]:
        """(N, O, OH, OW)."""
        a = self.attributes
        N, _, H, W = self.x[0].shape
        rows = H + a["pad_top"] + a["pad_bottom"] - (a["kernel_h"] - 1) * a["dilation_h"] - 1
        columns = W + a["pad_left"] + a["pad_right"] - (a["kernel_w"] - 1) * a["dilation_w"] - 1
        return N, a["out_channels"], rows // a["stride_h"] + 1, columns // a["stride_w"] + 1

    def check(self, y: Floats) -> None:
        """Integer sums are exact, and so are the float steps around them; float sums depend on their order."""
        want = self.reference()
        assert y.shape == want.shape
        if self.attributes["act_bits"] < 32:
            np.testing.assert_array_equal(y, want)
            return
        a = self.attributes
        taps = a["kernel_h"] * a["kernel_w"] * a["in_channels"]
        largest = max(float(np.abs(v).max()) for v in self.x)
        for name in ("in_scale", "out_scale"):
            largest *= 1 + float(np.abs(self.operands.get(name, np.ones(1))).max())
        np.testing.assert_allclose(y, want, rtol=0, atol=SUM_ULPS * taps * (largest + 4) * 2.0**-23)


def make_case(
    seed: int = 0, *, batch: int = 2, channels: tuple[int, ...] = (5, 3), absent: Any = (), **given: int
) -> Case:
    """A case with random numbers; `given` replaces attributes, `absent` names operands that are left out."""
    rng = np.random.default_rng(seed)
    a = {attribute.name: max(0, attribute.allowed[0]) for attribute in QUANT_CONV.attributes}
    a |= dict.fromkeys(["kernel_h", "kernel_w"], 3)
    a |= dict.fromkeys(["pad_top", "pad_left", "pad_bottom", "pad_right"], 1)
    a |= {"in_channels": sum(channels), "out_channels": 5}
    size = {name: given.pop(name, default) for name, default in (("H", 6), ("W", 7), ("threads", 1))}
    a |= given
    levels = (-1, 1) if a["weight_bits"] == 1 else (-1, 0, 1)
    shape = (a["out_channels"], a["kernel_h"], a["kernel_w"], a["in_channels"])
    weight = pack_weights(rng.choice(levels, shape).astype(np.int8), a["weight_bits"])
    sides = {name: a[f"{side}_channels"] for name in OPERANDS for side in ("in", "out") if name.startswith(side)}
    operands = {name: rng.standard_normal(c).astype(np.float32) for name, c in sides.items() if name not in absent}
    x = tuple(rng.standard_normal((batch, c, size["H"], size["W"])).astype(np.float32) for c in channels)
    x[0].flat[::7] = 0  # sign(0) is an attribute
    case = Case(a, weight, x, operands, threads=size["threads"])
    if "residual" in absent:
        return case
    residual = rng.standard_normal(case.output_shape()).astype(np.float32)
    return Case(a, weight, x, operands, residual, case.threads)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Odd channels, several inputs, strides, uneven padding, operands left out, each kind of numbers."""
    kernel = {f"kernel_{side}": draw(st.integers(1, 4)) for side in "hw"}
    stride = {f"stride_{side}": draw(st.integers(1, 2)) for side in "hw"}
    dilation = {f"dilation_{side}": draw(st.integers(1, 2)) for side in "hw"}
    pads = {
        f"pad_{side}": draw(st.integers(0, (kernel[f"kernel_{axis}"] - 1) * dilation[f"dilation_{axis}"]))
        for side, axis in (("top", "h"), ("left", "w"), ("bottom", "h"), ("right", "w"))
    }
    absent = set(draw(st.lists(st.sampled_from(["in", "out_scale", "out_bias", "residual"]), unique=True)))
    if "in" in absent:
        absent |= {"in_scale", "in_bias"}
    act_bits = draw(st.sampled_from([1, 1, 2, 6, 8, 12, 32]))
    return make_case(
        draw(st.integers(0, 2**32 - 1)),
        batch=draw(st.integers(1, 2)),
        channels=tuple(draw(st.lists(st.integers(1, 40), min_size=1, max_size=3))),
        absent=absent,
        H=draw(st.integers(7, 9)),
        W=draw(st.integers(7, 9)),
        threads=draw(st.integers(1, 2)),
        out_channels=draw(st.integers(1, 20)),
        weight_bits=draw(st.integers(1, 2)),
        act_bits=act_bits,
        pad_value=draw(st.integers(-1, 1)) if act_bits == 1 else 0,
        sign_zero=draw(st.integers(-1, 1)),
        pre_relu=draw(st.integers(0, 1)),
        post_relu=draw(st.integers(0, 1)),
        **kernel,
        **stride,
        **dilation,
        **pads,
    )
