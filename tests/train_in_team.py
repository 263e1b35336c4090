"""A short training run without BatchNorm; as one of torchrun's processes, the first of which prints its losses as JSON.

python train_in_team.py DATA OUTPUT
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from edgelm.models.quantizers import QuantScheme
from edgelm.models.registry import Entry, Family
from edgelm.models.train import Progress, TrainOptions, train


@dataclass(frozen=True)
class PlainConfig:
    """One hyper-parameter, as every family has it."""

    classes: int = 68


class Plain(nn.Module):
    """Two convolutions; BatchNorm would see each process's samples only."""

    def __init__(self, config: PlainConfig, _: QuantScheme) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 7, 4, 3), nn.Conv2d(8, config.classes, 3, padding=1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> [heatmaps (N, classes, H/4, W/4)]."""
        return [self.last(torch.relu(self.first(x)))]


def run(data: Path, output: Path) -> dict[str, Any]:
    """Train; gives the losses, which are those of the first process alone, and the size of the checkpoint in bytes."""
    family = Family("plain", PlainConfig, Plain, 4, 16, "none: a network of the tests")
    entry = Entry("plain", family, PlainConfig(), QuantScheme())
    losses: list[float] = []

    def keep(at: Progress) -> None:
        losses.append(at.loss)

    # Seven samples in batches of three: the last one leaves nothing for the second process.
    # The recipe sdu: a mean over samples, and one over maps that have a target, whose number differs between processes.
    options = TrainOptions("plain", data, output, recipe="sdu", epochs=2, batch=3, size=64)
    with patch("edgelm.models.create.resolve", {"plain": entry}.__getitem__):
        path = train(options, keep)
    return {"losses": losses, "bytes": path.stat().st_size}


if __name__ == "__main__":
    found = run(*map(Path, sys.argv[1:]))
    if found["losses"]:
        sys.stdout.write(json.dumps(found) + "\n")
