"""From heatmaps to points, exactly as each family of networks was evaluated.

The three rules differ by where the peak of pixel (ix, iy) lies and by which peaks are refined; the refinement is a
quarter pixel towards the larger of the two neighbours, per axis:

* `center`: at (ix + 0.5, iy + 0.5); refined where both 1 <= ix <= w - 2 and 1 <= iy <= h - 2.
* `index`: at (ix, iy); refined where both 2 <= ix <= w - 2 and 2 <= iy <= h - 2 (lopsided in the original, and kept).
* `resize_argmax`: the map is enlarged bilinearly to 128 x 128; the argmax of that, unrefined.

Other refinements (`edgelm.refine`) are options; no family was evaluated with them.

A tie goes to the first peak in row-major order. Pixels that are not finite never win.
N = boxes, K = landmarks, h, w = height and width of a heatmap.
"""

from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from edgelm import geometry
from edgelm.enlarge import enlarge, enlarged_peak
from edgelm.errors import UsageError
from edgelm.refine import Refine, around, refine
from edgelm.spec import Decode, ModelSpec, Score

__all__ = ["decidable", "decode", "to_crop", "to_image", "to_map"]

Array = npt.NDArray[Any]

_RESIZED = 128
_FIRST = {"center": 1, "index": 2}  # first row and column whose peaks are refined
_LOWEST = -1e30
_NEAR = 2  # px around the peak that the score "softmax_near" counts


def decode(heatmaps: Array, rule: Decode, score: Score = "max", *, refinement: Refine = "rule") -> tuple[Array, Array]:
    """The peak of each heatmap.

    A map that shows no point, one whose maximum is not above 0 under the score rule "max" or that holds no finite
    value, gives the middle of the map and keeps its score, which is then 0 or below.

    Args:
        heatmaps: (N, K, h, w) float32.
        rule: where a peak lies.
        score: "max" the maximum itself, for maps regressed to [0, 1]; "sigmoid_max" its sigmoid, for maps trained with
            per-pixel binary cross-entropy; "softmax_near" the mass of the map's softmax within 2 px of the peak, along
            either axis, for maps trained with softmax cross-entropy: the chance that the landmark is there.
        refinement: "rule" as the network was evaluated; else one of `edgelm.refine`'s, or "none".

    Returns:
        uv (N, K, 2) float32 in the units of the rule, for `to_crop`, and the score (N, K) float32.

    Raises:
        UsageError: heatmaps of another number of axes, or an unknown refinement.
    """
    if heatmaps.ndim != 4:
        raise UsageError(f"expected heatmaps (N, K, h, w), got {heatmaps.shape}; add the axes that are missing")
    if refinement not in get_args(Refine):
        raise UsageError(f"unknown refinement {refinement!r}; known are {', '.join(get_args(Refine))}")
    N, K, h, w = heatmaps.shape
    maps, seen = _finite(heatmaps.reshape(N * K, h, w))
    peak = _Peak(maps)
    uv, middle = _places(peak, rule, score, refinement)
    shown = seen & (peak.value > 0) if score == "max" else seen
    uv = np.where(shown[:, None], uv, middle).astype(np.float32)
    value = np.where(seen, _score(maps, peak, score), 0.0).astype(np.float32)
    return uv.reshape(N, K, 2), value.reshape(N, K)


def decidable(heatmaps: Array, rule: Decode, score: Score = "max", *, margin: float | Array = 0.005) -> Array:
    """Whether small errors in a heatmap leave its decoded point where it is.

    Another engine, or another order of additions, changes heatmaps by rounding. Where two pixels nearly tie for the
    maximum, or the two neighbours of it nearly tie, that moves the point, and says nothing about either engine.

    Args:
        heatmaps: (N, K, h, w) float32.
        rule: as in `decode`.
        score: as in `decode`.
        margin: the difference that counts as clear, as a fraction of the map's range; one for all or (N, K).

    Returns:
        (N, K) bool.
    """
    N, K, h, w = heatmaps.shape
    maps = heatmaps.reshape(N * K, h, w)
    fine = np.asarray(np.isfinite(maps).all((1, 2)))
    maps = np.where(fine[:, None, None], maps, 0.0).astype(np.float32)
    clear = np.broadcast_to(margin, (N, K)).reshape(-1) * (maps.max((1, 2)) - maps.min((1, 2)))
    peak = _Peak(maps)
    if score == "max":
        fine &= np.abs(peak.value) > clear
    if rule == "resize_argmax":
        maps = enlarge(maps, _RESIZED)
    else:
        slope, refined = peak.slope(_FIRST[rule])
        fine &= ~refined | (np.abs(slope) > clear[:, None]).all(-1)
    flat = maps.reshape(N * K, maps.shape[1] * maps.shape[2])
    if flat.shape[1] > 1:
        second, first = np.partition(flat, [-2, -1], axis=-1)[:, -2:].T
        fine &= first - second > clear
    return fine.reshape(N, K)


