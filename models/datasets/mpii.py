"""MPII Human Pose (Andriluka et al., CVPR 2014): its own .mat, and the JSON lists that most code reads.

"mpii": mpii_human_pose_v1_u12_1.mat, a structure RELEASE with `annolist` (image.name; annorect: head box x1 y1 x2 y2,
scale, objpos, annopoints.point of x, y, id, is_visible) and `img_train`; its test images are not annotated.
"mpii-json": HRNet's lists (image, center, scale, joints (16, 2), joints_vis (16)) with gt_valid.mat beside valid.json
for the head boxes, or pytorch-pose's (img_paths, objpos, scale_provided, joint_self (16, 3), isValidation).

All of them are MATLAB's, 1-based, the JSON too. The box is the square of side 200 scale around the centre, whose shift
and factor are the crop's (`edgelm.crops`). A head's length is 0.6 of its box's diagonal, MPII's own evaluation.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelm.errors import UsageError
from edgelm.models.data import Sample
from edgelm.models.datasets.base import Format, Request, check_landmarks
from edgelm.models.datasets.files import find_image, mat_names, number, numbers, read_json, read_mat, square_box
from edgelm.models.pose_metrics import head_length

__all__ = ["MPII_JSON", "MPII_MAT"]

_K = 16
_HEADS = "gt_valid.mat"
_HRNET = {"joints", "joints_vis", "center", "scale", "image"}
_PYTORCH_POSE = {"joint_self", "objpos", "scale_provided", "img_paths"}
_START = 1 << 16


def _claims_mat(path: Path) -> bool:
    return "RELEASE" in mat_names(path)


def _load_mat(request: Request) -> list[Sample]:
    path = request.path
    check_landmarks(path, _K, request.scheme, "mpii16")
    (release, *_) = _each(read_mat(path, "RELEASE")["RELEASE"])
    samples = []
    for i, entry in enumerate(_each(_field(release, "annolist", path))):
        persons = [p for p in _each(getattr(entry, "annorect", ())) if _points(p)]
        if not persons:
            continue  # a test image
        with request.faults.guard(path):
            (image,) = _each(_field(entry, "image", path))[:1]
            name = np.reshape(_field(image, "name", path), -1)[0]
            place = find_image(str(name) if isinstance(name, str) else name, path, request.images)
            samples += [_person(person, place, i, path) for person in persons]
    return samples


def _each(value: Any) -> list[Any]:
    """The structures of an array of them."""
    return list(np.reshape(np.asarray(value, object), -1))


def _field(record: Any, name: str, path: Path) -> Any:
    if not hasattr(record, name):
        raise UsageError(f"{path} is not MPII's: a structure without {name}")
    return getattr(record, name)


def _points(person: Any) -> list[Any]:
    points = [p for a in _each(getattr(person, "annopoints", ())) for p in _each(getattr(a, "point", ()))]
    has_place = all(np.size(getattr(person, name, ())) for name in ("scale", "objpos"))
    return points if has_place else []


def _person(person: Any, image: Path, image_id: int, path: Path) -> Sample:
    where = f"a person of {path}"
    xy, visible = np.full((_K, 2), np.nan, np.float32), np.zeros(_K, bool)
    for point in _points(person):
        k = int(number(_field(point, "id", path), where))
        if not 0 <= k < _K:
            raise UsageError(f"{where} has a joint {k}; expected 0 .. {_K - 1}")
        xy[k] = [number(_field(point, name, path), where) - 1 for name in "xy"]
        flag = np.reshape(getattr(point, "is_visible", ()), -1)
        visible[k] = flag.size > 0 and str(flag[0]) == "1"
    (objpos,) = _each(_field(person, "objpos", path))[:1]
    centre = np.array([number(_field(objpos, name, path), where) - 1 for name in "xy"])
    head = np.array([number(_field(person, name, path), where) for name in ("x1", "y1", "x2", "y2")])
    box = square_box(centre, number(_field(person, "scale", path), where))
    return Sample(image, xy, box, visible, float(head_length(head)), image_id=image_id)


def _claims_json(path: Path) -> bool:
    if not path.is_file() or path.suffix.lower() != ".json":
        return False
    with path.open("rb") as file:
        start = file.read(_START)
    return start.lstrip()[:1] == b"[" and any(all(b'"%s"' % k.encode() in start for k in f) for f in _forms())


def _forms() -> tuple[set[str], set[str]]:
    return _HRNET, _PYTORCH_POSE


def _load_json(request: Request) -> list[Sample]:
    path = request.path
    check_landmarks(path, _K, request.scheme, "mpii16")
    records = read_json(path)
    if not isinstance(records, list) or not all(isinstance(r, dict) for r in records):
        raise UsageError(f"{path} is not a list of persons")
    heads = _head_lengths(path.with_name(_HEADS), len(records))
    samples = []
    for i, record in enumerate(records):
        with request.faults.guard(path):
            if record.get("dataset", "MPII") != "MPII" or not _in_split(record, request.split, path):
                continue
            samples.append(_listed(record, i, request, None if heads is None else float(heads[i])))
    return samples


def _listed(record: dict[str, Any], i: int, request: Request, head: float | None) -> Sample:
    where = f"person {i} of {request.path}"
    if record.keys() >= _HRNET:
        joints = numbers(record["joints"], _K, 2, what=where)
        annotated = numbers(record["joints_vis"], _K, what=where) > 0
        name, centre, scale = record["image"], record["center"], record["scale"]
    elif record.keys() >= _PYTORCH_POSE:
        joints = numbers(record["joint_self"], _K, 3, what=where)
        annotated = np.asarray((joints[:, :2] > 0).all(-1))
        name, centre, scale = record["img_paths"], record["objpos"], record["scale_provided"]
    else:
        raise UsageError(f"{where} lacks {', '.join(sorted(_HRNET - record.keys()))}")
    xy = np.where(annotated[:, None], joints[:, :2] - 1, np.nan).astype(np.float32)
    box = square_box(numbers(centre, 2, what=where) - 1, number(scale, where))
    return Sample(find_image(name, request.path, request.images), xy, box, head=head, image_id=i)


def _in_split(record: dict[str, Any], split: str | None, path: Path) -> bool:
    if split is None:
        return True
    if "isValidation" not in record:
        raise UsageError(f"{path} is one split already; leave --split out")
    return bool(record["isValidation"]) == (split == "val")


def _head_lengths(path: Path, count: int) -> NDArray[np.float64] | None:
    """Lengths (N,) px from `headboxes_src` (2, 2, N) of the file beside valid.json; None where it is not of these."""
    if "headboxes_src" not in mat_names(path):
        return None
    boxes = np.asarray(read_mat(path, "headboxes_src")["headboxes_src"])
    if boxes.ndim != 3 or boxes.shape[2] != count:
        return None  # of another list in the same folder
    corners = numbers(boxes, 2, 2, count, what=f"headboxes_src of {path}")
    return head_length(corners.transpose(2, 0, 1).reshape(-1, 4))


MPII_MAT = Format("mpii", _claims_mat, _load_mat)
MPII_JSON = Format("mpii-json", _claims_json, _load_json, ("train", "val"))
