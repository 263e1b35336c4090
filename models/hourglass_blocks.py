"""The residual blocks of stacked hourglasses and of BCLL (Bulat & Tzimiropoulos, figures 1b and 4a to 4e).

Every layer is pre-activation: BatchNorm - ReLU - convolution; where its input is quantized to signs, BatchNorm - sign -
convolution with its scales, and by `binary_relu` a ReLU behind ("post", +2 % in the paper), one before the sign
("pre"), or none. The input is added behind the last convolution, without an activation after it.

i, o = channels of a block's input and output.
"""

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgelm.errors import UsageError
from edgelm.models.quant_conv import Role, conv_for, is_quantized, role_of
from edgelm.models.quantizers import QuantScheme

__all__ = ["BLOCKS", "BinaryRelu", "Maker", "Plain"]

BinaryRelu = Literal["post", "pre", "none"]


class Maker:
    """Makes the layers of one network: they share the quantization and the place of the ReLU.

    Args:
        scheme: quantization.
        binary_relu: where a layer that reads signs has its ReLU.
        affine: whether BatchNorms train a scale and a shift.
        inner: channels inside a bottleneck as a share of its output's.
    """

    def __init__(
        self, scheme: QuantScheme, *, binary_relu: BinaryRelu = "post", affine: bool = True, inner: float = 0.5
    ) -> None:
        if binary_relu not in get_args(BinaryRelu):
            raise UsageError(f"binary_relu is post, pre or none, got {binary_relu!r}")
        if binary_relu == "pre" and scheme.act_bits == 1 and scheme.sign_zero == 1:
            raise UsageError("behind a ReLU every sign is +1 where sign(0) is +1; take sign_zero 0 or -1 with it")
        self.scheme, self.binary_relu, self.affine, self.inner = scheme, binary_relu, affine, inner

    def conv(self, role: Role, i: int, o: int, side: int, *, stride: int = 1, bias: bool = False) -> nn.Module:
        """A convolution, quantized where the scheme says so for its role."""
        return conv_for(role, i, o, side, self.scheme, stride=stride, bias=bias)

    def norm(self, channels: int) -> nn.BatchNorm2d:
        """BatchNorm, eps 1e-5; without `affine` its scale stays 1 and its shift 0."""
        norm = nn.BatchNorm2d(channels)
        if not self.affine:
            norm.requires_grad_(False)
        return norm

    def signs(self, role: Role) -> bool:
        """Whether a layer of this role reads signs."""
        return is_quantized(role, self.scheme) and self.scheme.act_bits == 1

    def levels(self, role: Role) -> bool:
        """Whether the input of a layer of this role is quantized."""
        return is_quantized(role, self.scheme) and self.scheme.act_bits < 32


class _Layer(nn.Module):
    """BatchNorm - ReLU or sign - convolution without bias, and a ReLU where signs ask for one (`relu`: if so)."""

    def __init__(self, make: Maker, i: int, o: int, side: int, *, relu: bool = True) -> None:
        super().__init__()
        role = role_of(side)
        signs = make.signs(role)
        self.norm = make.norm(i)
        self.conv = make.conv(role, i, o, side)
        self.before = not signs or make.binary_relu == "pre"
        self.after = relu and signs and make.binary_relu == "post"

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        y: Tensor = self.conv(F.relu(x) if self.before else x)
        return F.relu(y) if self.after else y


class Plain(nn.Module):
    """A 1x1 convolution with bias on x as it is.

    Where its input is quantized a BatchNorm comes first: maps behind ReLUs, and sums of such, have signs that tell
    nothing, and a scale that no grid of levels knows.
    """

    def __init__(self, make: Maker, role: Role, i: int, o: int) -> None:
        super().__init__()
        self.norm = make.norm(i) if make.levels(role) else nn.Identity()
        self.conv = make.conv(role, i, o, 1, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, i, H, W) -> (N, o, H, W)."""
        y: Tensor = self.conv(self.norm(x))
        return y


def _skip(make: Maker, i: int, o: int) -> nn.Module:
    """Newell's: the input as it is, or a 1x1 convolution of it."""
    return nn.Identity() if i == o else Plain(make, "pointwise", i, o)


class _Chain(nn.Module):
    """Layers one behind the other, and the input added: figures 4a and 4b."""

    def __init__(self, make: Maker, i: int, o: int, inner: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _Layer(make, i, inner, 1), _Layer(make, inner, inner, 3), _Layer(make, inner, o, 1)
        )  # fmt: skip
        self.skip = _skip(make, i, o)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x) + self.skip(x)
        return y


class _MultiScale(nn.Module):
    """Two ways at three scales side by side: figures 4c, `squeezed` with 1x1 convolutions, and 4d."""

    def __init__(self, make: Maker, i: int, o: int, *, squeezed: bool) -> None:
        super().__init__()
        wide, narrow = (64, 32) if squeezed else (o // 2, o // 4)
        self.left = (
            nn.Sequential(_Layer(make, i, wide, 1), _Layer(make, wide, wide, 3))
            if squeezed
            else nn.Sequential(_Layer(make, i, wide, 3))
        )
        self.middle = _Layer(make, i, narrow, 3)
        self.right = nn.Sequential(_Layer(make, i, narrow, 3), _Layer(make, narrow, narrow, 3))
        self.mix = _Layer(make, wide + 2 * narrow, o, 1) if squeezed else nn.Identity()
        self.skip = _skip(make, i, o)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.max_pool2d(x, 3, stride=1, padding=1)
        ways = [self.left(x), self.middle(pooled), self.right(pooled)]
        y: Tensor = self.mix(torch.cat(ways, dim=1)) + self.skip(x)
        return y


class _HPM(nn.Module):
    """Hierarchical, parallel, multi-scale: three 3x3 convolutions in a row, all of them seen; figures 1b and 4e."""

    def __init__(self, make: Maker, i: int, o: int) -> None:
        super().__init__()
        self.a = _Layer(make, i, o // 2, 3)
        self.b = _Layer(make, o // 2, o // 4, 3)
        self.c = _Layer(make, o // 4, o // 4, 3)
        self.skip = nn.Identity() if i == o else _Layer(make, i, o, 1, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        b = self.b(a)
        y: Tensor = torch.cat([a, b, self.c(b)], dim=1) + self.skip(x)
        return y


BLOCKS: Mapping[str, Callable[[Maker, int, int], nn.Module]] = {
    "bottleneck": lambda make, i, o: _Chain(make, i, o, int(o * make.inner)),
    "wider": lambda make, i, o: _Chain(make, i, o, o),
    "ms": lambda make, i, o: _MultiScale(make, i, o, squeezed=True),
    "ms_no1x1": lambda make, i, o: _MultiScale(make, i, o, squeezed=False),
    "hpm": _HPM,
}
"""Blocks by name: (maker, i, o), both multiples of 4, -> module (N, i, H, W) -> (N, o, H, W)."""
