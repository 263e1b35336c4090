"""Metrics of face landmarks. N = images, K = landmarks; points are (N, K, 2) in px, NaN where not annotated.

Persons are measured in `edgelm.models.pose_metrics`.
"""

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from edgelm.errors import UsageError

__all__ = ["Norm", "auc", "ced", "failure_rate", "nme", "normalizers", "norms", "relative_errors"]

Norm = Literal["inter_ocular", "inter_pupil", "box"]

# Pairs of (landmarks of the right side, of the left): the distance is that of their means.
_PAIRS: dict[Norm, dict[str, tuple[tuple[int, ...], tuple[int, ...]]]] = {
    "inter_ocular": {"300w68": ((36,), (45,)), "wflw98": ((60,), (72,)), "cofw29": ((8,), (9,))},
    "inter_pupil": {
        "300w68": (tuple(range(36, 42)), tuple(range(42, 48))),
        "wflw98": ((96,), (97,)),
        "cofw29": ((16,), (17,)),
    },
}


def norms(scheme: str) -> tuple[Norm, ...]:
    """The distances that errors of a scheme can be divided by, the field's usual one first."""
    return tuple(norm for norm in get_args(Norm) if norm == "box" or scheme in _PAIRS[norm])


def normalizers(
    truth: NDArray[Any], scheme: str, norm: Norm = "inter_ocular", boxes: NDArray[Any] | None = None
) -> NDArray[np.float64]:
    """What errors are divided by.

    Args:
        truth: (N, K, 2) px.
        scheme: name of the landmark scheme.
        norm: "inter_ocular" the outer eye corners (300-W, WFLW, COFW); "inter_pupil" the pupils, or the means of six
            points around each eye (300-W's first papers); "box" sqrt(w h) of the box (AFLW; AFLW2000-3D).
        boxes: (N, 4) px, for "box".

    Returns:
        (N,) px; NaN where a landmark that it needs is not annotated.

    Raises:
        UsageError: the scheme has no such landmarks, or boxes are missing.
    """
    if norm == "box":
        if boxes is None:
            raise UsageError("an error in parts of the box needs the boxes (N, 4)")
        size = np.asarray(boxes, np.float64)[:, 2:] - np.asarray(boxes, np.float64)[:, :2]
        return np.sqrt(size[:, 0] * size[:, 1])
    known = _PAIRS.get(norm, {})
    if scheme not in known:
        name = norm.replace("_", "-")
        raise UsageError(f"no {name} distance for scheme {scheme!r}; known are {', '.join(known)}")
    one, other = (truth[:, list(side)].astype(np.float64).mean(axis=1) for side in known[scheme])
    distance: NDArray[np.float64] = np.linalg.norm(one - other, axis=-1)
    return distance


def nme(
    found: NDArray[Any],
    truth: NDArray[Any],
    scheme: str,
    norm: Norm = "inter_ocular",
    boxes: NDArray[Any] | None = None,
) -> NDArray[np.float64]:
    """Normalised mean error of each image (N,), percent of `normalizers`; over its annotated landmarks.

    NaN where no landmark is annotated, or none that the distance needs, or where that is 0.
    """
    with np.errstate(invalid="ignore"):
        lengths = normalizers(truth, scheme, norm, boxes)
    return relative_errors(found, truth, lengths)


def relative_errors(found: NDArray[Any], truth: NDArray[Any], lengths: NDArray[Any]) -> NDArray[np.float64]:
    """Mean distance of each sample's annotated landmarks (N,), percent of its length (N,) px.

    NaN where no landmark is annotated, and where the length is 0 or NaN.
    """
    distance = np.linalg.norm(found.astype(np.float64) - truth, axis=-1)
    counted = np.isfinite(truth).all(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = 100 * np.where(counted, distance, 0).sum(axis=1) / counted.sum(axis=1)
        result: NDArray[np.float64] = np.where(lengths > 0, error / lengths, np.nan)
    return result


def ced(errors: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cumulative error distribution: the errors in order (N,), and at each the share of images up to it (N,)."""
    ordered = np.sort(np.asarray(errors, np.float64))
    return ordered, np.arange(1, len(ordered) + 1) / len(ordered)


def auc(errors: NDArray[Any], threshold: float) -> float:
    """Area under the CED from 0 to `threshold`, as a share of `threshold`; errors (N,) in the same unit.

    The integral of the step function itself, not of a histogram: each image adds the part of the interval right of its
    error. An error that is not finite adds nothing.
    """
    inside = np.clip(threshold - _checked(errors, threshold), 0, None)
    return float(np.where(np.isfinite(inside), inside, 0).mean() / threshold)


def failure_rate(errors: NDArray[Any], threshold: float) -> float:
    """Share of images whose error is above `threshold`, or not finite."""
    return float((~(_checked(errors, threshold) <= threshold)).mean())


def _checked(errors: NDArray[Any], threshold: float) -> NDArray[np.float64]:
    errors = np.asarray(errors, np.float64)
    if errors.ndim != 1 or not len(errors) or not threshold > 0:
        raise UsageError(f"expected errors (N,) and a threshold above 0, got {errors.shape} and {threshold}")
    return errors
