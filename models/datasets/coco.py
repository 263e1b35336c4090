"""COCO's keypoint JSON (Lin et al., ECCV 2014), and faces and other persons annotated in that form, as MMPose does.

`images` (id, file_name) and `annotations` (image_id, keypoints of x, y, v: v = 0 not annotated, 1 hidden, 2 visible;
bbox x y w h; area; iscrowd). Coordinates are 0-based. Which scheme it is follows from the number of keypoints.

Boxes by protocol: faces tight around the landmarks, COFW's rounded outwards, AFLW's square of side 200 `scale` around
`center`; persons the annotated bbox. Crowds and, in COCO, persons without a keypoint are no samples.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelm.errors import UsageError
from edgelm.models.data import Sample, tight_box
from edgelm.models.datasets.base import Format, Request, check_landmarks
from edgelm.models.datasets.cofw import rounded_out
from edgelm.models.datasets.files import find_image, number, numbers, read_json, square_box

__all__ = ["COCO"]

_START = 1 << 16
_TIGHT = ("300w68", "wflw98", "cofw29")


def _claims(path: Path) -> bool:
    if not path.is_file() or path.suffix.lower() != ".json":
        return False
    with path.open("rb") as file:
        start = file.read(_START)
        file.seek(max(path.stat().st_size - _START, 0))
        ends = start + file.read(_START)
    # Of a large file only the ends are looked at, where one of the lists' names may not be.
    others = sum(name in ends for name in (b'"images"', b'"annotations"', b'"categories"'))
    return start.lstrip()[:1] == b"{" and b'"keypoints"' in ends and others >= 2


def _load(request: Request) -> list[Sample]:
    path, faults = request.path, request.faults
    content = read_json(path)
    if not isinstance(content, dict):
        raise UsageError(f"{path} is not COCO's form: no object with images and annotations")
    images, annotations = (_records(content, name, path) for name in ("images", "annotations"))
    names = {image.get("id"): image.get("file_name") for image in images if _hashable(image.get("id"))}
    persons = [a for a in annotations if not a.get("iscrowd") and "keypoints" in a]
    if persons:
        check_landmarks(path, len(_list(persons[0]["keypoints"])) // 3, request.scheme)
    is_coco = request.scheme.name == "coco17"
    used, samples = set(), []
    for annotation in persons:
        with faults.guard(path):
            where = f"annotation {str(annotation.get('id'))[:20]} of {path}"
            image_id = annotation.get("image_id")
            if not isinstance(image_id, int) or image_id not in names:
                raise UsageError(f"{where} is of an image that is not listed")
            used.add(image_id)
            keypoints = numbers(annotation["keypoints"], 3 * len(request.scheme.names), what=where).reshape(-1, 3)
            if not (keypoints[:, 2] > 0).any():
                if is_coco:
                    continue
                raise UsageError(f"{where} has no keypoint")
            image = find_image(names[image_id], path, request.images, *_folders(path))
            samples.append(_sample(annotation, keypoints, image, request.scheme.name, where))
    if not is_coco:
        for bare in names.keys() - used:
            faults.add(path, f"has no annotation for image {str(names[bare])[:200]!r}")
    return samples


def _sample(annotation: dict[str, Any], keypoints: NDArray[np.float64], image: Path, scheme: str, where: str) -> Sample:
    xy = np.where(keypoints[:, 2:] > 0, keypoints[:, :2], np.nan).astype(np.float32)
    area = number(annotation["area"], where) if "area" in annotation else None
    visible: NDArray[np.bool_] = keypoints[:, 2] == 2
    return Sample(image, xy, _box(annotation, xy, scheme, where), visible, None, area, annotation["image_id"])


def _box(annotation: dict[str, Any], xy: NDArray[np.float32], scheme: str, where: str) -> NDArray[np.float32]:
    if scheme in _TIGHT:
        return rounded_out(tight_box(xy)) if scheme == "cofw29" else tight_box(xy)
    if scheme == "aflw19" and annotation.keys() >= {"center", "scale"}:
        return square_box(numbers(annotation["center"], 2, what=where), number(annotation["scale"], where))
    if "bbox" not in annotation:
        return tight_box(xy)
    x, y, w, h = numbers(annotation["bbox"], 4, what=where)
    return np.array([x, y, x + w, y + h], np.float32)


def _records(content: dict[str, Any], name: str, path: Path) -> list[dict[str, Any]]:
    records = content.get(name)
    if not isinstance(records, list) or not all(isinstance(r, dict) for r in records):
        raise UsageError(f"{path} is not COCO's form: no list of {name}")
    return records


def _hashable(value: Any) -> bool:
    return isinstance(value, int)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _folders(path: Path) -> tuple[str, ...]:
    """COCO's images lie in val2017/ for person_keypoints_val2017.json."""
    part = path.stem.rpartition("_")[2]
    return (part, f"images/{part}")


COCO = Format("coco", _claims, _load)
