"""The proof at export, end to end: torch and the engine running the file get the same images; heatmaps and landmarks.

How far they may be apart is measured, not chosen: torch runs in float64 too, and the file may differ from that by a few
times what torch's own float32 does, and, where activations are quantized, torch on inputs changed by a rounding: which
values turn to another level hangs on every order of sums. A network that amplifies rounding (a deep one with random
weights, or one whose quantized activations lie at borders) is thereby held to what its arithmetic can promise, a
trained one to much more. What fewer bits than a network was trained with cost is measured apart from that. The look at
the single layers, which rounding elsewhere cannot blur, is `edgelm.export.layerwise`.
N = images, K = landmarks.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgelm.decode import decidable, decode, to_crop
from edgelm.models.localize import Run
from edgelm.spec import ModelSpec
from edgelm.testvector import synthetic_input

__all__ = ["ROUNDING", "EndToEnd", "Loss", "compare_end_to_end", "measure_loss", "synthetic_images"]

_SYNTHETIC = 3
_NOISE = 10.0
"""Allowed |difference| in units of torch's own float32 error: another order of sums errs as much, in another direction,
and the largest of some hundred thousand values is compared with the largest of as many."""
_TURNS = 4.0
"""The same where activations are quantized: of three trials, each of which turns some levels, the largest counts."""
_FLOOR = 1e-5
"""Allowed in any case, as a share of the largest heatmap value."""
_TIE = 0.005
"""Two pixels closer than this share of the map's range count as a tie, whatever the noise."""
_POINT_PX = 0.05
"""Allowed distance of a decidable landmark in crop px."""
ROUNDING = 1e-6
"""Relative change of an input that stands for rounding elsewhere: it turns as many levels as another order of sums."""
_LOSS = 0.005
"""Allowed mean shift of the landmarks by fewer bits, as a share of the input's longer side."""


@dataclass(frozen=True)
class EndToEnd:
    """Result of the look at the whole network.

    Attributes:
        images: N.
        heatmap_max: largest |difference| of a heatmap value.
        heatmap_limit: what it may be in that image.
        heatmap_range: largest |heatmap value| of torch.
        point_max_px: largest distance of a decidable landmark, crop px.
        point_mean_px: mean distance of the decidable landmarks, crop px.
        points: N * K.
        decidable: landmarks that an error within the limit cannot move.
        near: decidable landmarks within 0.05 px.
        passed: whether heatmaps and decidable landmarks are within tolerance.
    """

    images: int
    heatmap_max: float
    heatmap_limit: float
    heatmap_range: float
    point_max_px: float
    point_mean_px: float
    points: int
    decidable: int
    near: int
    passed: bool


@dataclass(frozen=True)
class Loss:
    """What fewer bits than the network was trained with cost.

    Attributes:
        images: N; photos, or synthetic images where there are none.
        points: landmarks that are no near tie between two places in the network's own heatmaps.
        mean_px: their mean shift, crop px.
        max_px: their largest shift, crop px.
        mean_share: the mean as a share of the input's longer side.
        limit_share: what it may be.
        all_mean_px: mean shift of all landmarks, near ties too, crop px.
        passed: whether the share is within its limit.
    """

    images: int
    points: int
    mean_px: float
    max_px: float
    mean_share: float
    limit_share: float
    all_mean_px: float
    passed: bool


