"""Landmarks from the frames of an Android camera: a module for Chaquopy, which runs Python inside an app.

Put this file into `app/src/main/python/`. From Kotlin, in the analyzer of CameraX:

    val module = Python.getInstance().getModule("android_landmarks")
    module.callAttr("start", modelPath)
    val json = module.callAttr("follow_rgba", bytes, width, height, rowStride, rotation, timestampNs / 1e9).toString()

`rotation` is `imageInfo.rotationDegrees`; points are in px of the upright image. Every call gives one JSON text, so
that no type has to be converted but byte[]. Calls come from one thread, as CameraX makes them.
"""

import json
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

import edgelm
from edgelm.errors import UsageError
from edgelm.runtimes.track import Tracker, TrackOptions

__all__ = ["follow_nv21", "follow_rgba", "start", "stop"]

_TURNS = {0: None, 90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


class _App:
    """What is open; an app has one."""

    runtime: edgelm.Runtime | None = None
    tracker: Tracker | None = None


def start(model: str, threads: int = 2, detect_every: int = 15) -> str:
    """Load a model file, of whatever was loaded before nothing is left -> its landmarks' names and lines, JSON."""
    stop()
    _App.runtime = edgelm.Runtime(model, threads=threads)
    _App.tracker = Tracker(_App.runtime, options=TrackOptions(detect_every=detect_every))
    scheme = _App.runtime.spec.scheme
    return json.dumps({"scheme": scheme.name, "names": scheme.names, "contours": scheme.contours})


def stop() -> None:
    """Release the model; a second time does nothing."""
    if _App.runtime is not None:
        _App.runtime.close()
    _App.runtime = _App.tracker = None


def follow_nv21(data: Any, width: int, height: int, rotation: int, time_s: float) -> str:
    """The next frame as NV21, what Android's old camera gives: Y (H, W), then V and U in turn (H / 2, W / 2, 2).

    Args:
        data: byte[] or bytes.
        width: px, even.
        height: px, even.
        rotation: 0, 90, 180 or 270 degrees clockwise that turn the image upright.
        time_s: of the frame, s.

    Returns:
        JSON as `edgelm run --json` prints it for a frame of a video.
    """
    if width % 2 or height % 2:
        raise UsageError(f"NV21 has even sizes, got {width} x {height}")
    planes = _bytes(data, height * 3 // 2, width, width)
    return _follow(cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_NV21), rotation, time_s)


def follow_rgba(data: Any, width: int, height: int, row_stride: int, rotation: int, time_s: float) -> str:
    """The next frame as RGBA, CameraX's OUTPUT_IMAGE_FORMAT_RGBA_8888.

    Args:
        data: byte[] or bytes of the only plane.
        width: px.
        height: px.
        row_stride: bytes from one row to the next, 4 * width or more.
        rotation: as in `follow_nv21`.
        time_s: as in `follow_nv21`.

    Returns:
        As `follow_nv21`.
    """
    rows = _bytes(data, height, 4 * width, row_stride)
    return _follow(cv2.cvtColor(rows.reshape(height, width, 4), cv2.COLOR_RGBA2BGR), rotation, time_s)


def _bytes(data: Any, rows: int, row_bytes: int, stride: int) -> npt.NDArray[np.uint8]:
    """Bytes as (rows, row_bytes) uint8; what lies between the rows is left out. The last row may end early."""
    flat = np.frombuffer(bytes(data), np.uint8)
    if rows < 1 or row_bytes < 1 or stride < row_bytes or len(flat) < stride * (rows - 1) + row_bytes:
        raise UsageError(f"{len(flat)} bytes are no image of {rows} rows of {row_bytes} bytes, {stride} apart")
    return np.ascontiguousarray(np.lib.stride_tricks.as_strided(flat, (rows, row_bytes), (stride, 1)))


def _follow(image: npt.NDArray[Any], rotation: int, time_s: float) -> str:
    if _App.tracker is None:
        raise UsageError("no model is loaded; call start first")
    if rotation not in _TURNS:
        raise UsageError(f"rotation is one of {', '.join(map(str, _TURNS))}, got {rotation}")
    turn = _TURNS[rotation]
    result = _App.tracker(image if turn is None else cv2.rotate(image, turn), time_s)
    head = {"frame": result.index, "time_s": result.time, "detected": result.detected}
    return json.dumps(head | result.landmarks.to_dict(), separators=(",", ":"))
