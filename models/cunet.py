"""CU-Net: coupled U-Nets (Tang et al., "Towards Efficient U-Nets: A Coupled and Quantized Approach", section 4).

N U-Nets in a row; a semantic block takes, beside its own input, the features that the blocks at the same place of the
last K U-Nets made. Only those n-channel features are queued, and by reference: a consumer concatenates what it reads.

m = width of the streams, n = growth, K = order, H, W = input size in px; heatmaps are H/4 x W/4.
Pre-activation everywhere: concatenation - BatchNorm - ReLU (or sign) - convolution without bias.
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

__all__ = ["CUNet", "CUNetConfig", "CoupledNets"]

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
        limits = {
            "nets": (self.nets, 1, 64), "width": (self.width, 1, 1024), "growth": (self.growth, 1, 512),
            "order": (self.order, 0, 64), "classes": (self.classes, 1, 1024),
            "supervisions": (self.nets if self.supervisions is None else self.supervisions, 1, self.nets),
        }  # fmt: skip
        check_limits("CU-Net", limits)

    @property
    def supervised(self) -> tuple[int, ...]:
        """0-based indices of the U-Nets that have a head: round(N / supervisions * (j + 1)) - 1."""
        count = self.nets if self.supervisions is None else self.supervisions
        return tuple(int(self.nets / count * (j + 1) + 0.5) - 1 for j in range(count))


class _Block(nn.Module):
    """A semantic block: makes n new features from its inputs, and streams of m channels from inputs and features."""

    def __init__(self, in_channels: int, streams: int, config: CUNetConfig, scheme: QuantScheme) -> None:
        super().__init__()
        m, n = config.width, config.growth
        self.squeeze = Brc("pointwise", in_channels, _NECK * n, 1, scheme)
        self.grow = Brc("spatial", _NECK * n, n, 3, scheme)
        self.streams = nn.ModuleList(Brc("pointwise", in_channels + n, m, 1, scheme) for _ in range(streams))

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


class CoupledNets(nn.Module):
    """The first U-Nets of a row with their heads, and what joins one to the next.

    Args:
        config: hyper-parameters of the whole row.
        scheme: quantization; the stem and the last head of the whole row stay float.
        count: how many of its U-Nets; the join that follows belongs to them.
        stem: whether the stem belongs to them.
    """

    def __init__(self, config: CUNetConfig, scheme: QuantScheme, count: int, *, stem: bool) -> None:
        super().__init__()
        m, self.order = config.width, config.order
        if stem:  # the first module: packed checkpoints keep weights in this order
            self.stem = conv_for("stem", 3, m, 7, scheme, stride=2)
            self.stem_norm = nn.BatchNorm2d(m)
        coupled = [min(i, config.order) for i in range(config.nets)]
        self.nets = nn.ModuleList(_UNet(c, config, scheme) for c in coupled[:count])
        self.joins = nn.ModuleList(Brc("pointwise", m * (1 + c), m, 1, scheme) for c in coupled[1 : count + 1])
        last = config.nets - 1
        self.heads = nn.ModuleDict(
            {
                str(i): Brc("last_head" if i == last else "head", m, config.classes, 1, scheme)
                for i in config.supervised
                if i < count
            }
        )

    def couple(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """(N, m, h, w) -> heatmaps (N, classes, h, w) per head, and the next U-Net's input or the last one's output."""
        queues: list[list[Tensor]] = [[] for _ in range(2 * _LEVELS + 1)]
        entered: list[Tensor] = []
        outputs = []
        K = self.order
        for i, net in enumerate(self.nets):
            entered = [*entered, x][-K:] if K else []
            x, features = net(x, queues)
            queues = [[*q, f][-K:] if K else [] for q, f in zip(queues, features, strict=True)]
            if str(i) in self.heads:
                outputs.append(self.heads[str(i)]([x]))
            if i < len(self.joins):
                x = self.joins[i]([x, *entered])
        return outputs, x


class CUNet(CoupledNets):
    """CU-Net for images whose sides are multiples of 64 px.

    Args:
        config: hyper-parameters.
        scheme: quantization; the stem and the last head always stay float.
    """

    stride = 4
    multiple = 64

    def __init__(self, config: CUNetConfig, scheme: QuantScheme) -> None:
        super().__init__(config, scheme, config.nets, stem=True)
        self.config, self.scheme = config, scheme

    def enter(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, m, H/4, W/4); UsageError where the poolings do not divide the sides."""
        if image.shape[2] % self.multiple or image.shape[3] % self.multiple:
            raise UsageError(
                f"CU-Net takes sides that are multiples of {self.multiple} px, got {tuple(image.shape[2:])}"
            )
        return F.max_pool2d(F.relu(self.stem_norm(self.stem(image))), 2)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) float -> heatmaps (N, classes, H/4, W/4) of every supervised U-Net, the last one last."""
        return self.couple(self.enter(x))[0]
