"""CU-Net: coupled U-Nets (Tang et al., "Towards Efficient U-Nets: A Coupled and Quantized Approach", section 4).

N U-Nets in a row; a semantic block takes, beside its own input, the features that the blocks at the same place of the
last K U-Nets made. Only those n-channel features are queued, and by reference: a consumer concatenates what it reads.

m = width of the streams, n = growth, K = order, H, W = input size in px; heatmaps are H/4 x W/4.
Pre-activation everywhere: concatenation - BatchNorm - ReLU (or sign) - convolution without bias.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgelm.errors import UsageError
from edgelm.models.quant_conv import Role, conv_for, is_quantized
from edgelm.models.quantizers import QuantScheme

__all__ = ["CUNet", "CUNetConfig"]

_NECK = 4  # 1x1 convolutions squeeze to 4n channels
_LEVELS = 4  # poolings of one U-Net


@dataclass(frozen=True)
class CUNetConfig:
    """Hyper-parameters, named as in the paper.

    Attributes:
        nets: N, the number of U-Nets.
        width: m, channels of the main streams.
        growth: n, channels of the features that are passed on.
        order: K, how many earlier U-Nets a block listens to (0: none).
        classes: landmarks, one heatmap each.
        supervisions: number of U-Nets with a head, spread evenly and ending with the last; None for all N.
    """

    nets: int = 2
    width: int = 128
    growth: int = 32
    order: int = 1
    classes: int = 68
    supervisions: int | None = None

    def __post_init__(self) -> None:
        ranges = {
            "nets": (self.nets, 1, 64), "width": (self.width, 1, 1024), "growth": (self.growth, 1, 512),
            "order": (self.order, 0, 64), "classes": (self.classes, 1, 1024),
            "supervisions": (self.nets if self.supervisions is None else self.supervisions, 1, self.nets),
        }  # fmt: skip
        for name, (value, low, high) in ranges.items():
            if not isinstance(value, int) or not low <= value <= high:
                raise UsageError(f"CU-Net: {name} is {low}..{high}, got {value!r}")

    @property
    def supervised(self) -> tuple[int, ...]:
        """0-based indices of the U-Nets that have a head: round(N / supervisions * (j + 1)) - 1."""
        count = self.nets if self.supervisions is None else self.supervisions
        return tuple(int(self.nets / count * (j + 1) + 0.5) - 1 for j in range(count))


class _Unit(nn.Module):
    """Concatenation - BatchNorm - ReLU - convolution ("BRC"). A layer that binarizes its input gets no ReLU."""

    def __init__(self, role: Role, in_channels: int, out_channels: int, kernel_size: int, scheme: QuantScheme) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.conv = conv_for(role, in_channels, out_channels, kernel_size, scheme)
        self.relu = not (is_quantized(role, scheme) and scheme.act_bits == 1)

    def forward(self, parts: Sequence[Tensor]) -> Tensor:
        x = self.norm(parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1))
        y: Tensor = self.conv(F.relu(x) if self.relu else x)
        return y


class _Block(nn.Module):
    """A semantic block: makes n new features from its inputs, and streams of m channels from inputs and features."""

    def __init__(self, in_channels: int, streams: int, config: CUNetConfig, scheme: QuantScheme) -> None:
        super().__init__()
        m, n = config.width, config.growth
        self.squeeze = _Unit("pointwise", in_channels, _NECK * n, 1, scheme)
        self.grow = _Unit("spatial", _NECK * n, n, 3, scheme)
        self.streams = nn.ModuleList(_Unit("pointwise", in_channels + n, m, 1, scheme) for _ in range(streams))

    def forward(self, parts: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The new features (N, n, H, W), and the streams (N, m, H, W) each."""
        feature = self.grow([self.squeeze(parts)])
        return feature, [stream([*parts, feature]) for stream in self.streams]


class _UNet(nn.Module):
    """One U-Net of the row; `coupled` = min(i, K) queued features reach each of its blocks."""

    def __init__(self, coupled: int, config: CUNetConfig, scheme: QuantScheme) -> None:
        super().__init__()
        m, extra = config.width, coupled * config.growth
        self.down = nn.ModuleList(_Block(m + extra, 2, config, scheme) for _ in range(_LEVELS))
        self.neck = _Block(m + extra, 1, config, scheme)
        self.up = nn.ModuleList(_Block(2 * m + extra, 1, config, scheme) for _ in range(_LEVELS))

    def forward(self, x: Tensor, queues: list[list[Tensor]]) -> tuple[Tensor, list[Tensor]]:
        """(N, m, h, w) and one queue (oldest first) per block -> (N, m, h, w) and the new feature of each block."""
        features, skips = [], []
        for block, queue in zip(self.down, queues, strict=False):
            feature, (x, skip) = block([x, *queue])
            features.append(feature)
            skips.append(skip)
            x = F.max_pool2d(x, 2)
        feature, (x,) = self.neck([x, *queues[_LEVELS]])
        features.append(feature)
        for block, queue in zip(self.up, queues[_LEVELS + 1 :], strict=True):
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            feature, (x,) = block([x, skips.pop(), *queue])
            features.append(feature)
        return x, features


class CUNet(nn.Module):
    """CU-Net for images whose sides are multiples of 64 px.

    Args:
        config: hyper-parameters.
        scheme: quantization; the stem and the last head always stay float.
    """

    stride = 4
    multiple = 64

    def __init__(self, config: CUNetConfig, scheme: QuantScheme) -> None:
        super().__init__()
        self.config, self.scheme = config, scheme
        m = config.width
        self.stem = conv_for("stem", 3, m, 7, scheme, stride=2)
        self.stem_norm = nn.BatchNorm2d(m)
        coupled = [min(i, config.order) for i in range(config.nets)]
        self.nets = nn.ModuleList(_UNet(c, config, scheme) for c in coupled)
        self.joins = nn.ModuleList(_Unit("pointwise", m * (1 + c), m, 1, scheme) for c in coupled[1:])
        last = config.nets - 1
        self.heads = nn.ModuleDict(
            {
                str(i): _Unit("last_head" if i == last else "head", m, config.classes, 1, scheme)
                for i in config.supervised
            }
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) float -> heatmaps (N, classes, H/4, W/4) of every supervised U-Net, the last one last."""
        if x.shape[2] % self.multiple or x.shape[3] % self.multiple:
            raise UsageError(f"CU-Net takes sides that are multiples of {self.multiple} px, got {tuple(x.shape[2:])}")
        x = F.max_pool2d(F.relu(self.stem_norm(self.stem(x))), 2)
        queues: list[list[Tensor]] = [[] for _ in range(2 * _LEVELS + 1)]
        entered: list[Tensor] = []
        outputs = []
        K = self.config.order
        for i, net in enumerate(self.nets):
            if i:
                x = self.joins[i - 1]([x, *entered])
            entered = [*entered, x][-K:] if K else []
            x, features = net(x, queues)
            queues = [[*q, f][-K:] if K else [] for q, f in zip(queues, features, strict=True)]
            if str(i) in self.heads:
                outputs.append(self.heads[str(i)]([x]))
        return outputs
