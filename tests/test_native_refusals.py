"""What the native library refuses, and in which words."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qconv_cases import BINARY

from edgelm.errors import EdgelmError, UsageError
from edgelm.export.ops import QUANT_CONV
from edgelm.runtimes.native import ATTRIBUTES, QuantConv, kernels, library_path


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


@pytest.mark.parametrize(
    ("weight_bits", "act_bits", "text"),
    [
        (1, 15, "1..14 or 32, got 15"),
        (1, 31, "1..14 or 32, got 31"),
        (4, 8, "1, 2, 8 or 32, got 4"),
        (8, 1, "2..8, and 9 with pre_relu, got 1"),
        (8, 9, "2..8, and 9 with pre_relu, got 9"),
        (32, 8, "act_bits 32, got 8"),
    ],
)
def test_refuses_widths_that_do_not_go_together(weight_bits: int, act_bits: int, text: str) -> None:
    given = {"weight_bits": weight_bits, "act_bits": act_bits}
    assert text in refused(BINARY | given, np.zeros((1, 4), np.uint8))


def test_refuses_a_padding_of_signs_around_others() -> None:
    text = refused(BINARY | {"act_bits": 8, "pad_value": 1}, np.zeros((1, 1), np.uint8))
    assert "pad_value is 0 where activations are no signs (act_bits 1), got 1" in text


@pytest.mark.parametrize("name", ["pad_top", "pad_left", "pad_bottom", "pad_right"])
def test_refuses_padding_as_large_as_the_kernel(name: str) -> None:
    assert f"{name} is less than the dilated kernel's 1, got 1" in refused(
        BINARY | {name: 1}, np.zeros((1, 1), np.uint8)
    )


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
            ([x, x[:, :, :3]], "differ in height or width"),
            ([x[:, :, :2]], "smaller than the kernel"),
            ([x[..., :1]], "smaller than the kernel"),
            ([x[:, :, :0]], "empty or too large"),
            ([np.zeros((1, 1, (1 << 16) + 1, 2), np.float32)], "empty or too large"),
        ):
            with pytest.raises(UsageError, match=text):
                conv(parts)
        with pytest.raises(UsageError, match="NCHW or NHWC"):
            conv([x], layout="CHWN")
        with pytest.raises(UsageError, match="residual must have the output's shape"):
            conv([x], residual=x)
        assert conv([x[:0]]).shape == (0, 1, 2, 3)
    with pytest.raises(UsageError, match="closed"):
        conv([x])
    conv.close()


def test_isa_names(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = np.zeros((1, 1), np.uint8)
    able = [k.isa for k in kernels() if k.able and k.kind == "b1"]
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
