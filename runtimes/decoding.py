"""Which code decodes a runtime's heatmaps: the native library where it can, else numpy. The results are the same."""

from typing import Any

import numpy.typing as npt

from edgelm import decode
from edgelm.refine import Refine
from edgelm.runtimes.native.peaks import native_peaks
from edgelm.spec import ModelSpec

__all__ = ["decode_maps"]

Array = npt.NDArray[Any]


def decode_maps(heatmaps: Array, spec: ModelSpec, *, refinement: Refine = "rule") -> tuple[Array, Array]:
    """Heatmaps (N, K, h, w) float32 -> uv (N, K, 2) and score (N, K), as `edgelm.decode.decode`."""
    rule = spec.decode
    if refinement == "rule" and rule != "resize_argmax" and heatmaps.ndim == 4 and heatmaps.size:
        peaks = native_peaks()
        if peaks is not None:
            return peaks(heatmaps, rule, spec.score)
    return decode.decode(heatmaps, rule, spec.score, refinement=refinement)
