"""Stacked hourglasses, FAN and BCLL: one skeleton with other blocks.

Newell et al., Stacked Hourglass Networks (ECCV 2016); Bulat & Tzimiropoulos, Binarized Convolutional Landmark
Localizers (ICCV 2017) and How far are we from solving the 2D & 3D face alignment problem (FAN, ICCV 2017). The blocks
are in `edgelm.models.hourglass_blocks`.

K = classes, H, W = input size in px; heatmaps are H/4 x W/4 and logits where the loss is a cross-entropy (BCLL).
"""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from edgelm.crops import get_crop
from edgelm.errors import UsageError
from edgelm.models.hourglass_blocks import BLOCKS, BinaryRelu, Maker, Plain
from edgelm.models.limits import check_limits
from edgelm.models.quantizers import QuantScheme
from edgelm.spec import ModelSpec

__all__ = ["Hourglass", "HourglassConfig", "hourglass_conventions"]

_SCALE = 4  # input px per heatmap px


@dataclass(frozen=True)
class HourglassConfig:
    """Hyper-parameters.

    Attributes:
        stacks: hourglasses in a row, each with a head.
        depth: poolings of one hourglass.
        width: channels of the streams.
        block: a name of `edgelm.models.hourglass_blocks.BLOCKS`.
        classes: K, landmarks, one heatmap each.
        stem: channels behind the first convolution, and of the two blocks before the last one ahead of the hourglass.
        inner: channels inside a bottleneck as a share of its output's, in quarters.
        pool: "max" (the papers; "avg" is 4 % worse in BCLL) or "avg" (2x2 mean, as FAN's code in PyTorch has it).
        binary_relu: place of the ReLU in layers that read signs, behind the convolution, before the sign, or none.
        real_layers: what stays real in a quantized network: "first_last" (the paper), or "all_1x1", all 1x1
            convolutions too, which the sizes of the released networks suggest.
        affine: whether BatchNorms train a scale and a shift.
    """

    stacks: int = 1
    depth: int = 4
    width: int = 256
    block: str = "hpm"
    classes: int = 68
    stem: tuple[int, int] = (64, 128)
    inner: float = 0.5
    pool: Literal["max", "avg"] = "max"
    binary_relu: BinaryRelu = "post"
    real_layers: Literal["first_last", "all_1x1"] = "first_last"
    affine: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "stem", tuple(self.stem))
        if len(self.stem) != 2:
            raise UsageError(f"hourglass: stem is two numbers of channels, got {self.stem!r}")
        limits = {
            "stacks": (self.stacks, 1, 64), "depth": (self.depth, 1, 6), "width": (self.width, 4, 1024),
            "classes": (self.classes, 1, 1024), "stem": (self.stem[0], 4, 1024), "stem's end": (self.stem[1], 4, 1024),
        }  # fmt: skip
        check_limits("hourglass", limits)
        if any(c % 4 for c in (self.width, *self.stem)):
            raise UsageError(f"hourglass: width and stem are multiples of 4, got {self.width} and {self.stem}")
        if self.inner not in (0.25, 0.5, 0.75, 1.0):
            raise UsageError(f"hourglass: inner is 0.25, 0.5, 0.75 or 1, got {self.inner!r}")
        if self.block not in BLOCKS:
            raise UsageError(f"hourglass: no block {self.block!r}; known are {', '.join(BLOCKS)}")
        choices = {
            "pool": ("max", "avg"), "binary_relu": ("post", "pre", "none"), "real_layers": ("first_last", "all_1x1"),
        }  # fmt: skip
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise UsageError(f"hourglass: {name} is {' or '.join(known)}, got {getattr(self, name)!r}")


class _Level(nn.Module):
    """One level of an hourglass and all below it: HG(n) of the paper."""

    def __init__(self, config: HourglassConfig, make: Maker, depth: int) -> None:
        super().__init__()
        block, f = BLOCKS[config.block], config.width
        self.pool = config.pool
        self.up = block(make, f, f)
        self.enter = block(make, f, f)
        self.inside = _Level(config, make, depth - 1) if depth > 1 else block(make, f, f)
        self.leave = block(make, f, f)

    def forward(self, x: Tensor) -> Tensor:
        low = self.leave(self.inside(self.enter(_halved(x, self.pool))))
        total: Tensor = self.up(x) + F.interpolate(low, scale_factor=2, mode="nearest")
        return total


class _Stack(nn.Module):
    """An hourglass and its head; `role` of the head's convolution says whether it may be quantized."""

    def __init__(self, config: HourglassConfig, make: Maker, *, last: bool) -> None:
        super().__init__()
        f, K = config.width, config.classes
        self.hourglass = _Level(config, make, config.depth)
        self.block = BLOCKS[config.block](make, f, f)
        self.lin = Plain(make, "pointwise", f, f)
        self.lin_norm = make.norm(f)
        self.head = Plain(make, "last_head" if last else "head", f, K)
        self.back = nn.ModuleList() if last else nn.ModuleList([Plain(make, "pointwise", n, f) for n in (f, K)])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, f, h, w) -> the next stack's input of that shape, and heatmaps (N, K, h, w)."""
        y = F.relu(self.lin_norm(self.lin(self.block(self.hourglass(x)))))
        maps: Tensor = self.head(y)
        for conv, part in zip(self.back, (y, maps), strict=False):
            x = x + conv(part)
        return x, maps


def _halved(x: Tensor, pool: str) -> Tensor:
    return F.max_pool2d(x, 2) if pool == "max" else F.avg_pool2d(x, 2)


class Hourglass(nn.Module):
    """A stacked hourglass for images whose sides are multiples of 4 * 2^depth px, 64 px in all the papers' networks.

    Args:
        config: hyper-parameters.
        scheme: quantization; the stem and the last head always stay float.
    """

    stride = _SCALE
    multiple = 64

    def __init__(self, config: HourglassConfig, scheme: QuantScheme) -> None:
        super().__init__()
        if config.real_layers == "all_1x1":
            scheme = dataclasses.replace(scheme, scope="spatial")
        self.config, self.scheme = config, scheme
        make = Maker(scheme, binary_relu=config.binary_relu, affine=config.affine, inner=config.inner)
        block, (first, second) = BLOCKS[config.block], config.stem
        self.stem = make.conv("stem", 3, first, 7, stride=2, bias=True)
        self.stem_norm = make.norm(first)
        self.before = block(make, first, second)
        self.after = nn.Sequential(block(make, second, second), block(make, second, config.width))
        self.stacks = nn.ModuleList(_Stack(config, make, last=s == config.stacks - 1) for s in range(config.stacks))

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) float -> heatmaps (N, classes, H/4, W/4) of every stack, the last one last."""
        multiple = _SCALE * 2**self.config.depth
        if x.shape[2] % multiple or x.shape[3] % multiple:
            raise UsageError(
                f"this hourglass takes sides that are multiples of {multiple} px, got {tuple(x.shape[2:])}"
            )
        x = self.before(F.relu(self.stem_norm(self.stem(x))))
        x = self.after(_halved(x, self.config.pool))
        outputs = []
        for stack in self.stacks:
            x, maps = stack(x)
            outputs.append(maps)
        return outputs


def hourglass_conventions(spec: ModelSpec) -> ModelSpec:
    """The authors' crop of faces, and for people their flip test."""
    if spec.task == "pose":
        return dataclasses.replace(spec, flip_test="average")
    return dataclasses.replace(spec, crop=get_crop("bcll_aflw2000"))
