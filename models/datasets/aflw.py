"""AFLW's revised annotation with 19 points (Zhu et al., CVPR 2016): AFLWinfo_release.mat.

`data` (N, 38) are 19 x, then 19 y; `mask_new` (N, 19) is 1 where a point is annotated; `bbox` (N, 4) is left, right,
top, bottom; `nameList` (N, 1) cells name images below AFLW's folder `flickr`; `ra` (1, N), 1-based, is the order whose
first 20,000 are for training. Coordinates are taken as published. The box, and the size that errors are divided by, is
the square around the annotated box, as in HRNet's lists. Split "frontal" is the test faces with all points.
AFLW as COCO-style JSON is in `edgelm.models.datasets.coco`.
"""

from pathlib import Path
from typing import Any

import numpy as np

from edgelm.errors import UsageError
from edgelm.models.data import Sample
from edgelm.models.datasets.base import Format, Request, check_landmarks
from edgelm.models.datasets.files import find_image, mat_names, numbers, read_mat, square_box

__all__ = ["AFLW"]

_K = 19
_TRAINING = 20_000
_NAMES = ("data", "mask_new", "bbox", "nameList", "ra")


def _claims(path: Path) -> bool:
    return set(_NAMES) <= mat_names(path)


def _load(request: Request) -> list[Sample]:
    path = request.path
    check_landmarks(path, _K, request.scheme, "aflw19")
    content = read_mat(path, *_NAMES)
    data = numbers(content["data"], -1, 2 * _K, what=f"data of {path}")
    N = len(data)
    mask = numbers(content["mask_new"], N, _K, what=f"mask_new of {path}") != 0
    boxes = numbers(content["bbox"], N, 4, what=f"bbox of {path}")
    order = numbers(np.reshape(content["ra"], -1), N, what=f"ra of {path}").astype(np.int64) - 1
    names = np.reshape(content["nameList"], -1)
    if len(names) != N or sorted(order.tolist()) != list(range(N)):
        raise UsageError(f"{path}: expected {N} names and an order of 1 .. {N} in ra")
    chosen = {"train": order[:_TRAINING], None: order}.get(request.split, order[_TRAINING:])
    samples = []
    for i in chosen.tolist():
        if request.split == "frontal" and not mask[i].all():
            continue
        with request.faults.guard(path):
            image = find_image(_text(names[i]), path, request.images, "flickr", "data/flickr", "aflw/data/flickr")
            xy = np.where(mask[i][:, None], data[i].reshape(2, _K).T, np.nan).astype(np.float32)
            left, right, top, bottom = boxes[i]
            side = max(right - left, bottom - top)
            box = square_box(np.array([(left + right) / 2, (top + bottom) / 2]), side / 200)
            samples.append(Sample(image, xy, box))
    return samples


def _text(cell: Any) -> Any:
    """The text in a cell; whatever else is in it, for `find_image` to refuse."""
    while isinstance(cell, np.ndarray) and cell.size == 1:
        cell = cell.reshape(-1)[0]
    return str(cell) if isinstance(cell, str) else cell


AFLW = Format("aflw", _claims, _load, ("train", "test", "frontal"))
