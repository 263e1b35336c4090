"""What detectors answer, made to boxes: arrays, pairs and the result objects of common packages, told by their shape.

No detector's package is imported here. Whether the boxes lie in the image is checked where they are used.
N = boxes.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelm.errors import EdgelmError, UsageError

__all__ = ["Detections", "Detector", "adapt", "detect", "read_detections"]

Array = npt.NDArray[Any]
Detector = Callable[[Array], Any]
"""An image (H, W, 3) uint8 BGR -> anything that `read_detections` reads, of boxes in image px."""

Detections = tuple[Array, Array | None, Array | None]
"""Boxes (N, 4) float64 x1, y1, x2, y2; scores (N,) float64 or None; classes (N,) int64 or None."""

_MOST = 10_000


def detect(detector: Detector, image: Array) -> Detections:
    """Run a detector; whatever goes wrong in it is told as the detector's fault.

    Raises:
        UsageError: it is not callable, raises, or answers with something that is no boxes.
    """
    name = getattr(detector, "__qualname__", type(detector).__qualname__)
    if not callable(detector):
        raise UsageError(f"expected a detector that is called with an image, got {str(detector)[:80]!r}")
    try:
        found = detector(image)
    except EdgelmError:
        raise
    except Exception as error:
        raise UsageError(f"the detector {name} failed with {type(error).__name__}: {error}") from error
    try:
        return read_detections(found)
    except UsageError as error:
        raise UsageError(f"the detector {name} gave no boxes: {error}") from error


def read_detections(found: Any) -> Detections:
    """The boxes in a detector's answer.

    Args:
        found: one of
            (N, 4) x1, y1, x2, y2, or (N, 5) with a score, or (N, 6) with a score and a class, as array or lists;
            a pair of such boxes and scores (N,), or a triple with classes too;
            None or an empty list, which are no boxes;
            an object with `xyxy` and perhaps `confidence` and `class_id` (supervision), an object, or a list of one,
            whose `boxes` have `xyxy`, `conf` and `cls` (ultralytics), or a list of objects with `bbox` and perhaps
            `det_score` (insightface). Tensors of other packages are read by their `cpu` and `numpy` methods.

    Raises:
        UsageError: none of these, values that are not finite, or more than 10,000 boxes.
    """
    boxes, scores, classes = _split(found)
    if len(boxes) > _MOST:
        raise UsageError(f"{len(boxes)} boxes, at most {_MOST} are taken; raise the detector's threshold")
    for what, values in (("boxes", boxes), ("scores", scores), ("classes", classes)):
        if values is None:
            continue
        if len(values) != len(boxes):
            raise UsageError(f"{len(values)} {what} for {len(boxes)} boxes")
        if not np.isfinite(values).all():
            raise UsageError(f"{what} that are not finite")
    return boxes, scores, None if classes is None else classes.astype(np.int64)


def adapt(detector: Detector, *, classes: Sequence[int] | None = None, least_score: float = 0.0) -> Detector:
    """A detector of which only some boxes are taken.

    Args:
        detector: of any kind `read_detections` reads.
        classes: indices to take, for example (0,) for the persons of networks trained on COCO; None takes all.
        least_score: boxes with a lower score are left out.

    Returns:
        An image -> boxes (N, 4) and scores (N,) or None.
    """

    def adapted(image: Array) -> tuple[Array, Array | None]:
        boxes, scores, kinds = detect(detector, image)
        kept = np.ones(len(boxes), bool)
        if classes is not None:
            if kinds is None:
                raise UsageError("classes are asked for, and the detector's answer tells none; leave `classes` out")
            kept &= np.isin(kinds, list(classes))
        if scores is not None:
            kept &= scores >= least_score
        return boxes[kept], None if scores is None else scores[kept]

    return adapted


def _split(found: Any) -> tuple[Array, Array | None, Array | None]:
    if isinstance(found, list) and len(found) == 1 and hasattr(found[0], "boxes"):
        found = found[0]
    inner = getattr(found, "boxes", found)
    if hasattr(inner, "xyxy"):
        scores = getattr(inner, "conf", getattr(inner, "confidence", None))
        classes = getattr(inner, "cls", getattr(inner, "class_id", None))
        return _boxes(inner.xyxy)[0], _row(scores), _row(classes)
    if isinstance(found, list) and found and all(hasattr(one, "bbox") for one in found):
        has_scores = all(getattr(one, "det_score", None) is not None for one in found)
        scores = [float(one.det_score) for one in found] if has_scores else None
        return _boxes([_array(one.bbox).tolist() for one in found])[0], _row(scores), None
    if isinstance(found, tuple) and len(found) in (2, 3) and (found[0] is None or np.ndim(_array(found[0])) == 2):
        boxes, scores, classes = _boxes(found[0])
        given = [_row(part) for part in found[1:]]
        return boxes, scores if given[0] is None else given[0], given[1] if len(given) == 2 else classes
    return _boxes(found)


def _boxes(values: Any) -> tuple[Array, Array | None, Array | None]:
    rows = np.zeros((0, 4)) if values is None else _array(values)
    if rows.size == 0:
        return np.zeros((0, 4)), None, None
    if rows.ndim != 2 or rows.shape[1] not in (4, 5, 6):
        raise UsageError(f"expected rows of x1, y1, x2, y2 and perhaps a score and a class, got shape {rows.shape}")
    columns = rows.shape[1]
    return rows[:, :4], rows[:, 4] if columns > 4 else None, rows[:, 5] if columns > 5 else None


def _row(values: Any) -> Array | None:
    return None if values is None else _array(values).reshape(-1)


def _array(values: Any) -> Array:
    """Numbers as float64; tensors come off their device first."""
    if hasattr(values, "cpu"):
        values = values.cpu()
    if hasattr(values, "numpy"):
        values = values.numpy()
    try:
        return np.array(values, np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"expected numbers, got {type(values).__name__} {str(values)[:60]!r}") from error
