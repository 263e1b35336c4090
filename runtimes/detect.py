"""Faces without a download: OpenCV's Haar cascade, corrected to the boxes that landmark networks expect.

A Haar box is a square from the brows to below the mouth; face networks are trained on the tight box around the
landmarks. The correction is the median over the training faces, printed by benchmarks/haar_calibration.py. A better
detector is any callable that takes a BGR image and returns boxes (N, 4), or boxes and scores.
N = faces.
"""

import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelm.errors import EngineMissingError
from edgelm.images import as_bgr8
from edgelm.opencv import import_cv2

__all__ = ["CORRECTION", "find_faces", "haar_boxes", "iou"]

Array = npt.NDArray[Any]

CORRECTION = (0.071, 0.223, -0.062, 0.07)
"""Moves of x1, y1, x2, y2 in units of the Haar box's side."""

_CASCADE = "haarcascade_frontalface_alt2.xml"
_DEBIAN = "/usr/share/opencv4/haarcascades"  # where Debian's package opencv-data has them, and cv2 does not say so
_LONG_SIDE = 800  # px that an image is shrunk to: faces down to 1/25 of it are found
_SMALLEST = 32
_STEPS = (1.1, 1.05)  # of the image pyramid; the finer one finds 5 % more faces in twice the time, if the first fails
_SAME = 0.3  # IoU of two boxes of one face: the cascade may find it twice, half a face apart
_LOCK = threading.Lock()  # a cascade keeps state while it runs


def find_faces(image: Array) -> tuple[Array, Array]:
    """Boxes around where the landmarks of each face will be, largest first.

    Args:
        image: of any kind `edgelm.images.as_bgr8` takes.

    Returns:
        boxes (N, 4) float64 x1, y1, x2, y2 image px, and scores (N,) float64, larger is surer, without a scale.

    Raises:
        EngineMissingError: this OpenCV carries no Haar cascades.
    """
    squares, scores = haar_boxes(image)
    side = squares[:, 2:3] - squares[:, :1]
    boxes = squares + side * np.array(CORRECTION)
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if all(iou(boxes[i], boxes[j]) < _SAME and not _inside(boxes[i], boxes[j]) for j in kept):
            kept.append(int(i))
    kept.sort(key=lambda i: (-side[i, 0], i))
    return boxes[kept], scores[kept]


def haar_boxes(image: Array) -> tuple[Array, Array]:
    """What the cascade itself finds: squares (N, 4) float64 x1, y1, x2, y2 image px and scores (N,)."""
    cv2 = import_cv2()

    grey = cv2.cvtColor(as_bgr8(image), cv2.COLOR_BGR2GRAY)
    shrink = max(1.0, max(grey.shape) / _LONG_SIDE)
    if shrink > 1:
        size = (max(1, round(grey.shape[1] / shrink)), max(1, round(grey.shape[0] / shrink)))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    for step in _STEPS:
        with _LOCK:
            found, _, weights = _cascade().detectMultiScale3(
                grey, scaleFactor=step, minNeighbors=3, minSize=(_SMALLEST, _SMALLEST), outputRejectLevels=True
            )
        if len(found):
            break
    squares = np.array(found, np.float64).reshape(-1, 4)
    squares[:, 2:] += squares[:, :2]
    return squares * shrink, np.array(weights, np.float64).reshape(-1)


def iou(a: Array, b: Array) -> float:
    """Intersection over union of two boxes (4,)."""
    common = _overlap(a, b)
    return common / (_area(a) + _area(b) - common)


def _inside(a: Array, b: Array) -> bool:
    """Whether one box lies mostly within the other, as a false face between brow and chin does."""
    return _overlap(a, b) > 0.7 * min(_area(a), _area(b))


def _area(box: Array) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def _overlap(a: Array, b: Array) -> float:
    size = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    return float(np.prod(np.maximum(size, 0)))


@lru_cache(maxsize=1)
def _cascade() -> Any:
    cv2 = import_cv2()

    carried = getattr(getattr(cv2, "data", None), "haarcascades", None)
    folders = [_DEBIAN] if carried is None else [carried, _DEBIAN]
    for path in (Path(folder, _CASCADE) for folder in folders):
        try:
            path.open("rb").close()  # OpenCV would write of an absent file to stderr
        except OSError:
            continue
        if hasattr(cv2, "CascadeClassifier") and not (cascade := cv2.CascadeClassifier(str(path))).empty():
            return cascade
    raise EngineMissingError(
        f"OpenCV {cv2.__version__} carries no Haar cascades to find faces with; pass boxes or a detector, or install "
        "'opencv-python-headless<5', or Debian's opencv-data beside its python3-opencv"
    )
