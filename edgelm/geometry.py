"""Boxes, crops and pixels: the one place that says where a coordinate lies.

Image coordinates are 0-based pixel CENTRES: the middle of the first pixel is (0, 0), as in COCO and OpenCV (300-W's
.pts files are 1-based, subtract 1). Crop coordinates are continuous over the crop's AREA: its left edge is 0, its right
edge `width`, its middle the middle of the box. So the middle of crop pixel j lies at j + 0.5, and a heatmap that is
`stride` times smaller has its pixel i at (i + 0.5) * stride. That is the `center` family of networks. The `index` and
`resize_argmax` families were trained with OpenCV's own convention instead, pixel j AT crop coordinate j; `first_pixel`
tells the two apart, and `warp` must be given it. Mixing them up moves every landmark by half a crop pixel.

What a heatmap peak means is `edgelm.decode`; conventions by name are `edgelm.crops`.
N = boxes, K = landmarks, H, W = height and width in px.
"""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgelm.errors import UsageError
from edgelm.opencv import import_cv2
from edgelm.spec import CropSpec, Decode, InputSpec

__all__ = [
    *(
        "Layout",
        "apply",
        "crop_matrix",
        "drawing",
        "empty_batch",
        "first_pixel",
        "invert",
        "levels",
        "normalize",
        "warp",
    ),
]

Array = npt.NDArray[Any]
Layout = Literal["NCHW", "NHWC"]
"""In which order an engine reads the values of its input: batch, channels, rows, columns."""

_MAX_SUPERSAMPLE = 8


def first_pixel(rule: Decode) -> float:
    """Crop coordinate of the middle of crop pixel 0 in the networks that are read with decode rule `rule`."""
    return 0.5 if rule == "center" else 0.0


def crop_matrix(boxes: Array, crop: CropSpec, height: int, width: int, rotation: Array | float = 0.0) -> Array:
    """The affine map from image px to crop coordinates, for each box.

    Args:
        boxes: (N, 4) x1, y1, x2, y2 in image px.
        crop: how a box becomes a crop.
        height: of the crop in px.
        width: of the crop in px.
        rotation: degrees, (N,) or one for all, about the middle of the crop; positive turns the content clockwise.

    Returns:
        (N, 2, 3) float64, to be used by `apply`, `invert` and `warp`.
    """
    x1, y1, x2, y2 = np.asarray(boxes, np.float64).reshape(-1, 4).T
    box_w, box_h = x2 - x1, y2 - y1
    centre = np.stack([(x1 + x2) / 2 + crop.shift[0] * box_w, (y1 + y2) / 2 + crop.shift[1] * box_h], -1)
    side = (box_w + box_h) / 2 if crop.side == "mean" else np.maximum(box_w, box_h * crop.aspect)
    scale = width / (side * crop.factor)
    angle = np.radians(np.broadcast_to(np.asarray(rotation, np.float64), scale.shape))
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    matrix = np.empty((len(scale), 2, 3))
    matrix[:, 0, 0], matrix[:, 0, 1] = cos, -sin
    matrix[:, 1, 0], matrix[:, 1, 1] = sin, cos
    matrix[:, :, 2] = np.array([width / 2, height / 2]) - np.einsum("nij,nj->ni", matrix[:, :, :2], centre)
    return matrix


def invert(matrix: Array) -> Array:
    """The inverse of affine maps (..., 2, 3) float64."""
    linear = np.linalg.inv(matrix[..., :2])
    return np.concatenate([linear, -linear @ matrix[..., 2:]], -1)


def apply(matrix: Array, xy: Array) -> Array:
    """Affine maps (..., 2, 3) of points (..., K, 2) -> (..., K, 2) float64."""
    return np.asarray(xy, np.float64) @ np.swapaxes(matrix[..., :2], -1, -2) + matrix[..., None, :, 2]


