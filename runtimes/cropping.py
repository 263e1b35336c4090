"""Which code cuts a runtime's crops: the native library where it can, else OpenCV. The results are the same bits.

The library draws, normalizes and lays a crop out in one pass; and OpenCV, which is slow to load, is not needed.
N = boxes, H, W = height and width of the network's input.
"""

from typing import Any

import numpy.typing as npt

from edgelm import geometry
from edgelm.runtimes.native.crops import native_crop
from edgelm.spec import InputSpec, ModelSpec

__all__ = ["cut_crops", "plain_crop"]

Array = npt.NDArray[Any]


def cut_crops(image: Array, matrices: Array, spec: ModelSpec, layout: geometry.Layout) -> Array:
    """The network's inputs: crops of an image (h, w, 3) uint8 BGR by matrices (N, 2, 3) float64.

    Returns:
        (N, H, W, 3) float32, an `edgelm.geometry.empty_batch` of `layout`.
    """
    x = geometry.empty_batch(len(matrices), spec.input, layout)
    first_pixel = geometry.first_pixel(spec.decode)
    crop = native_crop() or plain_crop
    for room, matrix in zip(x, matrices, strict=True):
        crop(image, matrix, spec.input, first_pixel, room)
    return x


def plain_crop(image: Array, matrix: Array, spec: InputSpec, first_pixel: float, room: Array) -> None:
    """One crop by OpenCV into `room` (H, W, 3) float32."""
    pixels = geometry.warp(image, matrix, spec.height, spec.width, first_pixel=first_pixel)
    geometry.normalize(pixels, spec, out=room)
