"""Crops on the native library, without OpenCV; `edgelm.geometry` is the specification.

H, W = height and width of the crop in px.
"""

import ctypes
from collections.abc import Callable
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from edgelm.errors import EdgelmError
from edgelm.geometry import drawing, levels
from edgelm.runtimes.native.library import load_library
from edgelm.spec import InputSpec

__all__ = ["NativeCrop", "native_crop"]

NativeCrop = Callable[[NDArray[np.uint8], NDArray[np.float64], InputSpec, float, NDArray[np.float32]], None]
"""crop(image, matrix, spec, first_pixel, room), as `edgelm.runtimes.cropping.plain_crop`."""


def _order(spec: InputSpec) -> slice:
    """Where the image's channels, blue first, are among the network's."""
    return slice(None, None, -1) if spec.channels == "RGB" else slice(None)


@lru_cache(8)
def _table(spec: InputSpec) -> NDArray[np.float32]:
    """What each byte of each of the image's channels becomes, (3, 256); every crop reads the same."""
    table = np.ascontiguousarray(levels(spec).T[_order(spec)])
    table.flags.writeable = False
    return table


@cache
def native_crop() -> NativeCrop | None:
    """Bit for bit as `edgelm.runtimes.cropping.plain_crop`; None where there is no library that can."""
    try:
        cut = load_library().edgelm_crop
    except (EdgelmError, AttributeError):  # models of builtin operators run without the library
        return None
    cut.argtypes = [
        *(ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32, ctypes.POINTER(ctypes.c_double), ctypes.c_int32),
        *(ctypes.c_void_p, ctypes.POINTER(ctypes.c_int32), ctypes.c_int32, ctypes.c_int32, ctypes.c_int32),
        ctypes.c_void_p,
    ]

    def crop(
        image: NDArray[np.uint8],
        matrix: NDArray[np.float64],
        spec: InputSpec,
        first_pixel: float,
        room: NDArray[np.float32],
    ) -> None:
        times, drawn = drawing(matrix, first_pixel)
        image = np.ascontiguousarray(image)
        order = _order(spec)
        table = _table(spec)
        row, pixel, channel = (stride // room.itemsize for stride in room.strides)
        place = [channel * c for c in range(3)][order]
        assert row == pixel * spec.width, "a part of an empty_batch"
        code = cut(
            image.ctypes.data, *image.shape[:2], (ctypes.c_double * 6)(*drawn.ravel()), times, table.ctypes.data,
            (ctypes.c_int32 * 3)(*place), pixel, spec.height, spec.width, room.ctypes.data,
        )  # fmt: skip
        assert code == 0, "shapes were checked, and `drawing` bounds its multiple"

    return crop