def drawing(matrix: Array, first_pixel: float) -> tuple[int, Array]:
    """How `warp` draws a crop: at which multiple of its size, 1 to 8, and the matrix (2, 3) float64 between centres.

    Args:
        matrix: (2, 3) from image px to crop coordinates.
        first_pixel: crop coordinate of the middle of crop pixel 0.
    """
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    times = int(min(max(1 / scale + 1e-6, 1), _MAX_SUPERSAMPLE))
    # OpenCV counts pixel centres on both sides; crop pixel j covers [j, j + 1) + first_pixel - 0.5.
    return times, times * (matrix + np.array([[0, 0, 0.5 - first_pixel]] * 2)) - np.array([[0, 0, 0.5]] * 2)


def warp(
    image: Array, matrix: Array, height: int, width: int, *, first_pixel: float = 0.5, out: Array | None = None
) -> Array:
    """Cut a crop out of an image; zeros where the image does not reach.

    Interpolates bilinearly. Where the crop shrinks the image twofold or more, it is drawn at the next lower whole
    multiple of its size and averaged down, for bilinear alone would skip pixels and alias.

    Args:
        image: (H, W, 3) or (H, W) uint8.
        matrix: (2, 3) from image px to crop coordinates.
        height: of the crop in px.
        width: of the crop in px.
        first_pixel: crop coordinate of the middle of crop pixel 0, see `first_pixel`.
        out: C-contiguous uint8 of the result's shape to write into, instead of a new array; UsageError for another.

    Returns:
        (height, width, 3) or (height, width) uint8.
    """
    cv2 = import_cv2()

    _check_room(out, (height, width, *image.shape[2:]), np.uint8)
    times, drawn = drawing(matrix, first_pixel)
    size = (times * width, times * height)
    flags = {"flags": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_CONSTANT}
    if times == 1:
        crop: Array = cv2.warpAffine(image, drawn, size, dst=out, **flags)
    else:
        large = cv2.warpAffine(image, drawn, size, **flags)
        crop = cv2.resize(large, (width, height), dst=out, interpolation=cv2.INTER_AREA)
    return crop if out is None else out


def empty_batch(count: int, spec: InputSpec, layout: Layout) -> Array:
    """Room for `count` inputs: (count, H, W, 3) float32, whose memory lies as an engine of `layout` reads it.

    For NCHW the array is a view of (count, 3, H, W): the engine's own transposition of it copies nothing.
    """
    if layout == "NHWC":
        return np.empty((count, spec.height, spec.width, 3), np.float32)
    return np.empty((count, 3, spec.height, spec.width), np.float32).transpose(0, 2, 3, 1)


def levels(spec: InputSpec) -> Array:
    """What each byte of each of the network's channels becomes: (256, 3) float32."""
    values: Array = (np.arange(256)[:, None] / 255 - np.array(spec.mean)) / np.array(spec.std)
    return values.astype(np.float32)


def normalize(crop: Array, spec: InputSpec, *, out: Array | None = None) -> Array:
    """Crops (..., H, W, 3) uint8 BGR -> (..., H, W, 3) float32, channels in the network's order.

    Args:
        crop: one or many.
        spec: of the network's input.
        out: where one crop (H, W, 3) is written to, instead of a new array: a part of an `empty_batch`.

    Raises:
        UsageError: `out` has another shape or type.
    """
    cv2 = import_cv2()

    if crop.size == 0:
        return np.zeros(crop.shape, np.float32)
    _check_room(out, crop.shape, np.float32)
    table = levels(spec)
    if out is not None and not out.flags.c_contiguous:
        planes = cv2.split(crop)
        for c, plane in enumerate(planes[::-1] if spec.channels == "RGB" else planes):
            cv2.LUT(plane, np.ascontiguousarray(table[:, c]), dst=out[:, :, c])
        return out
    rows = crop.reshape(-1, crop.shape[-2], 3)
    if spec.channels == "RGB":
        rows = cv2.cvtColor(rows, cv2.COLOR_BGR2RGB)
    values: Array = cv2.LUT(rows, table[None], dst=out)
    return values.reshape(crop.shape) if out is None else out


def _check_room(out: Array | None, shape: tuple[int, ...], dtype: type) -> None:
    """OpenCV silently takes a new array where the one it was given does not fit."""
    if out is not None and (out.shape != shape or out.dtype != dtype):
        raise UsageError(f"expected an output array {shape} {dtype.__name__}, got {out.shape} {out.dtype}")
