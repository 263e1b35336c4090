"""Iterative CU-Net: the same coupled U-Nets twice, the second time on a refined input.

From Tang et al., "Towards Efficient U-Nets: A Coupled and Quantized Approach", iterative refinement. The first pass
goes as far as the input of the last U-Net. That and the input of the first U-Net, 2m channels together, go through four
densely connected 3x3 convolutions of growth g and a 1x1 to m channels, and on the result the row runs again. Both
passes share every convolution; each has BatchNorms of its own, since their maps differ in distribution.

m = width of the streams, g = growth of the refinement; sizes as in `edgelm.models.cunet`.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from edgelm.errors import UsageError
from edgelm.models.brc import Brc
from edgelm.models.cunet import CoupledNets, CUNet, CUNetConfig
from edgelm.models.limits import check_limits
from edgelm.models.quantizers import QuantScheme

__all__ = ["IterativeCUNet", "IterativeCUNetConfig"]

_LAYERS = 4  # 3x3 convolutions of the refinement


@dataclass(frozen=True)
class IterativeCUNetConfig(CUNetConfig):
    """Hyper-parameters of CU-Net, of which there are two U-Nets or more, and one more.

    Attributes:
        refine_growth: g, channels of each 3x3 convolution between the passes.
    """

    nets: int = 4
    refine_growth: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nets < 2:
            raise UsageError(f"iterative CU-Net: nets is 2..64, got {self.nets}; the first pass ends before the last")
        check_limits("iterative CU-Net", {"refine_growth": (self.refine_growth, 1, 512)})


class _Refinement(nn.Module):
    """(N, 2m, h, w) in two parts -> (N, m, h, w)."""

    def __init__(self, config: IterativeCUNetConfig, scheme: QuantScheme) -> None:
        super().__init__()
        m, g = config.width, config.refine_growth
        self.layers = nn.ModuleList(Brc("spatial", 2 * m + j * g, g, 3, scheme) for j in range(_LAYERS))
        self.out = Brc("pointwise", 2 * m + _LAYERS * g, m, 1, scheme)

    def forward(self, first: Tensor, last: Tensor) -> Tensor:
        parts = [first, last]
        for layer in self.layers:
            parts.append(layer(parts))
        y: Tensor = self.out(parts)
        return y


class IterativeCUNet(CUNet):
    """Iterative CU-Net for images whose sides are multiples of 64 px; its own layers are those of the second pass.

    Args:
        config: hyper-parameters.
        scheme: quantization; the stem and the last head always stay float.
    """

    def __init__(self, config: IterativeCUNetConfig, scheme: QuantScheme) -> None:
        super().__init__(config, scheme)
        self.refine = _Refinement(config, scheme)
        self.first = CoupledNets(config, scheme, config.nets - 1, stem=False)
        for path, unit in self.first.named_modules():
            if isinstance(unit, Brc):
                shared = self.get_submodule(path)
                assert isinstance(shared, Brc)
                unit.conv = shared.conv

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) float -> heatmaps (N, classes, H/4, W/4): the first pass's heads, then the second's."""
        entered = self.enter(x)
        early, last = self.first.couple(entered)
        return [*early, *self.couple(self.refine(entered, last))[0]]
