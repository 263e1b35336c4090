"""The building blocks of stacked dense U-Nets: bottleneck, Inception-ResNet, HPM and CAB.

Guo et al., "Stacked Dense U-Nets with Dual Transformers for Robust Face Alignment", figure 3 and section 3.1.
f = channels of a block. Where activations are signs, those take the place of the ReLUs before quantized convolutions:
behind a ReLU every sign would be the same. Where activations have few bits, which end at 1, sums of any size are
normalised before a convolution reads them; the paper's networks do not need that.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from edgelm.errors import UsageError
from edgelm.models.quant_conv import Role, conv_for, is_quantized, role_of
from edgelm.models.quantizers import QuantScheme

__all__ = ["BLOCKS", "Layers", "aggregate", "block", "mean"]

_EPSILON = 2e-5


class Layers:
    """Makes the layers of one network: they share scheme, BatchNorm and activation."""

    def __init__(self, scheme: QuantScheme) -> None:
        self.scheme = scheme
        self.few_bits = scheme.weights != "float" and scheme.act_bits < 32
        self.signs = self.few_bits and scheme.act_bits == 1

    def conv(self, i: int, o: int, side: int, stride: int = 1, role: Role | None = None) -> nn.Module:
        """Without bias, quantized by its role, which is by the kernel unless given."""
        return conv_for(role or role_of(side), i, o, side, self.scheme, stride=stride)

    def biased(self, i: int, o: int, role: Role = "pointwise") -> nn.Module:
        """A 1x1 convolution with bias; a quantized one has none."""
        return self.conv(i, o, 1, role=role) if is_quantized(role, self.scheme) else nn.Conv2d(i, o, 1)

    def norm(self, channels: int) -> nn.BatchNorm2d:
        """BatchNorm with the authors' epsilon."""
        return nn.BatchNorm2d(channels, eps=_EPSILON)

    def range(self, channels: int) -> nn.Module:
        """Before a convolution that reads a sum: brings it into the range of activations with few bits."""
        return self.norm(channels) if self.few_bits else nn.Identity()

    def act(self) -> nn.Module:
        """Before a convolution that may be quantized."""
        return nn.Identity() if self.signs else nn.ReLU()

    def pre(self, i: int, o: int, side: int) -> nn.Sequential:
        """BatchNorm - ReLU - convolution."""
        return nn.Sequential(self.norm(i), self.act(), self.conv(i, o, side))

    def post(self, i: int, o: int, side: int, stride: int = 1) -> nn.Sequential:
        """Convolution - BatchNorm - ReLU."""
        return nn.Sequential(self.conv(i, o, side, stride), self.norm(o), self.act())

    def depthwise(self, channels: int) -> nn.Sequential:
        """The same with a 3x3 filter for each channel, which is never quantized."""
        conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        return nn.Sequential(conv, self.norm(channels), self.act())


