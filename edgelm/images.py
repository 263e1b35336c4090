"""Images in: files and arrays of any common kind become (H, W, 3) uint8 BGR, or an error that says what to do."""

import os
import struct
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelm.errors import UsageError
from edgelm.opencv import import_cv2

__all__ = ["MAX_PIXELS", "as_bgr8", "read_image"]

MAX_PIXELS = 100_000_000
_MAX_SIDE = 32_766  # cv2.warpAffine counts source pixels in 16 bits
_MAX_BYTES = 1 << 30

Array = npt.NDArray[Any]


def read_image(path: str | PathLike[str]) -> Array:
    """Read an image file, turned upright as its EXIF data says.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        UsageError: no such file, empty, not an image, or larger than 100 megapixels.
    """
    cv2 = import_cv2()

    path = os.fspath(path)
    if not os.path.isfile(path):
        raise UsageError(f"there is no image file {path!r}; check the path")
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read() if size <= _MAX_BYTES else b""
    except OSError as error:
        raise UsageError(f"cannot read {path!r} ({error.strerror})") from error
    if size > _MAX_BYTES:
        raise UsageError(f"{path!r} has {size} bytes, too many for an image; shrink it")
    if not data:
        raise UsageError(f"the image file {path!r} is empty; copy it again")
    height, width = _declared_size(data)
    _check_size(height, width, path)
    try:
        image: Array | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # beyond OpenCV's own limits
        image = None
    if image is None:
        raise UsageError(f"{path!r} is not an image that OpenCV reads; convert it to JPEG or PNG")
    _check_size(image.shape[0], image.shape[1], path)
    return image


def as_bgr8(image: Any) -> Array:
    """An image array of any common kind as BGR bytes; a view of it where it is that already, so do not write into it.

    Args:
        image: (H, W), (H, W, 1), (H, W, 3) BGR or (H, W, 4) BGRA, whose alpha is ignored; uint8, or uint16 with 65535
            as white.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        UsageError: another shape or type; floats are refused because nothing says whether their white is 1 or 255.
    """
    if not isinstance(image, np.ndarray):
        raise UsageError(
            f"expected an image as a numpy array, got {type(image).__name__}; use edgelm.images.read_image"
        )
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in image.shape:
        raise UsageError(f"expected an image of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), got {image.shape}")
    _check_size(image.shape[0], image.shape[1], "the image")
    if image.dtype == np.uint16:
        image = ((image.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    if image.dtype != np.uint8:
        raise UsageError(
            f"expected an image of uint8 or uint16, got {image.dtype}; "
            "for floats in [0, 1] pass (image * 255).round().astype('uint8')"
        )
    if image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    return np.ascontiguousarray(image[:, :, :3])


def _check_size(height: int, width: int, what: str) -> None:
    if height * width > MAX_PIXELS or max(height, width) > _MAX_SIDE:
        raise UsageError(
            f"{what} has {width} x {height} px, at most {MAX_PIXELS // 1_000_000} megapixels and {_MAX_SIDE} px a side "
            "are read; shrink it"
        )


def _declared_size(data: bytes) -> tuple[int, int]:
    """Height and width that a PNG or JPEG header declares, (0, 0) where unknown.

    A file of a few kilobytes can unpack to gigabytes, so its size is looked at before OpenCV allocates.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
        return height, width
    at = 2
    while data.startswith(b"\xff\xd8") and at + 9 <= len(data):
        mark, kind, length = struct.unpack_from(">BBH", data, at)
        if mark != 0xFF:
            break
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return height, width
        at += 1 if kind == 0xFF else 2 + length
    return 0, 0