def measure_loss(model: nn.Module, run: Run, spec: ModelSpec, images: Sequence[NDArray[np.float32]] = ()) -> Loss:
    """Compare the landmarks of a network with those of a session or network that computes with fewer bits.

    Args:
        model: the torch network as it was trained, in eval mode.
        run: the other one, (N, H, W, 3) float32 -> heatmaps (N, K, h, w) float32.
        spec: of both.
        images: photos, inputs (H, W, 3) float32; without any a few synthetic ones are taken.
    """
    inputs = np.stack(images or synthetic_images(spec)).astype(np.float32)
    exact, found = _torch(model, inputs), np.concatenate([run(image[None]) for image in inputs])
    a, b = (to_crop(decode(maps, spec.decode, spec.score)[0], spec) for maps in (exact, found))
    clear = decidable(exact, spec.decode, spec.score, margin=_TIE)
    every = np.linalg.norm(a - b, axis=-1)
    distance = every[clear]
    mean = float(distance.mean()) if len(distance) else 0.0
    share = mean / max(spec.input.height, spec.input.width)
    largest = float(distance.max(initial=0.0))
    passed = bool(share <= _LOSS and np.isfinite(found).all())
    return Loss(len(inputs), len(distance), mean, largest, share, _LOSS, float(every.mean()), passed)


def synthetic_images(spec: ModelSpec) -> list[NDArray[np.float32]]:
    """A few inputs (H, W, 3) float32 that every export is compared on."""
    size = spec.input.height, spec.input.width
    return [synthetic_input(seed, *size)[0] for seed in range(1, 1 + _SYNTHETIC)]


def compare_end_to_end(
    model: nn.Module,
    run: Run,
    spec: ModelSpec,
    images: Sequence[NDArray[np.float32]] = (),
    trials: Sequence[nn.Module] = (),
) -> EndToEnd:
    """Compare torch with the engine running the file.

    Args:
        model: the torch network, in eval mode.
        run: the file's session, (N, H, W, 3) float32 -> heatmaps (N, K, h, w) float32.
        spec: of both.
        images: inputs (H, W, 3) float32 to compare on beside a few synthetic ones.
        trials: networks that err as an engine may.
    """
    inputs = np.stack([*images, *synthetic_images(spec)]).astype(np.float32)
    exact = _torch(copy.deepcopy(model).double(), inputs.astype(np.float64))
    others = [_torch(model, inputs)]
    factor = _NOISE
    if spec.activation_bits < 32 or spec.options.rounds:
        factor = _TURNS
        others += [_torch(model, inputs * np.float32(1 + change)) for change in (ROUNDING, -ROUNDING)]
    others += [_torch(trial, inputs) for trial in trials]
    found = np.concatenate([run(image[None]) for image in inputs])
    noise = np.max([np.abs(other - exact).max(axis=(2, 3)) for other in others], axis=0)  # (N, K)
    size = np.abs(exact).max(axis=(2, 3))  # (N, K)
    limit = factor * noise.max(axis=1) + _FLOOR * size.max(axis=1)  # (N,)
    span = exact.max(axis=(2, 3)) - exact.min(axis=(2, 3))
    # Twice, for two pixels that nearly tie may err in opposite directions.
    margin = np.maximum(_TIE, 2 * (factor * noise + _FLOOR * size) / np.maximum(span, 1e-30))
    a, b = (to_crop(decode(maps.astype(np.float32), spec.decode, spec.score)[0], spec) for maps in (exact, found))
    clear = decidable(exact.astype(np.float32), spec.decode, spec.score, margin=margin)
    distance = np.linalg.norm(a - b, axis=-1)[clear]
    error, near = np.abs(found - exact).max(axis=(1, 2, 3)), int((distance <= _POINT_PX).sum())
    return EndToEnd(
        images=len(inputs),
        heatmap_max=float(error.max()),
        heatmap_limit=float(limit[error.argmax()]),
        heatmap_range=float(size.max()),
        point_max_px=float(distance.max(initial=0.0)),
        point_mean_px=float(distance.mean()) if len(distance) else 0.0,
        points=clear.size,
        decidable=len(distance),
        near=near,
        passed=bool((error <= limit).all()) and near == len(distance),  # NaN fails
    )


def _torch(model: nn.Module, x: NDArray[Any]) -> NDArray[Any]:
    """Final heatmaps of images (N, H, W, 3), one at a time to save memory."""
    with torch.no_grad():
        heatmaps = [model(torch.from_numpy(one[None]).permute(0, 3, 1, 2))[-1].numpy() for one in x]
    return np.concatenate(heatmaps)
