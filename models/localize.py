"""A network's landmarks on annotated samples, by the crops, decoding and flip test of the runtime.

The one path that every accuracy is measured through; what is measured is in `edgelm.models.metrics` and
`edgelm.models.pose_metrics`. Whose network it is does not matter: torch's or an exported file's.
N = samples, K = landmarks, H, W = the network's input size, h, w = a heatmap's size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgelm import flip, geometry
from edgelm.decode import decode, to_image
from edgelm.errors import UsageError
from edgelm.models.data import Sample, sample_image
from edgelm.models.faults import Faults
from edgelm.spec import ModelSpec

__all__ = ["Found", "Run", "localize"]

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""A network: x (N, H, W, 3) float32 -> heatmaps (N, K, h, w) float32."""

_BATCH = 22
_OUTSIDE = 0.1  # of the box; real annotations of cut faces reach a few px out of the image


@dataclass(frozen=True)
class Found:
    """What a network found.

    Attributes:
        samples: the N samples that could be used.
        xy: (N, K, 2) float32 image px.
        score: (N, K) float32.
    """

    samples: tuple[Sample, ...]
    xy: NDArray[np.float32]
    score: NDArray[np.float32]


def localize(
    run: Run,
    spec: ModelSpec,
    samples: Sequence[Sample],
    *,
    flip_test: bool = False,
    faults: Faults | None = None,
    report: Callable[[int, int], None] | None = None,
) -> Found:
    """Find the landmarks of all samples.

    Args:
        run: the network.
        spec: its description.
        samples: where to look.
        flip_test: average with the heatmaps of mirrored crops, see `edgelm.flip`.
        faults: takes samples that cannot be used; by default the first one is fatal.
        report: is told how many samples of how many are done.

    Raises:
        UsageError: a sample cannot be used and that is fatal, or none is left.
    """
    faults = faults or Faults()
    H, W = spec.input.height, spec.input.width
    first = geometry.first_pixel(spec.decode)
    used: list[Sample] = []
    xy, scores = [], []
    for start in range(0, len(samples), _BATCH):
        crops, matrices = [], []
        for sample in samples[start : start + _BATCH]:
            with faults.guard(sample.path):
                image = _checked_image(sample, spec)
                matrix = geometry.crop_matrix(sample.box[None], spec.crop, H, W)[0]
                crops.append(geometry.warp(image, matrix, H, W, first_pixel=first))
                matrices.append(matrix)
                used.append(sample)
        if crops:
            x = geometry.normalize(np.stack(crops), spec.input)
            heatmaps = run(x)
            if flip_test:
                heatmaps = flip.merge(heatmaps, run(flip.mirrored(x)), spec)
            uv, score = decode(heatmaps, spec.decode, spec.score)
            xy.append(to_image(uv, np.stack(matrices), spec))
            scores.append(score)
        if report is not None:
            report(min(start + _BATCH, len(samples)), len(samples))
    if not used:
        raise UsageError(f"none of {len(samples)} samples can be used; see their faults with --bad fail")
    return Found(tuple(used), np.concatenate(xy), np.concatenate(scores))


def _checked_image(sample: Sample, spec: ModelSpec) -> NDArray[np.uint8]:
    K = len(spec.scheme.names)
    if len(sample.xy) != K:
        raise UsageError(f"{sample.path} has {len(sample.xy)} landmarks, the network {K} ({spec.scheme.name})")
    seen = sample.xy[np.isfinite(sample.xy).all(axis=-1)]
    size = sample.box[2:] - sample.box[:2]
    if not len(seen) or not np.isfinite(sample.box).all() or size.max() < 1:
        raise UsageError(f"{sample.path} has no landmark, or a box without area")
    image = sample_image(sample)
    far = float(max(-seen.min(), (seen - (image.shape[1] - 1, image.shape[0] - 1)).max()))
    if far > max(_OUTSIDE * float(size.max()), 1.0):
        raise UsageError(
            f"{sample.path} has a landmark {far:.0f} px outside its {image.shape[1]} x {image.shape[0]} px; "
            "expected the annotation of this image"
        )
    return image
