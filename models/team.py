"""The processes that train one network together, as torchrun starts them: who has which samples, and who speaks.

Every process has the whole network and takes its share of each batch; gradients are averaged by torch's
DistributedDataParallel. BatchNorms see their own process's samples only, and the first process's statistics are kept.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from edgelm.errors import UsageError

__all__ = ["Team", "find_device", "join_team"]


@dataclass(frozen=True)
class Team:
    """This process among all.

    Attributes:
        rank: its number; 0 measures, writes and reports.
        size: how many there are.
        device: where this one computes.
    """

    rank: int = 0
    size: int = 1
    device: torch.device | str = "cpu"

    def share(self, batch: NDArray[np.int64]) -> tuple[NDArray[np.int64], bool]:
        """This process's part of a batch, and whether it counts.

        A process for which no sample is left takes the first one, which does not count: all must take part in every
        step.
        """
        own = batch[self.rank :: self.size]
        return (own, True) if len(own) else (batch[:1], False)

    def weight(self, terms: float) -> float:
        """What to multiply the mean of this process's terms by, so that the average over processes is the mean of all.

        Not every loss is a mean over samples: see `edgelm.models.losses.terms`. Each process must call it as often as
        the others.
        """
        if self.size == 1:
            return 1.0
        average = self.mean(torch.tensor(float(terms), device=self.device))
        return terms / average if average else 0.0

    def wrapped(self, model: nn.Module) -> nn.Module:
        """The network as a step calls it."""
        return DistributedDataParallel(model) if self.size > 1 else model

    def mean(self, value: Tensor) -> float:
        """The average of a scalar over all processes."""
        value = value.detach().clone()
        if self.size > 1:
            distributed.all_reduce(value)
        return float(value) / self.size

    def wait(self) -> None:
        """Go on when all are here."""
        if self.size > 1:
            distributed.barrier()


@contextmanager
def join_team(device: torch.device) -> Iterator[Team]:
    """This process's place among those that torchrun started; alone without it.

    Raises:
        UsageError: the environment says something else than torchrun would.
    """
    size = _number("WORLD_SIZE", 1)
    if size == 1:
        yield Team(device=device)
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Team(distributed.get_rank(), size, device)
    finally:
        distributed.destroy_process_group()


def find_device(name: str) -> torch.device:
    """The device called "cpu" or "cuda", of the latter the one that is this process's.

    Raises:
        UsageError: another name, or no such device here.
    """
    if name not in ("cpu", "cuda"):
        raise UsageError(f"device is cpu or cuda, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("torch finds no CUDA device here; leave --device out, or install torch's build for CUDA")
    if name == "cpu":
        return torch.device("cpu")
    local, there = _number("LOCAL_RANK", 0), torch.cuda.device_count()
    if local >= there:
        raise UsageError(f"{there} CUDA devices for more processes; let torchrun start one for each")
    return torch.device("cuda", local)


def _number(name: str, least: int) -> int:
    text = os.environ.get(name, str(least))
    if not text.isdecimal() or int(text) < least:
        raise UsageError(f"{name} is a number from {least}, which torchrun sets; got {text!r}")
    return int(text)
