"""Heatmap targets and losses.

N = batch, K = landmarks, H, W = heatmap height and width. Landmarks are in heatmap coordinates of the `center` rule:
cell (ix, iy) covers [ix, ix + 1) x [iy, iy + 1) and its centre is at (ix + 0.5, iy + 0.5).
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from edgelm.errors import UsageError
from edgelm.spec import Score

__all__ = ["LOSSES", "SCORES", "gaussian_maps", "get_loss", "terms"]


def gaussian_maps(uv: Tensor, height: int, width: int, sigma: float, window: int | None = None) -> Tensor:
    """Gaussians exp(-d^2 / (2 sigma^2)) around landmarks.

    Args:
        uv: (N, K, 2) float, (x, y) in heatmap px; landmarks outside the map, or NaN, get an all-zero map.
        height: H.
        width: W.
        sigma: in heatmap px; 0 for a one in the cell that holds the landmark, and zeros elsewhere.
        window: side of the square around the landmark outside which the map is zero, in heatmap px; None for no limit.
            CU-Net draws exp(-d^2 / 9) on 7 x 7 px: sigma 3 / sqrt(2), window 7.

    Returns:
        (N, K, H, W) float32.
    """
    x = torch.arange(width, device=uv.device) + 0.5
    y = torch.arange(height, device=uv.device) + 0.5
    profiles = []
    for place, axis in ((x, 0), (y, 1)):
        distance = place - uv[..., axis, None]
        if sigma == 0:
            profile = (place.floor() == uv[..., axis, None].floor()).to(uv.dtype)
        else:
            profile = torch.exp(-(distance**2) / (2 * sigma**2))
        profiles.append(profile if window is None else profile * (distance.abs() <= window / 2))
    dx, dy = profiles
    inside = (uv >= 0).all(-1) & (uv[..., 0] < width) & (uv[..., 1] < height)
    return torch.where(inside[..., None, None], dy[..., :, None] * dx[..., None, :], 0)


def _mse(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of the maps (CU-Net, SHG)."""
    return F.mse_loss(output, target)


def _softmax(output: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of a softmax over the pixels of each map against the normalised Gaussian (SDU, soft target).

    Maps without a target (the landmark lies outside) count nothing.
    """
    mass = target.flatten(2).sum(-1)
    shares = target.flatten(2) / mass.clamp_min(1e-6)[..., None]
    loss = -(shares * F.log_softmax(output.flatten(2), dim=-1)).sum(-1)
    return (loss * (mass > 0)).sum() / (mass > 0).sum().clamp_min(1)


def _bce(output: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of each pixel's sigmoid against the Gaussian (BCLL: 76.0 % PCKh, where MSE gives 73.8 %).

    The outputs are logits: the largest pixel is the same, a confidence is the sigmoid of its value.
    """
    return F.binary_cross_entropy_with_logits(output, target)


LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": _mse, "softmax": _softmax, "bce": _bce}
"""Loss by name: (output, target), both (N, K, H, W) -> scalar."""

SCORES: Mapping[str, Score] = {"mse": "max", "softmax": "softmax_near", "bce": "sigmoid_max"}
"""How a score is read off maps that were trained with a loss, see `edgelm.decode`."""


def terms(name: str, target: Tensor) -> int:
    """How many equal terms the named loss is the mean of: samples, or for softmax maps with a target (N, K, H, W)."""
    return int((target.flatten(2).sum(-1) > 0).sum()) if name == "softmax" else len(target)


def get_loss(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Look a loss up; an unknown name raises UsageError with the known ones."""
    if name not in LOSSES:
        raise UsageError(f"no loss {name!r}; known are {', '.join(LOSSES)}")
    return LOSSES[name]
