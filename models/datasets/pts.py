"""A folder of images, each NAME.jpg or NAME.png beside NAME.pts, as 300-W, HELEN, AFW and LFPW are published.

Coordinates in .pts files are 1-based (300-W's toolbox is MATLAB's). Boxes are tight around the landmarks, HRNet's
protocol; the detector's boxes that 300-W published are not in the files. K = landmarks.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgelm.errors import UsageError
from edgelm.models.data import Sample, tight_box
from edgelm.models.datasets.base import Format, Request, check_landmarks

__all__ = ["PTS", "read_pts"]

_SUFFIXES = (".jpg", ".jpeg", ".png")


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


def _claims(path: Path) -> bool:
    return path.is_dir() and any(p.suffix == ".pts" for p in path.iterdir())


def _load(request: Request) -> list[Sample]:
    folder, faults = request.path, request.faults
    samples = []
    for image in sorted(p for p in (request.images or folder).iterdir() if p.suffix.lower() in _SUFFIXES):
        annotation = folder / f"{image.stem}.pts"
        if not annotation.is_file():
            faults.add(image, f"has no annotation {annotation.name}")
            continue
        with faults.guard(annotation):
            xy = read_pts(annotation)
            check_landmarks(annotation, len(xy), request.scheme)
            samples.append(Sample(image, xy, tight_box(xy)))
    return samples


PTS = Format("pts", _claims, _load)
