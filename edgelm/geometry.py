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

from typing import Any

import numpy as np
import numpy.typing as npt

from edgelm.spec import CropSpec, Decode, InputSpec

__all__ = ["apply", "crop_matrix", "first_pixel", "invert", "normalize", "warp"]

Array = npt.NDArray[Any]

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


def warp(image: Array, matrix: Array, height: int, width: int, *, first_pixel: float = 0.5) -> Array:
    """Cut a crop out of an image; zeros where the image does not reach.

    Interpolates bilinearly. Where the crop shrinks the image twofold or more, it is drawn at the next lower whole
    multiple of its size and averaged down, for bilinear alone would skip pixels and alias.

    Args:
        image: (H, W, 3) or (H, W) uint8.
        matrix: (2, 3) from image px to crop coordinates.
        height: of the crop in px.
        width: of the crop in px.
        first_pixel: crop coordinate of the middle of crop pixel 0, see `first_pixel`.

    Returns:
        (height, width, 3) or (height, width) uint8.
    """
    import cv2

    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    times = int(min(max(1 / scale + 1e-6, 1), _MAX_SUPERSAMPLE))
    # warpAffine counts pixel centres on both sides; crop pixel j covers [j, j + 1) + first_pixel - 0.5.
    drawn = times * (matrix + np.array([[0, 0, 0.5 - first_pixel]] * 2)) - np.array([[0, 0, 0.5]] * 2)
    size = (times * width, times * height)
    crop = cv2.warpAffine(image, drawn, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return crop if times == 1 else cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA)


def normalize(crop: Array, spec: InputSpec) -> Array:
    """Crops (..., H, W, 3) uint8 BGR -> (..., H, W, 3) float32, channels in the network's order."""
    import cv2

    if crop.size == 0:
        return np.zeros(crop.shape, np.float32)
    rows = crop.reshape(-1, crop.shape[-2], 3)
    if spec.channels == "RGB":
        rows = cv2.cvtColor(rows, cv2.COLOR_BGR2RGB)
    values = (np.arange(256)[:, None] / 255 - np.array(spec.mean)) / np.array(spec.std)
    out: Array = cv2.LUT(rows, values.astype(np.float32)[None]).reshape(crop.shape)  # a table is exact, and fast
    return out
