"""How far OpenCV's Haar boxes are from boxes around the landmarks, and the correction that edgelm.runtimes.detect uses.

    python benchmarks/haar_calibration.py ../shared/data/faces68

Prints one JSON object: the correction measured on train/, and on train/ and val/ the share of the faces found (IoU of
the corrected box above 0.5), the mean IoU with the tight box before and after, and the wrong boxes.
"""

import argparse
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelm.images import read_image
from edgelm.runtimes.detect import CORRECTION, find_faces, haar_boxes, iou

Array = npt.NDArray[Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with train/ and val/ of NAME.jpg and NAME.pts")
    parser.add_argument("--every", type=int, default=1, help="use every n-th image only")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    correction = _correction(arguments.data / "train", arguments.every)
    report = {
        "correction": [round(v, 3) for v in correction.tolist()],
        "in_use": list(CORRECTION),
        "train": _quality(arguments.data / "train", arguments.every),
        "val": _quality(arguments.data / "val", 1),
    }
    logging.info(json.dumps(report, indent=2))


def _correction(folder: Path, every: int) -> Array:
    """Median move of each side of the Haar box, in units of its side."""
    moves = []
    for image, tight in _faces(folder, every):
        boxes, _ = haar_boxes(image)
        best = max(boxes, key=lambda box: iou(box, tight), default=None)
        if best is not None and iou(best, tight) > 0.3:
            moves.append((tight - best) / (best[2] - best[0]))
    correction: Array = np.median(moves, axis=0)
    return correction


def _quality(folder: Path, every: int) -> dict[str, Any]:
    faces = found = wrong = 0
    before, after = [], []
    for image, tight in _faces(folder, every):
        faces += 1
        boxes, _ = find_faces(image)
        best = max((iou(box, tight) for box in boxes), default=0.0)
        found += best > 0.5
        wrong += len(boxes) - (best > 0.5)
        if best > 0.5:
            after.append(best)
            before.append(max(iou(box, tight) for box in haar_boxes(image)[0]))
    return {
        "faces": faces,
        "found": round(found / faces, 3),
        "wrong_boxes": int(wrong),
        "iou_before": round(float(np.mean(before)), 3),
        "iou_after": round(float(np.mean(after)), 3),
    }


def _faces(folder: Path, every: int) -> Iterator[tuple[Array, Array]]:
    """Images and the tight boxes around their landmarks, 0-based."""
    for path in sorted(folder.glob("*.jpg"))[::every]:
        text = path.with_suffix(".pts").read_text().partition("{")[2].partition("}")[0]
        xy = np.array(text.split(), np.float64).reshape(-1, 2) - 1
        yield read_image(path), np.concatenate([xy.min(0), xy.max(0)])


if __name__ == "__main__":
    main()
