"""HRNet: parallel streams at 1/4 to 1/32 of the input, fused again and again (Wang et al., PAMI, tables 1 to 3).

Module names are those of the published checkpoints, so that a published state_dict fits as it is. V1 (pose) upsamples
by nearest neighbours and reads the finest stream; V2 (face) upsamples bilinearly and reads all four.

C = width of the finest stream; stream i has 2^i C channels on a map of H / 2^(2 + i) x W / 2^(2 + i).
Post-activation: convolution - BatchNorm - ReLU. Where activations are signs, those take the place of the ReLUs before
quantized convolutions: behind a ReLU every sign would be the same.
"""

import dataclasses
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgelm.crops import get_crop
from edgelm.errors import UsageError
from edgelm.models.limits import check_limits
from edgelm.models.quant_conv import Role, conv_for, role_of
from edgelm.models.quantizers import QuantScheme
from edgelm.spec import ModelSpec

__all__ = ["HRNet", "HRNetConfig", "hrnet_conventions", "hrnet_size"]

_STEM = 64  # channels of the stem and inside the bottlenecks
_EXPANDED = 256  # channels that these give
_BOTTLENECKS = 4  # of the first stage
_MOMENTUM = {"v1": 0.1, "v2": 0.01}


@dataclass(frozen=True)
class HRNetConfig:
    """Hyper-parameters.

    Attributes:
        width: C, channels of the finest stream; the paper's W32, W48 and W18.
        head: "v1": from the finest stream; "v2": from all of them.
        classes: landmarks, one heatmap each.
        modules: of the stages with two, three and four streams.
        blocks: residual blocks of a stream in a module.
    """

    width: int = 32
    head: Literal["v1", "v2"] = "v1"
    classes: int = 17
    modules: tuple[int, int, int] = (1, 4, 3)
    blocks: int = 4

    def __post_init__(self) -> None:
        limits = {"width": (self.width, 1, 256), "classes": (self.classes, 1, 1024), "blocks": (self.blocks, 1, 16)}
        check_limits("HRNet", limits)
        if len(self.modules) != 3 or not all(isinstance(n, int) and 1 <= n <= 16 for n in self.modules):
            raise UsageError(f"HRNet: modules are three numbers of 1..16, got {self.modules!r}")
        if self.head not in _MOMENTUM:
            raise UsageError(f"HRNet: head is v1 or v2, got {self.head!r}")


class _Maker:
    """Makes the layers of one network: they share scheme, BatchNorm momentum and activation."""

    def __init__(self, config: HRNetConfig, scheme: QuantScheme) -> None:
        self.config, self.scheme = config, scheme
        self.momentum = _MOMENTUM[config.head]
        self.mode = "nearest" if config.head == "v1" else "bilinear"
        self.signs = scheme.weights != "float" and scheme.act_bits == 1

    def conv(self, i: int, o: int, side: int, stride: int = 1, role: Role | None = None) -> nn.Module:
        return conv_for(role or role_of(side), i, o, side, self.scheme, stride=stride)

    def norm(self, channels: int) -> nn.BatchNorm2d:
        return nn.BatchNorm2d(channels, momentum=self.momentum)

    def act(self) -> nn.Module:
        return nn.Identity() if self.signs else nn.ReLU()

    def unit(self, i: int, o: int, side: int, stride: int = 1, *, act: bool = True) -> nn.Sequential:
        layers = [self.conv(i, o, side, stride), self.norm(o)]
        return nn.Sequential(*layers, self.act()) if act else nn.Sequential(*layers)

    def upsampled(self, i: int, o: int, factor: int) -> nn.Sequential:
        corners = None if self.mode == "nearest" else False
        up = nn.Upsample(scale_factor=factor, mode=self.mode, align_corners=corners)
        return nn.Sequential(self.conv(i, o, 1), self.norm(o), up)


class _Bottleneck(nn.Module):
    """Two 1x1 convolutions around a 3x3 one, and the input added."""

    def __init__(self, make: _Maker, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = make.conv(channels, _STEM, 1), make.norm(_STEM)
        self.conv2, self.bn2 = make.conv(_STEM, _STEM, 3), make.norm(_STEM)
        self.conv3, self.bn3 = make.conv(_STEM, _EXPANDED, 1), make.norm(_EXPANDED)
        self.downsample = make.unit(channels, _EXPANDED, 1, act=False) if channels != _EXPANDED else nn.Identity()
        self.act = make.act()

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.bn1(self.conv1(x)))
        y = self.act(self.bn2(self.conv2(y)))
        total: Tensor = self.act(self.bn3(self.conv3(y)) + self.downsample(x))
        return total


class _Basic(nn.Module):
    """Two 3x3 convolutions, and the input added."""

    def __init__(self, make: _Maker, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = make.conv(channels, channels, 3), make.norm(channels)
        self.conv2, self.bn2 = make.conv(channels, channels, 3), make.norm(channels)
        self.act = make.act()

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.bn1(self.conv1(x)))
        total: Tensor = self.act(self.bn2(self.conv2(y)) + x)
        return total


class _Module(nn.Module):
    """Residual blocks in every stream, then each of `targets` streams is the sum of all, brought to its size."""

    def __init__(self, make: _Maker, widths: list[int], targets: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(_Basic(make, c) for _ in range(make.config.blocks))) for c in widths
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_way(make, widths, j, i) for j in range(len(widths))) for i in range(targets)
        )
        self.act = make.act()

    def forward(self, streams: list[Tensor]) -> list[Tensor]:
        streams = [branch(x) for branch, x in zip(self.branches, streams, strict=True)]
        fused = []
        for ways in self.fuse_layers:
            assert isinstance(ways, nn.ModuleList)
            terms = [way(x) for way, x in zip(ways, streams, strict=True)]
            total = terms[0]
            for term in terms[1:]:
                total = total + term
            fused.append(self.act(total))
        return fused


