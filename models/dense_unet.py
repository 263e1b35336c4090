"""Dense U-Net: one U-Net with dense blocks in place of single layers.

It is what Tang et al., "Towards Efficient U-Nets: A Coupled and Quantized Approach", compare CU-Net with. At each place
L layers make n features each, and each of them reads the block's inputs and all features before its own.

m = width of the streams, n = growth, L = layers of a block; sizes as in `edgelm.models.cunet`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from edgelm.errors import UsageError
from edgelm.models.brc import Brc
from edgelm.models.limits import check_limits
from edgelm.models.quant_conv import conv_for
from edgelm.models.quantizers import QuantScheme

__all__ = ["DenseUNet", "DenseUNetConfig"]

_NECK = 4  # 1x1 convolutions squeeze to 4n channels
_LEVELS = 4  # poolings


@dataclass(frozen=True)
class DenseUNetConfig:
    """Hyper-parameters.

    Attributes:
        layers: L, dense layers of each block.
        width: m, channels of the main streams.
        growth: n, channels of the features that a layer makes.
        classes: landmarks, one heatmap each.
    """

    layers: int = 4
    width: int = 128
    growth: int = 32
    classes: int = 68

    def __post_init__(self) -> None:
        limits = {
            "layers": (self.layers, 1, 64), "width": (self.width, 1, 1024), "growth": (self.growth, 1, 512),
            "classes": (self.classes, 1, 1024),
        }  # fmt: skip
        check_limits("Dense U-Net", limits)


class _DenseBlock(nn.Module):
    """L dense layers, and streams of m channels from the inputs and all features."""

    def __init__(self, in_channels: int, streams: int, config: DenseUNetConfig, scheme: QuantScheme) -> None:
        super().__init__()
        m, n, L = config.width, config.growth, config.layers
        self.squeeze = nn.ModuleList(Brc("pointwise", in_channels + j * n, _NECK * n, 1, scheme) for j in range(L))
        self.grow = nn.ModuleList(Brc("spatial", _NECK * n, n, 3, scheme) for _ in range(L))
        self.streams = nn.ModuleList(Brc("pointwise", in_channels + L * n, m, 1, scheme) for _ in range(streams))

    def forward(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """(N, C_i, H, W) each -> the streams (N, m, H, W) each."""
        known = list(parts)
        for squeeze, grow in zip(self.squeeze, self.grow, strict=True):
            known.append(grow([squeeze(known)]))
        return [stream(known) for stream in self.streams]


class DenseUNet(nn.Module):
    """Dense U-Net for images whose sides are multiples of 64 px.

    Args:
        config: hyper-parameters.
        scheme: quantization; the stem and the head always stay float.
    """

    stride = 4
    multiple = 64

    def __init__(self, config: DenseUNetConfig, scheme: QuantScheme) -> None:
        super().__init__()
        self.config, self.scheme = config, scheme
        m = config.width
        self.stem = conv_for("stem", 3, m, 7, scheme, stride=2)
        self.stem_norm = nn.BatchNorm2d(m)
        self.down = nn.ModuleList(_DenseBlock(m, 2, config, scheme) for _ in range(_LEVELS))
        self.neck = _DenseBlock(m, 1, config, scheme)
        self.up = nn.ModuleList(_DenseBlock(2 * m, 1, config, scheme) for _ in range(_LEVELS))
        self.head = Brc("last_head", m, config.classes, 1, scheme)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) float -> heatmaps (N, classes, H/4, W/4) in a list of one."""
        if x.shape[2] % self.multiple or x.shape[3] % self.multiple:
            raise UsageError(
                f"Dense U-Net takes sides that are multiples of {self.multiple} px, got {tuple(x.shape[2:])}"
            )
        x = F.max_pool2d(F.relu(self.stem_norm(self.stem(x))), 2)
        skips = []
        for block in self.down:
            x, skip = block([x])
            skips.append(skip)
            x = F.max_pool2d(x, 2)
        (x,) = self.neck([x])
        for block in self.up:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            (x,) = block([x, skips.pop()])
        return [self.head([x])]
