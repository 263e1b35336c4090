"""DeformConv2d on the native library equals its definition at any place of any tap, and refuses what does not fit."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pace import examples
from qconv_cases import SUM_ULPS

from edgelm.errors import UsageError
from edgelm.export.deform import DEFORM_CONV, deform_conv_reference
from edgelm.runtimes.native import DEFORM_ATTRIBUTES, DeformConv, kernels

Floats = NDArray[np.float32]
PLAIN = {name: int(not name.startswith("pad")) for name in DEFORM_ATTRIBUTES}
"""A 1x1 convolution of one channel."""
SPECIAL = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 3e9, -3e9, 0, -1, 1, 0.5], np.float32)
ISAS = sorted({kernel.isa for kernel in kernels() if kernel.able})


def geometry(**changes: int) -> dict[str, int]:
    """A 3x3 kernel on a padded image."""
    pads = dict.fromkeys(("pad_top", "pad_left", "pad_bottom", "pad_right"), 1)
    return PLAIN | {"kernel_h": 3, "kernel_w": 3} | pads | changes


def operands(
    a: dict[str, int], H: int, W: int, N: int = 1, seed: int = 0, spread: float = 2.0
) -> tuple[Floats, Floats, Floats, Floats]:
    """x, offset, weight and bias, the offsets with a few special values among them."""
    random = np.random.default_rng(seed)
    OH = (H + a["pad_top"] + a["pad_bottom"] - (a["kernel_h"] - 1) * a["dilation_h"] - 1) // a["stride_h"] + 1
    OW = (W + a["pad_left"] + a["pad_right"] - (a["kernel_w"] - 1) * a["dilation_w"] - 1) // a["stride_w"] + 1
    C, O, kh, kw = a["in_channels"], a["out_channels"], a["kernel_h"], a["kernel_w"]

    def normal(*shape: int) -> Floats:
        return random.standard_normal(shape).astype(np.float32)

    offset = normal(N, OH, OW, 2 * kh * kw) * np.float32(spread)
    rare = random.random(offset.shape) < 0.1
    offset[rare] = random.choice(SPECIAL, int(rare.sum()))
    return normal(N, H, W, C), offset, normal(O, kh, kw, C), normal(O)


def check(found: Floats, x: Floats, offset: Floats, weight: Floats, a: dict[str, int], bias: Floats | None) -> None:
    """Each of K products may be off by some roundings of its size: bounded by the same sum of absolute values."""
    want = deform_conv_reference(x, offset, weight, a, bias)
    size = deform_conv_reference(np.abs(x), offset, np.abs(weight), a, None if bias is None else np.abs(bias))
    K = weight[0].size + 4
    assert found.shape == want.shape
    assert (np.abs(found - want) <= SUM_ULPS * K * np.finfo(np.float32).eps * size + 1e-30).all()


def test_attributes_are_those_of_the_record() -> None:
    assert tuple(a.name for a in DEFORM_CONV.attributes) == DEFORM_ATTRIBUTES


@settings(deadline=None, max_examples=examples(100))
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_equals_the_definition(data: st.DataObject, seed: int) -> None:
    def draw(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    names = ("kernel_h", "kernel_w", "stride_h", "stride_w", "dilation_h", "dilation_w")
    a = PLAIN | {name: draw(1, 3) for name in names}
    a |= {f"pad_{side}": draw(0, 2) for side in ("top", "left", "bottom", "right")}
    a |= {"in_channels": draw(1, 20), "out_channels": draw(1, 20)}
    H, W = ((a[f"kernel_{axis}"] - 1) * a[f"dilation_{axis}"] + draw(1, 9) for axis in "hw")
    x, offset, weight, bias = operands(a, H, W, draw(1, 3), seed, data.draw(st.sampled_from([0.0, 0.5, 9.0])))
    with DeformConv(a, weight, bias, data.draw(st.sampled_from(ISAS))) as deform:
        check(deform(x, offset), x, offset, weight, a, bias)


def run_jobs(job: Any, total: int) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(job, range(total)))


@pytest.mark.parametrize(("channels", "side"), [(40, 21), (7, 64), (300, 9)])
def test_many_tiles_on_many_threads(channels: int, side: int) -> None:
    """Tiles that do not divide the map, in two images, worked on by four workers."""
    a = geometry(in_channels=channels, out_channels=5)
    x, offset, weight, bias = operands(a, side, side, N=2)
    deform = DeformConv(a, weight, bias)
    alone = deform(x, offset)
    check(alone, x, offset, weight, a, bias)
    np.testing.assert_array_equal(deform(x, offset, run_jobs), alone)
    np.testing.assert_array_equal(deform(x[1:], offset[1:])[0], alone[1])


def test_whole_offsets_read_single_pixels() -> None:
    """By hand: a tap moved onto a pixel gives it, half way between two their mean, and beyond the border less."""
    x = np.arange(12, dtype=np.float32).reshape(1, 3, 4, 1) + 1
    one = np.ones((1, 1, 1, 1), np.float32)
    places = {(0, 0): 1, (2, 3): 12, (1, 0.5): 5.5, (0.5, 0.5): 3.5, (-0.5, 0): 0.5, (-0.25, -0.5): 0.375, (-1, 0): 0,
              (3, 0): 0, (2.75, 3): 3, (2.5, 3.5): 3, (-7, 2): 0, (np.nan, 1): 0, (1, np.nan): 0}  # fmt: skip
    deform = DeformConv(PLAIN, one)
    for place, expected in places.items():
        offset = np.zeros((1, 3, 4, 2), np.float32)
        offset[0, 0, 0] = place
        for found in (deform(x, offset), deform_conv_reference(x, offset, one, PLAIN)):
            assert found[0, 0, 0, 0] == expected, place
            np.testing.assert_array_equal(found.ravel()[1:], x.ravel()[1:])


def test_nan_in_the_image_stays_where_it_is_read() -> None:
    a = geometry(in_channels=2, out_channels=3)
    x, _, weight, bias = operands(a, 6, 6)
    x[0, 2, 2, 1] = np.nan
    offset = np.zeros((1, 6, 6, 18), np.float32)
    found, want = DeformConv(a, weight, bias)(x, offset), deform_conv_reference(x, offset, weight, a, bias)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(want))
    assert 0 < np.isnan(want).sum() < want.size


@pytest.mark.parametrize("attribute", DEFORM_CONV.attributes, ids=lambda a: a.name)
def test_refuses_attributes_out_of_range(attribute: Any) -> None:
    low, high = attribute.allowed
    for value in (low - 1, high + 1, 2**31 - 1, -(2**31)):
        with pytest.raises(UsageError, match=rf"{attribute.name} is {low}\.\.{high}, got {value}"):
            DeformConv(PLAIN | {attribute.name: value}, np.zeros((1, 1), np.float32))


@pytest.mark.parametrize(
    ("changes", "weights", "text"),
    [
        ({}, 2, "1 filters of 1 weights are 1, got 2"),
        ({"out_channels": 3, "in_channels": 5}, 14, "3 filters of 5 weights are 15, got 14"),
        ({"kernel_h": 3, "kernel_w": 3, "in_channels": 7282}, 9 * 7282, "at most 65536 weights, got 65538"),
    ],
)
def test_refuses_weights(changes: dict[str, int], weights: int, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        DeformConv(PLAIN | changes, np.zeros(weights, np.float32))


@pytest.mark.parametrize(
    ("x", "offset", "text"),
    [
        ((1, 4, 5, 3), (1, 4, 5, 18), "x of 4x5 px has 3 channels, expected 2"),
        ((1, 4, 5, 2), (1, 4, 5, 9), "offset is 4x5 px with 9 channels, expected 4x5 with 18"),
        ((1, 4, 5, 2), (1, 5, 4, 18), "offset is 5x4 px .* expected 4x5"),
        ((1, 4, 0, 2), (1, 4, 0, 18), "x of 4x0 px"),
        ((2, 4, 5, 2), (1, 4, 5, 18), "the same N"),
        ((4, 5, 2), (4, 5, 18), "4 axes"),
    ],
)
def test_refuses_shapes(x: tuple[int, ...], offset: tuple[int, ...], text: str) -> None:
    a = geometry(in_channels=2)
    deform = DeformConv(a, np.zeros((1, 3, 3, 2), np.float32))
    with pytest.raises(UsageError, match=text):
        deform(np.zeros(x, np.float32), np.zeros(offset, np.float32))


def test_refuses_images_smaller_than_the_kernel() -> None:
    a = PLAIN | {"kernel_h": 3, "dilation_h": 2}
    with pytest.raises(UsageError, match="an image of 4x9 px, padded, is smaller than the kernel"):
        DeformConv(a, np.zeros((1, 3, 1, 1), np.float32))(
            np.zeros((1, 4, 9, 1), np.float32), np.zeros((1, 1, 9, 6), np.float32)
        )


def test_a_closed_one_is_refused() -> None:
    with DeformConv(PLAIN, np.zeros((1, 1, 1, 1), np.float32)) as deform:
        pass
    with pytest.raises(UsageError, match="closed"):
        deform(np.zeros((1, 1, 1, 1), np.float32), np.zeros((1, 1, 1, 2), np.float32))