def _way(make: _Maker, widths: list[int], source: int, target: int) -> nn.Module:
    """From one stream's size and channels to another's."""
    i, o = widths[source], widths[target]
    if source == target:
        return nn.Identity()
    if source > target:
        return make.upsampled(i, o, 2 ** (source - target))
    steps = target - source
    return nn.Sequential(*(make.unit(i, i, 3, 2) for _ in range(steps - 1)), make.unit(i, o, 3, 2, act=False))


class HRNet(nn.Module):
    """HRNet for images whose sides are multiples of 32 px.

    Args:
        config: hyper-parameters.
        scheme: quantization; the first convolution and the last one always stay float.
    """

    stride = 4
    multiple = 32

    def __init__(self, config: HRNetConfig, scheme: QuantScheme) -> None:
        super().__init__()
        self.config, self.scheme = config, scheme
        make = _Maker(config, scheme)
        widths = [config.width * 2**i for i in range(4)]
        self.conv1, self.bn1 = make.conv(3, _STEM, 3, 2, "stem"), make.norm(_STEM)
        self.conv2, self.bn2 = make.conv(_STEM, _STEM, 3, 2), make.norm(_STEM)
        self.layer1 = nn.Sequential(*(_Bottleneck(make, _EXPANDED if i else _STEM) for i in range(_BOTTLENECKS)))
        first = [make.unit(_EXPANDED, widths[0], 3), nn.Sequential(make.unit(_EXPANDED, widths[1], 3, 2))]
        self.transition1 = nn.ModuleList(first)
        self.transition2 = _transition(make, widths[:3])
        self.transition3 = _transition(make, widths[:4])
        self.stage2 = _stage(make, widths[:2], 2)
        self.stage3 = _stage(make, widths[:3], 3)
        self.stage4 = _stage(make, widths[:4], 1 if config.head == "v1" else 4)
        self.act = make.act()
        if config.head == "v1":
            self.final_layer = _last(config.width, config.classes)
        else:
            total = sum(widths)
            inner = make.conv(total, total, 1)
            if isinstance(inner, nn.Conv2d):  # as published, though the BatchNorm behind it takes any bias off again
                inner = nn.Conv2d(total, total, 1)
            self.head = nn.Sequential(inner, make.norm(total), nn.ReLU(), _last(total, config.classes))

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) float -> [heatmaps (N, classes, H/4, W/4)]."""
        if x.shape[2] % self.multiple or x.shape[3] % self.multiple:
            raise UsageError(f"HRNet takes sides that are multiples of {self.multiple} px, got {tuple(x.shape[2:])}")
        x = self.act(self.bn1(self.conv1(x)))
        x = self.layer1(self.act(self.bn2(self.conv2(x))))
        streams = [transition(x) for transition in self.transition1]
        for stage, transition in ((self.stage2, self.transition2), (self.stage3, self.transition3)):
            streams = _run(stage, streams)
            streams = [*streams, transition[-1](streams[-1])]
        streams = _run(self.stage4, streams)
        if self.config.head == "v1":
            return [self.final_layer(streams[0])]
        larger = [
            F.interpolate(s, scale_factor=2**i, mode="bilinear", align_corners=False)
            for i, s in enumerate(streams[1:], 1)
        ]
        return [self.head(torch.cat([streams[0], *larger], dim=1))]


def _last(channels: int, classes: int) -> nn.Conv2d:
    return nn.Conv2d(channels, classes, 1)


def _transition(make: _Maker, widths: list[int]) -> nn.ModuleList:
    """Nothing for the streams that are there, and a new one of half the size from the last of them."""
    new = nn.Sequential(make.unit(widths[-2], widths[-1], 3, 2))
    return nn.ModuleList([*(nn.Identity() for _ in widths[:-1]), new])


def _stage(make: _Maker, widths: list[int], targets: int) -> nn.ModuleList:
    """The modules of a stage, the last of which gives `targets` streams."""
    count = make.config.modules[len(widths) - 2]
    return nn.ModuleList(_Module(make, widths, targets if i == count - 1 else len(widths)) for i in range(count))


def _run(stage: nn.ModuleList, streams: list[Tensor]) -> list[Tensor]:
    for module in stage:
        streams = module(streams)
    return streams


def hrnet_size(config: HRNetConfig) -> tuple[int, int]:
    """(H, W) px of the authors' input: 256 x 192 for the 17 joints of COCO, else square."""
    return (256, 192) if config.head == "v1" and config.classes == 17 else (256, 256)


def hrnet_conventions(spec: ModelSpec) -> ModelSpec:
    """The authors' input normalisation and, for people, their crop, decoding and flip test."""
    source = dataclasses.replace(spec.input, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    spec = dataclasses.replace(spec, input=source)
    if spec.task != "pose":
        return spec
    if spec.crop.preset != "mpii":
        aspect = spec.input.width / spec.input.height
        spec = dataclasses.replace(spec, crop=dataclasses.replace(get_crop("hrnet_pose"), aspect=aspect))
    return dataclasses.replace(spec, decode="index", flip_test="average_shift")
