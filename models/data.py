"""One annotated face or person.

How annotations are read is in `edgelm.models.datasets`; what training does to a sample is in `edgelm.models.augment`.
K = landmarks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgelm.images import as_bgr8, read_image

__all__ = ["Sample", "sample_image", "tight_box"]


@dataclass(frozen=True)
class Sample:
    """One annotated face or person.

    Attributes:
        path: of the image, or of the file that holds it.
        xy: (K, 2) float32, image px, 0-based pixel centres; NaN where a landmark is not annotated.
        box: (4,) float32, x1, y1, x2, y2 px, what the crop is made from by the data set's protocol.
        visible: (K,) bool, landmarks that the annotation calls visible; None where it does not say.
        head: px, the length that PCKh divides by; None where the annotation holds no head box.
        area: px^2, of the person, what OKS divides by; None where it is not annotated.
        image_id: of the image in the annotation, None where it has no number.
        pixels: reads the image where it is not a file of its own; see `sample_image`.
    """

    path: Path
    xy: NDArray[np.float32]
    box: NDArray[np.float32]
    visible: NDArray[np.bool_] | None = None
    head: float | None = None
    area: float | None = None
    image_id: int | None = None
    pixels: Callable[[], NDArray[np.uint8]] | None = None


def sample_image(sample: Sample) -> NDArray[np.uint8]:
    """The image of a sample, (H, W, 3) uint8 BGR; errors as in `edgelm.images.read_image`."""
    image: NDArray[np.uint8] = read_image(sample.path) if sample.pixels is None else as_bgr8(sample.pixels())
    return image


def tight_box(xy: NDArray[np.float32]) -> NDArray[np.float32]:
    """The box (x1, y1, x2, y2) around points (K, 2), the box that `hrnet_face` crops are made from; NaN is left out."""
    seen = xy[np.isfinite(xy).all(axis=-1)]
    return np.concatenate([seen.min(axis=0), seen.max(axis=0)]).astype(np.float32)
