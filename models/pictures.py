"""Pictures of an evaluation: the cumulative error distribution, and the samples with the largest errors.

Numbers are made in `edgelm.models.report`. N = samples, K = landmarks.
"""

import io
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelm import geometry
from edgelm.draw import draw
from edgelm.errors import EdgelmError, PackageMissingError, UsageError
from edgelm.landmarks import Landmarks
from edgelm.models.data import sample_image
from edgelm.models.localize import Found
from edgelm.models.metrics import auc, ced
from edgelm.models.report import THRESHOLDS
from edgelm.opencv import import_cv2
from edgelm.spec import ModelSpec

__all__ = ["ced_png", "contact_sheet", "worst_png"]

_TILE = 240  # px
_COLUMNS = 6
_GREEN, _WHITE, _DARK = (60, 200, 60), (255, 255, 255), (24, 24, 24)
_SHIFT = 4  # OpenCV takes sub-pixel positions as integers with this many fraction bits


def ced_png(errors: NDArray[Any], unit: str, title: str) -> bytes:
    """The CED of errors (N,), percent, as a PNG by matplotlib.

    Raises:
        PackageMissingError: matplotlib is not installed.
        UsageError: no error is finite.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PackageMissingError("curves need matplotlib; install it with: pip install 'edgelm[train]'") from error
    finite = errors[np.isfinite(errors)]
    if not finite.size:
        raise UsageError("no sample has an error to draw a curve of")
    end = 100 * max(THRESHOLDS)
    x, share = ced(finite)
    share = 100 * share * len(finite) / len(errors)
    figure = Figure(figsize=(6.4, 4.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.step([0, *x, max(end, x[-1])], [0, *share, share[-1]], where="post", color="#2060b0", linewidth=1.8)
    for threshold in THRESHOLDS:
        axes.axvline(100 * threshold, color="#999999", linewidth=0.8, linestyle="--")
        text = f"AUC@{threshold:.2f}\n{100 * auc(errors / 100, threshold):.2f} %"
        axes.annotate(text, (100 * threshold, 4), ha="right", fontsize=8, color="#555555")
    axes.set(xlim=(0, end), ylim=(0, 101), xlabel=f"error, {unit}", ylabel="images up to it, %", title=title)
    axes.grid(alpha=0.25)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def worst_png(found: Found, errors: NDArray[Any], unit: str, spec: ModelSpec, count: int = 24) -> bytes:
    """`contact_sheet` of the `count` samples with the largest errors, as a PNG."""
    cv2 = import_cv2()

    written, data = cv2.imencode(".png", contact_sheet(found, errors, unit, spec, count))
    if not written:
        raise EdgelmError("OpenCV could not write the contact sheet as PNG")
    return bytes(data)


def contact_sheet(found: Found, errors: NDArray[Any], unit: str, spec: ModelSpec, count: int = 24) -> NDArray[np.uint8]:
    """The samples with the largest errors first, each as the network saw it.

    The annotation is thin and green, what was found orange; below is the error. Those without an error come last.

    Args:
        found: N samples.
        errors: (N,) percent.
        unit: of the errors.
        spec: of the network.
        count: at most so many.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    order = np.argsort(-np.nan_to_num(errors, nan=-np.inf), kind="stable")[:count]
    rows = -(-len(order) // _COLUMNS)
    sheet = np.full((rows * _TILE, min(len(order), _COLUMNS) * _TILE, 3), 40, np.uint8)
    for place, i in enumerate(order.tolist()):
        y, x = (_TILE * v for v in divmod(place, _COLUMNS))
        text = f"{errors[i]:.1f} {unit}" if np.isfinite(errors[i]) else f"no {unit}"
        sheet[y : y + _TILE, x : x + _TILE] = _tile(found, i, text, spec)
    return sheet


def _tile(found: Found, i: int, text: str, spec: ModelSpec) -> NDArray[np.uint8]:
    cv2 = import_cv2()

    sample = found.samples[i]
    height, width = (round(_TILE * side / max(spec.input.height, spec.input.width)) for side in _sides(spec))
    matrix = geometry.crop_matrix(sample.box[None], spec.crop, height, width)
    crop = geometry.warp(sample_image(sample), matrix[0], height, width)
    truth, points = (geometry.apply(matrix[0], xy) - 0.5 for xy in (sample.xy, found.xy[i]))
    box = np.array([[0, 0, width, height]], np.float64)
    score = np.ones((1, len(points)), np.float32)
    shown = Landmarks(points[None].astype(np.float32), score, box, matrix, spec.scheme, (height, width))
    crop = draw(crop, shown, boxes=False, scores=False, colours="person")
    _draw_truth(crop, truth, spec)
    tile = np.full((_TILE, _TILE, 3), 40, np.uint8)
    tile[:height, :width] = crop
    for thickness, colour in ((3, _DARK), (1, _WHITE)):
        cv2.putText(tile, text, (5, _TILE - 24), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, thickness, cv2.LINE_AA)
        name = sample.path.name[:34]
        cv2.putText(tile, name, (5, _TILE - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.36, colour, thickness, cv2.LINE_AA)
    return tile


def _sides(spec: ModelSpec) -> tuple[int, int]:
    return spec.input.height, spec.input.width


def _draw_truth(crop: NDArray[np.uint8], truth: NDArray[Any], spec: ModelSpec) -> None:
    cv2 = import_cv2()

    seen = np.isfinite(truth).all(axis=-1)
    fixed = np.rint(np.clip(np.nan_to_num(truth), -1e4, 1e4) * (1 << _SHIFT)).astype(np.int32)
    for contour in spec.scheme.contours:
        for a, b in pairwise(contour):
            if seen[a] and seen[b]:
                cv2.line(crop, fixed[a].tolist(), fixed[b].tolist(), _GREEN, 1, cv2.LINE_AA, _SHIFT)
    for point in fixed[seen]:
        cv2.circle(crop, point.tolist(), 1 << _SHIFT, _GREEN, 1, cv2.LINE_AA, _SHIFT)
