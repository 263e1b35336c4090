"""The portable form of QuantConv2d computes the same with builtin ops, and its weights stay bits in the file."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the exporter needs torch")
pytest.importorskip("onnx", reason="graph passes work on ONNX")

import onnx_ir as ir
from graphs import attributes, by_onnx, graph, ops, qconv
from hypothesis import given, settings
from qconv_cases import ALL, Case, cases, make_case

from edgelm.bits import pack_weights
from edgelm.errors import UsageError
from edgelm.export.passes.clean import Clean
from edgelm.export.passes.lower_portable import LowerPortable, byte_table


@pytest.mark.parametrize("bits", [1, 2])
def test_byte_table(bits: int) -> None:
    table = byte_table(bits)
    levels = np.random.default_rng(0).choice([-1, 1] if bits == 1 else [-1, 0, 1], (7, 1, 1, 16)).astype(np.int8)
    np.testing.assert_array_equal(table[pack_weights(levels, bits)].reshape(7, 1, 1, 16), levels)


def check_portable(case: Case) -> None:
    model, x = qconv(case)
    LowerPortable()(model)
    Clean()(model)
    assert {node.domain for node in model.graph} == {""}
    assert "QuantConv2d" not in ops(model)
    (weights,) = (v for v in model.graph.initializers.values() if v.dtype == ir.DataType.UINT8)
    assert weights.const_value is not None
    assert weights.const_value.nbytes == case.weight.nbytes
    (y,) = by_onnx(model, *x, optimize=False)
    case.check(y)
    (optimized,) = by_onnx(model, *x)
    np.testing.assert_allclose(optimized, y, rtol=0, atol=1e-5 * float(np.abs(y).max()))


@pytest.mark.parametrize("bits", [1, 2])
@pytest.mark.parametrize(
    ("act_bits", "sign_zero"), [(32, 1), (1, -1), (1, 0), (1, 1), (2, 1), (3, 1), (6, 1), (7, 1), (8, 1)]
)
@pytest.mark.parametrize("relu", [0, 1])
def test_lower_portable(bits: int, act_bits: int, sign_zero: int, relu: int) -> None:
    check_portable(make_case(9, weight_bits=bits, act_bits=act_bits, sign_zero=sign_zero, pre_relu=relu,
                             post_relu=relu))  # fmt: skip


@pytest.mark.parametrize("bits", [1, 2])
def test_lower_portable_dilation(bits: int) -> None:
    given: dict[str, Any] = {"dilation_h": 2, "dilation_w": 3, "pad_top": 2, "pad_left": 3, "pad_right": 1}
    check_portable(make_case(2, weight_bits=bits, act_bits=8, **given))


@pytest.mark.parametrize("bits", [8, 32])
def test_real_weights_have_no_portable_form(bits: int) -> None:
    with pytest.raises(UsageError, match=f"weights of {bits} bits have no form in builtin operators"):
        byte_table(bits)


@settings(deadline=None, max_examples=60)
@given(cases())
def test_lower_portable_any_form(case: Case) -> None:
    check_portable(case)


@pytest.mark.parametrize("channels", [8, 3])
def test_lower_portable_slices_padded_rows_only(channels: int) -> None:
    case = make_case(1, channels=(channels,), act_bits=32)
    model, _ = qconv(case)
    LowerPortable()(model)
    assert ("Slice" in ops(model)) == (channels == 3)


def test_lower_portable_leaves_out_what_is_absent() -> None:
    case = make_case(1, channels=(8,), absent=ALL, act_bits=32)
    model, _ = qconv(case)
    LowerPortable()(model)
    assert ops(model) == ["Cast", "Gather", "Reshape", "Reshape", "Transpose", "Conv"]


def test_lower_portable_shares_the_table() -> None:
    case = make_case(1, channels=(3,), absent=ALL)
    call = f"edgelm.QuantConv2d <{attributes(case.attributes)}>"
    operands = '(w, "", "", "", "", "", x)'
    model = graph(
        f"(float[1,3,6,7] x) => (float[1,5,6,7] y) {{ p = {call} {operands} q = {call} {operands} y = Add (p, q) }}",
        w=case.weight,
    )
    LowerPortable()(model)
    Clean()(model)
    tables = [v for v in model.graph.initializers.values() if v.shape is not None and v.shape[0] == 256]
    assert len(tables) == 1


def test_lower_portable_without_quantized_layers() -> None:
    model = graph("(float[N,3,8,8] x) => (float[N,3,8,8] y) { y = Relu (x) }")
    assert not LowerPortable()(model).modified
    assert ops(model) == ["Relu"]
