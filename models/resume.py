"""The state of a training run between two epochs, beside its checkpoint, so that a killed run continues."""

import io
from pathlib import Path

import torch
from torch import nn

from edgelm.atomic import write_atomic
from edgelm.errors import ModelFileError, UsageError
from edgelm.models.average import Average

__all__ = ["load_resume", "resume_path", "save_resume"]


def resume_path(checkpoint: Path) -> Path:
    """Where the state of the run that writes `checkpoint` lies."""
    return checkpoint.with_suffix(".resume")


def save_resume(
    checkpoint: Path,
    fingerprint: str,
    epochs_done: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    average: Average | None = None,
) -> None:
    """Write the state after an epoch, whole or not at all; `fingerprint` names the run's options."""
    buffer = io.BytesIO()
    state = {
        "fingerprint": fingerprint,
        "epochs_done": epochs_done,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": schedule.last_epoch,
        "average": average.state() if average else None,
    }
    torch.save(state, buffer)
    write_atomic(resume_path(checkpoint), buffer.getvalue())


def load_resume(
    checkpoint: Path,
    fingerprint: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    average: Average | None = None,
) -> int:
    """Continue a run: fills all of these, and returns the epochs done (0 where nothing is to resume).

    Raises:
        UsageError: the state belongs to a run with other options.
        ModelFileError: the state cannot be read.
    """
    path = resume_path(checkpoint)
    if not path.is_file():
        return 0
    damaged = f"{path} is damaged; delete it to start the training again"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        stored, epochs_done, step = str(state["fingerprint"]), int(state["epochs_done"]), int(state["step"])
    except Exception as error:  # torch.load answers damaged files with a dozen kinds of exception
        raise ModelFileError(damaged) from error
    if stored != fingerprint:
        raise UsageError(f"{path} belongs to a run with other options; delete it or choose another output")
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        if average is not None:
            average.load(state["average"])
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise ModelFileError(damaged) from error
    schedule.last_epoch = step
    return epochs_done
