"""Landmarks drawn onto a copy of the image: contours, points, boxes and scores, sized to each face or person.

N = faces or persons, K = landmarks.
"""

from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from edgelm.errors import UsageError
from edgelm.images import as_bgr8
from edgelm.landmarks import Landmarks
from edgelm.opencv import import_cv2

__all__ = ["draw"]

Array = npt.NDArray[Any]
Colour = tuple[int, int, int]

_SHIFT = 4  # OpenCV takes sub-pixel positions as integers with this many fraction bits
_WHITE, _DARK = (255, 255, 255), (24, 24, 24)
# One hue per contour in turn, BGR; light enough to be read on skin, hair and shadow.
_PALETTE = (
    (235, 206, 86),
    (120, 214, 120),
    (120, 214, 120),
    (92, 190, 250),
    (92, 190, 250),
    (250, 190, 130),
    (250, 190, 130),
    (170, 140, 250),
    (205, 180, 255),
)
# One hue per person in turn, BGR, neighbours far apart.
_PERSONS = (
    (92, 190, 250),
    (235, 206, 86),
    (120, 214, 120),
    (190, 130, 250),
    (100, 235, 235),
    (250, 150, 150),
    (120, 140, 255),
    (200, 250, 160),
)

Colours = Literal["auto", "part", "person"]


def draw(
    image: Array,
    landmarks: Landmarks,
    *,
    contours: bool = True,
    points: bool = True,
    boxes: bool = True,
    scores: bool = True,
    threshold: float = 0.0,
    colours: Colours = "auto",
) -> Array:
    """Draw landmarks; the image itself is not changed.

    Args:
        image: of the size the landmarks were found in; any kind `edgelm.images.as_bgr8` takes.
        landmarks: what to draw.
        contours: draw the scheme's lines.
        points: draw the points.
        boxes: draw the boxes.
        scores: write each one's mean score at its box.
        threshold: points with a score not above this, and their lines, are left out.
        colours: "part" each line of the scheme its own, "person" each face or person theirs, which their track id keeps
            in a video; "auto" is "part" for one and "person" for several.

    Returns:
        (H, W, 3) uint8 BGR, a new array.

    Raises:
        UsageError: an image of another size, or unknown colours.
    """
    if colours not in get_args(Colours):
        raise UsageError(f"unknown colours {colours!r}; known are {', '.join(get_args(Colours))}")
    canvas = as_bgr8(image).copy()
    if canvas.shape[:2] != tuple(landmarks.image_size):
        raise UsageError(
            f"expected the image of (height, width) {landmarks.image_size} that the landmarks are of, "
            f"got {canvas.shape[:2]}"
        )
    by_person = colours == "person" or (colours == "auto" and len(landmarks) > 1)
    for i, one in enumerate(landmarks.each()):
        unit = _unit(one)
        own = _PERSONS[(i if one.track_id is None else int(one.track_id[0])) % len(_PERSONS)] if by_person else None
        if boxes:
            _draw_box(canvas, one.box[0], unit, own or _WHITE)
        shown = one.score[0] > threshold
        if contours:
            _draw_contours(canvas, one, shown, unit, _PALETTE if own is None else (own,))
        if points:
            _draw_points(canvas, one.xy[0][shown], unit, own or _WHITE)
        if scores:
            _write_score(canvas, one, unit)
    return canvas


def _unit(one: Landmarks) -> float:
    """The width of a line in px: the larger the box and the fewer the points, the wider."""
    extent = float(np.hypot(*(one.box[0, 2:] - one.box[0, :2])))
    return extent / (110 + 2 * len(one.scheme.names))


def _fixed(xy: Array) -> Array:
    """Positions in px as OpenCV's fixed-point integers, kept within what its line clipping takes."""
    scaled = np.rint(np.asarray(xy, np.float64) * (1 << _SHIFT))
    fixed: Array = np.clip(scaled, -(1 << 24), 1 << 24).astype(np.int32)
    return fixed


def _line_width(unit: float) -> int:
    return max(1, round(unit))


def _draw_box(canvas: Array, box: Array, unit: float, colour: Colour) -> None:
    """Corner brackets rather than a frame: they leave the contours in peace."""
    cv2 = import_cv2()

    x1, y1, x2, y2 = box
    arm = 0.12 * min(x2 - x1, y2 - y1)
    corners = [
        np.array([[x + dx * arm, y], [x, y], [x, y + dy * arm]])
        for x, dx in ((x1, 1), (x2, -1))
        for y, dy in ((y1, 1), (y2, -1))
    ]
    lines = [_fixed(corner) for corner in corners]
    width = _line_width(unit)
    cv2.polylines(canvas, lines, False, _DARK, width + 2, cv2.LINE_AA, _SHIFT)
    cv2.polylines(canvas, lines, False, colour, width, cv2.LINE_AA, _SHIFT)


def _draw_contours(canvas: Array, one: Landmarks, shown: Array, unit: float, palette: tuple[Colour, ...]) -> None:
    cv2 = import_cv2()

    width = _line_width(unit)
    lines = []
    for i, contour in enumerate(one.scheme.contours):
        ends = [pair for pair in pairwise(contour) if shown[list(pair)].all()]
        lines.append((palette[i % len(palette)], [_fixed(one.xy[0][list(pair)]) for pair in ends]))
    shadow = canvas.copy()
    for _, segments in lines:
        cv2.polylines(shadow, segments, False, _DARK, width + 2, cv2.LINE_AA, _SHIFT)
    cv2.addWeighted(shadow, 0.45, canvas, 0.55, 0, canvas)
    for colour, segments in lines:
        cv2.polylines(canvas, segments, False, colour, width, cv2.LINE_AA, _SHIFT)


def _draw_points(canvas: Array, xy: Array, unit: float, fill: Colour) -> None:
    """Discs with a dark rim, blended by how much of each pixel they cover.

    OpenCV makes a polygon of a circle, and of a small one a diamond.
    """
    height, width = canvas.shape[:2]
    radius = max(1.0, 1.4 * unit)
    reach = radius + max(0.7, radius / 3)
    for x, y in xy.tolist():
        left, top = max(int(x - reach - 1), 0), max(int(y - reach - 1), 0)
        right, bottom = min(int(x + reach + 2), width), min(int(y + reach + 2), height)
        if left >= right or top >= bottom:
            continue
        rows, columns = np.ogrid[top:bottom, left:right]
        distance = np.hypot(columns - x, rows - y)[:, :, None]
        patch = canvas[top:bottom, left:right]
        for size, colour in ((reach, _DARK), (radius, fill)):
            cover = np.clip(size + 0.5 - distance, 0, 1)
            patch[:] = np.rint(patch * (1 - cover) + np.array(colour) * cover)


def _write_score(canvas: Array, one: Landmarks, unit: float) -> None:
    cv2 = import_cv2()

    text = f"{float(one.score[0].mean()):.2f}"
    if one.track_id is not None:
        text = f"#{int(one.track_id[0])} {text}"
    size, width = max(0.35, min(unit / 2.4, 1.5)), _line_width(unit)
    (_, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, width)
    x = max(int(one.box[0, 0]), 2)
    y = max(int(one.box[0, 1]) - height // 2, height + 2)
    for grown, colour in ((width + 2, _DARK), (width, _WHITE)):
        cv2.putText(canvas, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, colour, grown, cv2.LINE_AA)
