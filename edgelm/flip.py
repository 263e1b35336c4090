"""The flip test: a network sees each crop and its mirror image, and the heatmaps of both are averaged.

Where papers add the two maps instead, points are the same and scores twice as large; edgelm averages, so that scores
keep their scale. N = crops, K = landmarks, H, W = input height and width, h, w = heatmap height and width.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from edgelm.schemes import flip_permutation
from edgelm.spec import ModelSpec

__all__ = ["merge", "mirrored"]

Array = npt.NDArray[Any]


def mirrored(x: Array) -> Array:
    """Crops (N, H, W, 3) with left and right swapped, a new array whose memory lies in the same order of axes."""
    out = np.empty_like(x)  # keeps the order of the strides
    out[:] = x[:, :, ::-1]
    return out


def merge(plain: Array, flipped: Array, spec: ModelSpec) -> Array:
    """The mean of the heatmaps of crops and of their mirror images, both (N, K, h, w) float32.

    The mirrored ones are mirrored back and their landmarks put in order. Networks whose `flip_test` is "average_shift"
    then have them shifted right by one column, the first staying: with pixel j AT crop coordinate j a mirrored map is
    one column off (HRNet's pose networks). A network evaluated without a flip test is averaged plainly.
    """
    back = flipped[:, list(flip_permutation(spec.scheme)), :, ::-1]
    if spec.flip_test == "average_shift":
        back = np.concatenate([back[..., :1], back[..., :-1]], -1)
    mean: Array = (plain + back) * np.float32(0.5)
    return mean
