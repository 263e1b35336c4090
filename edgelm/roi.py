"""From landmarks to the next crop: a box around them that is upright with the face or person, and the angle it has.

The angle is that of an axis through the landmarks whose direction is known for an upright head or body: between the
eyes for faces, from the hips to the shoulders for bodies. A scheme of your own gets one by `register_axis`.
N = faces or persons, K = landmarks.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelm.errors import UsageError
from edgelm.spec import CropSpec, LandmarkScheme

__all__ = ["LEAST_SIDE", "Axis", "register_axis", "rotation_of", "turned_boxes"]

Array = npt.NDArray[Any]

LEAST_SIDE = 2.0
"""Of a box around landmarks, px."""


@dataclass(frozen=True)
class Axis:
    """A line from the mean of some landmarks to the mean of others, and its direction where the head is upright.

    Attributes:
        start: indices.
        end: indices.
        upright: degrees in image px, 0 to the right, 90 down.
    """

    start: tuple[int, ...]
    end: tuple[int, ...]
    upright: float


_AXES: dict[str, Axis] = {}


def register_axis(scheme: str, axis: Axis) -> Axis:
    """Say how a landmark scheme is turned.

    Raises:
        UsageError: the scheme has an axis already.
    """
    if scheme in _AXES:
        raise UsageError(f"the landmark scheme {scheme!r} has an axis already")
    _AXES[scheme] = axis
    return axis


def rotation_of(xy: Array, scheme: LandmarkScheme, score: Array | None = None) -> Array:
    """By how much each face or person is turned from upright.

    Args:
        xy: (N, K, 2) image px.
        scheme: of the landmarks.
        score: (N, K); points with a score of 0 or below do not count.

    Returns:
        (N,) float64 degrees, -180 to 180, positive clockwise as one sees the image; 0 where it cannot be told, for the
        landmarks were not seen or the scheme has no axis.
    """
    xy, seen = _checked(xy, scheme, score)
    axis = _AXES.get(scheme.name)
    if axis is None or max(axis.start + axis.end) >= xy.shape[1]:  # a file may call its scheme what it likes
        return np.zeros(len(xy))
    (start, has_start), (end, has_end) = (_mean(xy, seen, list(part)) for part in (axis.start, axis.end))
    direction = end - start
    known = has_start & has_end & (np.hypot(*direction.T) > 0)
    angle = np.degrees(np.arctan2(direction[:, 1], direction[:, 0])) - axis.upright
    return np.where(known, (angle + 180) % 360 - 180, 0.0)


def turned_boxes(
    xy: Array, scheme: LandmarkScheme, crop: CropSpec, *, score: Array | None = None, boxes: Array | None = None
) -> tuple[Array, Array]:
    """Boxes for the next crops, and the rotation that sets each upright.

    The box is tight around the landmarks as they would lie were the head upright. Given to
    `edgelm.geometry.crop_matrix` with the rotation it yields the crop that an upright head would have had, with the
    convention's shift along the head, not along the image.

    Args:
        xy: (N, K, 2) image px.
        scheme: of the landmarks.
        crop: the convention that the boxes are for.
        score: (N, K); points with a score of 0 or below do not count.
        boxes: (N, 4) to be taken, unturned, where fewer than two landmarks were seen; without them that is an error.

    Returns:
        boxes (N, 4) float64 x1, y1, x2, y2 image px and rotations (N,) float64 degrees, as `crop_matrix` takes them.

    Raises:
        UsageError: fewer than two landmarks of a face were seen, and no boxes are given.
    """
    points, seen = _checked(xy, scheme, score)
    turn = rotation_of(xy, scheme, score)
    few = seen.sum(-1) < 2
    if few.any() and boxes is None:
        raise UsageError(f"face or person {int(few.argmax())} has fewer than two landmarks; give its box too")
    upright = np.einsum("nij,nkj->nki", _rotations(-turn), points)
    low = np.where(seen[:, :, None], upright, np.inf).min(1, initial=np.inf)
    high = np.where(seen[:, :, None], upright, -np.inf).max(1, initial=-np.inf)
    low, high = np.where(few[:, None], 0.0, low), np.where(few[:, None], 0.0, high)
    size = np.maximum(high - low, LEAST_SIDE)
    middle, shift = (low + high) / 2, np.array(crop.shift) * size
    # crop_matrix moves the box along the image before it turns the crop, so that move is undone here.
    centre = np.einsum("nij,nj->ni", _rotations(turn), middle + shift) - shift
    turned = np.concatenate([centre - size / 2, centre + size / 2], -1)
    if boxes is None:
        return turned, -turn
    return np.where(few[:, None], np.asarray(boxes, np.float64), turned), np.where(few, 0.0, -turn)


def _checked(xy: Array, scheme: LandmarkScheme, score: Array | None) -> tuple[Array, Array]:
    """Points (N, K, 2) float64, 0 where they are not seen, and which are (N, K)."""
    xy = np.asarray(xy, np.float64)
    K = len(scheme.names)
    if xy.ndim != 3 or xy.shape[1:] != (K, 2) or (score is not None and score.shape != xy.shape[:2]):
        raise UsageError(f"expected landmarks (N, {K}, 2) of {scheme.name} and scores (N, {K}), got {xy.shape}")
    seen: Array = np.asarray(np.isfinite(xy).all(-1))
    if score is not None:
        seen = seen & (score > 0)
    return np.where(seen[:, :, None], xy, 0.0), seen


def _mean(xy: Array, seen: Array, which: list[int]) -> tuple[Array, Array]:
    """The mean (N, 2) of those of the landmarks that are seen, and whether there is one (N,)."""
    count = seen[:, which].sum(-1)
    return xy[:, which].sum(1) / np.maximum(count, 1)[:, None], count > 0


def _rotations(degrees: Array) -> Array:
    """(N,) -> (N, 2, 2), clockwise as one sees the image."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)


for _name, _axis in {
    "300w68": Axis(tuple(range(36, 42)), tuple(range(42, 48)), 0.0),
    "wflw98": Axis((96,), (97,), 0.0),
    "cofw29": Axis((16,), (17,), 0.0),
    "aflw19": Axis((6, 7, 8), (9, 10, 11), 0.0),
    "mpii16": Axis((2, 3), (12, 13), -90.0),
    "lsp14": Axis((2, 3), (8, 9), -90.0),
    "coco17": Axis((11, 12), (5, 6), -90.0),
}.items():
    register_axis(_name, _axis)
