"""One person, one result: object keypoint similarity, and the suppression of results that are of the same person.

N, P, Q = persons, K = landmarks.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from edgelm.errors import UsageError
from edgelm.landmarks import Landmarks

__all__ = ["oks", "person_scores", "suppress"]

Array = npt.NDArray[Any]


def oks(one: Array, other: Array, areas: tuple[Array, Array], sigmas: Array) -> Array:
    """Object keypoint similarity of each of P persons with each of Q: 1 for the same points, towards 0 far apart.

    Args:
        one: (P, K, 2) px.
        other: (Q, K, 2) px.
        areas: (P,) and (Q,) px^2, of the persons; the mean of the two counts.
        sigmas: (K,) constants of the landmark scheme.

    Returns:
        (P, Q) float64; where a point is not finite, as far apart as can be.
    """
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    squares = ((one[:, None] - other[None]) ** 2).sum(-1)
    area = (np.asarray(areas[0], np.float64)[:, None] + np.asarray(areas[1], np.float64)[None]) / 2
    variance = 2 * np.maximum(area, 1.0)[..., None] * (2 * np.asarray(sigmas, np.float64)) ** 2
    alike: Array = np.exp(-np.where(np.isfinite(squares), squares, np.inf) / variance).mean(-1)
    return alike


def person_scores(score: Array, box_score: Array | None = None, *, least: float = 0.2) -> Array:
    """HRNet's score of a person: the mean of the landmark scores (N, K) above `least`, times the box's -> (N,).

    0 where no landmark scores as much.
    """
    counted = score > least
    mean = np.where(counted, score, 0).sum(-1) / np.maximum(counted.sum(-1), 1)
    return np.asarray(mean if box_score is None else mean * box_score, np.float64)


def suppress(found: Landmarks, *, threshold: float = 0.9, areas: Array | None = None, least: float = 0.2) -> Landmarks:
    """OKS-NMS: of results that are more alike than `threshold`, the one with the best score is kept.

    Args:
        found: N persons of a scheme that has OKS constants.
        threshold: of the similarity; HRNet takes 0.9.
        areas: (N,) px^2 of the persons; by default of their boxes.
        least: landmark scores that count, see `person_scores`.

    Returns:
        Those kept, best first; ties keep their order.

    Raises:
        UsageError: the scheme has no constants, as face schemes have none.
    """
    if not found.scheme.sigmas:
        raise UsageError(
            f"the landmark scheme {found.scheme.name} has no OKS constants; OKS-NMS is for schemes that have them"
        )
    if not 0 <= threshold <= 1:
        raise UsageError(f"an OKS threshold is 0 to 1, got {threshold!r}")
    if areas is None:
        areas = np.prod(found.box[:, 2:] - found.box[:, :2], -1)
    scores = person_scores(found.score, found.box_score, least=least)
    alike = oks(found.xy, found.xy, (areas, areas), np.array(found.scheme.sigmas))
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable").tolist():
        if all(alike[i, j] <= threshold for j in kept):
            kept.append(i)
    return found[np.array(kept, np.intp)]
