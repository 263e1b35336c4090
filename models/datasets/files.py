"""Annotation files from outside: sizes are limited, numbers are checked, and an image lies where it may lie.

N = samples, K = landmarks.
"""

import json
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelm.errors import PackageMissingError, UsageError

__all__ = ["find_image", "is_mat", "mat_names", "number", "numbers", "read_json", "read_mat", "square_box"]

_MAX_JSON = 1 << 30
_MAX_MAT = 2 << 30
_MAX_NUMBER = 1e7


def read_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        UsageError: too large, or not JSON.
    """
    if path.stat().st_size > _MAX_JSON:
        raise UsageError(f"{path} has {path.stat().st_size} bytes; annotations of at most {_MAX_JSON} are read")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON ({error})") from error


def is_mat(path: Path) -> bool:
    """Whether a file is one of MATLAB's up to version 7; those of 7.3 are HDF5 files."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(128)
    return head.startswith(b"MATLAB 5.0 MAT-file") and len(head) == 128


def mat_names(path: Path) -> frozenset[str]:
    """The names of the variables in one of MATLAB's files up to version 7; none for another file."""
    if not is_mat(path):
        return frozenset()
    from scipy.io import whosmat

    try:
        return frozenset(name for name, _, _ in whosmat(path))
    except Exception:  # scipy answers damaged files with many kinds of exception
        return frozenset()


def read_mat(path: Path, *names: str) -> dict[str, Any]:
    """Variables of one of MATLAB's files up to version 7, structures as records of `scipy.io`.

    Raises:
        PackageMissingError: scipy is not installed.
        UsageError: too large, damaged, or without one of the variables.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise PackageMissingError(".mat files need scipy; install it with: pip install 'edgelm[train]'") from error
    if path.stat().st_size > _MAX_MAT:
        raise UsageError(f"{path} has {path.stat().st_size} bytes; .mat files of at most {_MAX_MAT} are read")
    try:
        content: dict[str, Any] = loadmat(path, variable_names=names, struct_as_record=False, squeeze_me=False)
    except Exception as error:  # scipy answers damaged files with many kinds of exception
        raise UsageError(f"{path} is damaged: {error}") from error
    if missing := [name for name in names if name not in content]:
        raise UsageError(f"{path} holds no {', '.join(missing)}")
    return content


def numbers(value: Any, *shape: int, what: str) -> NDArray[np.float64]:
    """An array of finite numbers of a shape; -1 in the shape is any length.

    Raises:
        UsageError: another type, shape or size of numbers.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:  # lists of unequal lengths
        raise UsageError(f"{what} is not an array of numbers") from error
    if array.dtype.kind not in "iufb" and array.size:
        raise UsageError(f"{what} is not an array of numbers")
    array = array.astype(np.float64)
    if array.ndim != len(shape) or any(n not in (-1, got) for n, got in zip(shape, array.shape, strict=True)):
        raise UsageError(f"{what} has shape {array.shape}, expected {shape}")
    if not (np.abs(array) <= _MAX_NUMBER).all():
        raise UsageError(f"{what} holds a number that is not finite or beyond {_MAX_NUMBER:.0e}")
    return array


def number(value: Any, what: str) -> float:
    """One finite number; errors as in `numbers`."""
    return float(numbers(np.reshape(np.asarray(value), -1)[:2], 1, what=what)[0])


def square_box(centre: NDArray[np.float64], scale: float) -> NDArray[np.float32]:
    """The box of side 200 `scale` px around a centre (2,), as MPII counts a person's size."""
    return np.concatenate([centre - 100 * scale, centre + 100 * scale]).astype(np.float32)


def find_image(name: Any, annotation: Path, images: Path | None, *folders: str) -> Path:
    """Where an image lies that an annotation names.

    Args:
        name: as the annotation says it, relative to a folder of images.
        annotation: the file that names it.
        images: the folder of images, if the user named it; else the annotation's own folder, the one above it and
            the folders `images` and `folders` in either are looked through.
        folders: more names of folders.

    Raises:
        UsageError: not a relative name within a folder, or no such file.
    """
    if not isinstance(name, str) or not name or "\\" in name or "\0" in name:
        raise UsageError(f"{annotation} names an image {str(name)[:80]!r}; expected a file name")
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise UsageError(f"{annotation} names an image {name[:80]!r} outside of its folder")
    roots = [images] if images is not None else _roots(annotation, ("images", *folders))
    for root in roots:
        if (place := root / relative).is_file():
            return place
    raise UsageError(f"there is no image {name[:200]!r} for {annotation} (looked in {roots[0]} and beside it)")


def _roots(annotation: Path, folders: tuple[str, ...]) -> list[Path]:
    own = annotation.parent
    return [root for base in (own, own.parent) for root in (base, *(base / f for f in folders))]
