"""Metrics of persons' joints: PCKh, PCK by torso, and COCO's average precision of OKS.

N = persons, K = joints; points are (N, K, 2) in px, NaN where not annotated. Shares are in percent.
"""

import contextlib
import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelm.errors import PackageMissingError, UsageError
from edgelm.models.data import Sample
from edgelm.nms import person_scores
from edgelm.spec import LandmarkScheme

__all__ = ["cunet_mean", "head_length", "hrnet_mean", "oks_ap", "pck", "torso_lengths"]

_HEAD = 0.6  # MPII's evaluation calls it SC_BIAS
_TORSO = (9, 2)  # LSP's left shoulder and right hip
_PELVIS_THORAX = (6, 7)
_AP = ("AP", "AP50", "AP75", "AP_M", "AP_L", "AR", "AR50", "AR75", "AR_M", "AR_L")


def head_length(boxes: NDArray[Any]) -> NDArray[np.float64]:
    """Head boxes (..., 4) x1, y1, x2, y2 px -> what PCKh divides by (...,) px, MPII: 0.6 of the diagonal."""
    boxes = np.asarray(boxes, np.float64)
    return np.asarray(_HEAD * np.linalg.norm(boxes[..., 2:] - boxes[..., :2], axis=-1), np.float64)


def torso_lengths(truth: NDArray[Any]) -> NDArray[np.float64]:
    """Left shoulder to right hip (N,) px of LSP's 14 joints (N, 14, 2), what PCK@0.2 divides by."""
    shoulder, hip = _TORSO
    length: NDArray[np.float64] = np.linalg.norm(truth[:, shoulder].astype(np.float64) - truth[:, hip], axis=-1)
    return length


def pck(
    found: NDArray[Any], truth: NDArray[Any], lengths: NDArray[Any], share: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Percentage of correct keypoints: those within `share` of the person's length.

    Args:
        found: (N, K, 2) px.
        truth: (N, K, 2) px.
        lengths: (N,) px of heads (PCKh) or torsos (PCK); persons whose length is not finite or 0 do not count.
        share: 0.5 for PCKh@0.5, 0.2 for PCK@0.2.

    Returns:
        percent of each joint (K,), NaN where it is never annotated; and how often it is (K,).
    """
    distance = np.linalg.norm(found.astype(np.float64) - truth, axis=-1)
    usable = np.isfinite(lengths) & (lengths > 0)
    counted = np.isfinite(truth).all(axis=-1) & usable[:, None]
    limit = share * np.where(usable, lengths, 0)[:, None]
    right = counted & (distance <= limit)
    count = counted.sum(axis=0)
    percent = np.where(count > 0, 100 * right.sum(axis=0) / np.maximum(count, 1), np.nan)
    return percent, count


def hrnet_mean(percent: NDArray[Any], count: NDArray[Any]) -> float:
    """HRNet's mean of MPII's 16 joints: by how often each is annotated, without pelvis and thorax."""
    weight = np.array(count, np.float64)
    weight[list(_PELVIS_THORAX)] = 0
    return float((np.where(weight > 0, percent, 0) * weight).sum() / weight.sum()) if weight.any() else float("nan")


def cunet_mean(percent: NDArray[Any]) -> float:
    """CU-Net's mean of MPII's 16 joints: of the joints but pelvis and thorax, each counting the same."""
    kept = np.delete(percent, _PELVIS_THORAX)
    kept = kept[np.isfinite(kept)]
    return float(kept.mean()) if kept.size else float("nan")


def oks_ap(
    samples: Sequence[Sample], xy: NDArray[Any], score: NDArray[Any], scheme: LandmarkScheme
) -> dict[str, float]:
    """COCO's keypoint figures by pycocotools, of persons whose boxes were given.

    A person scores as in HRNet: the mean of its joints' scores above 0.2.

    Args:
        samples: N, with `area` and `image_id`.
        xy: (N, K, 2) px, found.
        score: (N, K).
        scheme: with its OKS constants.

    Returns:
        AP, AP50, AP75, AP_M, AP_L, AR and its kin, percent; NaN where no person is of that size.

    Raises:
        PackageMissingError: pycocotools is not installed.
        UsageError: the scheme has no constants, or a sample no area or number of its image.
    """
    if not scheme.sigmas:
        raise UsageError(f"the landmark scheme {scheme.name} has no OKS constants")
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise PackageMissingError("OKS needs pycocotools; install it with: pip install 'edgelm[train]'") from error
    known, results = _coco_truth(samples, scheme), _coco_results(samples, xy, score)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():  # it prints tables
        warnings.simplefilter("ignore")
        truth = COCO()
        truth.dataset = known
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "keypoints")
        evaluation.params.kpt_oks_sigmas = np.array(scheme.sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # pycocotools writes -1 where there is nothing to average.
    return {k: 100 * float(v) if v >= 0 else float("nan") for k, v in zip(_AP, evaluation.stats, strict=True)}


def _coco_truth(samples: Sequence[Sample], scheme: LandmarkScheme) -> dict[str, Any]:
    annotations = []
    for i, sample in enumerate(samples, 1):
        if sample.area is None or sample.image_id is None:
            raise UsageError(f"{sample.path} has no area or image number, which OKS needs; take COCO's JSON")
        counted = np.asarray(np.isfinite(sample.xy).all(axis=-1))
        flat = np.concatenate([np.nan_to_num(sample.xy), 2.0 * counted[:, None]], -1).reshape(-1)
        x1, y1, x2, y2 = sample.box.tolist()
        annotations.append(
            {
                "id": i,
                "image_id": sample.image_id,
                "category_id": 1,
                "keypoints": flat.tolist(),
                "num_keypoints": int(counted.sum()),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": sample.area,
                "iscrowd": 0,
            }
        )
    images = [{"id": i} for i in sorted({s.image_id for s in samples if s.image_id is not None})]
    category = {"id": 1, "name": "person", "keypoints": list(scheme.names)}
    return {"info": {}, "images": images, "annotations": annotations, "categories": [category]}


def _coco_results(samples: Sequence[Sample], xy: NDArray[Any], score: NDArray[Any]) -> list[dict[str, Any]]:
    rows = zip(samples, xy.astype(np.float64), person_scores(score).tolist(), strict=True)
    return [
        {
            "image_id": sample.image_id,
            "category_id": 1,
            "keypoints": np.concatenate([points, np.ones((len(points), 1))], -1).reshape(-1).tolist(),
            "score": sure,
        }
        for sample, points, sure in rows
    ]
