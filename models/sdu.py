"""SDU: stacked dense U-Nets with dual transformers (Guo et al., BMVC 2018).

A stem, then stacks that end in heatmaps of half the input's size each and feed the next. The inside transformer is
deformable convolution in three places, and optionally a rotation of the image; the outside one is a loss,
`edgelm.models.coherence`. Blocks and topologies have their own files.

f = channels, H, W = input size in px; heatmaps are H/2 x W/2.
"""

import dataclasses
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from edgelm.crops import get_crop
from edgelm.errors import UsageError
from edgelm.models.deform_conv import DeformConv2d
from edgelm.models.limits import check_limits
from edgelm.models.quant_conv import Role, is_quantized
from edgelm.models.quantizers import QuantScheme
from edgelm.models.rotate import Rotate
from edgelm.models.sdu_blocks import BLOCKS, Layers, block
from edgelm.models.sdu_topologies import TOPOLOGIES, topology
from edgelm.spec import ModelSpec

__all__ = ["SDU", "SDUConfig", "sdu_conventions", "sdu_size"]


@dataclass(frozen=True)
class SDUConfig:
    """Hyper-parameters.

    Attributes:
        topology: of a stack, a name of `edgelm.models.sdu_topologies`.
        block: a name of `edgelm.models.sdu_blocks`.
        stacks: how many.
        depth: poolings of a stack.
        deform: where convolutions are deformable: 0 nowhere, 1 before all stacks but the first, 2 in the heads, 3 both.
        rotate: whether the image is turned first.
        width: f, a multiple of 16.
        classes: landmarks, one heatmap each.
        side: of the input in px, which only a network that turns it depends on.
    """

    topology: str = "hourglass"
    block: str = "cab"
    stacks: int = 2
    depth: int = 4
    deform: int = 0
    rotate: bool = False
    width: int = 256
    classes: int = 68
    side: int = 128

    def __post_init__(self) -> None:
        for name, value, known in (("topology", self.topology, TOPOLOGIES), ("block", self.block, BLOCKS)):
            if value not in known:
                raise UsageError(f"SDU: {name} is one of {', '.join(known)}, got {value!r}")
        limits = {
            "stacks": (self.stacks, 1, 16), "depth": (self.depth, 1, 4), "deform": (self.deform, 0, 3),
            "width": (self.width, 16, 1024), "classes": (self.classes, 1, 1024), "side": (self.side, 32, 256),
        }  # fmt: skip
        check_limits("SDU", limits)
        if self.width % 16 or self.side % 32:
            raise UsageError(f"SDU: width goes in steps of 16 and side of 32, got {self.width} and {self.side}")
        if self.deform in (1, 3) and self.stacks == 1:
            raise UsageError(f"SDU: deform {self.deform} is between stacks, and there is only one; take 0 or 2")


class _Head(nn.Module):
    """Features and heatmaps of one stack, and what of both goes on to the next."""

    def __init__(self, make: Layers, config: SDUConfig, *, last: bool) -> None:
        super().__init__()
        f, K = config.width, config.classes
        role: Role = "last_head" if last else "head"
        deform = config.deform in (2, 3)
        self.features = DeformConv2d(f, f) if deform else nn.Sequential(make.range(f), make.conv(f, f, 1))
        self.norm, self.act = make.norm(f), make.act()
        self.maps = DeformConv2d(f, K) if deform else make.biased(f, K, role)
        self.relu = deform or not is_quantized(role, make.scheme)
        self.from_features = None if last else make.biased(f, f)
        self.from_maps = None if last else nn.Sequential(make.range(K), make.biased(K, f))

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Input x and result y (N, f, h, w) of a stack -> heatmaps (N, K, h, w) and the next stack's input."""
        features = self.norm(self.features(y))
        maps = self.maps(F.relu(features) if self.relu else self.act(features))
        if self.from_features is None or self.from_maps is None:
            return maps, x
        return maps, x + self.from_features(self.act(features)) + self.from_maps(maps)


class SDU(nn.Module):
    """Stacked dense U-Nets for images whose sides are multiples of 2^(depth + 1) px.

    Args:
        config: hyper-parameters.
        scheme: quantization; the first and the last convolution, depthwise, transposed and deformable ones and what
            finds the rotation stay float.
    """

    stride = 2
    multiple = 32

    def __init__(self, config: SDUConfig, scheme: QuantScheme) -> None:
        super().__init__()
        self.config, self.scheme = config, scheme
        make, kind, f = Layers(scheme), config.block, config.width
        self.rotate = Rotate(config.side) if config.rotate else nn.Identity()
        self.stem = make.conv(3, f // 4, 3, role="stem")
        self.stem_norm = make.norm(f // 4)
        self.enter = nn.Sequential(
            block(kind, make, f // 4, f // 2), nn.MaxPool2d(2), block(kind, make, f // 2, f // 2),
            block(kind, make, f // 2, f),
        )  # fmt: skip
        before = config.deform in (1, 3)
        self.before = nn.ModuleList(DeformConv2d(f, f) if i and before else nn.Identity() for i in range(config.stacks))
        self.stacks = nn.ModuleList(
            nn.Sequential(topology(config.topology, make, kind, config.depth, f), block(kind, make, f, f))
            for _ in range(config.stacks)
        )
        self.heads = nn.ModuleList(_Head(make, config, last=i == config.stacks - 1) for i in range(config.stacks))

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) float -> heatmaps (N, classes, H/2, W/2) of every stack, the last one last."""
        steps = 2 ** (self.config.depth + 1)
        if x.shape[2] % steps or x.shape[3] % steps:
            raise UsageError(f"this SDU takes sides that are multiples of {steps} px, got {tuple(x.shape[2:])}")
        x = self.enter(F.relu(self.stem_norm(self.stem(self.rotate(x)))))
        outputs = []
        for before, stack, head in zip(self.before, self.stacks, self.heads, strict=True):
            x = before(x)
            maps, x = head(x, stack(x))
            outputs.append(maps)
        return outputs


def sdu_size(config: SDUConfig) -> tuple[int, int]:
    """(H, W) px of the authors' input."""
    return config.side, config.side


def sdu_conventions(spec: ModelSpec) -> ModelSpec:
    """The authors' input, (value - 127.5) / 128, their decoding and, for faces, their crop."""
    source = dataclasses.replace(spec.input, mean=(127.5 / 255,) * 3, std=(128 / 255,) * 3)
    spec = dataclasses.replace(spec, input=source, decode="resize_argmax")
    return spec if spec.task == "pose" else dataclasses.replace(spec, crop=get_crop("sdu"))