def mean(terms: Sequence[Tensor]) -> Tensor:
    """Of tensors of one shape."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total * (1 / len(terms))


def aggregate(bottom: Sequence[Tensor], cell: Callable[[int, int, Tensor, Tensor, Tensor | None], Tensor]) -> Tensor:
    """The tip of a triangle whose cell (w, h) is made of (w + 1, h + 1), the finer one, and (w, h + 1).

    Args:
        bottom: the cells (1, n) to (n, n), coarsest first.
        cell: w, h, the two cells, and (w + 1, h), which is there unless w = h -> the cell (w, h).
    """
    row = list(bottom)
    for h in range(len(bottom) - 1, 0, -1):
        made: list[Tensor] = []
        for w in range(h, 0, -1):
            made.insert(0, cell(w, h, row[w], row[w - 1], made[0] if made else None))
        row = made
    return row[0]


class _Bottleneck(nn.Module):
    """Two 1x1 convolutions around a 3x3 one of half the channels, pre-activated, and the input added."""

    def __init__(self, make: Layers, i: int, o: int) -> None:
        super().__init__()
        self.norm, self.act = make.norm(i), make.act()
        self.squeeze = make.conv(i, o // 2, 1)
        self.rest = nn.Sequential(make.pre(o // 2, o // 2, 3), make.pre(o // 2, o, 1))
        self.project = make.conv(i, o, 1) if i != o else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm(x))
        made: Tensor = self.rest(self.squeeze(y)) + (x if self.project is None else self.project(y))
        return made


class _HPM(nn.Module):
    """Hierarchical, parallel and multi-scale: the results of three 3x3 convolutions in a row, and the input added."""

    def __init__(self, make: Layers, i: int, o: int) -> None:
        super().__init__()
        self.norm, self.act = make.norm(i), make.act()
        self.first = make.conv(i, o // 2, 3)
        self.second, self.third = make.pre(o // 2, o // 4, 3), make.pre(o // 4, o // 4, 3)
        self.project = make.conv(i, o, 1) if i != o else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm(x))
        a = self.first(y)
        b = self.second(a)
        made: Tensor = torch.cat([a, b, self.third(b)], dim=1) + (x if self.project is None else self.project(y))
        return made


class _Inception(nn.Module):
    """Inception-ResNet's block of 35 px maps: three ways of one, two and three convolutions, and the input added."""

    def __init__(self, make: Layers, f: int) -> None:
        super().__init__()
        self.range = make.range(f)
        self.short = make.post(f, f // 4, 1)
        self.middle = nn.Sequential(make.post(f, f // 4, 1), make.post(f // 4, f // 4, 3))
        self.long = nn.Sequential(
            make.post(f, f // 4, 1), make.post(f // 4, 3 * f // 8, 3), make.post(3 * f // 8, f // 2, 3)
        )
        self.join = nn.Sequential(make.conv(f, f, 1), make.norm(f))
        self.act = make.act()

    def forward(self, x: Tensor) -> Tensor:
        y = self.range(x)
        ways = torch.cat([self.short(y), self.middle(y), self.long(y)], dim=1)
        made: Tensor = self.act(x + self.join(ways))
        return made


class _CAB(nn.Module):
    """Channel aggregation: halved thrice by 3x3 convolutions, and joined with what it was on the way back.

    Cell (w, h) is the mean of (w + 1, h + 1) and of (w, h + 1) put twice behind itself.
    """

    _LEVELS = 4

    def __init__(self, make: Layers, f: int) -> None:
        super().__init__()
        widths = [f >> level for level in range(self._LEVELS)]
        self.range = make.range(f)
        self.down = nn.ModuleList(make.post(i, o, 3) for i, o in pairwise(widths))
        self.across = nn.ModuleDict(
            {
                f"{w}_{h}": make.depthwise(widths[self._LEVELS - w - 1])
                for h in range(1, self._LEVELS)
                for w in range(1, h)
                if h % 2
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        bottom, y = [x], self.range(x)
        for down in self.down:
            y = down(y)
            bottom.insert(0, y)
        return aggregate(bottom, self._cell)

    def _cell(self, w: int, h: int, fine: Tensor, coarse: Tensor, _: Tensor | None) -> Tensor:
        key = f"{w}_{h}"
        fine = self.across[key](fine) if key in self.across else fine
        return mean([fine, torch.cat([coarse, coarse], dim=1)])


BLOCKS: Mapping[str, Callable[[Layers, int, int], nn.Module]] = {
    "resnet": _Bottleneck,
    "inception": lambda make, i, o: _Inception(make, o) if i == o else _Bottleneck(make, i, o),
    "hpm": _HPM,
    "cab": lambda make, i, o: _CAB(make, o) if i == o else _HPM(make, i, o),
}
"""Blocks by name: (layers, input channels, output channels) -> module; two of them keep the number of channels, and
where it changes the paper's other block takes their place."""


def block(kind: str, make: Layers, i: int, o: int) -> nn.Module:
    """A block from i to o channels; an unknown kind raises UsageError with the known ones."""
    if kind not in BLOCKS:
        raise UsageError(f"no block {kind!r}; known are {', '.join(BLOCKS)}")
    return BLOCKS[kind](make, i, o)
