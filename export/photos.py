"""The photos that an export is calibrated and verified on, cropped as the runtime does it."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgelm import geometry, zoo
from edgelm.errors import UsageError
from edgelm.images import read_image
from edgelm.runtimes.detect import find_faces
from edgelm.spec import ModelSpec

__all__ = ["MOST", "photos"]

Floats = NDArray[np.float32]
MOST = 64
"""Photos of a folder that are taken, by name."""
_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


def photos(spec: ModelSpec, folder: Path | None = None) -> list[Floats]:
    """Network inputs (H, W, 3) float32: for a face model the bundled portrait, then the folder's images.

    Of a photo the largest face is taken, and photos without one are left out; a pose model takes the whole image.

    Args:
        spec: of the network.
        folder: of images, searched through all levels; None for none.

    Raises:
        UsageError: the folder does not exist or holds no image that can be used.
    """
    portrait = zoo.photo() if spec.task == "face" else None
    inputs = [] if portrait is None else _crop(portrait, spec)
    if folder is not None:
        if not folder.is_dir():
            raise UsageError(f"there is no folder {str(folder)!r} of images; check the path")
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
        found = [x for path in files[:MOST] for x in _crop(path, spec)]
        if not found:
            raise UsageError(f"none of the {len(files)} images in {str(folder)!r} shows what {spec.name} looks for")
        inputs += found
    return inputs


def _crop(path: Path, spec: ModelSpec) -> list[Floats]:
    image = read_image(path)
    whole = np.array([[0, 0, image.shape[1] - 1, image.shape[0] - 1]], np.float64)
    boxes = find_faces(image)[0][:1] if spec.task == "face" else whole
    H, W = spec.input.height, spec.input.width
    first = geometry.first_pixel(spec.decode)
    crops = [
        geometry.warp(image, matrix, H, W, first_pixel=first) for matrix in geometry.crop_matrix(boxes, spec.crop, H, W)
    ]
    return list(geometry.normalize(np.stack(crops), spec.input)) if crops else []
