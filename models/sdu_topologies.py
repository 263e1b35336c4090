"""How a stack of a stacked dense U-Net goes down to small maps and back: hourglass, U-Net, DLA and SAT.

Guo et al., "Stacked Dense U-Nets with Dual Transformers for Robust Face Alignment", figure 2 and section 3.1. f = the
channels, which are the same everywhere; `depth` poolings halve the map.
"""

from collections.abc import Callable, Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from edgelm.errors import UsageError
from edgelm.models.sdu_blocks import Layers, aggregate, block, mean

__all__ = ["TOPOLOGIES", "topology"]


class _Hourglass(nn.Module):
    """A block at each size on the way down and on the way up, and one beside them (or none: a U-Net)."""

    def __init__(self, make: Layers, kind: str, depth: int, f: int, *, beside: bool) -> None:
        super().__init__()
        self.beside = block(kind, make, f, f) if beside else nn.Identity()
        self.down = block(kind, make, f, f)
        self.inner = _Hourglass(make, kind, depth - 1, f, beside=beside) if depth > 1 else block(kind, make, f, f)
        self.up = block(kind, make, f, f)

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(self.inner(self.down(F.max_pool2d(x, 2))))
        made: Tensor = self.beside(x) + F.interpolate(y, scale_factor=2, mode="nearest")
        return made


class _Aggregation(nn.Module):
    """A triangle of cells, the sizes of the way down at its bottom (DLA and SAT).

    Cell (w, h) is the mean of (w + 1, h + 1), of (w, h + 1) enlarged and, with gates, of a sigmoid made of the cell
    beside it, (w + 1, h).
    """

    def __init__(
        self, make: Layers, kind: str, depth: int, f: int, *, gates: bool, across: Callable[[int, int], nn.Module]
    ) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            nn.Sequential(block(kind, make, f, f), nn.MaxPool2d(2), block(kind, make, f, f)) for _ in range(depth)
        )
        cells = [(w, h) for h in range(1, depth + 1) for w in range(1, h + 1)]
        self.across = nn.ModuleDict({_key(w, h): across(w, h) for w, h in cells})
        self.up = nn.ModuleDict({_key(w, h): _enlarge(make, kind, f, coarsest=w == 1) for w, h in cells})
        self.gate = nn.ModuleDict({_key(w, h): _gate(make, f) for w, h in cells if gates and w != h})

    def forward(self, x: Tensor) -> Tensor:
        bottom = [x]
        for down in self.down:
            bottom.insert(0, down(bottom[0]))
        return aggregate(bottom, self._cell)

    def _cell(self, w: int, h: int, fine: Tensor, coarse: Tensor, beside: Tensor | None) -> Tensor:
        key = _key(w, h)
        terms = [self.across[key](fine), self.up[key](coarse)]
        if beside is not None and key in self.gate:
            terms.append(self.gate[key](beside))
        return mean(terms)


def _key(w: int, h: int) -> str:
    return f"{w}_{h}"


def _enlarge(make: Layers, kind: str, f: int, *, coarsest: bool) -> nn.Module:
    """To twice the size: pixels repeated before a block in the coarsest column, else a transposed convolution."""
    if coarsest:
        return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), block(kind, make, f, f))
    return nn.Sequential(nn.ConvTranspose2d(f, f, 2, stride=2, bias=False), make.norm(f), make.act())


def _gate(make: Layers, f: int) -> nn.Module:
    return nn.Sequential(make.range(f), make.conv(f, f, 3, 2), make.norm(f), nn.Sigmoid())


def _everywhere(make: Layers, kind: str, depth: int, f: int, *, gates: bool) -> nn.Module:
    def across(w: int, h: int) -> nn.Module:
        return nn.Sequential(make.range(f), make.post(f, f, 3))

    return _Aggregation(make, kind, depth, f, gates=gates, across=across)


def _sparse(make: Layers, kind: str, depth: int, f: int) -> nn.Module:
    def across(w: int, h: int) -> nn.Module:
        return make.depthwise(f) if h % 2 and w != h else nn.Identity()

    return _Aggregation(make, kind, depth, f, gates=False, across=across)


TOPOLOGIES: Mapping[str, Callable[[Layers, str, int, int], nn.Module]] = {
    "hourglass": lambda make, kind, depth, f: _Hourglass(make, kind, depth, f, beside=True),
    "unet": lambda make, kind, depth, f: _Hourglass(make, kind, depth, f, beside=False),
    "dla": lambda make, kind, depth, f: _everywhere(make, kind, depth, f, gates=False),
    "sat": lambda make, kind, depth, f: _everywhere(make, kind, depth, f, gates=True),
    "sat3": _sparse,
}
"""Topologies by name: (layers, kind of block, depth, channels) -> module that keeps size and channels. The paper's SAT
I and II are "sat" with 4 and 3 poolings, its SAT III is "sat3" with 3."""


def topology(name: str, make: Layers, kind: str, depth: int, f: int) -> nn.Module:
    """One stack; an unknown name raises UsageError with the known ones."""
    if name not in TOPOLOGIES:
        raise UsageError(f"no topology {name!r}; known are {', '.join(TOPOLOGIES)}")
    return TOPOLOGIES[name](make, kind, depth, f)
