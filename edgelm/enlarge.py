"""Heatmaps enlarged bilinearly to a square, for the decode rule `resize_argmax`.

Areas are kept aligned, as in OpenCV's INTER_LINEAR: the middle of pixel j of n lies at (j + 0.5) / n of the side.
`enlarge_numpy` is the specification, and what runs where OpenCV is not installed; OpenCV is faster.
M = maps, h, w = height and width of a map, S = the new side.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from edgelm.errors import PackageMissingError
from edgelm.opencv import import_cv2

__all__ = ["enlarge", "enlarge_numpy", "enlarged_peak"]

Array = npt.NDArray[Any]


def enlarge(maps: Array, side: int) -> Array:
    """Maps (M, h, w) float32 -> (M, S, S) float32."""
    try:
        cv2 = import_cv2()
    except PackageMissingError:
        return enlarge_numpy(maps, side)
    large = np.empty((len(maps), side, side), np.float32)
    for one, room in zip(maps, large, strict=True):
        cv2.resize(one, (side, side), dst=room, interpolation=cv2.INTER_LINEAR)
    return large


def enlarge_numpy(maps: Array, side: int) -> Array:
    """As `enlarge`, with numpy alone."""
    rows, below, down = _between(maps.shape[1], side)
    columns, beside, across = _between(maps.shape[2], side)
    wide = maps[:, :, columns] * (1 - across) + maps[:, :, beside] * across
    large: Array = wide[:, rows] * (1 - down)[:, None] + wide[:, below] * down[:, None]
    return large


def enlarged_peak(maps: Array, side: int) -> tuple[Array, Array]:
    """Column and row (M,) of the first row-major maximum of `enlarge(maps, side)`, which is never held as a whole."""
    # One map at a time: its 64 KB stay in the cache, 68 maps at once do not.
    index = np.array([int(enlarge(maps[m : m + 1], side).argmax()) for m in range(len(maps))], np.intp)
    y, x = np.divmod(index, side)
    return x, y


def _between(length: int, side: int) -> tuple[Array, Array, Array]:
    """For each new pixel (S,): the old one before it, the one behind, and the share of the latter, float32."""
    at = np.clip((np.arange(side) + 0.5) * (length / side) - 0.5, 0, length - 1)
    before = np.floor(at).astype(np.intp)
    return before, np.minimum(before + 1, length - 1), (at - before).astype(np.float32)
