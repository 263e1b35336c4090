"""A folder of images, each NAME.jpg or NAME.png beside NAME.pts, as 300-W, HELEN, AFW and LFPW are published.

Coordinates in .pts files are 1-based (300-W's toolbox is MATLAB's). Boxes are tight around the landmarks, HRNet's
protocol; the detector's boxes that 300-W published are not in the files.
"""

from pathlib import Path

from edgelm.models.data import Sample, read_pts, tight_box
from edgelm.models.datasets.base import Format, Request, check_landmarks

__all__ = ["PTS"]

_SUFFIXES = (".jpg", ".jpeg", ".png")


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
