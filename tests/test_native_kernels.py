"""Every kernel that this CPU can run against the numpy reference of QuantConv2d.

Integer sums are held exactly, so outputs are equal bit for bit. Sums of float activations are made in float32, against
float64 in the reference.

N = batch, C = input channels, O = output channels, H, W = input height and width.
"""

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pace import examples
from qconv_cases import BINARY, PLAIN

from edgelm.bits import pack_weights, unpack_weights
from edgelm.export.ops import quant_conv_reference, quantize
from edgelm.runtimes.native import QuantConv, RunJobs, kernels, low_memory

Floats = NDArray[np.float32]
ROWS = [(k.kind, k.isa) for k in kernels() if k.able]
ISAS = list(dict.fromkeys(isa for _, isa in ROWS))
WIDTHS = [*itertools.product((1, 2, 6, 8, 9, 12, 14, 32), (1, 2)), (4, 8), (8, 8), (9, 8), (32, 32)]
CASES = [(act_bits, weight_bits, isa) for act_bits, weight_bits in WIDTHS for isa in ISAS]
# Activations (with a ReLU) and weights that a kind takes on an instruction set that has all kinds.
TAKES = {"f32": (32, 1), "i16": (12, 1), "i8": (9, 1), "i6": (6, 1), "b1": (1, 1), "r32": (32, 32), "r8": (8, 8)}
# A float32 sum of n terms is off by at most n rounding steps of half a unit in the last place of the largest partial
# sum, which the sum of magnitudes bounds; one unit more for each of the steps after it.
UNIT = 2.0**-23
# Zeros of both signs, halves of every k-bit grid (1/4, 1/64, 1/256), the ends of its range, subnormals.
SPECIAL = [0.0, -0.0, 0.25, -0.25, 0.75, 3 / 64, -5 / 64, 3 / 256, -1 / 256, 0.5, 1.0, -1.0, 0.998, 7.0, -300.0, 1e-40]


@dataclass(frozen=True)
class Problem:
    """One call of QuantConv2d."""

    attributes: dict[str, int]
    weight: NDArray[np.uint8]
    operands: dict[str, Floats]
    x: list[Floats]
    residual: Floats | None

    def reference(self) -> Floats:
        """(N, O, OH, OW): what it has to be."""
        return quant_conv_reference(self.x, self.weight, self.attributes, residual=self.residual, **self.operands)

    def run(self, isa: str | None, layout: str = "NCHW", run_jobs: RunJobs | None = None) -> Floats:
        """(N, O, OH, OW): what the kernel makes of it."""
        with QuantConv(self.attributes, self.weight, isa=isa, **self.operands) as conv:
            assert isa is None or ISAS.index(conv.isa) <= ISAS.index(isa)
            if layout == "NCHW":
                return conv(self.x, self.residual, layout, run_jobs)
            residual = None if self.residual is None else self.residual.transpose(0, 2, 3, 1)
            return conv([x.transpose(0, 2, 3, 1) for x in self.x], residual, layout, run_jobs).transpose(0, 3, 1, 2)

    def tolerance(self) -> Floats:
        """What a float32 sum may be off, for each output."""
        magnitudes = [np.abs(x) for x in self.x]
        operands = {name: np.abs(values) for name, values in self.operands.items()}
        bits = self.attributes["weight_bits"]
        a = self.attributes
        kernel = (a["out_channels"], a["kernel_h"], a["kernel_w"], a["in_channels"])
        # A ternary zero is the mean of -1 and +1 in some kernels, so it counts as a term, too.
        weights = np.abs(unpack_weights(self.weight, 32, kernel)) if bits == 32 else np.ones(kernel, np.int8)
        positive = pack_weights(weights, bits)
        residual = None if self.residual is None else np.abs(self.residual)
        bound = quant_conv_reference(magnitudes, positive, self.attributes, residual=residual, **operands)
        return ((self.taps() + 4) * UNIT * bound).astype(np.float32)

    def taps(self) -> int:
        """Weights of one filter."""
        return self.attributes["kernel_h"] * self.attributes["kernel_w"] * self.attributes["in_channels"]


def random_values(rng: np.random.Generator, shape: tuple[int, ...], special: float) -> Floats:
    values = rng.normal(0, 1.5, shape)
    return np.where(rng.random(shape) < special, rng.choice(SPECIAL, shape), values).astype(np.float32)


