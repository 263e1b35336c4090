"""Quantizers: their formulas, their ties, and the gradients that pass straight through."""

import dataclasses
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="quantizers are torch modules")

import torch

from edgelm.errors import UsageError
from edgelm.export.ops import quantize
from edgelm.models.quant_conv import QuantConv2d, freeze
from edgelm.models.quantizers import QuantScheme, get_weight_quantizer, quantize_activation, weight_quantizers


def centred(w: torch.Tensor) -> torch.Tensor:
    return (w - w.mean(1, keepdim=True)).clamp(-1, 1)


@given(seed=st.integers(0, 2**32 - 1), shape=st.tuples(*[st.integers(2, 6)] * 2, *[st.integers(1, 3)] * 2))
@settings(deadline=None, max_examples=40)
def test_weight_formulas(seed: int, shape: tuple[int, int, int, int]) -> None:
    w = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    c = centred(w)
    sign = torch.where(c < 0, -1.0, 1.0)
    alpha = c.abs().mean((1, 2, 3))
    t = 0.7 * alpha[:, None, None, None]
    levels, scale = get_weight_quantizer("bw").quantize(w)
    assert scale is None
    assert torch.equal(levels, sign)
    levels, scale = get_weight_quantizer("bwa").quantize(w)
    assert scale is not None
    assert torch.equal(levels, sign)
    assert torch.equal(scale, alpha)
    levels, scale = get_weight_quantizer("tw").quantize(w)
    assert scale is None
    assert torch.equal(levels, (c > t).float() - (c < -t).float())


@pytest.mark.parametrize("name", weight_quantizers())
def test_weights_of_one_input_channel_are_not_centred_away(name: str) -> None:
    w = torch.tensor([-0.9, 0.8]).reshape(2, 1, 1, 1)
    assert get_weight_quantizer(name).quantize(w)[0].flatten().round().tolist() == [-1, 1]


def test_zero_weight_counts_as_plus_one() -> None:
    assert get_weight_quantizer("bw").quantize(torch.zeros(1, 2, 1, 1))[0].flatten().tolist() == [1, 1]


def test_weight_gradient_passes_through_and_reaches_alpha() -> None:
    w = torch.tensor([0.4, -0.2, -0.2, 0.0]).reshape(1, 4, 1, 1).requires_grad_()
    levels, scale = get_weight_quantizer("bwa").quantize(w)
    assert scale is not None
    g = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 4, 1, 1)
    (levels * scale[:, None, None, None] * g).sum().backward()
    # d(sign(w) alpha g)/dw = alpha g + sign(w) mean(sign(w) g), then centred like w itself.
    alpha, sign = 0.2, torch.tensor([1.0, -1, -1, 1]).reshape(1, 4, 1, 1)
    raw = alpha * g + sign * (sign * g).sum() / 4
    assert w.grad is not None
    assert torch.allclose(w.grad, raw - raw.mean(), atol=1e-6)


GRID = [float("nan"), -2.0, -1.0, -0.5, -0.25, -1 / 256, 0.0, 1 / 256, 3 / 256, 0.5, 0.99, 1.0, 7.0, float("inf")]


@given(
    bits=st.sampled_from([1, 2, 3, 6, 8, 32]),
    zero=st.sampled_from([-1, 0, 1]),
    values=st.lists(st.one_of(st.sampled_from(GRID), st.floats(-3, 3, width=32)), min_size=1, max_size=40),
)
@settings(deadline=None)
def test_activations_equal_the_op_definition(bits: int, zero: int, values: list[float]) -> None:
    x = np.array(values, np.float32)
    made = quantize_activation(torch.from_numpy(x), QuantScheme("bw", bits, zero)).numpy()
    sigma = 2.0 ** (1 - bits) if 1 < bits < 32 else 1.0
    np.testing.assert_array_equal(made, quantize(x, bits, zero) * np.float32(sigma))


def test_grid_rounds_halves_to_even() -> None:
    x = torch.tensor([0.5, 1.5, 2.5]) / 128
    assert (quantize_activation(x, QuantScheme("bw", 8)) * 128).tolist() == [0, 2, 2]


def test_ternary_gradient_passes_straight_through() -> None:
    w = torch.tensor([0.9, -0.9, 0.1, -0.1]).reshape(1, 4, 1, 1).requires_grad_()
    levels, _ = get_weight_quantizer("tw").quantize(w)
    (levels * torch.tensor([1.0, 2.0, 3.0, 6.0]).reshape(1, 4, 1, 1)).sum().backward()
    assert levels.flatten().tolist() == [1, -1, 0, 0]
    assert w.grad is not None
    assert w.grad.flatten().tolist() == [-2, -1, 0, 3]  # less their mean, as the weights are


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        (QuantScheme("bw", 1, sign_gradient="clip"), [0, 1, 1, 0]),
        (QuantScheme("bw", 1, sign_gradient="polynomial"), [0, 1, 1.5, 0]),
        (QuantScheme("bw", 8), [0, 1, 1, 0]),
    ],
)
def test_activation_gradient(scheme: QuantScheme, expected: list[float]) -> None:
    x = torch.tensor([-1.0, -0.5, 0.25, 2.0], requires_grad=True)
    quantize_activation(x, scheme).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == expected


@given(
    gradient=st.sampled_from(["clip", "polynomial"]),
    pairs=st.lists(
        st.tuples(
            st.one_of(st.sampled_from([v for v in GRID if v == v]), st.floats(-3, 3, width=32)),
            st.floats(-2, 2, width=32),
        ),
        min_size=1,
        max_size=40,
    ),
)
@settings(deadline=None)
def test_sign_gradient_equals_its_definition(
    gradient: Literal["clip", "polynomial"], pairs: list[tuple[float, float]]
) -> None:
    x = torch.tensor([value for value, _ in pairs], requires_grad=True)
    g = torch.tensor([value for _, value in pairs])
    quantize_activation(x, QuantScheme("bw", 1, sign_gradient=gradient)).backward(g)
    slope = (lambda v: 2 - 2 * abs(v)) if gradient == "polynomial" else (lambda _: 1)
    values = [np.float32(v) for v, _ in pairs]
    expected = [
        np.float32(by) * np.float32(slope(v) if abs(v) < 1 else 0) for v, (_, by) in zip(values, pairs, strict=True)
    ]
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), expected)


@pytest.mark.parametrize(
    "bad", [{"weights": "bin"}, {"act_bits": 9}, {"sign_zero": 2}, {"sign_gradient": "x"}, {"scope": "all"}]
)
def test_bad_scheme(bad: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        dataclasses.replace(QuantScheme("bw"), **bad)


def test_float_weights_with_quantized_activations_are_refused() -> None:
    with pytest.raises(UsageError, match="need quantized weights"):
        QuantScheme("float", 8)


@pytest.mark.parametrize("weights", weight_quantizers())
@pytest.mark.parametrize("act_bits", [1, 8, 32])
def test_freezing_changes_nothing(weights: str, act_bits: int) -> None:
    torch.manual_seed(0)
    layer = QuantConv2d(5, 7, 3, QuantScheme(weights, act_bits), stride=2, padding=1).eval()
    x = torch.randn(2, 5, 9, 8)
    before = layer(x)
    freeze(layer)
    assert torch.equal(layer(x), before)
    assert set(layer.weight.unique().tolist()) <= {-1.0, 0.0, 1.0}
    with pytest.raises(UsageError, match="cannot be trained"):
        layer.train()(x)
