"""The proof at export, end to end: torch and the engine running the file get the same images; heatmaps and landmarks.

The look at the single layers is `edgelm.export.layerwise`.
N = images, K = landmarks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from edgelm.decode import decidable, decode, to_crop
from edgelm.models.evaluate import network_runner
from edgelm.spec import ModelSpec
from edgelm.testvector import synthetic_input

__all__ = ["EndToEnd", "compare_end_to_end"]

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
_SYNTHETIC = 3


_HEATMAP = 1e-3
"""Allowed |difference| of a heatmap value as a share of the largest: sums of up to some thousand float32 terms in
another order, through tens of layers that are normalised to unit variance; measured values are a tenth of it."""
_POINT_PX = 0.05
"""Allowed distance of a decidable landmark in crop px."""


@dataclass(frozen=True)
class EndToEnd:
    """Result of the look at the whole network.

    Attributes:
        images: N.
        heatmap_max: largest |difference| of a heatmap value.
        heatmap_range: largest |heatmap value| of torch.
        point_max_px: largest distance of a decidable landmark, crop px.
        point_mean_px: mean distance of the decidable landmarks, crop px.
        points: N * K.
        decidable: landmarks whose peak is no near tie; the others may move by rounding.
        near: decidable landmarks within 0.05 px.
        passed: whether the tolerance holds; a network with quantized activations has none, see `compare_end_to_end`.
    """

    images: int
    heatmap_max: float
    heatmap_range: float
    point_max_px: float
    point_mean_px: float
    points: int
    decidable: int
    near: int
    passed: bool


def compare_end_to_end(
    model: nn.Module, run: Run, spec: ModelSpec, images: Sequence[NDArray[np.float32]] = ()
) -> EndToEnd:
    """Compare torch with the engine running the file.

    With quantized activations nothing is refused here: a value at the border between two levels rounds this way or
    that, and the networks amplify that (one with random weights until nothing is left in common). There the layers are
    the proof, and the landmarks of a trained network the evidence.

    Args:
        model: the torch network.
        run: the file's session, (N, H, W, 3) float32 -> heatmaps (N, K, h, w) float32.
        spec: of both.
        images: inputs (H, W, 3) float32 to compare on beside a few synthetic ones.
    """
    synthetic = [synthetic_input(seed, spec.input.height, spec.input.width)[0] for seed in range(1, 1 + _SYNTHETIC)]
    torch_run = network_runner(model)
    largest = reach = 0.0
    distances: list[NDArray[Any]] = []
    count = 0
    for image in (*images, *synthetic):
        expected, found = torch_run(image[None]), run(image[None])
        largest = max(largest, float(np.abs(found - expected).max()))
        reach = max(reach, float(np.abs(expected).max()))
        a, b = (to_crop(decode(maps, spec.decode, spec.score)[0], spec)[0] for maps in (expected, found))
        clear = decidable(expected, spec.decode, spec.score)[0]
        distances.append(np.linalg.norm(a - b, axis=-1)[clear])
        count += expected.shape[1]
    distance = np.concatenate(distances)
    near = int((distance <= _POINT_PX).sum())
    # Written so that NaN fails.
    passed = spec.activation_bits < 32 or (largest <= _HEATMAP * reach and near == len(distance))
    return EndToEnd(
        images=len(images) + _SYNTHETIC,
        heatmap_max=largest,
        heatmap_range=reach,
        point_max_px=float(distance.max(initial=0.0)),
        point_mean_px=float(distance.mean()) if len(distance) else 0.0,
        points=count,
        decidable=len(distance),
        near=near,
        passed=bool(passed),
    )
