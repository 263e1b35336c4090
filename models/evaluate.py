"""Accuracy of a torch network on annotated faces, by the same crop, decode and metric as the runtime."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgelm import geometry
from edgelm.decode import decode, to_image
from edgelm.images import read_image
from edgelm.models.data import Sample
from edgelm.models.metrics import nme
from edgelm.spec import ModelSpec

__all__ = ["evaluate", "network_runner"]

_BATCH = 22


def evaluate(model: nn.Module, spec: ModelSpec, samples: Sequence[Sample]) -> NDArray[np.float64]:
    """NME of each sample (N,), percent of the inter-ocular distance; crops come from the landmarks' tight boxes."""
    run = network_runner(model)
    H, W = spec.input.height, spec.input.width
    matrices = geometry.crop_matrix(np.stack([s.box for s in samples]), spec.crop, H, W)
    first = geometry.first_pixel(spec.decode)
    found = []
    for start in range(0, len(samples), _BATCH):
        part = range(start, min(start + _BATCH, len(samples)))
        crops = [geometry.warp(read_image(samples[i].path), matrices[i], H, W, first_pixel=first) for i in part]
        uv, _ = decode(run(geometry.normalize(np.stack(crops), spec.input)), spec.decode, spec.score)
        found.append(to_image(uv, matrices[part.start : part.stop], spec))
    return nme(np.concatenate(found), np.stack([s.xy for s in samples]), spec.scheme.name)


def network_runner(model: nn.Module) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """A torch network as a session runs one: x (N, H, W, 3) float32 -> final heatmaps (N, K, h, w) float32."""

    def run(x: NDArray[np.float32]) -> NDArray[np.float32]:
        model.eval()
        with torch.no_grad():
            heatmaps: NDArray[np.float32] = model(torch.from_numpy(x).permute(0, 3, 1, 2))[-1].numpy()
        return heatmaps

    return run
