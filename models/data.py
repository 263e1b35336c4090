"""Faces in a folder: NAME.jpg or NAME.png beside NAME.pts, as 300-W publishes them.

Reading and box rules only; what training does to a sample is in `edgelm.models.augment`.
K = landmarks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgelm.errors import UsageError

__all__ = ["Sample", "load_folder", "read_pts", "tight_box"]

_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Sample:
    """One annotated face.

    Attributes:
        path: of the image.
        xy: (K, 2) float32, image px, 0-based pixel centres.
        box: (4,) float32, x1, y1, x2, y2 px, tight around the landmarks.
    """

    path: Path
    xy: NDArray[np.float32]
    box: NDArray[np.float32]


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
    """The box (x1, y1, x2, y2) around points (K, 2), the box that `hrnet_face` crops are made from."""
    return np.concatenate([xy.min(axis=0), xy.max(axis=0)]).astype(np.float32)


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
