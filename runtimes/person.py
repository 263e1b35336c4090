"""One person (or face) that is followed: where they were, where they should be now, and how alike two of them are.

Pure functions and an immutable record; who is looked for when is decided in `edgelm.runtimes.track`.
P, Q = persons, K = landmarks.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelm.roi import LEAST_SIDE
from edgelm.runtimes.one_euro import OneEuro, OneEuroOptions

__all__ = ["Person", "agreement", "box_around", "centre", "overlaps", "usable"]

Array = npt.NDArray[Any]

_SIGMA = 0.05
"""OKS constant of landmarks whose scheme has none: a tenth of the person's size off is an OKS of 0.6."""
_GAIN = 0.2  # of the speed: 1 would follow each jitter, and whatever drew a person's points away before they got lost
_UNIT_PX = 200.0  # the size of person that the filter's speeds are counted for, see `TrackOptions.smooth`


@dataclass(frozen=True, eq=False)
class Person:
    """Somebody at the time they were seen last.

    Attributes:
        id: from 0.
        box: (4,) x1, y1, x2, y2 image px, around their points.
        time: s.
        speed: (2,) px/s of the box.
        missing: frames since.
        smoother: of their points.
    """

    id: int
    box: Array
    time: float
    speed: Array
    missing: int = 0
    smoother: OneEuro | None = None

    def box_at(self, time: float) -> Array:
        """The box (4,) where they should be at `time`, s, if they kept moving as they did."""
        box: Array = self.box + np.tile(self.speed * max(time - self.time, 0.0), 2)
        return box

    def moved_to(self, box: Array, time: float) -> "Person":
        """Seen again in a box (4,): the speed learns from how far it is from where it should be."""
        dt = time - self.time
        speed = self.speed + _GAIN * (centre(box) - centre(self.box_at(time))) / dt if dt > 0 else np.zeros(2)
        smoother = self.smoother if self.missing == 0 and dt > 0 else None
        return replace(self, box=box, time=time, speed=speed, missing=0, smoother=smoother)

    def smoothed(self, xy: Array, score: Array, options: OneEuroOptions | None) -> tuple["Person", Array]:
        """Filter their points xy (K, 2), of which those with a score (K,) above 0 exist -> them and float64 (K, 2)."""
        if options is None:
            return self, np.asarray(xy, np.float64)
        smoother = self.smoother or OneEuro(options)
        unit = float(np.sqrt(np.prod(self.box[2:] - self.box[:2]))) / _UNIT_PX
        return replace(self, smoother=smoother), smoother(xy, self.time, unit=unit, seen=score[:, None] > 0)

    def resized(self, before: tuple[int, int], now: tuple[int, int]) -> "Person":
        """At the same share of an image (height, width) px that is now of another size."""
        scale = np.array([now[1] / before[1], now[0] / before[0]])
        return replace(self, box=self.box * np.tile(scale, 2), speed=self.speed * scale, smoother=None)


def centre(box: Array) -> Array:
    """The middle (2,) of a box (4,)."""
    middle: Array = (box[:2] + box[2:]) / 2
    return middle


def box_around(xy: Array, score: Array, least: float, scale: float) -> Array:
    """The tight box (4,) float64 around the points xy (K, 2) that score `least` or more, scaled about its middle.

    Without any such point it is of no size, which `usable` refuses.
    """
    points = np.asarray(xy, np.float64)[(score >= least) & np.isfinite(xy).all(-1)]
    if not len(points):
        return np.zeros(4)
    low, high = points.min(0), points.max(0)
    middle, half = (low + high) / 2, (high - low) / 2 * scale
    return np.concatenate([middle - half, middle + half])


def usable(box: Array, image_size: tuple[int, int]) -> bool:
    """Whether a box (4,) can be cut out of an image (height, width) px: it has a size and overlaps the image."""
    x1, y1, x2, y2 = box
    sized = min(x2 - x1, y2 - y1) >= LEAST_SIDE and max(x2 - x1, y2 - y1) <= 4 * max(image_size)
    return bool(sized and x1 < image_size[1] and y1 < image_size[0] and x2 > 0 and y2 > 0)


def overlaps(a: Array, b: Array, margin: Array | float = 0.0) -> Array:
    """Intersection over union of boxes (P, 4) with boxes (Q, 4) -> (P, Q) float64.

    Args:
        a: (P, 4) px.
        b: (Q, 4) px.
        margin: by which both boxes of a pair are first enlarged on each side, in units of their own sides, for each of
            `a` (P,) or all; boxes that do not meet are then told by how near they are.
    """
    margins = np.broadcast_to(margin, len(a))[:, None]
    (low, high), (other_low, other_high) = (
        (box[..., :2] - grown, box[..., 2:] + grown)
        for box, grown in (
            (a[:, None], (margins * (a[:, 2:] - a[:, :2]))[:, None]),
            (b[None], margins[:, None] * (b[:, 2:] - b[:, :2])[None]),
        )
    )
    common = np.prod(np.maximum(np.minimum(high, other_high) - np.maximum(low, other_low), 0), -1)
    share: Array = common / (np.prod(high - low, -1) + np.prod(other_high - other_low, -1) - common)
    return share


def agreement(one: Array, other: Array, area: float, sigmas: Array | None) -> float:
    """Object keypoint similarity of two sets of points (K, 2), as COCO defines it, for a person of `area` px^2.

    Args:
        one: (K, 2) px.
        other: (K, 2) px.
        area: px^2, of their box.
        sigmas: (K,) of the scheme; None counts each landmark with 0.05.
    """
    squares = ((np.asarray(one, np.float64) - other) ** 2).sum(-1)
    return float(np.exp(-squares / (2 * max(area, 1.0) * (2 * (_SIGMA if sigmas is None else sigmas)) ** 2)).mean())
