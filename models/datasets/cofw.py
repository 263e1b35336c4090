"""COFW's files (Burgos-Artizzu et al., ICCV 2013): COFW_train_color.mat and COFW_test_color.mat, MATLAB 7.3.

Those are HDF5 files, whose axes are MATLAB's in reverse. `IsTr` or `IsT` (1, N) refer to the images, uint8, grey (W, H)
or RGB (3, W, H); `phisTr` or `phisT` (87, N) are 29 x, 29 y and 29 flags of occlusion; `bboxesTr` or `bboxesT` (4, N)
are boxes x y w h, which HRNet's protocol does not use: its box is tight around the landmarks, rounded outwards.
Coordinates are MATLAB's, 1-based. The images are inside; COFW as COCO-style JSON is in `edgelm.models.datasets.coco`.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelm.errors import PackageMissingError, UsageError
from edgelm.images import MAX_PIXELS
from edgelm.models.data import Sample, tight_box
from edgelm.models.datasets.base import Format, Request, check_landmarks
from edgelm.models.datasets.files import numbers

__all__ = ["COFW", "rounded_out"]

_K = 29
_MAX_SAMPLES = 100_000
_PARTS = {"train": ("IsTr", "phisTr"), "test": ("IsT", "phisT")}


def rounded_out(box: NDArray[np.float32]) -> NDArray[np.float32]:
    """A box (4,) grown to whole px."""
    return np.concatenate([np.floor(box[:2]), np.ceil(box[2:])]).astype(np.float32)


def _claims(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(1024)
    if b"\x89HDF\r\n\x1a\n" not in (head[:8], head[512:520]):
        return False
    with _opened(path) as file:
        return any({images, points} <= set(file) for images, points in _PARTS.values())


def _opened(path: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise PackageMissingError(
            "MATLAB's 7.3 files need h5py; install it with: pip install 'edgelm[train]'"
        ) from error
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise UsageError(f"{path} is damaged: {error}") from error


def _load(request: Request) -> list[Sample]:
    path = request.path
    check_landmarks(path, _K, request.scheme, "cofw29")
    samples = []
    with _opened(path) as file:
        for part, (images, points) in _PARTS.items():
            if not {images, points} <= set(file) or request.split not in (None, part):
                continue
            phis = _read(file, points, path)
            phis = numbers(phis, 3 * _K, -1, what=f"{points} of {path}")
            if not hasattr(file[images], "shape") or file[images].size != phis.shape[1]:
                raise UsageError(f"{path}: {images} does not refer to {phis.shape[1]} images, one for each face")
            for i, (x, y, hidden) in enumerate(phis.T.reshape(-1, 3, _K)):
                xy = (np.stack([x, y], -1) - 1).astype(np.float32)
                samples.append(_sample(path, images, i, xy, hidden == 0))
    return samples


def _sample(path: Path, images: str, i: int, xy: NDArray[np.float32], visible: NDArray[np.bool_]) -> Sample:
    return Sample(path, xy, rounded_out(tight_box(xy)), visible, image_id=i, pixels=lambda: _image(path, images, i))


def _read(file: Any, name: str, path: Path) -> Any:
    if not hasattr(file[name], "dtype") or file[name].dtype.kind not in "iuf":
        raise UsageError(f"{name} of {path} is not an array of numbers")
    if file[name].size > 3 * _K * _MAX_SAMPLES:
        raise UsageError(f"{path} has {file[name].size} numbers in {name}; expected at most {_MAX_SAMPLES} faces")
    return file[name][()]


def _image(path: Path, images: str, i: int) -> NDArray[np.uint8]:
    """Image `i` of the file as (H, W, 3) uint8 BGR."""
    import h5py

    with _opened(path) as file:
        reference = np.reshape(file[images], -1)[i]
        stored = file[reference] if isinstance(reference, h5py.Reference) else None
        if not isinstance(stored, h5py.Dataset) or stored.dtype != np.uint8 or stored.size > MAX_PIXELS * 3:
            raise UsageError(f"{path}: {images}[{i}] is not an image of bytes")
        pixels: NDArray[np.uint8] = stored[()].T  # to (H, W) or (H, W, 3)
    if pixels.ndim == 2:
        return np.repeat(pixels[:, :, None], 3, axis=2)
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise UsageError(f"{path}: {images}[{i}] has shape {pixels.shape}, expected a grey or RGB image")
    return pixels[:, :, ::-1]


COFW = Format("cofw", _claims, _load, tuple(_PARTS))
