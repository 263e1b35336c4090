"""What is said of a network's landmarks on a data set: the field's metrics for the scheme, and each sample's error.

N = samples, K = landmarks. Everything here is plain numbers; pictures are `edgelm.models.pictures`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelm.models.localize import Found
from edgelm.models.metrics import auc, failure_rate, nme, norms, relative_errors
from edgelm.models.pose_metrics import cunet_mean, hrnet_mean, oks_ap, pck, torso_lengths
from edgelm.nms import oks
from edgelm.spec import LandmarkScheme

__all__ = ["THRESHOLDS", "Measured", "measure"]

THRESHOLDS = (0.08, 0.10)
_NECK, _HEAD_TOP = 8, 9  # of MPII's joints


@dataclass(frozen=True)
class Measured:
    """The accuracy of one network on one data set.

    Attributes:
        metrics: figures by name, percent; NaN where there is nothing to average.
        joints: percent by joint, empty for faces.
        errors: (N,) of each sample, for ordering and drawing them; NaN where it has none.
        unit: what `errors` are.
        remarks: what a reader has to know of how it was measured.
    """

    metrics: Mapping[str, float]
    joints: Mapping[str, float]
    errors: NDArray[np.float64]
    unit: str
    remarks: tuple[str, ...] = ()


def measure(found: Found, scheme: LandmarkScheme) -> Measured:
    """The metrics of a scheme: PCKh for MPII's, PCK for LSP's, OKS for COCO's, NME for faces and all others."""
    truth = np.stack([s.xy for s in found.samples])
    if scheme.name == "mpii16":
        return _pckh(found, truth, scheme)
    if scheme.name == "lsp14":
        return _pck(found, truth, scheme)
    if scheme.name == "coco17":
        return _oks(found, truth, scheme)
    return _nme(found, truth, scheme)


def _nme(found: Found, truth: NDArray[Any], scheme: LandmarkScheme) -> Measured:
    boxes = np.stack([s.box for s in found.samples])
    by_norm = {norm: nme(found.xy, truth, scheme.name, norm, boxes) for norm in norms(scheme.name)}
    usual = next(iter(by_norm))
    errors = by_norm[usual]
    metrics = {f"NME {norm.replace('_', '-')}": _mean(e) for norm, e in by_norm.items()}
    for threshold in THRESHOLDS:
        metrics[f"AUC@{threshold:.2f}"] = 100 * auc(errors / 100, threshold)
        metrics[f"FR@{threshold:.2f}"] = 100 * failure_rate(errors / 100, threshold)
    without = int((~np.isfinite(errors)).sum())
    name = usual.replace("_", "-")
    remarks = (f"{without} samples have no {name} distance and count as failures",) if without else ()
    return Measured(metrics, {}, errors, f"% of {name}", remarks)


def _pck(found: Found, truth: NDArray[Any], scheme: LandmarkScheme) -> Measured:
    torsos = torso_lengths(truth)
    percent, _ = pck(found.xy, truth, torsos, 0.2)
    without = int((~(torsos > 0)).sum())
    remarks = (f"{without} samples have no annotated torso and do not count",) if without else ()
    metrics = {"PCK@0.2": _mean(percent)}
    return Measured(metrics, _by_name(scheme, percent), relative_errors(found.xy, truth, torsos), "% of torso", remarks)


def _pckh(found: Found, truth: NDArray[Any], scheme: LandmarkScheme) -> Measured:
    segment = np.linalg.norm(truth[:, _HEAD_TOP].astype(np.float64) - truth[:, _NECK], axis=-1)
    given = np.array([np.nan if s.head is None else s.head for s in found.samples], np.float64)
    missing = np.isnan(given)
    heads = np.where(missing, segment, given)
    percent, count = pck(found.xy, truth, heads, 0.5)
    metrics = {"PCKh@0.5 HRNet's mean": hrnet_mean(percent, count), "PCKh@0.5 CU-Net's mean": cunet_mean(percent)}
    remark = f"{int(missing.sum())} samples have no head box; neck to head top counts as their head's length"
    errors = relative_errors(found.xy, truth, heads)
    return Measured(metrics, _by_name(scheme, percent), errors, "% of head", (remark,) if missing.any() else ())


def _oks(found: Found, truth: NDArray[Any], scheme: LandmarkScheme) -> Measured:
    metrics = oks_ap(found.samples, found.xy, found.score, scheme)
    sigmas = np.array(scheme.sigmas)
    alike = []
    for xy, points, sample in zip(found.xy, truth, found.samples, strict=True):
        seen = np.isfinite(points).all(axis=-1)
        area = np.array([sample.area], np.float64)
        alike.append(oks(xy[None, seen], points[None, seen], (area, area), sigmas[seen])[0, 0])
    return Measured(metrics, {}, 100 * (1 - np.array(alike)), "% below OKS 1", ("boxes are those of the annotation",))


def _by_name(scheme: LandmarkScheme, percent: NDArray[Any]) -> dict[str, float]:
    return dict(zip(scheme.names, percent.tolist(), strict=True))


def _mean(values: NDArray[Any]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")
