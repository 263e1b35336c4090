"""WFLW's lists (Wu et al., CVPR 2018): list_98pt_rect_attr_train.txt and list_98pt_rect_attr_test.txt.

A line is 98 x and y, the box x1 y1 x2 y2, six attributes (pose, expression, illumination, make-up, occlusion, blur) and
the image's name; coordinates are taken as 0-based, as published. Lists without box and attributes (list_98pt_test.txt)
are read too. Boxes are tight around the landmarks, HRNet's protocol. Splits are the attributes: faces that have it.
"""

from pathlib import Path

import numpy as np

from edgelm.errors import UsageError
from edgelm.models.data import Sample, tight_box
from edgelm.models.datasets.base import Format, Request, check_landmarks
from edgelm.models.datasets.files import find_image, numbers

__all__ = ["WFLW"]

_POINTS = 196
_ATTRIBUTES = ("pose", "expression", "illumination", "make-up", "occlusion", "blur")
_MAX_LINE = 8192
_WORDS = (_POINTS + 1, _POINTS + 4 + len(_ATTRIBUTES) + 1)


def _claims(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        first = file.readline(_MAX_LINE).split()
    return len(first) in _WORDS and _is_number(first[0]) and not _is_number(first[-1])


def _is_number(word: bytes) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _load(request: Request) -> list[Sample]:
    check_landmarks(request.path, _POINTS // 2, request.scheme, "wflw98")
    samples = []
    with request.path.open(encoding="utf-8", errors="replace") as file:
        for count, line in enumerate(file, 1):
            if not line.strip():
                continue
            with request.faults.guard(request.path):
                words = line.split()
                where = f"{request.path} line {count}"
                if len(words) not in _WORDS:
                    raise UsageError(f"{where} has {len(words)} words; expected {' or '.join(map(str, _WORDS))}")
                try:
                    values = np.array(words[:-1], np.float64)
                except ValueError as error:
                    raise UsageError(f"{where} holds a word that is no number") from error
                if request.split is not None and not _has(values, request.split, where):
                    continue
                xy = numbers(values[:_POINTS], -1, what=where).reshape(-1, 2).astype(np.float32)
                image = find_image(words[-1], request.path, request.images, "WFLW_images")
                samples.append(Sample(image, xy, tight_box(xy)))
    return samples


def _has(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]], attribute: str, where: str) -> bool:
    if len(values) == _POINTS:
        raise UsageError(f"{where} has no attributes to split by; take the list with attributes")
    return bool(values[_POINTS + 4 + _ATTRIBUTES.index(attribute)] == 1)


WFLW = Format("wflw", _claims, _load, _ATTRIBUTES)