def to_crop(uv: Array, spec: ModelSpec) -> Array:
    """Decoded peaks (N, K, 2) in the units of the rule -> crop coordinates (N, K, 2) float64."""
    size = np.array([spec.input.width, spec.input.height], np.float64)
    if spec.decode == "resize_argmax":
        # cv2.resize keeps areas aligned, and this family's crops have pixel j at j.
        return (uv.astype(np.float64) + 0.5) * (size / _RESIZED) - 0.5
    scale: Array = size / np.array([spec.heatmap_width, spec.heatmap_height])
    return uv * scale


def to_map(xy: Array, spec: ModelSpec) -> Array:
    """Crop coordinates (N, K, 2) -> heatmap coordinates (N, K, 2) float64 by area: cell i covers [i, i + 1).

    What a network is to be taught: the middle of cell i lies where the rule says that a peak there is.
    """
    size = np.array([spec.input.width, spec.input.height], np.float64)
    scale: Array = np.array([spec.heatmap_width, spec.heatmap_height]) / size
    before, after = {"center": (0.0, 0.0), "index": (0.0, 0.5), "resize_argmax": (0.5, 0.0)}[spec.decode]
    return (np.asarray(xy, np.float64) + before) * scale + after


def to_image(uv: Array, matrix: Array, spec: ModelSpec) -> Array:
    """Decoded peaks (N, K, 2) and the crops' matrices (N, 2, 3) -> image px (N, K, 2) float32."""
    return geometry.apply(geometry.invert(matrix), to_crop(uv, spec)).astype(np.float32)


class _Peak:
    """First row-major maximum of maps (M, h, w) float32: x, y, value (M,)."""

    def __init__(self, maps: Array) -> None:
        flat = maps.reshape(len(maps), maps.shape[1] * maps.shape[2])
        index = flat.argmax(-1)
        self.maps = maps
        self.value = np.take_along_axis(flat, index[:, None], -1)[:, 0]
        self.y, self.x = np.divmod(index, maps.shape[2])

    def slope(self, first: int) -> tuple[Array, Array]:
        """Right minus left and lower minus upper neighbour (M, 2), and whether the peak is to be refined (M,)."""
        M, h, w = self.maps.shape
        refined = (first <= self.x) & (self.x <= w - 2) & (first <= self.y) & (self.y <= h - 2)
        m = np.flatnonzero(refined)
        x, y = self.x[m], self.y[m]
        slope = np.zeros((M, 2), np.float32)
        with np.errstate(over="ignore"):  # the sign of an infinite difference is right
            slope[m, 0] = self.maps[m, y, x + 1] - self.maps[m, y, x - 1]
            slope[m, 1] = self.maps[m, y + 1, x] - self.maps[m, y - 1, x]
        return slope, refined


def _finite(maps: Array) -> tuple[Array, Array]:
    """Maps (M, h, w) float32 whose pixels that are not finite cannot win, and whether any pixel can (M,)."""
    maps = np.ascontiguousarray(maps, np.float32)
    finite = np.isfinite(maps)
    if finite.all():
        return maps, np.ones(len(maps), bool)
    return np.where(finite, maps, np.float32(_LOWEST)), np.asarray(finite.any((1, 2)))


def _places(peak: "_Peak", rule: Decode, score: Score, refinement: Refine) -> tuple[Array, tuple[float, float]]:
    """The peaks (M, 2) and the middle of a map, both in the units of the rule."""
    h, w = peak.maps.shape[1:]
    large = rule == "resize_argmax"
    middle = (_RESIZED / 2, _RESIZED / 2) if large else (w / 2, h / 2)
    if large and refinement == "rule":
        return np.stack(enlarged_peak(peak.maps, _RESIZED), -1), middle
    at = np.stack([peak.x, peak.y], -1).astype(np.float64)
    if refinement == "rule":
        slope, refined = peak.slope(_FIRST[rule])
        at += np.where(refined[:, None], 0.25 * np.sign(slope), 0.0)
    elif refinement != "none":
        best = peak.value[:, None, None]
        at += refine(peak.maps, peak.x, peak.y, refinement, lambda values: _mass(values, best, score))
    if large:  # of the enlarged map, whose areas are aligned with the small one's
        return (at + 0.5) * (_RESIZED / np.array([w, h])) - 0.5, middle
    return at + (0.5 if rule == "center" else 0.0), middle


def _mass(values: Array, best: Array, rule: Score) -> Array:
    """Values of maps as something that is not negative and grows with them; `best` is each map's largest."""
    if rule == "max":
        return np.maximum(values, 0.0)
    if rule == "sigmoid_max":
        return _sigmoid(values)
    with np.errstate(over="ignore"):
        mass: Array = np.exp(values - best)
    return mass


def _sigmoid(values: Array) -> Array:
    small = np.exp(-np.abs(values))  # this form does not overflow
    sigmoid: Array = np.where(values >= 0, 1, small) / (1 + small)
    return sigmoid


def _score(maps: Array, peak: "_Peak", rule: Score) -> Array:
    """Score (M,) of maps (M, h, w)."""
    best: Array = peak.value
    if rule == "max":
        return best
    if rule == "sigmoid_max":
        return _sigmoid(best)
    with np.errstate(over="ignore"):
        mass = maps - best[:, None, None]
    np.exp(mass, out=mass)
    near, inside = around(mass, peak.x, peak.y, _NEAR)
    share: Array = np.where(inside, near, 0.0).sum((1, 2)) / mass.sum((1, 2))
    return share
