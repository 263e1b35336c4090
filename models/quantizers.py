"""The quantizers of the CU-Net and DU-Net papers, with straight-through gradients.

Weights: `bw`, `bwa` and `tw` map a float filter bank to levels in {-1, 0, +1} and a scale per filter.
Activations: sign (1 bit) and the k-bit grid of WAGE. `QuantScheme` names a choice of both; which layers obey it is
decided by their role in `edgelm.models.quant_conv`.

O = output channels, I = input channels, sigma = 2^(1-k) for k bits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from edgelm.errors import UsageError

__all__ = ["QuantScheme", "WeightQuantizer", "get_weight_quantizer", "quantize_activation", "weight_quantizers"]


@dataclass(frozen=True)
class QuantScheme:
    """How a network is quantized.

    Attributes:
        weights: "float", or the name of a weight quantizer.
        act_bits: bits of the activations that enter a quantized convolution; 1 is sign, 32 is float.
        sign_zero: what sign(0) is when act_bits is 1.
        pad_value: what a quantized convolution sees around its signs when act_bits is 1: 0, or as a sign -1 or +1.
        sign_gradient: "clip" passes the gradient where |x| < 1 (the papers); "polynomial" scales it by 2 - 2|x| there
            (Liu et al., Bi-Real Net, ECCV 2018), which trains better from scratch.
        scope: "paper" quantizes all layers but the stem and the last head; "released_code" only the 3x3 convolutions
            and the intermediate heads, as the authors' public scripts do; "spatial" the 3x3 convolutions alone.
    """

    weights: str = "float"
    act_bits: int = 32
    sign_zero: int = 1
    sign_gradient: Literal["clip", "polynomial"] = "polynomial"
    scope: Literal["paper", "released_code", "spatial"] = "paper"
    pad_value: int = 0

    def __post_init__(self) -> None:
        if self.weights != "float":
            get_weight_quantizer(self.weights)
        if self.act_bits not in (*range(1, 9), 32):
            raise UsageError(f"activations have 1..8 or 32 bits, got {self.act_bits}")
        if self.weights == "float" and self.act_bits != 32:
            raise UsageError("quantized activations need quantized weights; take bw, bwa or tw")
        if self.sign_zero not in (-1, 0, 1):
            raise UsageError(f"sign(0) is -1, 0 or +1, got {self.sign_zero}")
        if self.sign_gradient not in ("clip", "polynomial"):
            raise UsageError(f"the gradient of sign is clip or polynomial, got {self.sign_gradient!r}")
        if self.scope not in ("paper", "released_code", "spatial"):
            raise UsageError(f"the scope is paper, released_code or spatial, got {self.scope!r}")
        if self.pad_value not in (-1, 0, 1):
            raise UsageError(f"signs are padded with -1, 0 or +1, got {self.pad_value}")
        if self.pad_value and self.act_bits != 1:
            raise UsageError(f"a padding of {self.pad_value} goes with act_bits 1, got {self.act_bits}; pad with 0")


class _Sign(torch.autograd.Function):
    """sign with a chosen value at 0 and a straight-through gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, zero: float, polynomial: bool) -> Tensor:
        ctx.save_for_backward(x)
        ctx.polynomial = polynomial
        # Not torch.where, which is slow where it chooses between numbers: no vector code.
        return x.sign().add_(zero / 2).sign_()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        if not ctx.polynomial:
            return gradients[0] * (x.abs() < 1), None, None
        return x.abs().mul_(-2).add_(2).clamp_(min=0).mul_(gradients[0]), None, None


