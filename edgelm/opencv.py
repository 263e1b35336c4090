"""OpenCV, imported where pixels are touched and not before: descriptions are read and heatmaps decoded without it."""

from importlib import import_module
from typing import Any

from edgelm.errors import PackageMissingError

__all__ = ["import_cv2"]


def import_cv2() -> Any:
    """The module `cv2`.

    Raises:
        PackageMissingError: it is not installed, or its shared libraries are missing.
    """
    try:
        return import_module("cv2")
    except ImportError as error:
        raise PackageMissingError(
            f"crops, photos and drawing need OpenCV, which cannot be imported ({error}); "
            "run `pip install opencv-python-headless`"
        ) from error
