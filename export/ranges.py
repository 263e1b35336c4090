"""What values a float network computes on photos, and in which steps 8 bits count them.

Observing only; `edgelm.export.passes.quantize_float` writes the steps into a graph.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgelm.export.interpret import Interpreted

__all__ = ["USUAL_SHARE", "Range", "observe"]

USUAL_SHARE = 0.9999
"""Of a map's values that the usual range covers in every image; the rest is clipped, where that costs less."""
_LEVELS = 255


@dataclass(frozen=True)
class Range:
    """The values that 256 levels stand for: low <= 0 <= high, so that 0, which pads maps, is one of them exactly."""

    low: float
    high: float

    def join(self, other: "Range") -> "Range":
        """The smallest range that holds both."""
        return Range(min(self.low, other.low), max(self.high, other.high))

    @property
    def step(self) -> np.float32:
        """What one level stands for."""
        return np.float32((self.high - self.low) / _LEVELS) or np.float32(1)

    @property
    def zero(self) -> int:
        """The level of 0, from 0 to 255."""
        return min(_LEVELS, max(0, round(-self.low / float(self.step))))


def observe(network: Interpreted, images: Sequence[NDArray[np.float32]]) -> Mapping[str, tuple[Range, Range]]:
    """Of every value in a graph, by name, the range of all that occurs and the range of nearly all.

    Args:
        network: the float graph.
        images: inputs (H, W, 3) float32.
    """
    found: dict[str, tuple[Range, Range]] = {}

    def look(name: str, value: Tensor) -> None:
        every, usual = (_range(value, share) for share in (1.0, USUAL_SHARE))
        before = found.get(name, (Range(0.0, 0.0),) * 2)
        found[name] = before[0].join(every), before[1].join(usual)

    with torch.no_grad():
        for image in images:
            network(torch.from_numpy(image[None]).permute(0, 3, 1, 2), look)
    return found


def _range(value: Tensor, share: float) -> Range:
    flat = value.flatten()
    count = flat.numel()
    outside = round((1 - share) * count)
    low = flat.kthvalue(1 + outside).values if outside else flat.min()
    high = flat.kthvalue(count - outside).values if outside else flat.max()
    return Range(min(0.0, float(low)), max(0.0, float(high)))
