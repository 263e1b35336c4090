"""One annotated face or person, and faces in a folder: NAME.jpg or NAME.png beside NAME.pts, as 300-W publishes them.

Other formats are in `edgelm.models.datasets`; what training does to a sample is in `edgelm.models.augment`.
K = landmarks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgelm.errors import UsageError
from edgelm.images import as_bgr8, read_image

__all__ = ["Sample", "load_folder", "read_pts", "sample_image", "tight_box"]

_SUFFIXES = (".jpg", ".jpeg", ".png")


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


def read_pts(path: Path) -> NDArray[np.float32]:
    """Read a 300-W .pts file (1-based) as (K, 2) float32 in 0-based image px.

    Raises:
        UsageError: not a .pts file, another number of points than it announces, or a number that is not finite.
    """
    words = path.read_text(errors="replace").split()
    try:
        count = int(words[words.index("n_points:") + 1])
        values = np.array(words[words.index("{") + 1 : words.index("}")], np.float32)
    except (ValueError, IndexError) as error:
        raise UsageError(f"{path} is not a .pts file: expected 'n_points: K' and coordinates in braces") from error
    if values.size != 2 * count or not np.isfinite(values).all():
        raise UsageError(f"{path}: expected {count} points with finite x and y, got {values.size} numbers")
    return values.reshape(count, 2) - 1


def tight_box(xy: NDArray[np.float32]) -> NDArray[np.float32]:
    """The box (x1, y1, x2, y2) around points (K, 2), the box that `hrnet_face` crops are made from; NaN is left out."""
    seen = xy[np.isfinite(xy).all(axis=-1)]
    return np.concatenate([seen.min(axis=0), seen.max(axis=0)]).astype(np.float32)


def load_folder(folder: Path, landmarks: int) -> Sequence[Sample]:
    """The annotated faces of a folder, in the order of their names.

    Raises:
        UsageError: no such folder, no annotated image in it, or a file with another number of landmarks.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; expected one with NAME.jpg and NAME.pts files")
    samples = []
    for image in sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES):
        annotation = image.with_suffix(".pts")
        if not annotation.is_file():
            continue
        xy = read_pts(annotation)
        if len(xy) != landmarks:
            raise UsageError(f"{annotation}: the network has {landmarks} landmarks, the file {len(xy)}")
        samples.append(Sample(image, xy, tight_box(xy)))
    if not samples:
        raise UsageError(f"{folder} holds no image with a .pts file beside it")
    return samples
