"""Short training runs of the probe network: what the tests of training share, beside the fixtures of conftest.py."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from nets import PROBE, ProbeConfig, write_faces
from torch import Tensor

from edgelm.models.checkpoint import load_checkpoint
from edgelm.models.registry import SCHEMES, Entry
from edgelm.models.train import Progress, TrainOptions

NAME = "probe-bwa"
_ENTRIES = {f"probe{suffix}": Entry(f"probe{suffix}", PROBE, ProbeConfig(68), SCHEMES[suffix]) for suffix in SCHEMES}


@contextmanager
def known_probes() -> Iterator[None]:
    """Probes of 68 landmarks are the networks that have names, such as "probe" and "probe-bwa"."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgelm.models.create.resolve", _ENTRIES.__getitem__)
        yield


def write_data(folder: Path) -> None:
    """Six faces to train on, and two to validate."""
    write_faces(folder / "train", 6)
    write_faces(folder / "val", 2, seed=50)


def options(data: Path, folder: Path, **changes: Any) -> TrainOptions:
    """Of two epochs of two steps that write to `out.pt` in a folder, which is made."""
    folder.mkdir(exist_ok=True)
    given = TrainOptions(NAME, data, folder / "out.pt", recipe="softmax", epochs=2, batch=3, size=64)
    return dataclasses.replace(given, **changes)


def weights(path: Path) -> dict[str, Tensor]:
    return dict(load_checkpoint(path).model.state_dict())


class KilledError(Exception):
    """Stands for the end of the process."""


def kill_after(epoch: int, step: int = 0) -> Callable[[Progress], None]:
    """A report that ends a run after a step, or after an epoch with its validation."""

    def report(progress: Progress) -> None:
        if (progress.epoch, progress.step) == (epoch, step):
            raise KilledError

    return report
