"""The peaks of heatmaps on the native library; `edgelm.decode` is the specification, and says what they are.

N = boxes, K = landmarks, h, w = height and width of a heatmap.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgelm.errors import EdgelmError
from edgelm.runtimes.native.library import load_library
from edgelm.spec import Score

__all__ = ["native_peaks"]

Floats = NDArray[np.float32]
_RULES = {"center": (1, 0.5), "index": (2, 0.0)}
_SCORES = {"max": 0, "sigmoid_max": 1, "softmax_near": 2}


@cache
def native_peaks() -> "Callable[[Floats, Literal['center', 'index'], Score], tuple[Floats, Floats]] | None":
    """As `edgelm.decode.decode` for the rules `center` and `index`; None where there is no library that can.

    Places are equal to numpy's; scores differ where exponentials are in them, by less than 1e-5.
    """
    try:
        peaks = load_library().edgelm_heatmap_peaks
    except (EdgelmError, AttributeError):  # models of builtin operators run without the library
        return None
    peaks.restype = None
    peaks.argtypes = [
        *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int32, ctypes.c_int32, ctypes.c_int32, ctypes.c_float),
        *(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p),
    ]

    def decode(heatmaps: Floats, rule: Literal["center", "index"], score: Score) -> tuple[Floats, Floats]:
        N, K, h, w = heatmaps.shape
        maps = np.ascontiguousarray(heatmaps, np.float32)
        uv, value = np.empty((N, K, 2), np.float32), np.empty((N, K), np.float32)
        places = (array.ctypes.data for array in (maps, uv, value))
        source, to_uv, to_value = places
        peaks(source, N * K, h, w, *_RULES[rule], _SCORES[score], to_uv, to_value)
        return uv, value

    return decode
