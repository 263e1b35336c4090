"""The "outside transformer": a network should say of a mirrored face what it says of the face, mirrored.

Guo et al., "Stacked Dense U-Nets with Dual Transformers", section 3.3: a loss between the heatmaps of a batch and its
mirror images, in training alone. N = images, K = landmarks, H, W = heatmap height and width.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from edgelm.errors import UsageError

__all__ = ["DISTANCES", "coherent_loss", "with_mirrored", "with_mirrored_maps"]

DISTANCES: Mapping[str, Callable[..., Tensor]] = {"l2": F.mse_loss, "smooth_l1": F.smooth_l1_loss}
"""Of two values, by name."""


def with_mirrored(images: Tensor) -> Tensor:
    """(N, C, H, W) -> (2N, C, H, W), the mirror images behind the others."""
    return torch.cat([images, images.flip(3)])


def with_mirrored_maps(maps: Tensor, permutation: Sequence[int]) -> Tensor:
    """Targets (N, K, H, W) -> (2N, K, H, W) of `with_mirrored` images.

    Args:
        maps: of the images.
        permutation: of the landmarks, see `edgelm.schemes.flip_permutation`.
    """
    return torch.cat([maps, maps.flip(3)[:, list(permutation)]])


def coherent_loss(maps: Tensor, permutation: Sequence[int], distance: str = "l2") -> Tensor:
    """How far the maps of mirror images are from the mirrored maps: summed over the pixels of a map, mean of the maps.

    Args:
        maps: (2N, K, H, W), of `with_mirrored` images.
        permutation: of the landmarks in a mirrored image.
        distance: "l2" or "smooth_l1", of two values.

    Raises:
        UsageError: an odd number of maps, another number of landmarks than the permutation has, an unknown distance.
    """
    if distance not in DISTANCES:
        raise UsageError(f"no distance {distance!r}; known are {', '.join(DISTANCES)}")
    if len(maps) % 2 or maps.shape[1] != len(permutation):
        raise UsageError(
            f"expected maps of images and as many mirror images, {len(permutation)} each, got {tuple(maps.shape)}"
        )
    straight, mirrored = maps.chunk(2)
    apart = DISTANCES[distance](straight, mirrored.flip(3)[:, list(permutation)], reduction="none")
    return apart.sum(dim=(2, 3)).mean()
