"""Accuracy of a torch network on annotated samples, by the same path as every exported file's."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgelm.models.data import Sample
from edgelm.models.localize import Run, localize
from edgelm.models.report import Measured, measure
from edgelm.spec import ModelSpec

__all__ = ["evaluate", "network_runner"]


def evaluate(model: nn.Module, spec: ModelSpec, samples: Sequence[Sample]) -> Measured:
    """The metrics of the network's scheme; crops come from the samples' boxes."""
    return measure(localize(network_runner(model), spec, samples), spec.scheme)


def network_runner(model: nn.Module) -> Run:
    """A torch network as a session runs one: x (N, H, W, 3) float32 -> final heatmaps (N, K, h, w) float32."""

    def run(x: NDArray[np.float32]) -> NDArray[np.float32]:
        model.eval()
        place = next((p.device for p in model.parameters()), torch.device("cpu"))
        with torch.no_grad():
            heatmaps: NDArray[np.float32] = model(torch.from_numpy(x).permute(0, 3, 1, 2).to(place))[-1].cpu().numpy()
        return heatmaps

    return run
