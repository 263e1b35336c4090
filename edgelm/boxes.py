"""Boxes in: from the command line, from JSON, from the caller; always (N, 4) float64 x1, y1, x2, y2 in image px."""

import json
import math
import os
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelm.errors import UsageError

__all__ = ["check_boxes", "parse_box", "read_boxes"]

_FAR = 1e6
_MAX_BYTES = 1 << 26

Array = npt.NDArray[Any]


def parse_box(text: str) -> Array:
    """Read "x1,y1,x2,y2" -> (1, 4) float64.

    Raises:
        UsageError: not four numbers that make a box.
    """
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"expected a box x1,y1,x2,y2 in pixels, got {text!r}") from error
    return check_boxes([values])


def read_boxes(path: str | PathLike[str]) -> Array:
    """Read a JSON file, [[x1, y1, x2, y2], ...] or {"boxes": [...]} -> (N, 4) float64; N may be 0.

    Raises:
        UsageError: no such file, not JSON, or not boxes.
    """
    path = os.fspath(path)
    try:
        if os.path.getsize(path) > _MAX_BYTES:
            raise UsageError(f"{path!r} is too large for a list of boxes")
        with open(path, "rb") as file:
            data = json.load(file)
    except OSError as error:
        raise UsageError(f"cannot read the boxes in {path!r} ({error.strerror}); check the path") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path!r} is not JSON ({error}); write [[x1, y1, x2, y2], ...]") from error
    if isinstance(data, dict):
        data = data.get("boxes")
    if not isinstance(data, list):
        raise UsageError(f'{path!r} holds no boxes; write [[x1, y1, x2, y2], ...] or {{"boxes": [...]}}')
    return check_boxes(data)


def check_boxes(boxes: Any, image_size: tuple[int, int] | None = None) -> Array:
    """Boxes as (N, 4) float64, one by one checked; one flat box of four numbers is accepted too.

    Args:
        boxes: N boxes x1, y1, x2, y2 in image px, as an array or nested lists.
        image_size: (height, width) px; with it, each box must overlap the image.

    Raises:
        UsageError: naming the first box that is wrong.
    """
    if isinstance(boxes, np.ndarray):
        boxes = boxes.tolist()
    if not isinstance(boxes, list | tuple):
        raise UsageError(f"expected boxes as rows of x1, y1, x2, y2 in pixels, got {str(boxes)[:80]!r}")
    if len(boxes) == 4 and not any(isinstance(v, list | tuple | np.ndarray) for v in boxes):
        boxes = [boxes]
    checked = [_box(i, box, image_size) for i, box in enumerate(boxes)]
    return np.array(checked, np.float64).reshape(-1, 4)


def _box(i: int, box: Any, image_size: tuple[int, int] | None) -> tuple[float, ...]:
    def fail(problem: str) -> UsageError:
        return UsageError(f"box {i} {problem}; expected x1, y1, x2, y2 in pixels, got {str(box)[:80]}")

    if isinstance(box, np.ndarray):
        box = box.tolist()
    if not isinstance(box, list | tuple) or len(box) != 4:
        raise fail("is not four numbers")
    if not all(isinstance(v, int | float | np.number) and not isinstance(v, bool) for v in box):
        raise fail("holds something that is not a number")
    # Compared before float(), which overflows on a long JSON integer; NaN fails the comparison.
    if not all(abs(v) <= _FAR for v in box):
        raise fail("is not finite" if any(not math.isfinite(v) for v in box if isinstance(v, float)) else "is too far")
    x1, y1, x2, y2 = (float(v) for v in box)
    if x2 - x1 < 1 or y2 - y1 < 1:
        raise fail("has no area, its second corner must lie right of and below the first by 1 px at least")
    if image_size is not None and not (x1 < image_size[1] and y1 < image_size[0] and x2 > 0 and y2 > 0):
        raise fail(f"lies outside the image of {image_size[1]} x {image_size[0]} px")
    return x1, y1, x2, y2
