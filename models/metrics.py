"""Landmark metrics. N = images, K = landmarks; points are (N, K, 2) in px."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelm.errors import UsageError

__all__ = ["nme", "normalizers"]

_INTER_OCULAR = {"300w68": (36, 45), "wflw98": (60, 72), "cofw29": (8, 9)}


def normalizers(truth: NDArray[Any], scheme: str) -> NDArray[np.float64]:
    """Distance of the outer eye corners (N,) px, what 300-W, WFLW and COFW divide errors by."""
    if scheme not in _INTER_OCULAR:
        raise UsageError(f"no inter-ocular distance for scheme {scheme!r}; known are {', '.join(_INTER_OCULAR)}")
    a, b = _INTER_OCULAR[scheme]
    distance: NDArray[np.float64] = np.linalg.norm(truth[:, a].astype(np.float64) - truth[:, b], axis=-1)
    return distance


def nme(found: NDArray[Any], truth: NDArray[Any], scheme: str) -> NDArray[np.float64]:
    """Normalised mean error of each image (N,), in percent of the inter-ocular distance."""
    distance = np.linalg.norm(found.astype(np.float64) - truth, axis=-1).mean(axis=1)
    error: NDArray[np.float64] = 100 * distance / normalizers(truth, scheme)
    return error
