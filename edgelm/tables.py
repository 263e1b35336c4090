"""Landmarks as the records of other tools: what each calls a result, and where its coordinates lie.

The plain formats, JSON, COCO and .pts, are methods of `edgelm.landmarks.Landmarks` themselves.
N = faces or persons, K = landmarks.
"""

import csv
import io
import math
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgelm.errors import PackageMissingError

if TYPE_CHECKING:
    from edgelm.landmarks import Landmarks

__all__ = ["COLUMNS", "NormalizedLandmark", "to_csv", "to_dataframe", "to_mmpose", "to_normalized", "to_supervision"]

COLUMNS = ("person", "track_id", "landmark", "x", "y", "score")


class NormalizedLandmark(NamedTuple):
    """A point in shares of the image, under MediaPipe's field names.

    The image's left and upper edges are 0, its right and lower ones 1, so that the middle of the first pixel of W lies
    at 0.5 / W. `z` is 0, for there is no depth; `visibility` and `presence` are the score, held to 0 .. 1.
    """

    x: float
    y: float
    z: float
    visibility: float
    presence: float
    name: str


def to_normalized(found: "Landmarks") -> list[list[NormalizedLandmark]]:
    """A list for each face or person, as MediaPipe's landmarkers give them."""
    height, width = found.image_size
    return [
        [
            NormalizedLandmark((x + 0.5) / width, (y + 0.5) / height, 0.0, sure, sure, name)
            for name, (x, y), sure in zip(found.scheme.names, xy, score, strict=True)
        ]
        for xy, score in zip(found.xy.tolist(), np.clip(found.score, 0, 1).tolist(), strict=True)
    ]


def to_mmpose(found: "Landmarks") -> list[dict[str, Any]]:
    """One record each, as MMPose's inferencers write them; `bbox` is a list of one box there.

    A box without a score counts as certain.
    """
    sure = [1.0] * len(found) if found.box_score is None else found.box_score.tolist()
    rows = zip(found.xy.tolist(), found.score.tolist(), found.box.tolist(), sure, strict=True)
    return [
        {"keypoints": xy, "keypoint_scores": score, "bbox": [box], "bbox_score": chance}
        for xy, score, box, chance in rows
    ]


def to_supervision(found: "Landmarks") -> Any:
    """`supervision.KeyPoints` of the same points: xy (N, K, 2), their scores (N, K), and the boxes and ids as data.

    Raises:
        PackageMissingError: supervision is not installed.
    """
    data: dict[str, Any] = {"box": found.box}
    if found.track_id is not None:
        data["track_id"] = found.track_id
    kind = _package("supervision", "key points of supervision").KeyPoints
    # 0.29 renamed `confidence`, 0.32 drops the old name.
    score = "keypoint_confidence" if "keypoint_confidence" in signature(kind).parameters else "confidence"
    return kind(xy=found.xy, **{score: found.score}, class_id=np.zeros(len(found), int), data=data)


def to_dataframe(found: "Landmarks") -> Any:
    """A pandas DataFrame with one row for each point and the columns `COLUMNS`.

    Raises:
        PackageMissingError: pandas is not installed.
    """
    return _package("pandas", "data frames").DataFrame(list(_rows(found)), columns=list(COLUMNS))


def to_csv(found: "Landmarks") -> str:
    """The rows of `to_dataframe` as text; an absent id and what is not finite are empty cells."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_cell(value) for value in row] for row in _rows(found))
    return text.getvalue()


def _rows(found: "Landmarks") -> Any:
    ids = [None] * len(found) if found.track_id is None else found.track_id.tolist()
    for i, (xy, score, track) in enumerate(zip(found.xy.tolist(), found.score.tolist(), ids, strict=True)):
        for name, (x, y), s in zip(found.scheme.names, xy, score, strict=True):
            yield i, track, name, x, y, s


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return "" if value is None else value


def _package(name: str, what: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise PackageMissingError(f"{what} need {name}, which cannot be imported; run `pip install {name}`") from error