def random_weights(rng: np.random.Generator, shape: tuple[int, ...], bits: int) -> NDArray[Any]:
    if bits == 32:
        return rng.normal(size=shape).astype(np.float32)
    if bits == 8:
        return rng.integers(-128, 128, shape).astype(np.int8)
    return rng.choice([-1, 1] if bits == 1 else [-1, 0, 1], shape).astype(np.int8)


@st.composite
def problems(draw: st.DrawFn, act_bits: int, weight_bits: int) -> Problem:
    side = st.integers(1, 4)
    attributes = PLAIN | {
        "kernel_h": draw(side),
        "kernel_w": draw(side),
        "stride_h": draw(st.integers(1, 3)),
        "stride_w": draw(st.integers(1, 3)),
        "out_channels": draw(st.sampled_from([1, 3, 8, 15, 16, 17, 33])),
        "dilation_h": draw(st.integers(1, 2)),
        "dilation_w": draw(st.integers(1, 2)),
        "weight_bits": weight_bits,
        "act_bits": act_bits,
        "sign_zero": draw(st.integers(-1, 1)),
        "pre_relu": 1 if act_bits == 9 else draw(st.integers(0, 1)),
        "post_relu": draw(st.integers(0, 1)),
        "pad_value": draw(st.integers(-1, 1)) if act_bits == 1 else 0,
    }
    kh = (attributes["kernel_h"] - 1) * attributes["dilation_h"] + 1
    kw = (attributes["kernel_w"] - 1) * attributes["dilation_w"] + 1
    for name, kernel in (("top", kh), ("bottom", kh), ("left", kw), ("right", kw)):
        attributes[f"pad_{name}"] = draw(st.integers(0, kernel - 1))
    channels = draw(st.lists(st.sampled_from([1, 2, 3, 4, 5, 8, 31, 32, 33, 64, 130, 257]), min_size=1, max_size=3))
    C, O = attributes["in_channels"], attributes["out_channels"] = sum(channels), attributes["out_channels"]
    H = draw(st.integers(max(1, kh - attributes["pad_top"] - attributes["pad_bottom"]), 11))
    W = draw(st.integers(max(1, kw - attributes["pad_left"] - attributes["pad_right"]), 11))
    N = draw(st.sampled_from([1, 1, 1, 2, 3]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = random_weights(rng, (O, attributes["kernel_h"], attributes["kernel_w"], C), weight_bits)
    special = draw(st.sampled_from([0.0, 0.3, 1.0]))
    x = [random_values(rng, (N, c, H, W), special) for c in channels]
    if draw(st.integers(0, 9)) == 0:
        x = [np.zeros_like(part) for part in x]
    operands = {}
    if draw(st.booleans()):
        operands = {name: random_values(rng, (C,), special) for name in ("in_scale", "in_bias")}
    for name in ("out_scale", "out_bias"):
        if draw(st.booleans()):
            operands[name] = random_values(rng, (O,), special)
    problem = Problem(attributes, pack_weights(levels, weight_bits), operands, x, None)
    if draw(st.booleans()):
        residual = random_values(rng, problem.reference().shape, special)
        problem = Problem(attributes, problem.weight, operands, x, residual)
    return problem


def assert_same(problem: Problem, got: Floats) -> None:
    expected = problem.reference()
    assert got.shape == expected.shape
    if problem.attributes["act_bits"] == 32:
        assert (np.abs(got - expected) <= problem.tolerance()).all()
    else:
        np.testing.assert_array_equal(got.view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize(("act_bits", "weight_bits", "isa"), CASES)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_kernel_equals_reference(act_bits: int, weight_bits: int, isa: str, layout: str) -> None:
    @settings(deadline=None, max_examples=examples(40), derandomize=True)
    @given(problems(act_bits, weight_bits))
    def check(problem: Problem) -> None:
        assert_same(problem, problem.run(isa, layout))

    check()


@pytest.mark.parametrize(("kind", "isa"), ROWS)
@pytest.mark.parametrize("sign_zero", [-1, 0, 1])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_not_a_number_and_infinity(kind: str, isa: str, sign_zero: int, layout: str) -> None:
    rng = np.random.default_rng(0)
    payload = np.array([0x7FC00055, 0xFFFFFFFF], np.uint32).view(np.float32)  # NaN whose low byte is not 0
    x = rng.choice([*payload, np.inf, -np.inf, 0.3, -0.3, 0.0], (1, 37, 5, 6)).astype(np.float32)
    act_bits, weight_bits = TAKES[kind]
    levels = random_weights(rng, (9, 3, 3, 37), weight_bits)
    attributes = BINARY | {"kernel_h": 3, "kernel_w": 3, "in_channels": 37, "out_channels": 9, "pre_relu": 1}
    attributes |= {"pad_top": 1, "pad_left": 1, "sign_zero": sign_zero, "act_bits": act_bits}
    attributes["weight_bits"] = weight_bits
    problem = Problem(attributes, pack_weights(levels, weight_bits), {}, [x], None)
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(problem.run(isa, layout), problem.reference(), rtol=1e-5, atol=1e-4)


LEVELS = [row for row in ROWS if row[0] in ("f32", "i8", "i6", "b1")]


@pytest.mark.parametrize(("kind", "isa"), LEVELS)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_input_affine_rounds_twice(kind: str, isa: str, layout: str) -> None:
    """3 * float32(1/3) is 1 after rounding; a fused multiply-add would miss the zero and the tie at 1/4 behind it."""
    C = 33
    scale, bias = np.full(C, 1 / 3, np.float32), np.where(np.arange(C) % 2, -1, -0.75).astype(np.float32)
    bits = {"f32": 32, "i8": 8, "i6": 2, "b1": 1}[kind]
    attributes = BINARY | {"act_bits": bits, "in_channels": C, "sign_zero": -1}
    operands = {"in_scale": scale, "in_bias": bias}
    weight = pack_weights(np.ones((1, 1, 1, C), np.int8), 1)
    problem = Problem(attributes, weight, operands, [np.full((1, C, 3, 5), 3, np.float32)], None)
    expected = {"f32": 17 / 4, "i8": 17 * 32, "i6": 0, "b1": 17 - 16}[kind]
    assert problem.reference().ravel().tolist() == [expected] * 15
    assert problem.run(isa, layout).ravel().tolist() == [expected] * 15


@pytest.mark.parametrize(("kind", "isa"), LEVELS)
def test_one_pixel_and_one_channel(kind: str, isa: str) -> None:
    act_bits = {"f32": 32, "i8": 8, "i6": 6, "b1": 1}[kind]
    problem = Problem(
        BINARY | {"act_bits": act_bits}, np.array([[1]], np.uint8), {}, [np.ones((1, 1, 1, 1), "f4")], None
    )
    assert problem.run(isa).item() == {"f32": -1, "i8": -127, "i6": -31, "b1": -1}[kind]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("act_bits", [1, 6, 7, 8, 9, 13, 14, 32])
@pytest.mark.parametrize("weight_bits", [1, 2, 8])
@pytest.mark.parametrize("taps", [1, 3])
@pytest.mark.parametrize("low", [False, True], ids=["plain", "low-memory"])
def test_largest_levels_do_not_overflow(isa: str, act_bits: int, weight_bits: int, taps: int, low: bool) -> None:
    if weight_bits == 8 and act_bits not in range(2, 10):
        act_bits = 8
    C, high = 4096, 127 if weight_bits == 8 else 1
    attributes = BINARY | {"act_bits": act_bits, "in_channels": C, "out_channels": 2, "weight_bits": weight_bits}
    attributes |= {"pre_relu": int(act_bits == 9), "kernel_w": taps}
    levels = np.stack([np.full((1, taps, C), high, np.int8), np.full((1, taps, C), -high, np.int8)])
    x = np.full((1, C, 1, 2 + taps), 5, np.float32)
    y = Problem(attributes, pack_weights(levels, weight_bits), {}, [x], None)
    level = 5 if act_bits == 32 else max(1, 2 ** (act_bits - 1) - 1)
    with low_memory(low):
        found = y.run(isa)[0, :, 0]
    np.testing.assert_array_equal(found, np.outer([1, -1], np.full(3, level * taps * C * high)))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("act_bits", range(2, 15))
def test_grid_ties_round_to_even(isa: str, act_bits: int) -> None:
    steps = 2 ** (act_bits - 1)
    x = (np.arange(-3 * steps, 3 * steps + 1, dtype=np.float32) / 2 / steps)[None, None, None]
    attributes = BINARY | {"act_bits": act_bits, "pre_relu": int(act_bits == 9)}
    y = Problem(attributes, np.zeros((1, 1), np.uint8), {}, [x], None).run(isa)
    np.testing.assert_array_equal(y, quantize(np.maximum(x, 0) if act_bits == 9 else x, act_bits, 0))


@pytest.mark.parametrize("isa", ISAS)
def test_reads_the_packed_bytes_that_python_writes(isa: str) -> None:
    """One filter of 3 x 3 x 3 weights in known bytes; a one-hot image reads its weights back one by one."""
    binary = [0b00101101, 0b10110010, 0b01000111, 0b00000101]
    ternary = [0b10010010, 0b00100101, 0b01000110, 0b10100001, 0b00000001, 0b01101000, 0b00010010]
    for bits, packed in ((1, binary), (2, ternary)):
        weight = np.array([packed], np.uint8)
        codes = [packed[k * bits // 8] >> k * bits % 8 & (2**bits - 1) for k in range(27)]
        expected = [{0: 1, 1: -1}[c] if bits == 1 else {0: 0, 1: 1, 2: -1}[c] for c in codes]
        np.testing.assert_array_equal(pack_weights(np.array(expected, np.int8).reshape(1, 3, 3, 3), bits), weight)
        attributes = PLAIN | {"kernel_h": 3, "kernel_w": 3, "in_channels": 3, "weight_bits": bits, "act_bits": 32}
        x = np.eye(27, dtype=np.float32).reshape(27, 3, 3, 3)  # (N, H, W, C): the packed order
        with QuantConv(attributes, weight, isa=isa) as conv:
            assert conv([x], layout="NHWC").ravel().tolist() == expected


@pytest.mark.parametrize(
    ("kind", "isa", "planes"), [(k, isa, n) for k, isa in ROWS for n in ((1,) if k in ("r32", "r8") else (1, 2))]
)
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [((1, 1), 1, 1), ((3, 3), 1, 1), ((2, 3), 2, 1), ((1, 3), 1, 2), ((1, 5), 1, 1)]
)
@pytest.mark.parametrize("W", [30, 35, 71])
def test_wide_rows_and_many_filters(
    kind: str, isa: str, planes: int, kernel: tuple[int, int], stride: int, dilation: int, W: int
) -> None:
    """More pixels than any tile takes at once, and more filters than a panel."""
    act_bits, weight_bits = TAKES[kind]
    weight_bits *= planes
    rng = np.random.default_rng(W)
    C, O = 39, 137
    attributes = PLAIN | {"act_bits": act_bits, "weight_bits": weight_bits, "in_channels": C, "out_channels": O}
    attributes |= {"kernel_h": kernel[0], "kernel_w": kernel[1], "stride_w": stride, "dilation_w": dilation}
    attributes |= {"pre_relu": 1, "pad_left": dilation * (kernel[1] // 2), "pad_right": dilation * (kernel[1] // 2)}
    weight = pack_weights(random_weights(rng, (O, *kernel, C), weight_bits), weight_bits)
    problem = Problem(attributes, weight, {}, [random_values(rng, (1, C, 4, W), 0.1)], None)
    assert_same(problem, problem.run(isa))


def threads_of(count: int) -> RunJobs:
    def run(job: Any, total: int) -> None:
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(job, reversed(range(total))))

    return run


@pytest.mark.parametrize(("kind", "isa"), ROWS)
def test_results_do_not_depend_on_threads(kind: str, isa: str) -> None:
    rng = np.random.default_rng(1)
    act_bits, weight_bits = TAKES[kind]
    attributes = BINARY | {"act_bits": act_bits, "kernel_h": 3, "kernel_w": 3, "in_channels": 40, "out_channels": 50}
    attributes |= {"weight_bits": weight_bits, "pre_relu": 1}
    attributes |= dict.fromkeys(("pad_top", "pad_left", "pad_bottom", "pad_right"), 1)
    weight = pack_weights(random_weights(rng, (50, 3, 3, 40), weight_bits), weight_bits)
    problem = Problem(attributes, weight, {}, [rng.normal(size=(2, 40, 21, 19)).astype(np.float32)], None)
    alone = problem.run(isa)
    for count in (1, 3):
        np.testing.assert_array_equal(problem.run(isa, run_jobs=threads_of(count)), alone)
    with QuantConv(attributes, weight, isa=isa) as conv, ThreadPoolExecutor(4) as pool:
        for y in pool.map(lambda _: conv(problem.x), range(8)):
            np.testing.assert_array_equal(y, alone)
