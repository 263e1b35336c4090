"""Faces by OpenCV's YuNet: a detector for `Runtime`, with the user's own copy of the network's small ONNX file.

YuNet's boxes reach from the forehead to the chin, somewhat more than the landmarks do. N = faces.
"""

import threading
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelm.errors import EngineMissingError, ModelFileError, UsageError
from edgelm.images import as_bgr8
from edgelm.opencv import import_cv2

__all__ = ["YuNet"]

Array = npt.NDArray[Any]

_COLUMNS = 15  # x, y, width, height, five points, score


class YuNet:
    """A face detector; may be called from several threads, which wait for each other.

    detector = YuNet("face_detection_yunet_2023mar.onnx")
    xy, score = runtime(image, detector=detector)
    """

    def __init__(
        self, path: str | PathLike[str], *, least_score: float = 0.6, nms: float = 0.3, long_side: int = 640
    ) -> None:
        """Load the network.

        Args:
            path: the .onnx file of OpenCV's model zoo.
            least_score: 0 to 1; faces with a lower score are left out.
            nms: IoU above which two boxes are one face.
            long_side: px that larger images are shrunk to.

        Raises:
            ModelFileError: no such file, or OpenCV cannot read it.
            EngineMissingError: this OpenCV has no `FaceDetectorYN`.
            UsageError: a number out of its range.
        """
        if not (0 <= least_score <= 1 and 0 <= nms <= 1 and long_side >= 32):
            raise UsageError(
                f"expected least_score and nms of 0 to 1 and a long_side of 32 px or more, got {least_score!r}, "
                f"{nms!r} and {long_side!r}"
            )
        path = Path(path)
        if not path.is_file():
            raise ModelFileError(f"there is no file {path}; YuNet's .onnx is in OpenCV's model zoo, opencv_zoo")
        cv2 = import_cv2()
        if not hasattr(cv2, "FaceDetectorYN"):
            raise EngineMissingError(f"OpenCV {cv2.__version__} has no FaceDetectorYN; take 4.5.4 or later")
        try:
            self._network = cv2.FaceDetectorYN.create(str(path), "", (320, 320), least_score, nms)
        except cv2.error as error:
            raise ModelFileError(f"OpenCV cannot read {path} as YuNet: {_last_line(error)}") from error
        self._path, self._long_side, self._lock = path, long_side, threading.Lock()

    def __call__(self, image: Array) -> tuple[Array, Array]:
        """Boxes (N, 4) float64 x1, y1, x2, y2 image px and scores (N,), largest face first.

        Raises:
            ModelFileError: the file is not YuNet's.
        """
        cv2 = import_cv2()
        image = as_bgr8(image)
        height, width = image.shape[:2]
        shrink = max(1.0, max(height, width) / self._long_side)
        if shrink > 1:
            size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        scale = np.array([width / image.shape[1], height / image.shape[0]] * 2)
        with self._lock:
            self._network.setInputSize((image.shape[1], image.shape[0]))
            try:
                _, found = self._network.detect(image)
            except cv2.error as error:
                raise ModelFileError(f"{self._path} does not answer as YuNet does: {_last_line(error)}") from error
        rows = np.zeros((0, _COLUMNS)) if found is None else np.array(found, np.float64)
        rows = rows[(rows[:, 2] > 0) & (rows[:, 3] > 0)]
        rows = rows[np.argsort(-rows[:, 2] * rows[:, 3], kind="stable")]
        boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], -1)
        return boxes * scale, rows[:, -1]


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
