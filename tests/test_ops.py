"""The op record: its checks, its bytes in TFLite, its page in the docs, and its reference against a plain loop."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pace import examples

from edgelm.bits import pack_weights
from edgelm.errors import UsageError
from edgelm.export.ops import QUANT_CONV, QUANT_GRAPH, documentation, quant_conv_reference, quantize

DOCS = Path(__file__).parent.parent / "docs"
PLAIN = {a.name: max(a.allowed[0], 0) for a in QUANT_CONV.attributes} | {"act_bits": 32}


def test_options_are_the_attributes_in_order() -> None:
    given = PLAIN | {"act_bits": 1, "pad_value": -1}
    assert np.frombuffer(QUANT_CONV.options(given), "<i4").tolist() == [given[a.name] for a in QUANT_CONV.attributes]
    assert len(QUANT_CONV.options(PLAIN)) == 72
    assert QUANT_GRAPH.options({}) == b""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel_h": 0}, "kernel_h is 1..255, got 0"),
        ({"dilation_w": 256}, "dilation_w is 1..255, got 256"),
        ({"weight_bits": 4}, "weight_bits is 1, 2, 8 or 32, got 4"),
        ({"act_bits": 15}, "act_bits is 1..14 or 32, got 15"),
        ({"weight_bits": 32, "act_bits": 8}, "32 bits go with act_bits 32, got 8"),
        ({"weight_bits": 8}, "8 bits go with act_bits 2..8, and 9 with pre_relu, got 32"),
        ({"weight_bits": 8, "act_bits": 9}, "2..8, and 9 with pre_relu, got 9"),
        ({"weight_bits": 8, "act_bits": 10, "pre_relu": 1}, "2..8, and 9 with pre_relu, got 10"),
        ({"pad_top": 1}, "pad_top is less than the dilated kernel, .*, got 1"),
        ({"kernel_w": 3, "dilation_w": 2, "pad_right": 5}, "pad_right is less .*, got 5"),
        ({"act_bits": 14, "kernel_h": 5, "in_channels": 1 << 16}, "so that sums stay in int32, got 65536"),
        ({"weight_bits": 8, "act_bits": 8, "kernel_h": 2, "in_channels": 1 << 16}, "so that sums stay"),
        ({"kernel_h": 17, "kernel_w": 17, "in_channels": 1 << 16}, "2\\^24"),
        ({"sign_zero": 2}, "sign_zero"),
        ({"act_bits": 1, "pad_value": 2}, "pad_value is -1..1, got 2"),
        ({"act_bits": 8, "pad_value": 1}, "pad_value is 0 where activations are no signs .act_bits 1., got 1"),
        ({"extra": 1}, "unknown .'extra'"),
    ],
)
def test_check_refuses(change: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        QUANT_CONV.check(PLAIN | change)


@pytest.mark.parametrize(
    "change",
    [
        {"weight_bits": 8, "act_bits": 9, "pre_relu": 1},
        {"weight_bits": 8, "act_bits": 2, "in_channels": 1 << 16},
        {"weight_bits": 32},
        {"act_bits": 14, "kernel_h": 4, "in_channels": 1 << 16},
        {"kernel_w": 3, "dilation_w": 2, "pad_right": 4},
    ],
)
def test_check_accepts(change: dict[str, int]) -> None:
    QUANT_CONV.check(PLAIN | change)


def test_what_has_its_default_is_left_out_of_files() -> None:
    plain = PLAIN | {"act_bits": 1, "pad_value": 0}
    old = {name: value for name, value in plain.items() if name != "pad_value"}
    assert QUANT_CONV.stored(plain) == old
    assert QUANT_CONV.complete(old) == plain
    assert len(QUANT_CONV.options(plain)) == 72  # as before there was a pad_value
    padded = plain | {"pad_value": -1}
    assert QUANT_CONV.stored(padded) == QUANT_CONV.complete(padded) == padded
    assert QUANT_CONV.options(padded)[72:] == b"\xff" * 4
    with pytest.raises(UsageError, match="missing"):
        QUANT_CONV.stored(old)


def test_check_refuses_missing() -> None:
    with pytest.raises(UsageError, match=r"missing attributes .'version'"):
        QUANT_CONV.check({k: v for k, v in PLAIN.items() if k != "version"})


@pytest.mark.skipif(not DOCS.is_dir(), reason="the documentation lies in the repository, not in the wheel")
def test_documentation_is_the_record() -> None:
    assert (DOCS / "ops.md").read_text() == documentation(), "run python -m edgelm.export.ops > docs/ops.md"


def test_grid() -> None:
    v = np.array([-2, -0.5, 0.124, 0.125, 0.374, 0.375, 0.376, 2, np.nan], np.float32)
    assert quantize(v, 3, 1).tolist() == [-3, -2, 0, 0, 1, 2, 2, 3, 0]
    assert quantize(v * 2, 14, 1).tolist() == [-8191, -8191, 2032, 2048, 6128, 6144, 6160, 8191, 0]
    assert quantize(v, 1, 0).tolist() == [-1, -1, 1, 1, 1, 1, 1, 1, 0]


def loop(x: NDArray[Any], levels: NDArray[Any], a: dict[str, int]) -> NDArray[Any]:
    """Correlation with pad_value around x, one output at a time."""
    N, C, H, W = x.shape
    O, kh, kw, _ = levels.shape
    OH = (H + a["pad_top"] + a["pad_bottom"] - (kh - 1) * a["dilation_h"] - 1) // a["stride_h"] + 1
    OW = (W + a["pad_left"] + a["pad_right"] - (kw - 1) * a["dilation_w"] - 1) // a["stride_w"] + 1
    y = np.zeros((N, O, OH, OW))
    for n, o, i, j, dy, dx in np.ndindex(N, O, OH, OW, kh, kw):
        r = i * a["stride_h"] + dy * a["dilation_h"] - a["pad_top"]
        c = j * a["stride_w"] + dx * a["dilation_w"] - a["pad_left"]
        inside = 0 <= r < H and 0 <= c < W
        y[n, o, i, j] += ((x[n, :C, r, c] if inside else a["pad_value"]) * levels[o, dy, dx]).sum()
    return y


@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=examples(40))
def test_reference_equals_a_plain_loop(data: st.DataObject, seed: int) -> None:
    draw, random = data.draw, np.random.default_rng(seed)
    kh, kw = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    C, O = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    bits = draw(st.sampled_from([1, 2, 8, 32]))
    act_bits = 32 if bits == 32 else draw(st.sampled_from([2, 8] if bits == 8 else [1, 2, 8, 13, 32]))
    a = PLAIN | {
        "version": 1, "kernel_h": kh, "kernel_w": kw, "in_channels": C, "out_channels": O,
        "stride_h": draw(st.integers(1, 2)), "stride_w": draw(st.integers(1, 2)),
        "dilation_h": draw(st.integers(1, 2)), "dilation_w": draw(st.integers(1, 2)),
        "pad_top": draw(st.integers(0, kh - 1)), "pad_left": draw(st.integers(0, kw - 1)),
        "pad_bottom": draw(st.integers(0, kh - 1)), "pad_right": draw(st.integers(0, kw - 1)),
        "weight_bits": bits, "act_bits": act_bits, "sign_zero": draw(st.sampled_from([-1, 0, 1])),
        "pre_relu": draw(st.integers(0, 1)), "post_relu": draw(st.integers(0, 1)),
        "pad_value": draw(st.integers(-1, 1)) if act_bits == 1 else 0,
    }  # fmt: skip
    values: Any = {1: [-1, 1], 2: [-1, 0, 1], 8: [-128, -3, 0, 127], 32: [-0.75, 1, 2.5]}[bits]
    levels: NDArray[Any] = random.choice(values, (O, kh, kw, C)).astype(np.float32 if bits == 32 else np.int8)
    x: NDArray[np.float32] = random.integers(-3, 4, (2, C, kh + 4, kw + 5)).astype(np.float32) * np.float32(0.5)
    scale, shift = random.choice([-2, 0.5, 1], C).astype(np.float32), random.choice([-1, 0, 0.25], C).astype(np.float32)
    out_scale, out_bias = random.choice([-0.5, 1, 2], O).astype(np.float32), random.choice([0, 1], O).astype(np.float32)
    v: NDArray[np.float32] = x * scale[:, None, None] + shift[:, None, None]
    v = np.maximum(v, np.float32(0)) if a["pre_relu"] else v
    y = (
        loop(quantize(v, act_bits, a["sign_zero"]), levels.astype(np.float64), a) * out_scale[:, None, None]
        + out_bias[:, None, None]
    )
    y = np.maximum(y, 0) if a["post_relu"] else y
    residual = random.integers(-3, 4, y.shape).astype(np.float32)
    cut = draw(st.integers(0, C - 1))
    parts = [x[:, :cut], x[:, cut:]] if cut else [x]
    packed = pack_weights(levels, bits)
    found = quant_conv_reference(parts, packed, a, scale, shift, out_scale, out_bias, residual)
    np.testing.assert_array_equal(found, (y + residual).astype(np.float32))


def test_reference_refuses_wrong_shapes() -> None:
    a = PLAIN | {"version": 1, "kernel_h": 3, "kernel_w": 3, "in_channels": 2}
    weight = pack_weights(np.ones((1, 3, 3, 2), np.int8), 1)
    with pytest.raises(UsageError, match="2 input channels"):
        quant_conv_reference([np.zeros((1, 3, 4, 4), np.float32)], weight, a)
    with pytest.raises(UsageError, match="smaller than 3x3"):
        quant_conv_reference([np.zeros((1, 2, 2, 4), np.float32)], weight, a)
