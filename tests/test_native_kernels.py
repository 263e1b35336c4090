"""Every kernel that this CPU can run against the numpy reference of QuantConv2d.

Integer sums are held exactly, so outputs are equal bit for bit. Sums of float activations are made in float32 in the
order of the weights, against float64 in the reference.

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

from edgelm.bits import pack_weights
from edgelm.errors import EdgelmError, UsageError
from edgelm.export.ops import QUANT_CONV, quant_conv_reference, quantize
from edgelm.runtimes.native import ATTRIBUTES, QuantConv, RunJobs, kernels, library_path

Floats = NDArray[np.float32]
KIND = {1: "b1", 32: "f32"}
ROWS = [(k.kind, k.isa) for k in kernels() if k.able]
CASES = [
    (act_bits, weight_bits, isa)
    for act_bits, weight_bits in itertools.product((1, 2, 6, 8, 32), (1, 2))
    for kind, isa in ROWS
    if kind == KIND.get(act_bits, "i8")
]
ONES = ("version", "kernel_h", "kernel_w", "stride_h", "stride_w", "in_channels", "out_channels")
PLAIN = dict.fromkeys(ATTRIBUTES, 0) | dict.fromkeys(ONES, 1)
BINARY = PLAIN | {"weight_bits": 1, "act_bits": 1, "sign_zero": 1}
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
            assert isa is None or conv.isa == isa
            if layout == "NCHW":
                return conv(self.x, self.residual, layout, run_jobs)
            residual = None if self.residual is None else self.residual.transpose(0, 2, 3, 1)
            return conv([x.transpose(0, 2, 3, 1) for x in self.x], residual, layout, run_jobs).transpose(0, 3, 1, 2)

    def tolerance(self) -> Floats:
        """What a float32 sum may be off, for each output."""
        magnitudes = [np.abs(x) for x in self.x]
        operands = {name: np.abs(values) for name, values in self.operands.items()}
        bits = self.attributes["weight_bits"]
        positive = pack_weights(np.ones((self.attributes["out_channels"], self.taps(), 1, 1), np.int8), bits)
        residual = None if self.residual is None else np.abs(self.residual)
        bound = quant_conv_reference(magnitudes, positive, self.attributes, residual=residual, **operands)
        return ((self.taps() + 4) * UNIT * bound).astype(np.float32)

    def taps(self) -> int:
        """Weights of one filter."""
        return self.attributes["kernel_h"] * self.attributes["kernel_w"] * self.attributes["in_channels"]


def random_values(rng: np.random.Generator, shape: tuple[int, ...], special: float) -> Floats:
    values = rng.normal(0, 1.5, shape)
    return np.where(rng.random(shape) < special, rng.choice(SPECIAL, shape), values).astype(np.float32)


@st.composite
def problems(draw: st.DrawFn, act_bits: int, weight_bits: int) -> Problem:
    side = st.integers(1, 4)
    attributes = PLAIN | {
        "kernel_h": draw(side),
        "kernel_w": draw(side),
        "stride_h": draw(st.integers(1, 3)),
        "stride_w": draw(st.integers(1, 3)),
        "out_channels": draw(st.sampled_from([1, 3, 8, 15, 16, 17, 33])),
        "weight_bits": weight_bits,
        "act_bits": act_bits,
        "sign_zero": draw(st.integers(-1, 1)),
        "pre_relu": draw(st.integers(0, 1)),
        "post_relu": draw(st.integers(0, 1)),
    }
    kh, kw = attributes["kernel_h"], attributes["kernel_w"]
    for name, kernel in (("top", kh), ("bottom", kh), ("left", kw), ("right", kw)):
        attributes[f"pad_{name}"] = draw(st.integers(0, kernel - 1))
    channels = draw(st.lists(st.sampled_from([1, 2, 3, 4, 5, 8, 31, 32, 33, 64, 130, 257]), min_size=1, max_size=3))
    C, O = attributes["in_channels"], attributes["out_channels"] = sum(channels), attributes["out_channels"]  # noqa: E741
    H = draw(st.integers(max(1, kh - attributes["pad_top"] - attributes["pad_bottom"]), 11))
    W = draw(st.integers(max(1, kw - attributes["pad_left"] - attributes["pad_right"]), 11))
    N = draw(st.sampled_from([1, 1, 1, 2, 3]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = rng.choice([-1, 1] if weight_bits == 1 else [-1, 0, 1], (O, kh, kw, C)).astype(np.int8)
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
    @settings(deadline=None, max_examples=40, derandomize=True)
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
    levels = rng.choice([-1, 1], (9, 3, 3, 37)).astype(np.int8)
    act_bits = {"f32": 32, "i8": 6, "b1": 1}[kind]
    attributes = BINARY | {"kernel_h": 3, "kernel_w": 3, "in_channels": 37, "out_channels": 9, "pre_relu": 1}
    attributes |= {"pad_top": 1, "pad_left": 1, "sign_zero": sign_zero, "act_bits": act_bits}
    problem = Problem(attributes, pack_weights(levels, 1), {}, [x], None)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(problem.run(isa, layout), problem.reference())


@pytest.mark.parametrize(("kind", "isa"), ROWS)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_input_affine_rounds_twice(kind: str, isa: str, layout: str) -> None:
    """3 * float32(1/3) is 1 after rounding; a fused multiply-add would miss the zero and the tie at 1/4 behind it."""
    C = 33
    scale, bias = np.full(C, 1 / 3, np.float32), np.where(np.arange(C) % 2, -1, -0.75).astype(np.float32)
    attributes = BINARY | {"act_bits": {"f32": 32, "i8": 2, "b1": 1}[kind], "in_channels": C, "sign_zero": -1}
    operands = {"in_scale": scale, "in_bias": bias}
    weight = pack_weights(np.ones((1, 1, 1, C), np.int8), 1)
    problem = Problem(attributes, weight, operands, [np.full((1, C, 3, 5), 3, np.float32)], None)
    expected = {"f32": 17 / 4, "i8": 0, "b1": 17 - 16}[kind]
    assert problem.reference().ravel().tolist() == [expected] * 15
    assert problem.run(isa, layout).ravel().tolist() == [expected] * 15


@pytest.mark.parametrize(("kind", "isa"), ROWS)
def test_one_pixel_and_one_channel(kind: str, isa: str) -> None:
    act_bits = {"f32": 32, "i8": 8, "b1": 1}[kind]
    problem = Problem(
        BINARY | {"act_bits": act_bits}, np.array([[1]], np.uint8), {}, [np.ones((1, 1, 1, 1), "f4")], None
    )
    assert problem.run(isa).item() == {"f32": -1, "i8": -127, "b1": -1}[kind]


@pytest.mark.parametrize(("kind", "isa"), ROWS)
def test_largest_levels_do_not_overflow(kind: str, isa: str) -> None:
    C = 4096
    act_bits = {"f32": 32, "i8": 8, "b1": 1}[kind]
    attributes = BINARY | {"act_bits": act_bits, "in_channels": C, "out_channels": 2}
    weight = pack_weights(np.stack([np.ones((1, 1, C), np.int8), -np.ones((1, 1, C), np.int8)]), 1)
    y = Problem(attributes, weight, {}, [np.full((1, C, 1, 3), 5, np.float32)], None).run(isa)
    level = {"f32": 5, "i8": 127, "b1": 1}[kind]
    np.testing.assert_array_equal(y[0, :, 0], np.outer([1, -1], np.full(3, level * C)))


@pytest.mark.parametrize(("kind", "isa"), [row for row in ROWS if row[0] == "i8"])
@pytest.mark.parametrize("act_bits", range(2, 9))
def test_grid_ties_round_to_even(kind: str, isa: str, act_bits: int) -> None:
    steps = 2 ** (act_bits - 1)
    x = (np.arange(-4 * steps, 4 * steps + 1, dtype=np.float32) / 2 / steps)[None, None, None]
    y = Problem(BINARY | {"act_bits": act_bits}, np.zeros((1, 1), np.uint8), {}, [x], None).run(isa)
    np.testing.assert_array_equal(y, quantize(x, act_bits, 0))


@pytest.mark.parametrize("isa", sorted({isa for _, isa in ROWS}))
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


def threads_of(count: int) -> RunJobs:
    def run(job: Any, total: int) -> None:
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(job, reversed(range(total))))

    return run


@pytest.mark.parametrize(("kind", "isa"), ROWS)
def test_results_do_not_depend_on_threads(kind: str, isa: str) -> None:
    rng = np.random.default_rng(1)
    act_bits = {"f32": 32, "i8": 8, "b1": 1}[kind]
    attributes = BINARY | {"act_bits": act_bits, "kernel_h": 3, "kernel_w": 3, "in_channels": 40, "out_channels": 50}
    attributes |= dict.fromkeys(("pad_top", "pad_left", "pad_bottom", "pad_right"), 1)
    weight = pack_weights(rng.choice([-1, 1], (50, 3, 3, 40)).astype(np.int8), 1)
    problem = Problem(attributes, weight, {}, [rng.normal(size=(2, 40, 21, 19)).astype(np.float32)], None)
    alone = problem.run(isa)
    for count in (1, 3):
        np.testing.assert_array_equal(problem.run(isa, run_jobs=threads_of(count)), alone)
    with QuantConv(attributes, weight, isa=isa) as conv, ThreadPoolExecutor(4) as pool:
        for y in pool.map(lambda _: conv(problem.x), range(8)):
            np.testing.assert_array_equal(y, alone)


def test_attributes_are_those_of_the_record() -> None:
    assert tuple(a.name for a in QUANT_CONV.attributes) == ATTRIBUTES


def refused(attributes: dict[str, int], weight: NDArray[np.uint8], **operands: Any) -> str:
    with pytest.raises(UsageError) as caught:
        QuantConv(attributes, weight, **operands)
    return str(caught.value)


@pytest.mark.parametrize("attribute", QUANT_CONV.attributes, ids=lambda a: a.name)
def test_refuses_attributes_out_of_range(attribute: Any) -> None:
    low, high = attribute.allowed
    for value in (low - 1, high + 1, 2**31 - 1, -(2**31)):
        text = refused(BINARY | {attribute.name: value}, np.zeros((1, 1), np.uint8))
        assert f"{attribute.name} is {low}..{high}, got {value}" in text
    assert "32-bit" in refused(BINARY | {attribute.name: 2**31}, np.zeros((1, 1), np.uint8))


@pytest.mark.parametrize("act_bits", [9, 16, 31])
def test_refuses_widths_between_8_and_32(act_bits: int) -> None:
    assert "1..8 or 32" in refused(BINARY | {"act_bits": act_bits}, np.zeros((1, 1), np.uint8))


@pytest.mark.parametrize("name", ["pad_top", "pad_left", "pad_bottom", "pad_right"])
def test_refuses_padding_as_large_as_the_kernel(name: str) -> None:
    assert f"{name} is less than the kernel's 1, got 1" in refused(BINARY | {name: 1}, np.zeros((1, 1), np.uint8))


def test_refuses_wrong_weights() -> None:
    assert "are 1 bytes, got 2" in refused(BINARY, np.zeros((1, 2), np.uint8))
    assert "are 6 bytes, got 0" in refused(BINARY | {"in_channels": 9, "out_channels": 3}, np.zeros((0,), np.uint8))
    ternary = BINARY | {"weight_bits": 2, "in_channels": 8}
    assert "code 3 in byte 1" in refused(ternary, np.array([[0b00100100, 0b00110000]], np.uint8))
    huge = BINARY | {"kernel_h": 255, "kernel_w": 255, "in_channels": 1 << 16}
    assert "at most 16777216 weights" in refused(huge, np.zeros((1, 1), np.uint8))


def test_refuses_wrong_operands() -> None:
    one, weight = np.ones(1, np.float32), np.zeros((1, 1), np.uint8)
    assert "come together, got in_scale alone" in refused(BINARY, weight, in_scale=one)
    assert "come together, got in_bias alone" in refused(BINARY, weight, in_bias=one)
    assert "out_scale has the shape (1,), got (2,)" in refused(BINARY, weight, out_scale=np.ones(2, np.float32))
    assert "takes the attributes version" in refused({}, weight)


def test_refuses_wrong_inputs() -> None:
    weight = np.zeros((1, 1), np.uint8)
    attributes = BINARY | {"kernel_h": 3, "kernel_w": 2}
    with QuantConv(attributes, weight) as conv:
        x = np.zeros((1, 1, 4, 4), np.float32)
        for parts, text in (
            ([x, x], "1 input channels in all, got 2"),
            ([], "one or more inputs"),
            ([x[0]], "4 dimensions"),
            ([x, x[:, :, :3]], "differ in channels alone"),
            ([x[:, :, :2]], "2x4 px"),
            ([x[..., :1]], "4x1 px"),
            ([x[:, :, :0]], "0x4 px"),
            ([np.zeros((1, 1, (1 << 16) + 1, 2), np.float32)], "65537x2 px"),
        ):
            with pytest.raises(UsageError, match=text):
                conv(parts)
        with pytest.raises(UsageError, match="NCHW or NHWC"):
            conv([x], layout="CHWN")
        with pytest.raises(UsageError, match="residual has the shape"):
            conv([x], residual=x)
        assert conv([x[:0]]).shape == (0, 1, 2, 3)
    with pytest.raises(UsageError, match="closed"):
        conv([x])
    conv.close()


def test_isa_names(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = np.zeros((1, 1), np.uint8)
    able = [isa for kind, isa in ROWS if kind == "b1"]
    monkeypatch.delenv("EDGELM_ISA", raising=False)
    with QuantConv(BINARY, weight) as conv:
        assert conv.isa == able[-1]
    monkeypatch.setenv("EDGELM_ISA", "scalar")
    with QuantConv(BINARY, weight) as conv:
        assert conv.isa == "scalar"
    with QuantConv(BINARY, weight, isa=able[-1]) as conv:
        assert conv.isa == able[-1]
    monkeypatch.setenv("EDGELM_ISA", "bogus")
    text = refused(BINARY, weight)
    assert "EDGELM_ISA is 'bogus'" in text
    assert text.endswith(", ".join(able))
    with pytest.raises(UsageError, match="isa is 'mmx'"):
        QuantConv(BINARY, weight, isa="mmx")


def test_missing_library_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGELM_LIBRARY", "/nonexistent/libedgelm.so")
    with pytest.raises(EdgelmError, match="install edgelm with pip"):
        library_path()