class _Grid(torch.autograd.Function):
    """q(x, k) = clip(sigma * round(x / sigma), -1 + sigma, 1 - sigma); the gradient passes where -1 < x < 1."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, steps: float) -> Tensor:
        ctx.save_for_backward(x)
        levels = (x * steps).round_().clamp_(1 - steps, steps - 1)
        return levels.nan_to_num_(nan=0.0).div_(steps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return gradients[0] * (x.abs() < 1), None


class _Instead(torch.autograd.Function):
    """The value of the levels, exactly, with the gradient of what they stand for.

    Not `w + (levels - w).detach()`: that rounds, and 0.99999994 is no level.
    """

    @staticmethod
    def forward(ctx: Any, w: Tensor, levels: Tensor) -> Tensor:
        return levels.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


_sign: Callable[[Tensor, float, bool], Tensor] = _Sign.apply
_grid: Callable[[Tensor, float], Tensor] = _Grid.apply
_instead: Callable[[Tensor, Tensor], Tensor] = _Instead.apply


def quantize_activation(x: Tensor, scheme: QuantScheme) -> Tensor:
    """The activations a quantized convolution sees: x itself, its sign, or x on the k-bit grid.

    k-bit grid: levels -(2^(k-1) - 1) .. 2^(k-1) - 1, times sigma; after a ReLU only the non-negative half. Rounds
    halves to even (DU-Net eq. 6, 7 as meant; WAGE's Q(C(x))).
    """
    if scheme.act_bits == 32:
        return x
    if scheme.act_bits == 1:
        return _sign(x, float(scheme.sign_zero), scheme.sign_gradient == "polynomial")
    return _grid(x, float(2 ** (scheme.act_bits - 1)))


def _centred(w: Tensor) -> Tensor:
    """Weights (O, I, kh, kw) less their mean over the input channels, in [-1, 1]: XNOR-Net's and CU-Net's conditioning.

    A filter with one input channel would become all zeros, so it keeps its mean.
    """
    return (w - w.mean(dim=1, keepdim=True) if w.shape[1] > 1 else w).clamp(-1, 1)


@dataclass(frozen=True)
class WeightQuantizer:
    """A weight quantizer.

    Attributes:
        name: as in `QuantScheme.weights`.
        bits: of one packed weight.
        formula: what it computes, for tables and docs.
        scaled: whether filters have scales.
        quantize: (O, I, kh, kw) -> levels of the same shape in {-1, 0, +1} and a scale (O,) or None; differentiable.
    """

    name: str
    bits: int
    formula: str
    scaled: bool
    quantize: Callable[[Tensor], tuple[Tensor, Tensor | None]]


def _binary(w: Tensor) -> tuple[Tensor, None]:
    # 0 counts as +1, so that a binary weight always has a code.
    return _sign(_centred(w), 1.0, False), None


def _binary_alpha(w: Tensor) -> tuple[Tensor, Tensor]:
    centred = _centred(w)
    return _sign(centred, 1.0, False), centred.abs().mean(dim=(1, 2, 3))


def _ternary(w: Tensor) -> tuple[Tensor, None]:
    centred = _centred(w)
    threshold = 0.7 * centred.abs().mean(dim=(1, 2, 3), keepdim=True)
    levels = torch.where(centred > threshold, 1.0, torch.where(centred < -threshold, -1.0, 0.0)).to(w.dtype)
    return _instead(centred, levels), None


_QUANTIZERS: dict[str, WeightQuantizer] = {}


def _register(quantizer: WeightQuantizer) -> None:
    if quantizer.name in _QUANTIZERS:
        raise UsageError(f"the weight quantizer {quantizer.name!r} is registered already")
    _QUANTIZERS[quantizer.name] = quantizer


_register(WeightQuantizer("bw", 1, "sign(w)", False, _binary))
_register(WeightQuantizer("bwa", 1, "sign(w) * mean|w|", True, _binary_alpha))
_register(WeightQuantizer("tw", 2, "+1 above 0.7 mean|w|, -1 below its negative, else 0", False, _ternary))


def weight_quantizers() -> tuple[str, ...]:
    """Names of the known weight quantizers."""
    return tuple(_QUANTIZERS)


def get_weight_quantizer(name: str) -> WeightQuantizer:
    """Look a weight quantizer up; an unknown name raises UsageError with the known ones."""
    if name not in _QUANTIZERS:
        raise UsageError(f"no weight quantizer {name!r}; known are float, {', '.join(_QUANTIZERS)}")
    return _QUANTIZERS[name]
