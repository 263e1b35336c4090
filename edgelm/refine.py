"""Where between the pixels a peak lies, told from the pixels around it: beyond the quarter pixel of the field's rules.

Both ways read a map as mass, values that are not negative; which mass a map holds is `edgelm.decode`'s affair.
M = maps, x, y = column and row of each map's peak.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Refine", "around", "refine"]

Array = npt.NDArray[Any]
Refine = Literal["rule", "none", "soft_argmax", "dark"]
"""How a peak is refined: as the decode rule says, not at all, or in one of this module's ways."""

_SOFT_REACH = 3  # px: about 2 sigma of the fields' targets
_BLUR_SIGMA = 2.0  # px, over 11 px: what DARK smooths maps of 64 px with
_BLUR_REACH = 5
_CURVE_REACH = 2
_LEAST = 1e-10
_FARTHEST = 1.0  # px: a maximum is in its own pixel or beside it; farther, the curvature was noise


def around(maps: Array, x: Array, y: Array, reach: int) -> tuple[Array, Array]:
    """The pixels within `reach` of (x, y) along either axis.

    Returns:
        values (M, 2 reach + 1, 2 reach + 1), and which of them lie inside the map; those outside are arbitrary.
    """
    M, h, w = maps.shape
    offsets = np.arange(-reach, reach + 1)
    rows, columns = y[:, None] + offsets, x[:, None] + offsets
    inside = ((rows >= 0) & (rows < h))[:, :, None] & ((columns >= 0) & (columns < w))[:, None, :]
    rows, columns = rows.clip(0, h - 1), columns.clip(0, w - 1)
    return maps[np.arange(M)[:, None, None], rows[:, :, None], columns[:, None, :]], inside


def refine(
    maps: Array, x: Array, y: Array, way: Literal["soft_argmax", "dark"], mass: Callable[[Array], Array]
) -> Array:
    """How far the peak lies from the middle of its pixel: (M, 2) float64 px, x and y, at most 1 px along each axis.

    Args:
        maps: (M, h, w) float32.
        x: (M,) column of each map's largest pixel.
        y: (M,) row of it.
        way: "soft_argmax" the mean position of the mass within 3 px. "dark" the maximum of the second-order Taylor
            series of the logarithm of the smoothed mass, exact for a Gaussian (Zhang et al., "Distribution-aware
            coordinate representation", CVPR 2020, section 3.2); nothing where the logarithm does not curve downwards.
        mass: makes values (M, a, b) around each peak to mass.
    """
    if way == "soft_argmax":
        values, inside = around(maps, x, y, _SOFT_REACH)
        return _mean(np.where(inside, mass(values), 0.0).astype(np.float64))
    values, inside = around(maps, x, y, _BLUR_REACH + _CURVE_REACH)
    return _taylor(np.where(inside, mass(values), 0.0).astype(np.float64))


def _mean(mass: Array) -> Array:
    """The mean position (M, 2) of mass (M, p, p), counted from its middle; 0 where there is none."""
    reach = mass.shape[1] // 2
    offsets = np.arange(-reach, reach + 1)
    total = mass.sum((1, 2))
    moment = np.stack([(mass.sum(1) * offsets).sum(-1), (mass.sum(2) * offsets).sum(-1)], -1)
    return np.clip(moment / np.where(total > 0, total, 1.0)[:, None], -_FARTHEST, _FARTHEST)


def _taylor(mass: Array) -> Array:
    """DARK's offset (M, 2) from mass (M, p, p) around the peak, p wide enough for the smoothing and the derivatives."""
    blur = np.exp(-(np.arange(-_BLUR_REACH, _BLUR_REACH + 1) ** 2) / (2 * _BLUR_SIGMA**2))
    blur /= blur.sum()
    size = 2 * _CURVE_REACH + 1
    window = np.zeros((size, mass.shape[1]))
    for i in range(size):
        window[i, i : i + len(blur)] = blur
    log = np.log(np.maximum(window @ mass @ window.T, _LEAST))
    c = _CURVE_REACH
    dx, dy = (log[:, c, c + 1] - log[:, c, c - 1]) / 2, (log[:, c + 1, c] - log[:, c - 1, c]) / 2
    dxx = (log[:, c, c + 2] - 2 * log[:, c, c] + log[:, c, c - 2]) / 4
    dyy = (log[:, c + 2, c] - 2 * log[:, c, c] + log[:, c - 2, c]) / 4
    dxy = (log[:, c + 1, c + 1] - log[:, c - 1, c + 1] - log[:, c + 1, c - 1] + log[:, c - 1, c - 1]) / 4
    det = dxx * dyy - dxy**2
    peaked = (dxx < 0) & (det > 0)
    det = np.where(peaked, det, 1.0)
    offset = -np.stack([dyy * dx - dxy * dy, dxx * dy - dxy * dx], -1) / det[:, None]
    fine = peaked & (np.abs(offset) <= _FARTHEST).all(-1)
    return np.where(fine[:, None], offset, 0.0)
